// SPDX-License-Identifier: Apache-2.0
// The journal as its users see it, on the simulated disk: one promise of journal.h a test. What
// crashes do to it is the simulator's (tests/sim/journal_sim.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/base/text.h"
#include "journal/journal.h"
#include "tests/sim/disk.h"
#include "tests/sim/journal_format.h"

enum {
    BLOCK = 4096,
    BLOCKS = 24,
    FIRST_ADDRESS = 32768, // behind the journal
    JOURNAL_BLOCK = 16,
};

struct fixture {
    struct scheduler *scheduler;
    struct world world;
    struct world_node node;
    struct sim_disk *disk;
    struct block_device *device;
    struct log log;
    struct lamport_clock clock;
    struct journal_callbacks callbacks;
    struct journal_config config;
    struct journal *journal;
    struct journal_block blocks[BLOCKS]; // block i is under lock (1, i)
    struct test_block *bytes;
    uint32_t failed_count;
    uint32_t checkpoints, retired; // of coroutines beside the test's
    uint64_t progress_done, progress_total;
    void (*body)(struct fixture *fixture);
    bool is_done;
};

// --- the fixture ---------------------------------------------------------------------------------

static struct lock_name lock_of(uint32_t index)
{
    return (struct lock_name){.type = 1, .id = index};
}

static void count_failed(void *context, int error)
{
    struct fixture *fixture = context;
    assert_true(error < 0);
    fixture->failed_count++;
}

static void note_progress(void *context, uint64_t done, uint64_t total)
{
    struct fixture *fixture = context;
    assert_true(done <= total && done >= fixture->progress_done);
    fixture->progress_done = done;
    fixture->progress_total = total;
}

static void init_blocks(struct fixture *fixture)
{
    fixture->bytes = block_buffer_new(BLOCKS * sizeof(struct test_block));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        test_block_fill(&fixture->bytes[i], FIRST_ADDRESS + i, i, 0);
        journal_block_init(&fixture->blocks[i], FIRST_ADDRESS + i, lock_of(i),
                           (uint8_t *)&fixture->bytes[i]);
    }
}

static struct fixture *fixture_new(uint32_t journal_block_count)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    struct sim_disk_options options = {
        .size_bytes = UINT64_C(1) << 30,
        .sector_bytes = 512,
        .has_volatile_cache = true,
        .latency_ns_min = 1000,
        .latency_ns_max = 100000,
    };
    fixture->scheduler = scheduler_new();
    world_init(&fixture->world, 1, fixture->scheduler);
    world_node_init(&fixture->node, &fixture->world);
    fixture->disk = sim_disk_new(&fixture->world, &options);
    fixture->device = sim_disk_attach(fixture->disk, "lun");
    fixture->callbacks = test_block_callbacks;
    fixture->callbacks.failed = count_failed;
    fixture->callbacks.progress = note_progress;
    log_init_null(&fixture->log);
    fixture->config = (struct journal_config){
        .device = fixture->device,
        .environment = &fixture->node.environment,
        .log = &fixture->log,
        .clock = &fixture->clock,
        .callbacks = &fixture->callbacks,
        .context = fixture,
        .start_block = JOURNAL_BLOCK,
        .block_count = journal_block_count,
        .slot = 2,
        .format_id = "a volume",
    };
    init_blocks(fixture);
    return fixture;
}

static void run_body(void *argument)
{
    struct fixture *fixture = argument;
    fixture->body(fixture);
    fixture->is_done = true;
}

static void run(struct fixture *fixture, void (*body)(struct fixture *fixture))
{
    fixture->body = body;
    fixture->is_done = false;
    coroutine_start(fixture->scheduler, "test", run_body, fixture);
    while (!fixture->is_done && world_step(&fixture->world)) {
    }
    assert_true(fixture->is_done);
}

static void fixture_free(struct fixture *fixture)
{
    world_run(&fixture->world);
    block_device_close(fixture->device);
    sim_disk_free(fixture->disk);
    world_deinit(&fixture->world);
    scheduler_free(fixture->scheduler);
    free(fixture->bytes);
    free(fixture);
}

// --- steps of tests ------------------------------------------------------------------------------

static void open_new(struct fixture *fixture)
{
    assert_int_equal(journal_format(&fixture->config), 0);
    assert_int_equal(journal_open(&fixture->config, &fixture->journal), 0);
}

static void close_clean(struct fixture *fixture)
{
    assert_int_equal(journal_close(fixture->journal), 0);
}

static void fill(struct fixture *fixture, uint32_t index, uint64_t serial)
{
    test_block_fill(&fixture->bytes[index], FIRST_ADDRESS + index, index, serial);
}

// One operation that gives `count` blocks from `first` on a new serial.
static void change(struct fixture *fixture, uint32_t first, uint32_t count, uint64_t serial)
{
    struct journal_handle *handle;
    assert_int_equal(journal_transaction_begin(fixture->journal, count, &handle), 0);
    for (uint32_t i = first; i < first + count; i++) {
        journal_transaction_change(handle, &fixture->blocks[i]);
        fill(fixture, i, serial);
        journal_transaction_change(handle, &fixture->blocks[i]); // costs no second credit
    }
    journal_transaction_end(handle);
}

static uint64_t serial_on_disk(const struct fixture *fixture, uint32_t index)
{
    struct test_block block;
    uint64_t address = FIRST_ADDRESS + index;
    sim_disk_peek(fixture->disk, address * BLOCK, &block, sizeof(block));
    return test_block_is_valid(&block, address) ? block.serial : UINT64_MAX;
}

// The node dies and comes back: a new path, the old journal's memory unwinds.
static void crash(struct fixture *fixture)
{
    sim_disk_stop(fixture->device);
    journal_stop(fixture->journal, -EIO);
    assert_int_equal(journal_close(fixture->journal), -ERROR_JOURNAL_FAILED);
    sim_disk_power_cut(fixture->disk);
    block_device_close(fixture->device);
    fixture->device = sim_disk_attach(fixture->disk, "lun");
    fixture->config.device = fixture->device;
}

static int replay(struct fixture *fixture, struct journal_replay_report *report)
{
    return journal_replay(&fixture->config, 1, report);
}

static struct journal_status status_of(const struct fixture *fixture)
{
    struct journal_status status;
    journal_status_get(fixture->journal, &status);
    return status;
}

// --- life ----------------------------------------------------------------------------------------

static void body_life(struct fixture *fixture)
{
    struct journal *second;
    struct journal_replay_report report;
    open_new(fixture);
    assert_int_equal(journal_open(&fixture->config, &second), -EBUSY);
    change(fixture, 0, 3, 7);
    close_clean(fixture);
    assert_int_equal(serial_on_disk(fixture, 2), 7);
    assert_false(journal_block_is_busy(&fixture->blocks[2]));
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.dirty_count, 0);
    fixture->clock.now = 0;
    assert_int_equal(journal_open(&fixture->config, &fixture->journal), 0);
    assert_true(fixture->clock.now >= fixture->bytes[2].version); // the clean mark keeps the clock
    close_clean(fixture);
}

static void body_header_copies(struct fixture *fixture)
{
    static const uint8_t garbage[BLOCK];
    open_new(fixture);
    close_clean(fixture);
    for (uint64_t copy = 0; copy < 2; copy++) {
        uint8_t kept[BLOCK];
        uint64_t offset = (JOURNAL_BLOCK + copy) * BLOCK;
        sim_disk_peek(fixture->disk, offset, kept, BLOCK);
        sim_disk_poke(fixture->disk, offset, garbage, 512); // torn
        assert_int_equal(journal_open(&fixture->config, &fixture->journal), 0);
        close_clean(fixture);
    }
    sim_disk_poke(fixture->disk, (uint64_t)JOURNAL_BLOCK * BLOCK, garbage, BLOCK);
    sim_disk_poke(fixture->disk, (uint64_t)(JOURNAL_BLOCK + 1) * BLOCK, garbage, BLOCK);
    assert_int_equal(journal_open(&fixture->config, &fixture->journal), -ERROR_JOURNAL_HEADER);
}

// Marked clean while it stays open: a crash leaves nothing to replay. The next change wakes it, and
// from then on the same log goes on.
static void body_rest(struct fixture *fixture)
{
    struct journal_replay_report report;
    open_new(fixture);
    change(fixture, 0, 3, 7);
    assert_int_equal(journal_rest(fixture->journal), 0);
    assert_int_equal(serial_on_disk(fixture, 2), 7);
    assert_int_equal(status_of(fixture).used_block_count, 0);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.dirty_count, 0);
    change(fixture, 0, 1, 8);
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.dirty_count, 1);
    assert_int_equal(report.written_count, 1);
    assert_int_equal(serial_on_disk(fixture, 0), 8);
}

static void body_close_at_rest(struct fixture *fixture)
{
    open_new(fixture);
    change(fixture, 0, 3, 7);
    assert_int_equal(journal_rest(fixture->journal), 0);
    uint64_t writes = sim_disk_counts_get(fixture->disk).write_count;
    assert_int_equal(journal_rest(fixture->journal), 0);
    close_clean(fixture);
    assert_int_equal(sim_disk_counts_get(fixture->disk).write_count, writes);
}

// --- transactions --------------------------------------------------------------------------------

static void body_sync_survives(struct fixture *fixture)
{
    struct journal_replay_report report;
    open_new(fixture);
    change(fixture, 0, 4, 9);
    assert_true(journal_block_is_busy(&fixture->blocks[0]));
    assert_int_equal(journal_sync(fixture->journal), 0);
    change(fixture, 4, 4, 10); // not synced
    crash(fixture);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.dirty_count, 1);
    assert_int_equal(report.written_count, 4);
    assert_int_equal(fixture->progress_total, 8); // each image is checked, then written
    assert_int_equal(fixture->progress_done, 8);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(serial_on_disk(fixture, i), 9);
    assert_int_equal(replay(fixture, &report), 0); // clean by now
    assert_int_equal(report.dirty_count, 0);
}

static void body_abort_restores(struct fixture *fixture)
{
    struct journal_handle *handle;
    struct test_block before;
    open_new(fixture);
    change(fixture, 0, 1, 5);
    before = fixture->bytes[0];
    assert_int_equal(journal_transaction_begin(fixture->journal, 3, &handle), 0);
    journal_transaction_change(handle, &fixture->blocks[0]);
    journal_transaction_change(handle, &fixture->blocks[1]);
    fill(fixture, 0, 6);
    fill(fixture, 1, 6);
    journal_transaction_revoke(handle, FIRST_ADDRESS + 2, &fixture->blocks[2]);
    journal_transaction_abort(handle);
    assert_memory_equal(&before, &fixture->bytes[0], sizeof(before));
    assert_int_equal(fixture->bytes[1].serial, 0);
    assert_false(journal_block_is_busy(&fixture->blocks[1]));
    assert_false(journal_block_is_busy(&fixture->blocks[2]));
    close_clean(fixture);
    assert_int_equal(serial_on_disk(fixture, 0), 5);
    assert_int_equal(serial_on_disk(fixture, 1), UINT64_MAX); // never written
}

// Far more than the ring holds: handles wait for commits and checkpoints and all get through.
static void body_small_ring(struct fixture *fixture)
{
    open_new(fixture);
    uint32_t credits = journal_credits_max(fixture->journal);
    for (uint64_t serial = 1; serial <= 500; serial++)
        change(fixture, (uint32_t)(serial % (BLOCKS - credits + 1)), credits, serial);
    struct journal_status status = status_of(fixture);
    assert_true(status.commit_count > 10 && status.write_back_count > 10);
    close_clean(fixture);
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(serial_on_disk(fixture, i), fixture->bytes[i].serial);
}

static void body_timers(struct fixture *fixture)
{
    open_new(fixture);
    change(fixture, 0, 1, 3);
    environment_sleep(&fixture->node.environment, UINT64_C(6000000000));
    assert_int_equal(status_of(fixture).commit_count, 1);
    environment_sleep(&fixture->node.environment, UINT64_C(11000000000));
    assert_int_equal(serial_on_disk(fixture, 0), 3);
    assert_int_equal(status_of(fixture).used_block_count, 0);
    close_clean(fixture);
}

static void body_sync_ticket(struct fixture *fixture)
{
    struct journal_handle *handle;
    open_new(fixture);
    assert_int_equal(journal_transaction_begin(fixture->journal, 1, &handle), 0);
    uint64_t ticket = journal_transaction_ticket(handle);
    journal_transaction_change(handle, &fixture->blocks[0]);
    journal_transaction_end(handle);
    assert_int_equal(journal_sync_ticket(fixture->journal, ticket), 0);
    uint64_t flushes = status_of(fixture).flush_count;
    change(fixture, 1, 1, 1);
    assert_int_equal(journal_sync_ticket(fixture->journal, ticket), 0); // long durable
    assert_int_equal(status_of(fixture).commit_count, 1);
    assert_int_equal(status_of(fixture).flush_count, flushes + 1); // data is flushed all the same
    close_clean(fixture);
}

struct expected_durable {
    struct journal_on_durable on_durable; // first
    uint32_t runs;
    int result;
};

static void note_durable(struct journal_on_durable *on_durable, int result)
{
    struct expected_durable *expected = (struct expected_durable *)on_durable;
    expected->runs++;
    expected->result = result;
}

static void body_on_durable(struct fixture *fixture)
{
    struct expected_durable expected = {.on_durable.run = note_durable};
    struct journal_handle *handle;
    open_new(fixture);
    change(fixture, 0, 1, 3);
    assert_int_equal(journal_sync(fixture->journal), 0);
    assert_int_equal(journal_transaction_begin(fixture->journal, 2, &handle), 0);
    journal_transaction_revoke(handle, FIRST_ADDRESS, &fixture->blocks[0]);
    journal_transaction_on_durable(handle, &expected.on_durable);
    journal_transaction_end(handle);
    assert_int_equal(expected.runs, 0);
    assert_true(journal_block_is_busy(&fixture->blocks[0]));
    assert_int_equal(journal_sync(fixture->journal), 0);
    assert_int_equal(expected.runs, 1);
    assert_int_equal(expected.result, 0);
    assert_false(journal_block_is_busy(&fixture->blocks[0]));
    close_clean(fixture);
    assert_int_equal(serial_on_disk(fixture, 0), UINT64_MAX); // its write-back was cancelled
}

// A transaction that changes no block is durable when those before it are.
static void body_on_durable_alone(struct fixture *fixture)
{
    struct expected_durable expected = {.on_durable.run = note_durable};
    struct journal_handle *handle;
    open_new(fixture);
    assert_int_equal(journal_transaction_begin(fixture->journal, 1, &handle), 0);
    journal_transaction_on_durable(handle, &expected.on_durable);
    journal_transaction_end(handle);
    assert_int_equal(expected.runs, 0);
    assert_int_equal(journal_sync(fixture->journal), 0);
    assert_int_equal(expected.runs, 1);
    assert_int_equal(status_of(fixture).commit_count, 0);
    assert_int_equal(status_of(fixture).used_block_count, 0);
    close_clean(fixture);
}

static void body_revoked_is_not_replayed(struct fixture *fixture)
{
    struct journal_replay_report report;
    struct journal_handle *handle;
    open_new(fixture);
    change(fixture, 0, 2, 3);
    assert_int_equal(journal_sync(fixture->journal), 0);
    assert_int_equal(journal_transaction_begin(fixture->journal, 1, &handle), 0);
    journal_transaction_revoke(handle, FIRST_ADDRESS, &fixture->blocks[0]);
    journal_transaction_end(handle);
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(serial_on_disk(fixture, 0), UINT64_MAX);
    assert_int_equal(serial_on_disk(fixture, 1), 3);
}

// Blocks of a test that needs more than the fixture has; under lock 0.
enum { WIDE = 1500 };

struct wide {
    struct test_block *bytes;
    struct journal_block *blocks;
};

static struct wide wide_new(void)
{
    struct wide wide = {block_buffer_new(WIDE * sizeof(struct test_block)),
                        calloc(WIDE, sizeof(struct journal_block))};
    for (uint32_t i = 0; i < WIDE; i++)
        journal_block_init(&wide.blocks[i], FIRST_ADDRESS + 1000 + i, lock_of(0),
                           (uint8_t *)&wide.bytes[i]);
    return wide;
}

static void wide_free(struct wide *wide)
{
    free(wide->blocks);
    free(wide->bytes);
}

static void wide_change(struct fixture *fixture, struct wide *wide, uint32_t first, uint32_t count,
                        uint64_t serial)
{
    struct journal_handle *handle;
    assert_int_equal(journal_transaction_begin(fixture->journal, count, &handle), 0);
    for (uint32_t i = first; i < first + count; i++) {
        journal_transaction_change(handle, &wide->blocks[i]);
        test_block_fill(&wide->bytes[i], FIRST_ADDRESS + 1000 + i, 1, serial);
    }
    journal_transaction_end(handle);
}

// A record of more blocks than one chunk, with several header blocks.
static void body_large_transaction(struct fixture *fixture)
{
    struct journal_replay_report report;
    struct wide wide = wide_new();
    open_new(fixture);
    assert_true(journal_credits_max(fixture->journal) >= WIDE);
    wide_change(fixture, &wide, 0, WIDE, 55);
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.record_count, 1);
    assert_int_equal(report.written_count, WIDE);
    for (uint32_t i = 0; i < WIDE; i++)
        assert_int_equal(serial_on_disk(fixture, 1000 + i), 55);
    wide_free(&wide);
}

static void run_checkpoint(void *argument)
{
    struct fixture *fixture = argument;
    assert_int_equal(journal_checkpoint(fixture->journal), 0);
    fixture->checkpoints++;
}

// Blocks at the end of a long write-back are changed while its beginning is under way: what gets to
// their place is committed content all the same, and the newest in the end.
static void body_change_during_write_back(struct fixture *fixture)
{
    struct wide wide = wide_new();
    open_new(fixture);
    wide_change(fixture, &wide, 0, 600, 1);
    assert_int_equal(journal_sync(fixture->journal), 0);
    coroutine_start(fixture->scheduler, "checkpoint", run_checkpoint, fixture);
    while (!wide.blocks[0].is_in_write_back)
        environment_sleep(&fixture->node.environment, 1000);
    wide_change(fixture, &wide, 500, 100, 2);
    while (wide.blocks[0].is_in_write_back) {
        assert_true(serial_on_disk(fixture, 1550) != 2); // not committed
        environment_sleep(&fixture->node.environment, 1000);
    }
    while (fixture->checkpoints == 0)
        environment_sleep(&fixture->node.environment, 1000);
    close_clean(fixture);
    for (uint32_t i = 0; i < 600; i++)
        assert_int_equal(serial_on_disk(fixture, 1000 + i), i < 500 ? 1 : 2);
    wide_free(&wide);
}

// --- locks ---------------------------------------------------------------------------------------

static void body_write_back_then_retire(struct fixture *fixture)
{
    struct journal_replay_report report;
    struct lock_name name = lock_of(0);
    open_new(fixture);
    change(fixture, 0, 1, 4);
    assert_int_equal(journal_lock_write_back(fixture->journal, &name, 1), 0); // EX to PR
    assert_int_equal(serial_on_disk(fixture, 0), 4);
    assert_int_equal(status_of(fixture).retire_record_count, 0);
    assert_int_equal(status_of(fixture).lock_count, 1);
    assert_int_equal(journal_lock_give_up(fixture->journal, &name, 1), 0); // PR to NL: clean
    assert_int_equal(status_of(fixture).retire_record_count, 1);
    assert_int_equal(status_of(fixture).lock_count, 0);
    crash(fixture);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.scanned_count, 1);
    assert_int_equal(report.written_count, 0);
}

static void body_clean_lock_is_free(struct fixture *fixture)
{
    struct lock_name name = lock_of(5);
    open_new(fixture);
    change(fixture, 0, 1, 4);
    assert_int_equal(journal_sync(fixture->journal), 0);
    uint64_t writes = sim_disk_counts_get(fixture->disk).write_count;
    assert_int_equal(journal_lock_give_up(fixture->journal, &name, 1), 0);
    assert_int_equal(sim_disk_counts_get(fixture->disk).write_count, writes);
    // Once the tail has passed the images of a lock, giving it up is free, too.
    name = lock_of(0);
    assert_int_equal(journal_checkpoint(fixture->journal), 0);
    writes = sim_disk_counts_get(fixture->disk).write_count;
    assert_int_equal(journal_lock_give_up(fixture->journal, &name, 1), 0);
    assert_int_equal(sim_disk_counts_get(fixture->disk).write_count, writes);
    close_clean(fixture);
}

static void body_many_locks_share(struct fixture *fixture)
{
    struct lock_name names[BLOCKS];
    open_new(fixture);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        change(fixture, i, 1, 8);
        names[i] = lock_of(i);
    }
    assert_int_equal(journal_lock_give_up(fixture->journal, names, BLOCKS), 0);
    struct journal_status status = status_of(fixture);
    assert_int_equal(status.commit_count, 1);
    assert_int_equal(status.retire_record_count, 1);
    assert_int_equal(status.flush_count, 3); // record, blocks in place, retire
    assert_int_equal(status.dirty_block_count, 0);
    close_clean(fixture);
}

static void run_retires(void *argument)
{
    struct fixture *fixture = argument;
    for (uint32_t i = 1; i < 12; i++) {
        struct lock_name name = lock_of(i);
        assert_int_equal(journal_lock_give_up(fixture->journal, &name, 1), 0);
        fixture->retired++;
    }
}

// The tail is held by a block that an open handle changes, and each lock wants a record of its own:
// the last ones wait for the handle's commit, and get through (rule 32).
static void body_retires_wait_for_room(struct fixture *fixture)
{
    struct journal_handle *handles[2];
    open_new(fixture);
    for (uint32_t half = 0; half < 2; half++) {
        for (uint32_t i = 0; i < 6; i += 3)
            change(fixture, half * 6 + i, 3, 1);
        assert_int_equal(journal_sync(fixture->journal), 0);
    }
    assert_int_equal(status_of(fixture).used_block_count, 14);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(journal_transaction_begin(fixture->journal, 3, &handles[i]), 0);
    journal_transaction_change(handles[0], &fixture->blocks[0]);
    fill(fixture, 0, 2);
    coroutine_start(fixture->scheduler, "retires", run_retires, fixture);
    environment_sleep(&fixture->node.environment, UINT64_C(3000000000));
    assert_true(fixture->retired > 3 && fixture->retired < 11);
    for (uint32_t i = 0; i < 2; i++)
        journal_transaction_end(handles[i]);
    environment_sleep(&fixture->node.environment, UINT64_C(1000000000));
    assert_int_equal(fixture->retired, 11);
    close_clean(fixture);
    assert_int_equal(serial_on_disk(fixture, 0), 2);
}

// --- what is wrong on disk ----------------------------------------------------------------------

static void body_version_guard(struct fixture *fixture)
{
    struct journal_replay_report report;
    struct test_block newer;
    open_new(fixture);
    change(fixture, 0, 2, 4);
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    test_block_fill(&newer, FIRST_ADDRESS + 1, 1, 99);
    test_block_seal(&newer, 1000);
    sim_disk_poke(fixture->disk, (FIRST_ADDRESS + 1) * (uint64_t)BLOCK, &newer, BLOCK);
    assert_int_equal(replay(fixture, &report), -ERROR_JOURNAL_VERSION);
    assert_int_equal(report.error_address, FIRST_ADDRESS + 1);
    assert_int_equal(serial_on_disk(fixture, 0), UINT64_MAX); // nothing was written
    test_block_fill(&newer, FIRST_ADDRESS + 1, 17, 99);       // of another owner: it does not count
    test_block_seal(&newer, 1000);
    sim_disk_poke(fixture->disk, (FIRST_ADDRESS + 1) * (uint64_t)BLOCK, &newer, BLOCK);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(serial_on_disk(fixture, 1), 4);
}

// Versions rise whatever the clock says (rule 30): above the block's own, above all of an earlier
// life of the log, above all that was replayed.
static void body_versions_rise(struct fixture *fixture)
{
    struct journal_replay_report report;
    open_new(fixture);
    test_block_seal(&fixture->bytes[0], 5000); // by a node whose clock was ahead
    change(fixture, 0, 2, 4);
    assert_int_equal(journal_sync(fixture->journal), 0);
    assert_true(fixture->bytes[0].version > 5000);
    uint64_t highest = fixture->clock.now;
    close_clean(fixture);
    fixture->clock.now = 0; // the heartbeat was behind
    assert_int_equal(journal_open(&fixture->config, &fixture->journal), 0);
    assert_true(fixture->clock.now >= highest);
    change(fixture, 2, 1, 5);
    assert_int_equal(journal_sync(fixture->journal), 0);
    highest = fixture->clock.now;
    crash(fixture);
    fixture->clock.now = 0;
    assert_int_equal(replay(fixture, &report), 0);
    assert_true(fixture->clock.now >= highest);
}

// What fsck -n would see in place of the blocks.
static void read_images(struct fixture *fixture, const struct journal_scan *scan)
{
    struct test_block *block = block_buffer_new(BLOCK);
    for (size_t i = 0; i < scan->image_count; i++) {
        assert_int_equal(journal_scan_read(&fixture->config, &scan->images[i], (uint8_t *)block),
                         0);
        assert_true(test_block_is_valid(block, scan->images[i].address));
        assert_int_equal(block->version, scan->images[i].version);
    }
    free(block);
}

// The log holds an image of a block that the device does not have.
static void body_address_outside(struct fixture *fixture)
{
    struct journal_replay_report report;
    open_new(fixture);
    change(fixture, 0, 1, 4);
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    fixture->device->size_bytes = (uint64_t)FIRST_ADDRESS * BLOCK;
    assert_int_equal(replay(fixture, &report), -ERROR_JOURNAL_RECORD);
}

// The log holds something whole that is no block of ours: nothing is written.
static void body_image_is_no_block(struct fixture *fixture)
{
    struct journal_replay_report report;
    open_new(fixture);
    change(fixture, 0, 2, 4);
    fixture->bytes[1].address++;
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    assert_int_equal(replay(fixture, &report), -ERROR_JOURNAL_RECORD);
    assert_int_equal(report.error_address, FIRST_ADDRESS + 1);
    assert_int_equal(serial_on_disk(fixture, 0), UINT64_MAX);
}

static void body_damaged_log(struct fixture *fixture)
{
    struct journal_replay_report report;
    struct journal_scan scan;
    uint8_t kept[BLOCK], damaged[BLOCK];
    uint64_t image = (uint64_t)(JOURNAL_BLOCK + 2 + 1) * BLOCK; // of the first record
    open_new(fixture);
    for (uint64_t serial = 1; serial <= 3; serial++) {
        change(fixture, (uint32_t)serial, 1, serial);
        assert_int_equal(journal_sync(fixture->journal), 0);
    }
    crash(fixture);
    sim_disk_peek(fixture->disk, image, kept, BLOCK);
    memcpy(damaged, kept, BLOCK);
    damaged[1000] ^= 1;
    sim_disk_poke(fixture->disk, image, damaged, BLOCK);
    assert_int_equal(replay(fixture, &report), -ERROR_JOURNAL_RECORD); // not the end of the log
    sim_disk_poke(fixture->disk, image, kept, BLOCK);
    sim_disk_peek(fixture->disk, image + 4 * BLOCK, kept, BLOCK); // the third: a torn end
    kept[1000] ^= 1;
    sim_disk_poke(fixture->disk, image + 4 * BLOCK, kept, BLOCK);
    assert_int_equal(journal_scan(&fixture->config, 1, &scan), 0);
    assert_int_equal(scan.record_count, 2);
    assert_int_equal(scan.image_count, 2);
    read_images(fixture, &scan);
    journal_scan_deinit(&scan);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(serial_on_disk(fixture, 2), 2);
    assert_int_equal(serial_on_disk(fixture, 3), UINT64_MAX);
}

// --- failure -------------------------------------------------------------------------------------

static void body_write_error(struct fixture *fixture)
{
    struct expected_durable expected = {.on_durable.run = note_durable};
    struct sim_disk_fault fault = {
        .operations = 1u << BLOCK_WRITE, .last = UINT64_MAX, .one_in = 1, .error = -EIO};
    struct journal_handle *handle;
    struct lock_name name = lock_of(0);
    open_new(fixture);
    change(fixture, 0, 1, 1);
    assert_int_equal(journal_transaction_begin(fixture->journal, 1, &handle), 0);
    journal_transaction_on_durable(handle, &expected.on_durable);
    journal_transaction_end(handle);
    sim_disk_set_fault(fixture->device, &fault);
    assert_int_equal(journal_sync(fixture->journal), -ERROR_JOURNAL_FAILED);
    assert_int_equal(fixture->failed_count, 1);
    assert_int_equal(expected.runs, 1);
    assert_int_equal(expected.result, -ERROR_JOURNAL_FAILED);
    assert_int_equal(journal_transaction_begin(fixture->journal, 1, &handle),
                     -ERROR_JOURNAL_FAILED);
    assert_int_equal(journal_sync(fixture->journal), -ERROR_JOURNAL_FAILED);
    assert_int_equal(journal_checkpoint(fixture->journal), -ERROR_JOURNAL_FAILED);
    assert_int_equal(journal_lock_give_up(fixture->journal, &name, 1), -ERROR_JOURNAL_FAILED);
    assert_true(status_of(fixture).is_failed);
    assert_int_equal(journal_close(fixture->journal), -ERROR_JOURNAL_FAILED);
    assert_int_equal(fixture->failed_count, 1);
    assert_false(journal_block_is_busy(&fixture->blocks[0]));
}

static void body_flush_error(struct fixture *fixture)
{
    struct sim_disk_fault fault = {.operations = 1u << BLOCK_FLUSH, .one_in = 1, .error = -EIO};
    open_new(fixture);
    sim_disk_set_fault(fixture->device, &fault);
    assert_int_equal(journal_sync(fixture->journal), -ERROR_JOURNAL_FAILED);
    assert_int_equal(fixture->failed_count, 1);
    assert_int_equal(journal_close(fixture->journal), -ERROR_JOURNAL_FAILED);
}

static void body_status_text(struct fixture *fixture)
{
    TEXT(text, 256);
    open_new(fixture);
    change(fixture, 0, 2, 1);
    struct journal_status status = status_of(fixture);
    journal_status_to_text(&status, &text);
    assert_non_null(strstr(text_bytes, "running, 0 of 62 blocks used, 2 changed"));
    assert_false(text.truncated);
    close_clean(fixture);
}

// --- the list ------------------------------------------------------------------------------------

#define JOURNAL_TEST(name, block_count)                                                            \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        struct fixture *fixture = fixture_new(block_count);                                        \
        run(fixture, body_##name);                                                                 \
        fixture_free(fixture);                                                                     \
    }

JOURNAL_TEST(life, 256)
JOURNAL_TEST(header_copies, 256)
JOURNAL_TEST(rest, 256)
JOURNAL_TEST(close_at_rest, 256)
JOURNAL_TEST(sync_survives, 256)
JOURNAL_TEST(abort_restores, 256)
JOURNAL_TEST(small_ring, 64)
JOURNAL_TEST(timers, 256)
JOURNAL_TEST(sync_ticket, 256)
JOURNAL_TEST(on_durable, 256)
JOURNAL_TEST(revoked_is_not_replayed, 256)
JOURNAL_TEST(large_transaction, 16384)
JOURNAL_TEST(write_back_then_retire, 256)
JOURNAL_TEST(clean_lock_is_free, 256)
JOURNAL_TEST(many_locks_share, 256)
JOURNAL_TEST(version_guard, 256)
JOURNAL_TEST(versions_rise, 256)
JOURNAL_TEST(damaged_log, 256)
JOURNAL_TEST(address_outside, 256)
JOURNAL_TEST(image_is_no_block, 256)
JOURNAL_TEST(retires_wait_for_room, 32)
JOURNAL_TEST(on_durable_alone, 64)
JOURNAL_TEST(change_during_write_back, 16384)
JOURNAL_TEST(write_error, 256)
JOURNAL_TEST(flush_error, 256)
JOURNAL_TEST(status_text, 64)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life),
        cmocka_unit_test(header_copies),
        cmocka_unit_test(rest),
        cmocka_unit_test(close_at_rest),
        cmocka_unit_test(sync_survives),
        cmocka_unit_test(abort_restores),
        cmocka_unit_test(small_ring),
        cmocka_unit_test(timers),
        cmocka_unit_test(sync_ticket),
        cmocka_unit_test(on_durable),
        cmocka_unit_test(revoked_is_not_replayed),
        cmocka_unit_test(large_transaction),
        cmocka_unit_test(write_back_then_retire),
        cmocka_unit_test(clean_lock_is_free),
        cmocka_unit_test(many_locks_share),
        cmocka_unit_test(version_guard),
        cmocka_unit_test(versions_rise),
        cmocka_unit_test(damaged_log),
        cmocka_unit_test(address_outside),
        cmocka_unit_test(image_is_no_block),
        cmocka_unit_test(retires_wait_for_room),
        cmocka_unit_test(on_durable_alone),
        cmocka_unit_test(change_during_write_back),
        cmocka_unit_test(write_error),
        cmocka_unit_test(flush_error),
        cmocka_unit_test(status_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
