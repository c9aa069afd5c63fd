// SPDX-License-Identifier: Apache-2.0
#include "fs/status.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "dlm/dlm.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/cluster.h"
#include "fs/damage.h"
#include "fs/dlm_service.h"
#include "fs/fuse_server.h"
#include "fs/gate.h"
#include "fs/lock_types.h"
#include "fs/log_daemon.h"
#include "fs/mount_options.h"
#include "fs/operation.h"
#include "fs/solo.h"
#include "fs/status_freeze.h"
#include "fs/status_quota.h"
#include "fs/status_scrub.h"
#include "fs/status_volume.h"
#include "fs/volume.h"

enum {
    LOCKS_MAX = 5000,    // in one answer: the core must not be held up
    EXTENTS_MAX = 20000, // likewise
};

typedef int handler(struct status_source *source, struct json_object *arguments,
                    struct json_object *result, const char **why);

// The mount goes on; whoever asks for anything is to know.
static void add_needs_fsck(const struct status_source *source, struct json_object *result)
{
    const struct volume *volume = source->volume;
    bool is_damaged = volume->damage != NULL && damage_is_known(volume->damage);
    status_add_flag(result, "needs_fsck", is_damaged || volume->geometry.state != 0);
}

// --- info ------------------------------------------------------------------------------------

static const char *state_text(struct volume *volume)
{
    static const char *const states[] = {"running", "suspended", "ended"};
    if (volume_check(volume) != 0)
        return "failed";
    return states[atomic_load(&volume->gate->state)];
}

static void add_counters(struct status_source *source, struct json_object *result)
{
    struct json_object *counters = json_object_new_object();
    struct fuse_server_counters fuse = {0};
    const struct environment_event_counters *core =
        environment_event_counters(source->volume->environment);
    if (source->fuse != NULL)
        fuse_server_counters(source->fuse, &fuse);
    status_add_number(counters, "lane_reads", fuse.lane_reads);
    status_add_number(counters, "lane_writes", fuse.lane_writes);
    status_add_number(counters, "lane_read_bytes", fuse.lane_read_bytes);
    status_add_number(counters, "lane_write_bytes", fuse.lane_write_bytes);
    status_add_number(counters, "lane_errors", fuse.lane_errors);
    status_add_number(counters, "core_reads", fuse.core_reads);
    status_add_number(counters, "core_writes", fuse.core_writes);
    status_add_number(counters, "core_requests", fuse.core_requests);
    status_add_number(counters, "core_wakeups", fuse.core_wakeups);
    status_add_number(counters, "requests_alive", fuse.requests_alive);
    status_add_number(counters, "requests_at_gate", fuse.requests_at_gate);
    status_add_number(counters, "handles", fuse.handles);
    status_add_number(counters, "loans", fuse.loans);
    status_add_number(counters, "recalls", fuse.recalls);
    status_add_number(counters, "epochs", fuse.epochs);
    status_add_number(counters, "core_turns", atomic_load(&core->turns));
    status_add_number(counters, "core_slice_us_max", atomic_load(&core->core_slice_us_max));
    status_add_number(counters, "log_lines_dropped", log_daemon_dropped(source->log));
    json_object_object_add(result, "counters", counters);
}

static void add_lock_counters(struct status_source *source, struct json_object *result)
{
    if (source->locks == NULL)
        return;
    const struct dlm_counters *dlm = dlm_core_counters(dlm_service_core(source->locks));
    struct json_object *counters = json_object_new_object();
    status_add_number(counters, "requests", dlm->requests);
    status_add_number(counters, "requests_local", dlm->requests_local);
    status_add_number(counters, "grants", dlm->grants);
    status_add_number(counters, "denied", dlm->denied);
    status_add_number(counters, "blocking", dlm->blocking);
    status_add_number(counters, "notes", dlm->notes);
    status_add_number(counters, "frames_sent", dlm->frames_sent);
    status_add_number(counters, "messages_sent", dlm->messages_sent);
    status_add_number(counters, "frames_received", dlm->frames_received);
    status_add_number(counters, "deadlocks", dlm->deadlocks);
    status_add_number(counters, "views", dlm->views);
    json_object_object_add(result, "locks", counters);
}

static int handle_info(struct status_source *source, struct json_object *arguments,
                       struct json_object *result, const char **why)
{
    struct volume *volume = source->volume;
    uint64_t lease = atomic_load(&volume->gate->lease_until_ns);
    uint64_t now = environment_boot_ns(volume->environment);
    TEXT(options, 1024);
    (void)arguments, (void)why;
    mount_options_to_text(source->options, &options);
    status_add_text(result, "device", source->device);
    status_add_text(result, "mount", source->directory);
    status_add_text(result, "options", options.bytes);
    status_volume_add(result, &volume->geometry);
    add_needs_fsck(source, result);
    status_add_text(result, "state", state_text(volume));
    if (volume_check(volume) != 0)
        status_add_text(result, "failure", error_text(volume_check(volume)));
    status_add_number(result, "slot", volume->slot);
    status_add_number(result, "incarnation", volume->incarnation);
    if (lease != UINT64_MAX)
        status_add_number(result, "lease_left_ms", lease > now ? (lease - now) / 1000000 : 0);
    status_add_flag(result, "has_volatile_cache", volume->device->has_volatile_cache);
    add_counters(source, result);
    add_lock_counters(source, result);
    return 0;
}

// --- nodes -----------------------------------------------------------------------------------

static void add_node(struct json_object *nodes, const struct cluster_node_status *node)
{
    struct json_object *row = json_object_new_object();
    status_add_text(row, "name", node->name);
    status_add_number(row, "node_id", node->node_id);
    status_add_number(row, "slot", node->slot);
    status_add_number(row, "incarnation", node->incarnation);
    status_add_text(row, "state", node->state);
    status_add_number(row, "heartbeat_age_ms", node->heartbeat_age_ms);
    status_add_flag(row, "self", node->is_self);
    status_add_flag(row, "member", node->is_member);
    json_object_array_add(nodes, row);
}

// One line of text, one element.
static struct json_object *lines_of(const char *text)
{
    struct json_object *lines = json_object_new_array();
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        if (length > 0)
            json_object_array_add(lines, json_object_new_string_len(text, (int)length));
        text += length + (text[length] == '\n');
    }
    return lines;
}

// A local mount is a cluster of one.
static void add_this_node(struct status_source *source, struct json_object *nodes,
                          struct cluster_status *status)
{
    struct text why;
    text_init(&why, status->why, sizeof(status->why));
    if (source->solo != NULL)
        solo_status_to_text(source->solo, &why);
    struct cluster_node_status self = {
        .slot = source->volume->slot,
        .incarnation = source->volume->incarnation,
        .state = state_text(source->volume),
        .is_self = true,
        .is_member = true,
    };
    gethostname(self.name, sizeof(self.name) - 1);
    add_node(nodes, &self);
}

static int handle_nodes(struct status_source *source, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    struct json_object *nodes = json_object_new_array();
    struct cluster_status status = {.is_running = volume_check(source->volume) == 0};
    (void)arguments, (void)why;
    if (source->cluster != NULL)
        cluster_status_get(source->cluster, &status);
    else
        add_this_node(source, nodes, &status);
    for (uint32_t i = 0; i < status.node_count; i++)
        add_node(nodes, &status.nodes[i]);
    status_add_number(result, "epoch", status.epoch);
    status_add_flag(result, "running", status.is_running);
    add_needs_fsck(source, result);
    json_object_object_add(result, "nodes", nodes);
    json_object_object_add(result, "why", lines_of(status.why));
    status_freeze_add(result, source->volume);
    return 0;
}

// --- locks -----------------------------------------------------------------------------------

struct lock_list {
    struct json_object *rows;
    size_t count;
    bool with_cached;      // also what is merely kept and not waited for by anybody
    uint32_t self_node_id; // known once a lock of this node was seen
};

// A row, or NULL when there are enough.
static struct json_object *add_row(struct lock_list *list, const char *type, uint64_t id,
                                   uint32_t node_id)
{
    if (list->count++ >= LOCKS_MAX)
        return NULL;
    struct json_object *row = json_object_new_object();
    status_add_text(row, "type", type);
    status_add_number(row, "id", id);
    status_add_number(row, "node_id", node_id);
    json_object_array_add(list->rows, row);
    return row;
}

static const char *mode_text(enum dlm_mode mode)
{
    static const char *const words[DLM_MODE_COUNT] = {"NL", "CR", "CW", "PR", "PW", "EX"};
    return mode < DLM_MODE_COUNT ? words[mode] : "";
}

static void add_range(struct json_object *row, const struct dlm_range *range)
{
    status_add_text(row, "kind", range->space == DLM_RANGE_FLOCK ? "flock" : "fcntl");
    status_add_text(row, "granted", range->type == DLM_RANGE_EXCLUSIVE ? "write" : "read");
    status_add_number(row, "start", range->start);
    status_add_number(row, "end", range->end);
    status_add_number(row, "pid", range->pid);
}

static const char *type_text(uint32_t type)
{
    return type > 0 && type < LOCK_TYPE_COUNT ? lock_type_of(type)->name : "unknown";
}

// Kept rights say little: a node keeps them after use, until somebody else asks.
static bool is_shown(const struct lock_list *list, const struct dlm_lock_info *info)
{
    bool is_own_again = info->is_master && info->node.node_id == list->self_node_id;
    if (is_own_again && list->self_node_id != 0)
        return false;
    return list->with_cached || info->is_range || info->requested != DLM_MODE_NONE ||
           info->is_dead || info->is_assumed || info->name.type == LOCK_OWNER;
}

static void add_lock(void *context, const struct dlm_lock_info *info)
{
    struct lock_list *list = context;
    if (!info->is_master)
        list->self_node_id = info->node.node_id;
    struct json_object *row = is_shown(list, info) ? add_row(list, type_text(info->name.type),
                                                             info->name.id, info->node.node_id)
                                                   : NULL;
    if (row == NULL)
        return;
    status_add_flag(row, "waiting", info->requested != DLM_MODE_NONE);
    if (info->is_range) {
        add_range(row, &info->range);
    } else {
        status_add_text(row, "granted", mode_text(info->granted));
        status_add_text(row, "requested", mode_text(info->requested));
    }
    if (info->is_dead || info->is_assumed)
        status_add_text(row, "held_for", info->is_dead ? "dead node" : "unknown dead holder");
}

static void add_file(void *context, uint64_t inode, int flags)
{
    static const char *const access[] = {"read", "write", "both", ""};
    struct lock_list *list = context;
    struct json_object *row = add_row(list, "open file", inode, list->self_node_id);
    if (row != NULL)
        status_add_text(row, "granted", access[flags & O_ACCMODE]);
}

static int handle_locks(struct status_source *source, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    struct json_object *all;
    struct lock_list list = {.rows = json_object_new_array()};
    (void)why;
    list.with_cached =
        json_object_object_get_ex(arguments, "all", &all) && json_object_get_boolean(all);
    if (source->locks != NULL)
        dlm_core_visit_locks(dlm_service_core(source->locks), add_lock, &list);
    if (source->fuse != NULL)
        fuse_server_visit_files(source->fuse, add_file, &list);
    json_object_object_add(result, "locks", list.rows);
    status_add_number(result, "count", list.count);
    status_add_flag(result, "truncated", list.count > LOCKS_MAX);
    return 0;
}

// --- df, stat --------------------------------------------------------------------------------

static int handle_df(struct status_source *source, struct json_object *arguments,
                     struct json_object *result, const char **why)
{
    struct statvfs space;
    (void)arguments, (void)why;
    int error = operation_statfs(source->volume, &space);
    if (error != 0)
        return error;
    status_add_number(result, "size_bytes", (uint64_t)space.f_blocks * space.f_frsize);
    status_add_number(result, "free_bytes", (uint64_t)space.f_bfree * space.f_frsize);
    status_add_number(result, "available_bytes", (uint64_t)space.f_bavail * space.f_frsize);
    status_add_number(result, "files", space.f_files);
    status_add_number(result, "files_free", space.f_ffree);
    status_freeze_add(result, source->volume);
    add_needs_fsck(source, result);
    return 0;
}

struct extent_list {
    struct json_object *rows;
    size_t count;
};

static void add_extent(void *context, const struct extent_report *extent)
{
    struct extent_list *list = context;
    if (list->count++ >= EXTENTS_MAX)
        return;
    struct json_object *row = json_object_new_object();
    status_add_number(row, "file_offset", extent->file_offset);
    status_add_number(row, "volume_offset", extent->volume_offset);
    status_add_number(row, "length", extent->length);
    status_add_flag(row, "unwritten", extent->is_unwritten);
    json_object_array_add(list->rows, row);
}

static int handle_stat(struct status_source *source, struct json_object *arguments,
                       struct json_object *result, const char **why)
{
    struct json_object *inode;
    struct attributes attributes;
    struct extent_list list = {0};
    if (!json_object_object_get_ex(arguments, "inode", &inode) ||
        !json_object_is_type(inode, json_type_int)) {
        *why = "stat needs the argument inode";
        return -EINVAL;
    }
    uint64_t number = json_object_get_uint64(inode);
    int error = operation_get_attributes(source->volume, number, &attributes);
    if (error != 0)
        return error;
    list.rows = json_object_new_array();
    if (S_ISREG(attributes.stat.st_mode))
        error = operation_list_extents(source->volume, number, add_extent, &list);
    status_add_number(result, "inode", attributes.inode);
    status_add_number(result, "generation", attributes.generation);
    status_add_number(result, "mode", attributes.stat.st_mode);
    status_add_number(result, "links", attributes.stat.st_nlink);
    status_add_number(result, "size", (uint64_t)attributes.stat.st_size);
    status_add_number(result, "allocated_bytes", (uint64_t)attributes.stat.st_blocks * 512);
    json_object_object_add(result, "extents", list.rows);
    status_add_number(result, "extent_count", list.count);
    return error;
}

// --- fence -----------------------------------------------------------------------------------

static int handle_fence_by(struct status_source *source, struct json_object *arguments,
                           int (*fence)(struct cluster *cluster, const char *node),
                           const char *absent, const char **why)
{
    struct json_object *node;
    if (!json_object_object_get_ex(arguments, "node", &node) ||
        !json_object_is_type(node, json_type_string)) {
        *why = "fencing needs the argument node";
        return -EINVAL;
    }
    if (source->cluster == NULL) {
        *why = "this is a local mount: there is nobody to fence";
        return -ENOENT;
    }
    int error = fence(source->cluster, json_object_get_string(node));
    if (error == -ENOENT)
        *why = absent;
    else if (error == -EBUSY)
        *why = "this node does not run: ask one that does";
    return error;
}

static int handle_fence(struct status_source *source, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    (void)result;
    return handle_fence_by(source, arguments, cluster_fence, "no node of that name is mounted",
                           why);
}

static int handle_fence_confirm(struct status_source *source, struct json_object *arguments,
                                struct json_object *result, const char **why)
{
    (void)result;
    return handle_fence_by(source, arguments, cluster_fence_confirm,
                           "the cluster does not wait for that node to be fenced", why);
}

// --- freezing --------------------------------------------------------------------------------

static int handle_freeze(struct status_source *source, struct json_object *arguments,
                         struct json_object *result, const char **why)
{
    return status_freeze_begin(source->volume, arguments, result, why);
}

static int handle_thaw(struct status_source *source, struct json_object *arguments,
                       struct json_object *result, const char **why)
{
    return status_freeze_end(source->volume, arguments, result, why);
}

static int handle_freeze_state(struct status_source *source, struct json_object *arguments,
                               struct json_object *result, const char **why)
{
    (void)arguments, (void)why;
    status_freeze_add(result, source->volume);
    return 0;
}

// --- scrub -----------------------------------------------------------------------------------

static int handle_scrub(struct status_source *source, struct json_object *arguments,
                        struct json_object *result, const char **why)
{
    if (source->scrubber == NULL) {
        *why = "the mount is ending";
        return -EAGAIN;
    }
    int error = status_scrub(source->scrubber, arguments, result, why);
    if (error == 0)
        add_needs_fsck(source, result);
    return error;
}

// --- quotas ------------------------------------------------------------------------------------

#define QUOTA_HANDLER(name)                                                                        \
    static int handle_quota_##name(struct status_source *source, struct json_object *arguments,    \
                                   struct json_object *result, const char **why)                   \
    {                                                                                              \
        return status_quota_##name(source->volume, arguments, result, why);                        \
    }
QUOTA_HANDLER(state)
QUOTA_HANDLER(switch)
QUOTA_HANDLER(report)
QUOTA_HANDLER(show)
QUOTA_HANDLER(set)

// --- dispatch --------------------------------------------------------------------------------

static const struct {
    const char *verb;
    handler *handle;
    bool needs_volume; // started: asks the file system itself
} verbs[] = {
    {"info", handle_info, false},
    {"nodes", handle_nodes, false},
    {"locks", handle_locks, false},
    {"df", handle_df, true},
    {"stat", handle_stat, true},
    {"fence", handle_fence, false},
    {"fence-confirm", handle_fence_confirm, false},
    {"freeze", handle_freeze, true},
    {"thaw", handle_thaw, true},
    {"freeze-state", handle_freeze_state, true},
    {"scrub", handle_scrub, true},
    {"quota-state", handle_quota_state, true},
    {"quota-switch", handle_quota_switch, true},
    {"quota-report", handle_quota_report, true},
    {"quota-show", handle_quota_show, true},
    {"quota-set", handle_quota_set, true},
};

int status_handle(void *context, const char *verb, struct json_object *arguments,
                  struct json_object *result, const char **why)
{
    struct status_source *source = context;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verb, verbs[i].verb) != 0)
            continue;
        if (verbs[i].needs_volume && source->locks == NULL) {
            *why = "the mount is not live yet: `lunfs nodes` says what it waits for";
            return -EAGAIN;
        }
        return verbs[i].handle(source, arguments, result, why);
    }
    *why = "unknown verb";
    return -ENOSYS;
}
