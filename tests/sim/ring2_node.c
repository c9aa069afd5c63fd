// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring2_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/dlm_service.h"
#include "fs/live_inode.h"
#include "fs/lock_types.h"
#include "fs/operation.h"
#include "fs/scrubber.h"
#include "journal/journal.h"
#include "mkfs/geometry.h"
#include "mkfs/write_layout.h"
#include "tests/sim/ring2_interrupt.h"

// --- running -----------------------------------------------------------------------------------

struct run {
    void (*body)(void *argument);
    void *argument;
    bool is_done;
};

static void run_body(void *argument)
{
    struct run *run = argument;
    run->body(run->argument);
    run->is_done = true;
}

void ring2_run(struct world *world, void (*body)(void *argument), void *argument)
{
    struct run run = {body, argument, false};
    coroutine_start(world->scheduler, "ring2", run_body, &run);
    scheduler_run(world->scheduler);
    while (!run.is_done)
        CHECK(world_step(world)); // else it waits for something that never comes
}

// --- the volume ----------------------------------------------------------------------------------

static void write_log(struct log *log, enum log_level level, int code, const char *line)
{
    struct ring2_log *node_log = (struct ring2_log *)log;
    if (level == LOG_LEVEL_ERROR && node_log->error_count++ == 0)
        snprintf(node_log->first_error, sizeof(node_log->first_error), "%s", line);
    if (node_log->prints)
        fprintf(stderr, "  log %d LUNFS-%d: %s\n", (int)level, code, line);
}

struct formatting {
    struct mkfs_layout layout;
    int result;
};

static void format_body(void *argument)
{
    struct formatting *formatting = argument;
    formatting->result = mkfs_layout_write(&formatting->layout);
}

void ring2_format(struct world *world, struct sim_disk *disk, const struct ring2_geometry *geometry)
{
    struct world_node node;
    struct log log;
    struct formatting formatting = {.result = -EIO};
    struct mkfs_request request = {
        .device_bytes = geometry->size_bytes,
        .slot_count = geometry->slot_count,
        .journal_bytes = geometry->journal_bytes,
    };
    TEXT(why, 256);
    log_init_null(&log);
    world_node_init(&node, world);
    CHECK(mkfs_geometry_plan(&request, &formatting.layout.geometry, &why) == 0);
    formatting.layout.device = sim_disk_attach(disk, "mkfs");
    formatting.layout.environment = &node.environment;
    formatting.layout.log = &log;
    mkfs_layout_identify(&formatting.layout);
    ring2_run(world, format_body, &formatting);
    CHECK(formatting.result == 0);
    block_device_close(formatting.layout.device);
}

static int replay_all(struct volume *volume)
{
    struct journal_config configs[FORMAT_SLOT_COUNT_MAX];
    struct journal_replay_report report = {0};
    for (uint32_t slot = 0; slot < volume->geometry.slot_count; slot++)
        volume_journal_config(volume, slot, &configs[slot]);
    return journal_replay(configs, volume->geometry.slot_count, &report);
}

// --- links ---------------------------------------------------------------------------------------

struct frame {
    struct world_event event; // first
    struct ring2_node *to;
    struct dlm_node from;
    size_t length;
    uint8_t bytes[];
};

static void deliver(struct world_event *event)
{
    struct frame *frame = (struct frame *)event;
    if (frame->to->locks != NULL)
        dlm_service_frame(frame->to->locks, frame->from, frame->bytes, frame->length);
    free(frame);
}

// In order on each link.
static void send_frame(void *context, struct dlm_node to, const uint8_t *bytes, size_t length)
{
    struct ring2_node *node = context;
    uint32_t slot = to.node_id - 1;
    struct frame *frame = calloc(1, sizeof(*frame) + length);
    CHECK(frame != NULL && slot < RING2_NODES_AT_ONCE);
    frame->event.fire = deliver;
    frame->to = &node->nodes[slot];
    frame->from = (struct dlm_node){node->slot + 1, 1};
    frame->length = length;
    memcpy(frame->bytes, bytes, length);
    uint64_t at_ns = node->world->now_ns + random_below(&node->world->random, 200000);
    if (at_ns < node->link_free_ns[slot])
        at_ns = node->link_free_ns[slot];
    node->link_free_ns[slot] = at_ns;
    world_event_arm(node->world, &frame->event, at_ns);
}

static struct dlm_service *new_locks(struct ring2_node *node, unsigned count)
{
    struct dlm_service_config config = {
        .self = {node->slot + 1, 1},
        .clock = &node->volume->clock,
        .send = send_frame,
        .context = node,
    };
    struct dlm_service *locks = dlm_service_new(&config);
    struct dlm_view view = {.epoch = 1, .member_count = count};
    for (unsigned i = 0; i < count; i++)
        view.members[i] = (struct dlm_node){i + 1, 1};
    dlm_service_view(locks, &view);
    return locks;
}

// --- mounting ------------------------------------------------------------------------------------

static int count_on_list(struct volume *volume, uint32_t slot, unsigned *count)
{
    uint64_t inode = 0, generation;
    int result;
    while ((result = live_inode_next_orphan(volume, slot, inode, &inode, &generation)) == 0)
        ++*count;
    return result == -ENOENT ? 0 : result;
}

int ring2_count_orphans(struct ring2_node *node)
{
    int result = 0;
    node->orphan_count = 0;
    for (uint32_t slot = 0; result == 0 && slot < node->volume->geometry.slot_count; slot++)
        result = count_on_list(node->volume, slot, &node->orphan_count);
    return result;
}

static int process_orphans(struct ring2_node *node)
{
    int result = ring2_count_orphans(node);
    for (uint32_t slot = 0; result == 0 && slot < node->volume->geometry.slot_count; slot++)
        result = operation_process_orphans(node->volume, slot);
    return result;
}

static int make_volume(struct ring2_node *node)
{
    struct volume_config config = {
        .environment = &node->world_node.environment,
        .device = node->path,
        .log = &node->log.log,
        .gate = &node->gate,
    };
    int result =
        volume_read_geometry(node->path, node->world->scheduler, &node->log.log, &config.geometry);
    if (result == 0)
        node->volume = volume_new(&config);
    return result;
}

// Before the volume stops, or is abandoned. From a coroutine.
static void end_scrub(struct ring2_node *node)
{
    struct scrubber_status status;
    if (node->scrubber == NULL)
        return;
    scrubber_status_get(node->scrubber, &status);
    node->has_scrubbed = !status.is_running && status.result == 0;
    scrubber_stop(node->scrubber);
    scrubber_free(node->scrubber);
    node->scrubber = NULL;
}

void ring2_scrub(struct ring2_node *node, uint64_t blocks_per_second)
{
    node->scrubber = scrubber_new(node->volume);
    int result = scrubber_start(node->scrubber, blocks_per_second);
    CHECK(result == 0);
}

static void free_volume(struct ring2_node *node)
{
    if (node->volume != NULL)
        volume_free(node->volume);
    if (node->locks != NULL)
        dlm_service_free(node->locks);
    node->volume = NULL;
    node->locks = NULL;
    node->is_mounted = false;
}

struct mounting {
    struct ring2_node *nodes;
    unsigned count;
    int result;
};

static int start(const struct mounting *mounting)
{
    struct ring2_node *nodes = mounting->nodes;
    int result = 0;
    for (unsigned i = 0; result == 0 && i < mounting->count; i++)
        result = make_volume(&nodes[i]);
    if (result == 0)
        result = replay_all(nodes[0].volume);
    if (result != 0)
        return result;
    for (unsigned i = 0; i < mounting->count; i++)
        nodes[i].locks = new_locks(&nodes[i], mounting->count);
    for (unsigned i = 0; result == 0 && i < mounting->count; i++) {
        result = volume_start(nodes[i].volume, i, 1, dlm_service_locks(nodes[i].locks));
        nodes[i].is_mounted = result == 0;
    }
    return result != 0 ? result : process_orphans(&nodes[0]);
}

static void mount_body(void *argument)
{
    struct mounting *mounting = argument;
    mounting->result = start(mounting);
    for (unsigned i = 0; mounting->result != 0 && i < mounting->count; i++) {
        struct ring2_node *node = &mounting->nodes[i];
        if (node->is_mounted) {
            volume_fail(node->volume, mounting->result, "mounting");
            volume_abandon(node->volume);
        }
        free_volume(node);
    }
}

static void node_init(struct ring2_node *node, struct world *world, struct sim_disk *disk,
                      bool prints_log)
{
    *node = (struct ring2_node){.world = world, .disk = disk};
    node->log = (struct ring2_log){.log = {LOG_LEVEL_NOTICE, write_log}, .prints = prints_log};
    world_node_init(&node->world_node, world);
    ring2_interrupt_in(&node->world_node.environment);
    node->path = sim_disk_attach(disk, "node");
    gate_init(&node->gate);
    atomic_store(&node->gate.lease_until_ns, UINT64_MAX);
    atomic_store(&node->gate.state, GATE_RUNNING);
}

int ring2_mount(struct ring2_node *nodes, unsigned count, struct world *world,
                struct sim_disk *disk, bool prints_log)
{
    struct mounting mounting = {nodes, count, 0};
    for (unsigned i = 0; i < count; i++) {
        node_init(&nodes[i], world, disk, prints_log);
        nodes[i].nodes = nodes;
        nodes[i].slot = i;
    }
    ring2_run(world, mount_body, &mounting);
    for (unsigned i = 0; mounting.result != 0 && i < count; i++)
        block_device_close(nodes[i].path);
    return mounting.result;
}

static void note_credits(struct ring2_node *node)
{
    struct journal_status status;
    journal_status_get(node->volume->journal, &status);
    node->handle_credits_most = status.handle_credits_most;
}

static void unmount_body(void *argument)
{
    struct mounting *mounting = argument;
    for (unsigned i = 0; i < mounting->count; i++) {
        struct ring2_node *node = &mounting->nodes[i];
        note_credits(node);
        end_scrub(node);
        int result = volume_stop(node->volume);
        if (result != 0)
            volume_fail(node->volume, result, "unmounting");
        if (mounting->result == 0)
            mounting->result = result;
    }
    for (unsigned i = 0; i < mounting->count; i++)
        free_volume(&mounting->nodes[i]);
}

int ring2_unmount(struct ring2_node *nodes, unsigned count)
{
    struct mounting mounting = {nodes, count, 0};
    ring2_run(nodes[0].world, unmount_body, &mounting);
    ring2_interrupt_in(NULL);
    for (unsigned i = 0; i < count; i++) {
        world_node_stop(&nodes[i].world_node);
        block_device_close(nodes[i].path);
    }
    return mounting.result;
}

struct crash {
    struct ring2_node *node;
    void (*unwind)(void *argument);
    void *argument;
};

static void crash_body(void *argument)
{
    struct crash *crash = argument;
    struct ring2_node *node = crash->node;
    note_credits(node);
    volume_fail(node->volume, -EIO, "a crash");
    if (crash->unwind != NULL)
        crash->unwind(crash->argument);
    end_scrub(node);
    volume_abandon(node->volume);
    free_volume(node);
}

void ring2_crash(struct ring2_node *node, void (*unwind)(void *argument), void *argument)
{
    struct crash crash = {node, unwind, argument};
    node->is_stopping = true;
    sim_disk_stop(node->path);
    ring2_run(node->world, crash_body, &crash);
    ring2_interrupt_in(NULL);
    world_node_stop(&node->world_node);
    sim_disk_power_cut(node->disk);
    block_device_close(node->path);
}
