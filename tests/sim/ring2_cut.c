// SPDX-License-Identifier: Apache-2.0
// A power cut: a copy of the disk as it would be left, in a world of its own, is mounted, compared
// with the models, unmounted, and its structures are checked. Some of these recoveries are cut off
// at a write of theirs, and what that leaves is looked at in the same way: recovery can be
// repeated.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/format.h"
#include "fs/operation.h"
#include "tests/sim/ring2_fsck.h"
#include "tests/sim/ring2_history.h"

// --- looking -------------------------------------------------------------------------------------

struct check_run {
    struct ring2_history *history;
    struct ring2_node *node;
    struct volume *volume;
};

// A recovery leaves nothing on the lists: nobody has a file open.
static void check_orphans(const struct check_run *run)
{
    while (operation_reclaim(run->volume))
        continue;
    int result = ring2_count_orphans(run->node);
    if (result != 0 || run->node->orphan_count != 0)
        ring2_fail(run->history, "%u inodes are on orphan lists after a recovery (%s)",
                   run->node->orphan_count, error_text(result));
}

static void check_body(void *argument)
{
    const struct check_run *run = argument;
    if (run->history->options.node_count > 1)
        return;
    check_orphans(run);
    ring2_check(run->history, run->volume, true, false);
}

void ring2_fsck(struct ring2_history *history, struct world *world, struct sim_disk *disk)
{
    char output[RING2_FAILURE_BYTES - 40];
    if (history->result.is_failed)
        return;
    int exit_code = ring2_fsck_run(world, disk, output, sizeof(output));
    if (exit_code != 0 || strstr(output, "DAMAGE_MET") != NULL) // nobody has damaged anything
        ring2_fail(history, "fsck exits %d: %s", exit_code, output);
}

// Mounts the disk in a world of its own, compares, unmounts, checks the structures.
static void look_at_disk(struct ring2_history *history, struct world *world, struct sim_disk *disk)
{
    struct ring2_node *node = malloc(sizeof(*node));
    CHECK(node != NULL);
    int result = ring2_mount(node, 1, world, disk, history->options.trace != NULL);
    if (result != 0) {
        ring2_fail(history, "mount after a cut: %s (%s)", error_text(result),
                   node->log.first_error);
        free(node);
        return;
    }
    history->result.rows.counts[RING2_ROW_orphan_at_mount] += node->orphan_count;
    struct check_run run = {history, node, node->volume};
    ring2_run(world, check_body, &run);
    result = ring2_unmount(node, 1);
    if (result != 0)
        ring2_fail(history, "unmount after a cut: %s", error_text(result));
    if (node->log.error_count > 0)
        ring2_fail(history, "after a cut: %s", node->log.first_error);
    ring2_fsck(history, world, disk);
    free(node);
}

// --- cutting -------------------------------------------------------------------------------------

enum { RECOVERY_WRITES = 12 }; // of which one is cut at

// A disk and a world that are thrown away.
struct copy {
    struct ring2_history *history;
    struct world world;
    struct scheduler *scheduler;
    struct sim_disk *disk;
    uint64_t writes_left; // until its recovery is cut off; 0: never
};

static void look_at_copy(struct copy *copy, const struct sim_disk *disk);

static void on_recovery_write(void *context, const struct sim_disk_write *write)
{
    struct copy *copy = context;
    struct copy again = {.history = copy->history};
    (void)write;
    if (copy->writes_left == 0 || --copy->writes_left > 0 || copy->history->result.is_failed)
        return;
    ring2_trace(copy->history, "a cut in the recovery");
    ring2_did(copy->history, RING2_ROW_cut_in_recovery);
    look_at_copy(&again, copy->disk);
}

static void look_at_copy(struct copy *copy, const struct sim_disk *disk)
{
    struct ring2_history *history = copy->history;
    copy->scheduler = scheduler_new();
    world_init(&copy->world, random_u64(&history->cut_random), copy->scheduler);
    copy->disk = sim_disk_clone(disk, &copy->world, &history->cut_random);
    sim_disk_set_hook(copy->disk, on_recovery_write, copy);
    look_at_disk(history, &copy->world, copy->disk);
    if (history->result.is_failed)
        return; // coroutines may be left
    sim_disk_free(copy->disk);
    world_deinit(&copy->world);
    scheduler_free(copy->scheduler);
}

void ring2_cut(struct ring2_history *history)
{
    struct copy copy = {.history = history};
    if (history->options.node_count == 1 && random_one_in(&history->cut_random, 40))
        ring2_damage(history, history->disk);
    if (history->options.node_count == 1 && random_one_in(&history->cut_random, 40))
        ring2_damage_met(history, history->disk);
    if (history->result.is_failed)
        return;
    if (random_one_in(&history->cut_random, 4))
        copy.writes_left = 1 + random_below(&history->cut_random, RECOVERY_WRITES);
    history->result.cuts++;
    ring2_trace(history, "a cut");
    look_at_copy(&copy, history->disk);
}

// --- the volume ----------------------------------------------------------------------------------

static uint64_t draw_journal_bytes(struct ring2_history *history)
{
    uint64_t least = (uint64_t)FORMAT_JOURNAL_BLOCKS_MIN * BLOCK_BYTES;
    if (!random_one_in(&history->random, 2))
        return 2 * least;
    ring2_did(history, RING2_ROW_smallest_journal);
    return least;
}

void ring2_history_format(struct ring2_history *history)
{
    history->is_nearly_full = random_one_in(&history->random, 5);
    history->is_fragmented = !history->is_nearly_full && random_one_in(&history->random, 8);
    uint32_t slots = history->options.node_count > 2 ? history->options.node_count : 2;
    struct ring2_geometry geometry = {
        .slot_count = slots,
        .journal_bytes = draw_journal_bytes(history),
    };
    uint64_t data_bytes = history->is_nearly_full  ? 18u << 20
                          : history->is_fragmented ? 96u << 20
                                                   : 40u << 20;
    geometry.size_bytes = slots * geometry.journal_bytes + data_bytes;
    struct sim_disk_options options = {
        .size_bytes = geometry.size_bytes,
        .sector_bytes = random_one_in(&history->random, 4) ? 4096 : 512,
        .has_volatile_cache = !random_one_in(&history->random, 4),
        .latency_ns_min = 10000,
        .latency_ns_max = 800000,
    };
    history->disk = sim_disk_new(&history->world, &options);
    ring2_format(&history->world, history->disk, &geometry);
}

static uint64_t available_blocks(struct volume *volume)
{
    struct statvfs space;
    CHECK(operation_statfs(volume, &space) == 0);
    return space.f_bavail;
}

// Takes all but `left` blocks for the front of the file; how many these are.
static uint64_t take_all_but(struct volume *volume, struct open_file *file, uint64_t left)
{
    enum { STEP_BLOCKS = 128 };
    uint64_t end = 0;
    while (available_blocks(volume) > left + STEP_BLOCKS) {
        int result = operation_allocate(volume, file, FALLOC_FL_KEEP_SIZE, end * BLOCK_BYTES,
                                        STEP_BLOCKS * BLOCK_BYTES);
        CHECK(result == 0 || result == -ENOSPC);
        if (result != 0)
            break;
        end += STEP_BLOCKS;
    }
    return end;
}

// Every second block is free again, or nearly.
static void punch_comb(struct ring2_history *history, struct volume *volume, struct open_file *file,
                       uint64_t end)
{
    for (uint64_t block = 0; block < end; block += 2 + random_below(&history->random, 2))
        CHECK(operation_allocate(volume, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 block * BLOCK_BYTES, BLOCK_BYTES) == 0);
    ring2_did(history, RING2_ROW_fragmented);
}

void ring2_history_fill(struct ring2_history *history)
{
    struct volume *volume = history->nodes[0].volume;
    struct credentials who = {.uid = 0, .gid = 0};
    struct attributes made;
    struct open_file *file;
    uint64_t left = 50 + random_below(&history->random, 600);
    CHECK(operation_create(volume, volume->geometry.root_inode, "filler", S_IFREG | 0600, 0, &who,
                           O_RDWR, &made, &file) == 0);
    uint64_t end = take_all_but(volume, file, left);
    if (history->is_fragmented)
        punch_comb(history, volume, file, end);
    CHECK(operation_release(volume, file) == 0);
}
