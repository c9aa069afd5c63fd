// SPDX-License-Identifier: Apache-2.0
// The scrub of a mounted volume finds a flipped bit in a block of each kind, names the block, and
// says nothing about a sound volume, also while it is worked on.
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/base/random.h"
#include "fs/damage.h"
#include "fs/format_decode.h"
#include "fs/quota.h"
#include "fs/scrubber.h"
#include "tests/unit/operation_world.h"

enum { NAMES = 400, TARGETS_MAX = 32, FLIPS = 6 };

struct target {
    const char *name;
    uint64_t block;
};

// A world has no room of its own for a test.
static uint64_t directory_inode, file_inode, orphan_inode;
static struct open_file *orphan;

static void fill(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    char value[3000];
    memset(value, 'v', sizeof(value));
    assert_int_equal(make_file(w, "file", &made), 0);
    file_inode = made.inode;
    assert_int_equal(
        operation_set_xattr(w->volume, file_inode, "user.long", value, sizeof(value), 0), 0);
    assert_int_equal(
        operation_set_xattr(w->volume, file_inode, "user.more", value, sizeof(value), 0), 0);
    assert_int_equal(
        operation_make_directory(w->volume, w->root, "directory", 0755, &test_user, &made), 0);
    directory_inode = made.inode;
    for (int i = 0; i < NAMES; i++) {
        char name[64];
        snprintf(name, sizeof(name), "one of so many names that the tree has levels %d", i);
        assert_int_equal(operation_create(w->volume, directory_inode, name, S_IFREG | 0644, 0,
                                          &test_user, -1, &made, NULL),
                         0);
    }
    for (int i = 0; i < NAMES; i += 2) { // single free blocks: the free tree has levels, too
        char name[64];
        snprintf(name, sizeof(name), "one of so many names that the tree has levels %d", i);
        assert_int_equal(operation_unlink(w->volume, directory_inode, name), 0);
    }
}

static void turn_quotas_on(void *argument)
{
    struct operation_world *w = argument;
    struct quota_status quotas;
    assert_int_equal(quota_switch(w->volume->quota, true), 0);
    do {
        environment_sleep(w->volume->environment, 1000000);
        assert_int_equal(quota_get_status(w->volume->quota, &quotas), 0);
    } while (quotas.phase == QUOTA_TURNS_ON);
    assert_int_equal(quotas.phase, QUOTA_ON);
}

// Until all of the ledger is settled: what is flipped then is written by nobody.
static void let_quotas_rest(void *argument)
{
    struct operation_world *w = argument;
    environment_sleep(w->volume->environment, UINT64_C(60000000000));
}

static void make_orphan(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(make_file(w, "orphan", &made), 0);
    orphan_inode = made.inode;
    orphan = open_by_number(w, orphan_inode);
    assert_int_equal(operation_unlink(w->volume, w->root, "orphan"), 0);
    assert_int_equal(operation_sync_volume(w->volume), 0);
}

static void forget_orphan(void *argument)
{
    struct operation_world *w = argument;
    operation_release(w->volume, orphan);
}

// --- a run ---------------------------------------------------------------------------------------

static struct scrubber *scrubber;
static struct scrubber_status status;

static void scrub_body(void *argument)
{
    struct operation_world *w = argument;
    assert_int_equal(scrubber_start(scrubber, 0), 0);
    assert_int_equal(scrubber_start(scrubber, 0), -EALREADY);
    do {
        environment_sleep(w->volume->environment, 1000000);
        scrubber_status_get(scrubber, &status);
    } while (status.is_running);
    assert_int_equal(status.result, 0);
}

static uint64_t scrub(struct operation_world *world)
{
    operation_world_run(world, scrub_body);
    return status.scrub.problem_count;
}

static bool has_named(uint64_t block)
{
    char words[40];
    snprintf(words, sizeof(words), "block %llu: ", (unsigned long long)block);
    for (uint64_t i = 0; i < status.line_count; i++) {
        if (strncmp(scrubber_line(scrubber, i), words, strlen(words)) == 0)
            return true;
    }
    return false;
}

static void stop_body(void *argument)
{
    (void)argument;
    scrubber_stop(scrubber);
}

static void begin(struct operation_world *world)
{
    scrubber = scrubber_new(world->volume);
}

static void end(struct operation_world *world)
{
    operation_world_run(world, stop_body);
    scrubber_free(scrubber);
}

// --- what is damaged -----------------------------------------------------------------------------

struct targets {
    struct target list[TARGETS_MAX];
    size_t count;
};

static void add(struct targets *targets, const char *name, uint64_t block)
{
    assert_true(targets->count < TARGETS_MAX);
    targets->list[targets->count++] = (struct target){name, block};
}

// The first node below an embedded root.
static uint64_t child_of(const struct operation_world *world, uint64_t block, size_t offset,
                         size_t bytes)
{
    _Alignas(8) uint8_t disk[BLOCK_BYTES];
    struct format_node node;
    sim_disk_peek(world->disk, block * BLOCK_BYTES, disk, sizeof(disk));
    assert_int_equal(format_node_open(&node, disk + offset, bytes, NULL), 0);
    assert_true(node.level > 0);
    return format_node_child(&node, 0);
}

static void list_targets(const struct operation_world *world, struct targets *targets)
{
    const struct geometry *g = &world->volume->geometry;
    uint64_t superblocks[FORMAT_SUPERBLOCK_COUNT];
    uint64_t group = geometry_ag_first_block(g, 0);
    geometry_superblock_blocks(g, superblocks);
    *targets = (struct targets){.count = 0};
    add(targets, "claim", FORMAT_CLAIM_BLOCK);
    add(targets, "map", FORMAT_AG_MAP_BLOCK);
    for (uint32_t slot = 0; slot < g->slot_count; slot++) {
        add(targets, "heartbeat", geometry_heartbeat_block(g, slot));
        add(targets, "mailbox", geometry_mailbox_block(g, slot));
        add(targets, "slot state", geometry_slot_state_block(g, slot));
        add(targets, "journal header", geometry_journal_block(g, slot));
        add(targets, "journal header", geometry_journal_block(g, slot) + 1);
        add(targets, "quota bucket", geometry_quota_bucket_block(g, slot));
        for (unsigned i = 0; i < QUOTA_LEDGER_BLOCKS; i++)
            add(targets, "quota ledger", geometry_quota_ledger_block(g, slot, i));
    }
    add(targets, "group header", group);
    add(targets, "free tree",
        child_of(world, group, offsetof(struct ag_header_disk, free_root),
                 sizeof(((struct ag_header_disk *)0)->free_root)));
    add(targets, "root directory", g->root_inode);
    add(targets, "file", file_inode);
    add(targets, "file's tree",
        child_of(world, file_inode, offsetof(struct inode_disk, root),
                 sizeof(((struct inode_disk *)0)->root)));
    add(targets, "directory", directory_inode);
    add(targets, "directory's tree",
        child_of(world, directory_inode, offsetof(struct inode_disk, root),
                 sizeof(((struct inode_disk *)0)->root)));
    add(targets, "orphan", orphan_inode);
    // Last: all three carry the mark by then, and are not written any more.
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        add(targets, "superblock", superblocks[i]);
}

// --- tests ---------------------------------------------------------------------------------------

// Puts the bit back unless somebody has written the block meanwhile.
static void flip_and_look(struct operation_world *world, const struct target *target, uint64_t byte,
                          uint8_t mask)
{
    uint64_t at = target->block * BLOCK_BYTES + byte;
    uint8_t before, now;
    sim_disk_peek(world->disk, at, &before, 1);
    uint8_t wrong = before ^ mask;
    sim_disk_poke(world->disk, at, &wrong, 1);
    if (scrub(world) == 0 || !has_named(target->block))
        fail_msg("%s, block %llu, byte %llu: not found", target->name,
                 (unsigned long long)target->block, (unsigned long long)byte);
    sim_disk_peek(world->disk, at, &now, 1);
    assert_int_equal(now, wrong);
    sim_disk_poke(world->disk, at, &before, 1);
}

static void test_every_kind_of_block(void **state)
{
    struct operation_world *world = *state;
    struct random random;
    struct targets targets;
    random_init(&random, 5);
    operation_world_run(world, fill);
    operation_world_run(world, turn_quotas_on);
    operation_world_remount(world);
    operation_world_run(world, make_orphan);
    operation_world_run(world, let_quotas_rest);
    begin(world);
    assert_int_equal(scrub(world), 0);
    assert_false(damage_is_known(world->volume->damage));
    list_targets(world, &targets);
    for (size_t i = 0; i < targets.count; i++) {
        flip_and_look(world, &targets.list[i], 1, 4); // of the magic
        for (int j = 0; j < FLIPS; j++)
            flip_and_look(world, &targets.list[i], random_below(&random, BLOCK_BYTES),
                          (uint8_t)(1u << random_below(&random, 8)));
    }
    assert_true(damage_is_known(world->volume->damage));
    assert_int_equal(scrub(world), 0);
    end(world);
    operation_world_run(world, forget_orphan);
    operation_world_remount(world); // what was logged is forgotten
}

// What is changed and not yet in place is written before it is looked at.
static void work_and_scrub(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    unsigned round = 0;
    assert_int_equal(scrubber_start(scrubber, 2000), 0);
    do {
        char name[40];
        snprintf(name, sizeof(name), "name %u", round);
        assert_int_equal(make_file(w, name, &made), 0);
        if (round >= 8) {
            snprintf(name, sizeof(name), "name %u", round - 8);
            assert_int_equal(operation_unlink(w->volume, w->root, name), 0);
        }
        round++;
        environment_sleep(w->volume->environment, 3000000);
        scrubber_status_get(scrubber, &status);
    } while (status.is_running);
    assert_int_equal(status.result, 0);
    assert_int_equal(status.scrub.problem_count, 0);
    assert_true(round > 20);
}

static void test_busy_volume(void **state)
{
    struct operation_world *world = *state;
    operation_world_run(world, fill);
    operation_world_run(world, turn_quotas_on);
    begin(world);
    operation_world_run(world, work_and_scrub);
    end(world);
}

static void cancel_body(void *argument)
{
    struct operation_world *w = argument;
    assert_int_equal(scrubber_start(scrubber, 1), 0);
    environment_sleep(w->volume->environment, 3000000000);
    scrubber_cancel(scrubber);
    environment_sleep(w->volume->environment, 3000000000);
    scrubber_status_get(scrubber, &status);
    assert_false(status.is_running);
    assert_int_equal(status.result, -ECANCELED);
    assert_true(status.scrub.blocks_read < 20); // a block a second was asked for
}

static void test_rate_and_cancel(void **state)
{
    struct operation_world *world = *state;
    begin(world);
    operation_world_run(world, cancel_body);
    assert_int_equal(scrub(world), 0);
    end(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_every_kind_of_block),
        OPERATION_TEST(test_busy_volume),
        OPERATION_TEST(test_rate_and_cancel),
    };
    return cmocka_run_group_tests_name("scrub", tests, NULL, NULL);
}
