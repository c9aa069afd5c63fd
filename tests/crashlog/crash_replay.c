// SPDX-License-Identifier: Apache-2.0
// crash-replay: what a power cut would have left, at many moments of a real daemon's life.
//
//   crash-replay LOG BYTES STOPS SEED HISTORY...
//       Goes through LOG (block_log.h) of a disk of BYTES. At STOPS moments, half of them beside
//       a flush, the disk loses its power: what was not flushed survives as a seeded subset,
//       sectors torn, in any order. A node in this process mounts what is left, every HISTORY must
//       allow what it sees (history.h), and fsck must find nothing.
//   crash-replay LOG BYTES -w POSITION SEED FILE
//       Writes the disk as a cut at POSITION leaves it to FILE, for a real mount.
//   crash-replay -m FOLDER POSITION HISTORY...
//       Judges a mount of such a disk.
//
// The same LOG and SEED give the same cuts.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "tests/crashlog/block_log.h"
#include "tests/crashlog/look.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring2_fsck.h"
#include "tests/sim/ring2_node.h"

enum { FAILURES_MAX = 5, CLIENTS_MAX = 8, FSCK_BYTES = 1500 };

struct replay {
    struct block_log log;
    struct scheduler *scheduler;
    struct world world;
    struct sim_disk *disk;
    struct block_device *path; // all that the log has goes over it
    struct random random;
    struct history histories[CLIENTS_MAX];
    unsigned history_count;
    struct history_view *view;
    struct block_log_entry entry; // the next one
    uint64_t position;            // what ends there or before has been carried out
    uint8_t *buffer;              // aligned; for one entry
    size_t buffer_bytes;
    unsigned failures;
    uint64_t cuts, beside_flushes, unflushed; // unflushed pages, of all cuts
};

// --- the log onto the disk -------------------------------------------------------------------

static void complete(struct block_request *request, int result)
{
    CHECK(result == 0);
    *(bool *)request->context = true;
}

static void carry_out(struct replay *replay, enum block_operation operation)
{
    const struct block_log_entry *entry = &replay->entry;
    bool is_done = false;
    struct block_request request = {.operation = operation, .complete = complete};
    request.context = &is_done;
    if (operation != BLOCK_FLUSH) {
        request.offset = entry->offset;
        request.length = entry->length;
    }
    if (operation == BLOCK_WRITE) {
        memcpy(replay->buffer, entry->data, entry->length);
        request.buffer = replay->buffer;
    }
    block_device_submit(replay->path, &request);
    while (!is_done)
        CHECK(world_step(&replay->world));
}

static void step(struct replay *replay)
{
    const struct block_log_entry *entry = &replay->entry;
    if ((entry->flags & BLOCK_LOG_FLUSH) != 0)
        carry_out(replay, BLOCK_FLUSH);
    if (entry->length > 0)
        carry_out(replay, (entry->flags & BLOCK_LOG_DISCARD) != 0 ? BLOCK_DISCARD : BLOCK_WRITE);
    if ((entry->flags & BLOCK_LOG_FUA) != 0)
        carry_out(replay, BLOCK_FLUSH); // more than the log asks for
    replay->position = entry->end;
}

static bool next(struct replay *replay)
{
    if (!block_log_read(&replay->log, replay->position, &replay->entry))
        return false;
    if (replay->entry.length > replay->buffer_bytes &&
        (replay->entry.flags & BLOCK_LOG_DISCARD) == 0) {
        free(replay->buffer);
        replay->buffer_bytes = replay->entry.length;
        replay->buffer = block_buffer_new(replay->buffer_bytes);
    }
    return true;
}

// --- one cut ---------------------------------------------------------------------------------

static void report(struct replay *replay, const char *what, const char *why)
{
    replay->failures++;
    printf("cut %" PRIu64 " at position %" PRIu64 ": %s: %s\n", replay->cuts, replay->position,
           what, why);
}

static void check_client(struct replay *replay, struct ring2_node *node, unsigned number)
{
    const struct history *history = &replay->histories[number];
    char why[HISTORY_WHY_BYTES], what[HISTORY_PATH_BYTES];
    if (!history_has_begun(history, replay->position))
        return;
    history_client_path(history->client, what);
    int result = look_at_node(node, history->client, replay->view);
    if (result != 0)
        report(replay, what, error_text(result));
    else if (!history_allows(history, replay->view, replay->position, why))
        report(replay, what, why);
}

// The structures, after a mount that replayed the journals and an unmount.
static void check_structures(struct replay *replay, struct world *world, struct sim_disk *disk)
{
    char output[FSCK_BYTES];
    if (ring2_fsck_run(world, disk, output, sizeof(output)) != 0)
        report(replay, "fsck", output);
}

static void check_copy(struct replay *replay, struct world *world, struct sim_disk *disk)
{
    struct ring2_node node;
    int result = ring2_mount(&node, 1, world, disk, false);
    if (result != 0) {
        report(replay, "mount",
               node.log.error_count > 0 ? node.log.first_error : error_text(result));
        return;
    }
    for (unsigned i = 0; i < replay->history_count; i++)
        check_client(replay, &node, i);
    result = ring2_unmount(&node, 1);
    if (result != 0 || node.log.error_count > 0)
        report(replay, "unmount", result != 0 ? error_text(result) : node.log.first_error);
    check_structures(replay, world, disk);
}

static void cut(struct replay *replay)
{
    struct scheduler *scheduler = scheduler_new();
    struct world world;
    world_init(&world, random_u64(&replay->random), scheduler);
    struct sim_disk *disk = sim_disk_clone(replay->disk, &world, &replay->random);
    replay->cuts++;
    replay->unflushed += sim_disk_counts_get(replay->disk).unflushed_count;
    check_copy(replay, &world, disk);
    world_run(&world);
    sim_disk_free(disk);
    world_deinit(&world);
    scheduler_free(scheduler);
}

// --- where to cut ----------------------------------------------------------------------------

static uint64_t first_position(const struct replay *replay)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < replay->history_count; i++) {
        if (replay->histories[i].operations[0].end < first)
            first = replay->histories[i].operations[0].end;
    }
    return first;
}

struct places {
    uint64_t flushes, others; // entries from the first position on
};

static struct places count_places(const struct replay *replay, uint64_t first)
{
    struct places places = {0};
    struct block_log_entry entry;
    for (uint64_t at = block_log_begin(&replay->log); block_log_read(&replay->log, at, &entry);
         at = entry.end) {
        if (entry.begin >= first && (entry.flags & BLOCK_LOG_FLUSH) != 0)
            places.flushes++;
        else if (entry.begin >= first)
            places.others++;
    }
    return places;
}

// With `stops` places to be drawn from `places`, each as likely as the others.
static bool is_drawn(struct replay *replay, uint64_t stops, uint64_t places)
{
    return places > 0 && random_below(&replay->random, places) < stops;
}

// A flush is where promises begin: the moment before it, when nothing since the last one is safe,
// and the moment after it, when all is.
static void cut_and_step(struct replay *replay, uint64_t stops, const struct places *places)
{
    bool is_flush = (replay->entry.flags & BLOCK_LOG_FLUSH) != 0;
    if (is_flush && is_drawn(replay, stops / 4, places->flushes)) {
        replay->beside_flushes++;
        cut(replay);
    }
    step(replay);
    if (is_flush && is_drawn(replay, stops / 4, places->flushes)) {
        replay->beside_flushes++;
        cut(replay);
    } else if (!is_flush && is_drawn(replay, stops / 2, places->others)) {
        cut(replay);
    }
}

static int run_cuts(struct replay *replay, uint64_t stops)
{
    uint64_t first = first_position(replay);
    struct places places = count_places(replay, first);
    while (replay->failures < FAILURES_MAX && next(replay)) {
        if (replay->entry.begin < first)
            step(replay);
        else
            cut_and_step(replay, stops, &places);
    }
    printf("%" PRIu64 " entries of the log, %" PRIu64 " of them flushes; %" PRIu64
           " power cuts, %" PRIu64 " beside a flush, with %.1f unflushed pages each; %u failures\n",
           places.flushes + places.others, places.flushes, replay->cuts, replay->beside_flushes,
           replay->cuts > 0 ? (double)replay->unflushed / (double)replay->cuts : 0,
           replay->failures);
    return replay->failures == 0 && replay->cuts > 0 ? 0 : 1;
}

// --- beginning and end -----------------------------------------------------------------------

static int load_histories(struct replay *replay, int count, char **paths)
{
    CHECK(count <= CLIENTS_MAX);
    for (int i = 0; i < count; i++) {
        int result = history_load(&replay->histories[i], paths[i]);
        if (result < 0) {
            fprintf(stderr, "crash-replay: %s: %s\n", paths[i], strerror(-result));
            return result;
        }
        replay->history_count++;
    }
    return 0;
}

static int replay_init(struct replay *replay, const char *log, const char *bytes, const char *seed)
{
    struct sim_disk_options options = {
        .size_bytes = strtoull(bytes, NULL, 10),
        .sector_bytes = 512,
        .has_volatile_cache = true,
        .latency_ns_min = 1,
        .latency_ns_max = 9,
    };
    int result = block_log_open(&replay->log, log);
    if (result < 0) {
        fprintf(stderr, "crash-replay: %s: %s\n", log, strerror(-result));
        return result;
    }
    random_init(&replay->random, strtoull(seed, NULL, 10));
    replay->scheduler = scheduler_new();
    world_init(&replay->world, random_u64(&replay->random), replay->scheduler);
    replay->disk = sim_disk_new(&replay->world, &options);
    replay->path = sim_disk_attach(replay->disk, "log");
    replay->position = block_log_begin(&replay->log);
    replay->view = history_view_new();
    return 0;
}

static void replay_deinit(struct replay *replay)
{
    for (unsigned i = 0; i < replay->history_count; i++)
        free(replay->histories[i].operations);
    history_view_free(replay->view);
    free(replay->buffer);
    if (replay->disk == NULL)
        return;
    block_device_close(replay->path);
    sim_disk_free(replay->disk);
    world_deinit(&replay->world);
    scheduler_free(replay->scheduler);
    block_log_close(&replay->log);
}

static int write_disk(struct replay *replay, uint64_t position, uint64_t size, const char *path)
{
    static uint8_t page[4096], zeros[4096];
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while (next(replay) && replay->entry.end <= position)
        step(replay);
    struct sim_disk *left = sim_disk_clone(replay->disk, &replay->world, &replay->random);
    bool is_written = file >= 0 && ftruncate(file, (off_t)size) == 0;
    for (uint64_t at = 0; is_written && at < size; at += sizeof(page)) {
        sim_disk_peek(left, at, page, sizeof(page));
        if (memcmp(page, zeros, sizeof(page)) != 0)
            is_written = pwrite(file, page, sizeof(page), (off_t)at) == sizeof(page);
    }
    sim_disk_free(left);
    if (!is_written || close(file) < 0)
        perror(path);
    return is_written ? 0 : 1;
}

static int judge_mount(struct replay *replay, const char *folder)
{
    for (unsigned i = 0; i < replay->history_count; i++) {
        const struct history *history = &replay->histories[i];
        char why[HISTORY_WHY_BYTES];
        if (!history_has_begun(history, replay->position))
            continue;
        int result = look_at_mount(folder, history->client, replay->view);
        if (result != 0)
            report(replay, folder, strerror(-result));
        else if (!history_allows(history, replay->view, replay->position, why))
            report(replay, folder, why);
    }
    return replay->failures == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct replay replay;
    int status = 1;
    if (argc >= 5 && strcmp(argv[1], "-m") == 0) {
        replay.view = history_view_new();
        replay.position = strtoull(argv[3], NULL, 10);
        if (load_histories(&replay, argc - 4, argv + 4) == 0)
            status = judge_mount(&replay, argv[2]);
    } else if (argc == 7 && strcmp(argv[3], "-w") == 0) {
        if (replay_init(&replay, argv[1], argv[2], argv[5]) == 0)
            status = write_disk(&replay, strtoull(argv[4], NULL, 10), strtoull(argv[2], NULL, 10),
                                argv[6]);
    } else if (argc >= 6) {
        if (replay_init(&replay, argv[1], argv[2], argv[4]) == 0 &&
            load_histories(&replay, argc - 5, argv + 5) == 0)
            status = run_cuts(&replay, strtoull(argv[3], NULL, 10));
    } else {
        fputs("usage: crash-replay LOG BYTES STOPS SEED HISTORY...\n"
              "       crash-replay LOG BYTES -w POSITION SEED FILE\n"
              "       crash-replay -m FOLDER POSITION HISTORY...\n",
              stderr);
        return 2;
    }
    if (replay.view != NULL)
        replay_deinit(&replay);
    return status;
}
