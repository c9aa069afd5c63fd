// SPDX-License-Identifier: Apache-2.0
// A mounted volume against the models: first the names of each client (which of the states that a
// crash may leave is it?), then the content of every file that this state has.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/acl.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_history.h"

enum { FOUND_MAX = RING2_ENTRIES_MAX + 8 };

// An entry as it stands on the volume.
struct found_entry {
    uint64_t directory, inode;
    char name[256];
    struct stat stat;
    uint32_t protection, project;
    uint32_t target_length; // 0: no link, or not the text that it should be
    uint32_t xattr_sizes[RING2_XATTRS];
    bool xattrs_are_good;
    struct found_list {
        size_t size;
        uint8_t value[RING2_ACL_BYTES_MAX];
    } access, defaults;
};

struct found_tree {
    struct ring2_history *history;
    struct volume *volume;
    struct found_entry entries[FOUND_MAX];
    unsigned count;
    uint64_t directory; // being listed
};

// --- collecting ----------------------------------------------------------------------------------

static bool collect_entry(void *context, const struct directory_entry *entry)
{
    struct found_tree *found = context;
    if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
        return true;
    if (found->count == FOUND_MAX) {
        ring2_fail(found->history, "a directory lists more than it can hold");
        return false;
    }
    struct found_entry *new_entry = &found->entries[found->count++];
    *new_entry = (struct found_entry){.directory = found->directory, .inode = entry->inode};
    strcpy(new_entry->name, entry->name);
    if (entry->attributes != NULL) {
        new_entry->stat = entry->attributes->stat;
        new_entry->protection = entry->attributes->protection;
        new_entry->project = entry->attributes->project;
    } else {
        ring2_fail(found->history, "inode %" PRIu64 " ('%s') has no attributes", entry->inode,
                   entry->name);
    }
    return true;
}

static void collect_target(struct found_tree *found, struct found_entry *entry)
{
    char target[4096], expected[4096];
    int result = operation_read_link(found->volume, entry->inode, target);
    if (result != 0) {
        ring2_fail(found->history, "readlink of inode %" PRIu64 ": %s", entry->inode,
                   error_text(result));
        return;
    }
    ring2_text(expected, (uint32_t)strlen(target));
    if (strcmp(target, expected) == 0)
        entry->target_length = (uint32_t)strlen(target);
}

static void collect_xattrs(struct found_tree *found, struct found_entry *entry)
{
    char *value = malloc(70000), *expected = malloc(70001);
    CHECK(value != NULL && expected != NULL);
    entry->xattrs_are_good = true;
    for (unsigned i = 0; i < RING2_XATTRS; i++) {
        ssize_t size =
            operation_get_xattr(found->volume, entry->inode, ring2_xattr_name(i), value, 70000);
        if (size == -ENODATA)
            continue;
        if (size < 0) {
            ring2_fail(found->history, "getxattr of inode %" PRIu64 ": %s", entry->inode,
                       error_text((int)size));
            break;
        }
        ring2_text(expected, (uint32_t)size);
        entry->xattr_sizes[i] = (uint32_t)size;
        if (memcmp(value, expected, (size_t)size) != 0)
            entry->xattrs_are_good = false;
    }
    free(value);
    free(expected);
}

static void collect_list(struct found_tree *found, uint64_t inode, const char *name,
                         struct found_list *list)
{
    ssize_t size =
        operation_get_xattr(found->volume, inode, name, list->value, sizeof(list->value));
    if (size >= 0)
        list->size = (size_t)size;
    else if (size != -ENODATA)
        ring2_fail(found->history, "%s of inode %" PRIu64 ": %s", name, inode,
                   error_text((int)size));
}

static void collect_directory(struct found_tree *found, uint64_t directory)
{
    unsigned first = found->count;
    found->directory = directory;
    int result = operation_read_directory(found->volume, directory, 0, LIST_ATTRIBUTES,
                                          collect_entry, found);
    if (result != 0)
        ring2_fail(found->history, "readdir of inode %" PRIu64 ": %s", directory,
                   error_text(result));
    unsigned end = found->count;
    for (unsigned i = first; i < end && !found->history->result.is_failed; i++) {
        struct found_entry *entry = &found->entries[i];
        collect_xattrs(found, entry);
        collect_list(found, entry->inode, ACL_ACCESS_NAME, &entry->access);
        collect_list(found, entry->inode, ACL_DEFAULT_NAME, &entry->defaults);
        if (S_ISLNK(entry->stat.st_mode))
            collect_target(found, entry);
        if (S_ISDIR(entry->stat.st_mode))
            collect_directory(found, entry->inode);
    }
}

// --- names ---------------------------------------------------------------------------------------

static const struct found_entry *find_entry(const struct found_tree *found, uint64_t directory,
                                            const char *name)
{
    for (unsigned i = 0; i < found->count; i++) {
        const struct found_entry *entry = &found->entries[i];
        if (entry->directory == directory && strcmp(entry->name, name) == 0)
            return entry;
    }
    return NULL;
}

static bool is_list(const struct ring2_acl *acl, const struct found_list *found)
{
    uint8_t value[RING2_ACL_BYTES_MAX];
    size_t size = acl->is_there ? ring2_acl_value(acl, true, value) : 0;
    return size == found->size && memcmp(value, found->value, size) == 0;
}

static const char *compare_node(const struct ring2_tree *tree, unsigned index,
                                const struct found_entry *found)
{
    const struct ring2_tree_node *node = &tree->nodes[index];
    if (node->mode != found->stat.st_mode)
        return "mode";
    if (node->uid != found->stat.st_uid || node->gid != found->stat.st_gid)
        return "owner";
    if (ring2_links(tree, index) != found->stat.st_nlink)
        return "link count";
    bool is_device = S_ISCHR(node->mode) || S_ISBLK(node->mode);
    if (found->stat.st_rdev != (is_device ? RING2_DEVICE : 0))
        return "device number";
    if (S_ISLNK(node->mode) && node->target_length != found->target_length)
        return "target";
    if (!found->xattrs_are_good ||
        memcmp(node->xattr_sizes, found->xattr_sizes, sizeof(node->xattr_sizes)) != 0)
        return "extended attributes";
    if (node->project != found->project)
        return "project";
    if (node->protection != found->protection)
        return "protection";
    if (!is_list(&node->access, &found->access))
        return "access list";
    if (!is_list(&node->defaults, &found->defaults))
        return "default list";
    return NULL;
}

// Fills in the number of an inode that was being made when the crash came.
static bool take_inode(struct ring2_tree *tree, unsigned index, uint64_t inode)
{
    struct ring2_tree_node *node = &tree->nodes[index];
    if (node->inode == 0)
        node->inode = inode;
    return node->inode == inode;
}

// What differs, of the last comparison.
struct difference {
    const char *what; // NULL: nothing
    uint64_t directory, inode;
    const char *name;
};

// Whether the state is what was found. Directories come before what is in them only by chance, so
// entries are gone through until no directory's number is new.
static bool compare_state(struct ring2_tree *tree, const struct found_tree *found,
                          struct difference *difference)
{
    unsigned matched = 0, before;
    bool seen[RING2_ENTRIES_MAX] = {false};
    *difference = (struct difference){0};
    do {
        before = matched;
        for (unsigned i = 0; i < RING2_ENTRIES_MAX; i++) {
            const struct ring2_tree_entry *entry = &tree->entries[i];
            uint64_t directory = tree->nodes[entry->directory].inode;
            if (!entry->is_used || seen[i] || directory == 0)
                continue;
            difference->directory = directory;
            difference->name = ring2_name(entry->name);
            difference->inode = tree->nodes[entry->node].inode;
            const struct found_entry *there = find_entry(found, directory, difference->name);
            if (there == NULL)
                difference->what = "is missing";
            else if (!take_inode(tree, entry->node, there->inode))
                difference->what = "stands for another inode";
            else
                difference->what = compare_node(tree, entry->node, there);
            if (difference->what != NULL)
                return false;
            seen[i] = true;
            matched++;
        }
    } while (matched > before);
    if (matched == found->count)
        return true;
    *difference = (struct difference){.what = "other names are there", .name = ""};
    return false;
}

static void trace_difference(const struct ring2_client *client, const char *kind, unsigned number,
                             const struct difference *difference)
{
    ring2_trace(client->history, "client %u: %s %u: '%s' (inode %" PRIu64 ") in %" PRIu64 ": %s",
                client->number, kind, number, difference->name, difference->inode,
                difference->directory, difference->what);
}

// The state that was found, or NULL.
static struct ring2_tree *match_states(struct ring2_client *client, const struct found_tree *found,
                                       bool after_crash)
{
    struct difference difference;
    if (client->has_pending && after_crash) {
        struct ring2_tree pending = client->pending;
        if (compare_state(&pending, found, &difference)) {
            client->pending = pending;
            return &client->pending;
        }
        trace_difference(client, "pending", 0, &difference);
    }
    unsigned last = client->state_count - 1;
    for (unsigned i = 0; i <= last; i++) {
        if (compare_state(&client->states[last - i], found, &difference))
            return &client->states[last - i];
        trace_difference(client, "state", last - i, &difference);
        if (!after_crash)
            break;
    }
    ring2_fail(client->history,
               "client %u: %u names found, none of %u states; the oldest: '%s' (inode %" PRIu64
               ") in %" PRIu64 ": %s",
               client->number, found->count, client->state_count, difference.name, difference.inode,
               difference.directory, difference.what);
    return NULL;
}

// --- content -------------------------------------------------------------------------------------

struct extent_check {
    struct ring2_history *history;
    const struct ring2_file *file;
    uint64_t size;
};

static void check_extent(void *context, const struct extent_report *extent)
{
    struct extent_check *check = context;
    if (!extent->is_unwritten && extent->file_offset >= check->size)
        ring2_fail(check->history,
                   "inode %" PRIu64 ": a written extent at %" PRIu64
                   " lies behind the size %" PRIu64,
                   check->file->inode, extent->file_offset, check->size);
}

static void read_and_check(struct ring2_history *history, struct volume *volume,
                           struct open_file *open, struct ring2_file *file, uint64_t size,
                           bool after_crash, bool adopts)
{
    char why[RING2_FAILURE_BYTES];
    uint8_t *buffer = block_buffer_new(RING2_FILE_BYTES_MAX + 2 * BLOCK_BYTES);
    ssize_t result = operation_read(volume, open, 0, buffer, size);
    if (result != (ssize_t)size)
        ring2_fail(history, "inode %" PRIu64 ": read of %" PRIu64 " bytes answered %zd",
                   file->inode, size, result);
    else if (after_crash && !ring2_check_recovered(file, size, buffer, why, sizeof(why)))
        ring2_fail(history, "%s", why);
    else if (!after_crash &&
             !ring2_check_read(file, file->last_end_order, 0, buffer, size, why, sizeof(why)))
        ring2_fail(history, "%s", why);
    else if (adopts)
        ring2_adopt(file, size, buffer);
    free(buffer);
}

static void check_file(struct ring2_history *history, struct volume *volume, uint64_t inode,
                       struct ring2_file *file, bool after_crash, bool adopts)
{
    struct open_file *open;
    struct attributes attributes;
    int result = operation_open(volume, inode, O_RDONLY, &open);
    if (result == 0)
        result = operation_get_attributes(volume, inode, &attributes);
    if (result != 0) {
        ring2_fail(history, "open of inode %" PRIu64 ": %s", inode, error_text(result));
        return;
    }
    uint64_t size = (uint64_t)attributes.stat.st_size;
    struct extent_check check = {history, file, size};
    file->inode = inode;
    if (!after_crash && size != file->size)
        ring2_fail(history, "inode %" PRIu64 ": size %" PRIu64 ", expected %" PRIu64, inode, size,
                   file->size);
    else if (size > RING2_FILE_BYTES_MAX)
        ring2_fail(history, "inode %" PRIu64 ": size %" PRIu64, inode, size);
    else
        read_and_check(history, volume, open, file, size, after_crash, adopts);
    if (operation_list_extents(volume, inode, check_extent, &check) != 0)
        ring2_fail(history, "inode %" PRIu64 ": no list of extents", inode);
    operation_release(volume, open);
}

// --- all of it -----------------------------------------------------------------------------------

static void adopt_tree(struct ring2_client *client, const struct ring2_tree *state)
{
    client->tree = *state;
    client->has_pending = false;
    client->first_state = 0;
    client->state_count = 1;
    client->states[0] = client->tree;
    for (unsigned i = 0; i < RING2_NODES_MAX; i++) {
        if (client->tree.nodes[i].file != NULL)
            client->tree.nodes[i].file->last_state = 0;
        if (client->tree.nodes[i].file != NULL)
            client->tree.nodes[i].file->is_protected = false; // until it is looked after
    }
}

static void check_client(struct ring2_client *client, struct volume *volume, bool after_crash,
                         bool adopts)
{
    struct ring2_history *history = client->history;
    struct found_tree *found = calloc(1, sizeof(*found));
    CHECK(found != NULL);
    found->history = history;
    found->volume = volume;
    collect_directory(found, client->top_inode);
    struct ring2_tree *state =
        history->result.is_failed ? NULL : match_states(client, found, after_crash);
    free(found);
    for (unsigned i = 0; state != NULL && i < RING2_NODES_MAX; i++) {
        struct ring2_tree_node *node = &state->nodes[i];
        if (node->protection != 0 && after_crash)
            ring2_did(history, RING2_ROW_protected_after_crash);
        if (node->file != NULL && !history->result.is_failed)
            check_file(history, volume, node->inode, node->file, after_crash, adopts);
    }
    if (state != NULL && adopts)
        adopt_tree(client, state);
}

void ring2_check(struct ring2_history *history, struct volume *volume, bool after_crash,
                 bool adopts)
{
    for (unsigned i = 0; i < RING2_CLIENTS && !history->result.is_failed; i++)
        check_client(&history->clients[i], volume, after_crash, adopts);
}
