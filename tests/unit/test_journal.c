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

// A record of more blocks than one chunk, with several header blocks.
static void body_large_transaction(struct fixture *fixture)
{
    enum { MANY = 1500 };
    struct journal_replay_report report;
    struct journal_handle *handle;
    struct test_block *bytes = block_buffer_new(MANY * sizeof(struct test_block));
    struct journal_block *blocks = calloc(MANY, sizeof(*blocks));
    open_new(fixture);
    assert_true(journal_credits_max(fixture->journal) >= MANY);
    assert_int_equal(journal_transaction_begin(fixture->journal, MANY, &handle), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        journal_block_init(&blocks[i], FIRST_ADDRESS + 1000 + i, lock_of(i % 7),
                           (uint8_t *)&bytes[i]);
        journal_transaction_change(handle, &blocks[i]);
        test_block_fill(&bytes[i], FIRST_ADDRESS + 1000 + i, 1, 55);
    }
    journal_transaction_end(handle);
    assert_int_equal(journal_sync(fixture->journal), 0);
    crash(fixture);
    assert_int_equal(replay(fixture, &report), 0);
    assert_int_equal(report.record_count, 1);
    assert_int_equal(report.written_count, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(serial_on_disk(fixture, 1000 + i), 55);
    free(blocks);
    free(bytes);
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

// --- what is wrong on disk
// ------------------------------------------------------------------------

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
JOURNAL_TEST(damaged_log, 256)
JOURNAL_TEST(write_error, 256)
JOURNAL_TEST(flush_error, 256)
JOURNAL_TEST(status_text, 64)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life),
        cmocka_unit_test(header_copies),
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
        cmocka_unit_test(damaged_log),
        cmocka_unit_test(write_error),
        cmocka_unit_test(flush_error),
        cmocka_unit_test(status_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
