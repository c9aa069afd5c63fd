// SPDX-License-Identifier: Apache-2.0
// Quotas on one node: what is there is counted, limits refuse, what goes gives back, and the sums
// are right through crashes: counted anew they are the same.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/damage.h"
#include "fs/quota.h"
#include "fs/volume.h"
#include "tests/unit/operation_world.h"

enum { ROWS = 32, BLOCK = 4096 };

static const struct quota_owner user = {QUOTA_USER, 1000};
static const struct quota_owner other = {QUOTA_USER, 1001};
static const struct quota_owner group = {QUOTA_GROUP, 1000};
static const struct quota_owner project = {QUOTA_PROJECT, 7};

static int switch_to(struct operation_world *w, bool on)
{
    struct quota_status status;
    int result = quota_switch(w->volume->quota, on);
    if (result != 0)
        return result;
    do {
        environment_sleep(&w->node.world_node.environment, 1000000);
        assert_int_equal(quota_get_status(w->volume->quota, &status), 0);
    } while (status.phase == QUOTA_TURNS_ON || status.phase == QUOTA_TURNS_OFF);
    return status.ended;
}

static struct quota_row row_of(struct operation_world *w, struct quota_owner owner)
{
    struct quota_row row;
    assert_int_equal(quota_get(w->volume->quota, owner, &row), 0);
    return row;
}

static int limit(struct operation_world *w, struct quota_owner owner, uint64_t block_hard,
                 uint64_t inode_hard)
{
    struct quota_limits limits = {.block_hard = block_hard, .inode_hard = inode_hard};
    return quota_set(w->volume->quota, owner, QUOTA_SET_BLOCK_HARD | QUOTA_SET_INODE_HARD, &limits);
}

static size_t all_rows(struct operation_world *w, struct quota_row *rows)
{
    size_t count = 0;
    for (int kind = 0; kind < QUOTA_KIND_COUNT; kind++) {
        size_t some;
        assert_int_equal(quota_report(w->volume->quota, (enum quota_kind)kind, 0, rows + count,
                                      ROWS - count, &some),
                         0);
        count += some;
    }
    assert_true(count < ROWS);
    return count;
}

// Counted anew, everything is as it was.
static void expect_sums(struct operation_world *w)
{
    struct quota_row before[ROWS], after[ROWS];
    size_t count = all_rows(w, before);
    assert_int_equal(switch_to(w, false), 0);
    assert_int_equal(switch_to(w, true), 0);
    assert_int_equal(all_rows(w, after), count);
    for (size_t i = 0; i < count; i++) {
        assert_true(quota_owner_equal(before[i].owner, after[i].owner));
        assert_int_equal(before[i].blocks, after[i].blocks);
        assert_int_equal(before[i].inodes, after[i].inodes);
        assert_memory_equal(&before[i].limits, &after[i].limits, sizeof(before[i].limits));
    }
}

static ssize_t write_blocks(struct operation_world *w, struct open_file *file, uint64_t block,
                            size_t count)
{
    char *bytes = calloc(count, BLOCK);
    ssize_t result = operation_write(w->volume, file, block * BLOCK, bytes, count * BLOCK);
    free(bytes);
    return result;
}

static struct open_file *make_open(struct operation_world *w, const char *name,
                                   struct attributes *made)
{
    assert_int_equal(make_file(w, name, made), 0);
    return open_by_number(w, made->inode);
}

// --- on ------------------------------------------------------------------------------------------

static void counting(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, linked;
    struct quota_row row;
    assert_int_equal(quota_get(w->volume->quota, user, &row), -ENODATA);
    assert_int_equal(limit(w, user, 1, 1), -ENODATA);
    assert_int_equal(switch_to(w, false), -EALREADY);
    struct open_file *file = make_open(w, "file", &made);
    assert_int_equal(write_blocks(w, file, 0, 5), 5 * BLOCK);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "again", &linked), 0);
    assert_int_equal(
        operation_create_unnamed(w->volume, w->root, 0600, &test_user, O_RDWR, &made, &file), 0);
    assert_int_equal(switch_to(w, true), 0);
    assert_int_equal(switch_to(w, true), -EALREADY);
    row = row_of(w, user);
    assert_int_equal(row.blocks, 5);
    assert_int_equal(row.inodes, 2); // the one without a name
    row = row_of(w, (struct quota_owner){QUOTA_USER, 0});
    assert_int_equal(row.inodes, 1); // the root directory
    assert_int_equal(operation_release(w->volume, file), 0);
    while (operation_reclaim(w->volume)) {
    }
    assert_int_equal(row_of(w, user).inodes, 1);
    expect_sums(w);
}

static void test_counts_what_is_there(void **state)
{
    operation_world_run(*state, counting);
}

// --- charged -------------------------------------------------------------------------------------

static void charging(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, wanted = {.project = 7}, out;
    assert_int_equal(switch_to(w, true), 0);
    struct open_file *file = make_open(w, "file", &made);
    assert_int_equal(write_blocks(w, file, 0, 100), 100 * BLOCK);
    assert_true(row_of(w, user).blocks >= 100);
    assert_int_equal(row_of(w, group).inodes, 1);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_PROJECT, &out),
                     0);
    assert_true(row_of(w, project).blocks >= 100);
    assert_int_equal(row_of(w, project).inodes, 1);
    wanted.stat.st_uid = other.id;
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_UID, &out), 0);
    assert_int_equal(row_of(w, user).blocks, 0);
    assert_int_equal(row_of(w, user).inodes, 0);
    assert_true(row_of(w, other).blocks >= 100);
    wanted.stat.st_size = BLOCK;
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_SIZE, &out), 0);
    assert_int_equal(row_of(w, other).blocks, 1);
    assert_int_equal(
        operation_allocate(w->volume, file, FALLOC_FL_KEEP_SIZE, 0, 5000 * (uint64_t)BLOCK), 0);
    assert_int_equal(row_of(w, other).blocks, 5000);
    expect_sums(w);
    assert_int_equal(operation_unlink(w->volume, w->root, "file"), 0);
    assert_int_equal(row_of(w, project).inodes, 1); // open
    assert_int_equal(operation_release(w->volume, file), 0);
    while (operation_reclaim(w->volume)) {
    }
    assert_int_equal(row_of(w, project).inodes, 0);
    assert_int_equal(row_of(w, group).blocks, 0);
    expect_sums(w);
}

static void test_charges_and_gives_back(void **state)
{
    operation_world_run(*state, charging);
}

// --- refused -------------------------------------------------------------------------------------

static void refusing(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, wanted = {.stat.st_uid = 1001}, out;
    assert_int_equal(switch_to(w, true), 0);
    assert_int_equal(limit(w, user, 50, 3), 0);
    struct open_file *file = make_open(w, "a", &made);
    assert_int_equal(write_blocks(w, file, 0, 40), 40 * BLOCK);
    assert_int_equal(write_blocks(w, file, 40, 40), 10 * BLOCK); // what is left
    assert_int_equal(write_blocks(w, file, 50, 1), -EDQUOT);
    assert_int_equal(row_of(w, user).blocks, 50);
    assert_int_equal(write_blocks(w, file, 0, 50), 50 * BLOCK); // what is there can be written
    assert_int_equal(make_file(w, "b", &out), 0);
    assert_int_equal(make_file(w, "c", &out), 0);
    assert_int_equal(make_file(w, "d", &out), -EDQUOT);
    assert_int_equal(row_of(w, user).inodes, 3);
    assert_int_equal(limit(w, other, 49, 0), 0);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_UID, &out),
                     -EDQUOT);
    assert_int_equal(row_of(w, user).blocks, 50);
    assert_int_equal(limit(w, other, 50, 1), 0);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_UID, &out), 0);
    assert_int_equal(make_file(w, "d", &out), 0);
    assert_int_equal(write_blocks(w, file, 50, 1), -EDQUOT); // it is the other's now
    wanted.stat.st_size = 10 * BLOCK;
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_SIZE, &out), 0);
    assert_int_equal(write_blocks(w, file, 10, 40), 40 * BLOCK);
    assert_int_equal(write_blocks(w, file, 50, 1), -EDQUOT);
    assert_int_equal(operation_release(w->volume, file), 0);
    expect_sums(w);
    assert_int_equal(limit(w, other, 10, 1), 0); // takes nothing away
    file = open_by_number(w, made.inode);
    assert_int_equal(write_blocks(w, file, 60, 1), -EDQUOT);
    assert_int_equal(switch_to(w, false), 0);
    assert_int_equal(write_blocks(w, file, 60, 1), BLOCK);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_refuses_what_is_too_much(void **state)
{
    operation_world_run(*state, refusing);
}

static void bad_limits(void *argument)
{
    struct operation_world *w = argument;
    struct quota_limits limits = {.block_hard = 10, .block_soft = 11};
    assert_int_equal(switch_to(w, true), 0);
    assert_int_equal(
        quota_set(w->volume->quota, user, QUOTA_SET_BLOCK_HARD | QUOTA_SET_BLOCK_SOFT, &limits),
        -EINVAL);
    assert_int_equal(quota_set(w->volume->quota, user, QUOTA_SET_BLOCK_HARD, &limits), 0);
    assert_int_equal(quota_set(w->volume->quota, user, QUOTA_SET_BLOCK_SOFT, &limits), -EINVAL);
    limits.block_hard = FORMAT_QUOTA_MAX;
    assert_int_equal(quota_set(w->volume->quota, user, QUOTA_SET_BLOCK_HARD, &limits), -EINVAL);
    assert_int_equal(limit(w, (struct quota_owner){QUOTA_USER, 0}, 10, 0), -EINVAL);
    assert_int_equal(row_of(w, user).limits.block_hard, 10);
    assert_int_equal(row_of(w, user).limits.block_grace_s, QUOTA_GRACE_S_DEFAULT);
}

static void test_refuses_bad_limits(void **state)
{
    operation_world_run(*state, bad_limits);
}

// --- grace ---------------------------------------------------------------------------------------

static void exceeding(void *argument)
{
    struct operation_world *w = argument;
    struct quota_limits limits = {.block_soft = 20, .block_hard = 60, .block_grace_s = 100};
    struct attributes made;
    assert_int_equal(switch_to(w, true), 0);
    assert_int_equal(quota_set(w->volume->quota, user,
                               QUOTA_SET_BLOCK_SOFT | QUOTA_SET_BLOCK_HARD | QUOTA_SET_BLOCK_GRACE,
                               &limits),
                     0);
    struct open_file *file = make_open(w, "file", &made);
    assert_int_equal(write_blocks(w, file, 0, 20), 20 * BLOCK);
    assert_int_equal(row_of(w, user).block_until_s, 0);
    assert_int_equal(write_blocks(w, file, 20, 10), 10 * BLOCK);
    assert_true(row_of(w, user).block_until_s > 0);
    environment_sleep(&w->node.world_node.environment, UINT64_C(101) * 1000000000);
    assert_int_equal(write_blocks(w, file, 30, 30), -EDQUOT);
    struct attributes wanted = {.stat.st_size = 10 * BLOCK}, out;
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_SIZE, &out), 0);
    assert_int_equal(write_blocks(w, file, 10, 10), 10 * BLOCK);
    environment_sleep(&w->node.world_node.environment, UINT64_C(30) * 1000000000);
    assert_int_equal(row_of(w, user).block_until_s, 0);
    assert_int_equal(write_blocks(w, file, 20, 5), 5 * BLOCK); // a new grace begins
    assert_int_equal(operation_release(w->volume, file), 0);
    expect_sums(w);
}

static void test_soft_limits_have_a_grace(void **state)
{
    operation_world_run(*state, exceeding);
}

// --- statfs --------------------------------------------------------------------------------------

static void showing_a_project(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, wanted = {.project = 7, .hands_project_down = true}, out;
    struct statvfs all, space;
    assert_int_equal(switch_to(w, true), 0);
    assert_int_equal(operation_make_directory(w->volume, w->root, "p", 0755, &test_user, &made), 0);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted,
                                              SET_PROJECT | SET_PROJECT_DOWN, &out),
                     0);
    assert_int_equal(operation_statfs_of(w->volume, made.inode, &space), 0);
    assert_int_equal(operation_statfs(w->volume, &all), 0);
    assert_int_equal(space.f_blocks, all.f_blocks); // it has no limit
    assert_int_equal(limit(w, project, 100, 10), 0);
    assert_int_equal(operation_statfs_of(w->volume, made.inode, &space), 0);
    assert_int_equal(space.f_blocks, 100);
    assert_int_equal(space.f_bavail, 100);
    assert_int_equal(space.f_files, 10);
    assert_int_equal(space.f_ffree, 9); // the directory is one
    assert_int_equal(operation_statfs_of(w->volume, w->root, &space), 0);
    assert_int_equal(space.f_blocks, all.f_blocks);
}

static void test_statfs_shows_a_projects_limit(void **state)
{
    operation_world_run(*state, showing_a_project);
}

// --- many owners, remounts, crashes
// ----------------------------------------------------------------

enum { OWNERS = 150 }; // more than a ledger has entries for

static void fill_ledger(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(switch_to(w, true), 0);
    for (uint32_t i = 0; i < OWNERS; i++) {
        struct credentials owner = {.uid = 5000 + i, .gid = 6000 + i};
        TEXT(name, 32);
        text_add(&name, "of %u", i);
        assert_int_equal(operation_create(w->volume, w->root, name.bytes, S_IFREG | 0644, 0, &owner,
                                          -1, &made, NULL),
                         0);
    }
}

static void expect_owners(void *argument)
{
    struct operation_world *w = argument;
    struct quota_row rows[64];
    size_t count, seen = 0;
    uint32_t first = 5000;
    do {
        assert_int_equal(quota_report(w->volume->quota, QUOTA_USER, first, rows, 64, &count), 0);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(rows[i].owner.id, first);
            assert_int_equal(rows[i].inodes, 1);
            first++;
        }
        seen += count;
    } while (count == 64);
    assert_int_equal(seen, OWNERS);
}

static void sync_all(void *argument)
{
    struct operation_world *w = argument;
    assert_int_equal(operation_sync_volume(w->volume), 0);
}

static void test_more_owners_than_a_ledger_has_room_for(void **state)
{
    operation_world_run(*state, fill_ledger);
    operation_world_run(*state, expect_owners);
    operation_world_remount(*state);
    operation_world_run(*state, expect_owners);
}

static void test_a_crash_keeps_the_sums(void **state)
{
    operation_world_run(*state, fill_ledger);
    operation_world_run(*state, sync_all);
    operation_world_crash(*state);
    operation_world_run(*state, expect_owners);
}

// --- a full volume
// ---------------------------------------------------------------------------------

static void deleting_on_a_full_volume(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(switch_to(w, true), 0);
    struct open_file *file = make_open(w, "file", &made);
    uint64_t block = 0;
    ssize_t written;
    while ((written = write_blocks(w, file, block, 64)) > 0)
        block += (uint64_t)written / BLOCK;
    assert_int_equal(written, -ENOSPC);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_true(row_of(w, user).blocks >= (int64_t)block);
    assert_int_equal(operation_unlink(w->volume, w->root, "file"), 0);
    while (operation_reclaim(w->volume)) {
    }
    assert_int_equal(row_of(w, user).blocks, 0);
    expect_sums(w);
}

static void test_deletes_on_a_full_volume(void **state)
{
    operation_world_run(*state, deleting_on_a_full_volume);
}

// --- damage
// ----------------------------------------------------------------------------------------

static void begin_with_a_file(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(switch_to(w, true), 0);
    struct open_file *file = make_open(w, "file", &made);
    assert_int_equal(write_blocks(w, file, 0, 5), 5 * BLOCK);
    assert_int_equal(operation_release(w->volume, file), 0);
}

// Behind the back of everybody: the node is not mounted meanwhile. Again: as it was.
static void flip(struct operation_world *world, uint64_t block)
{
    uint8_t byte;
    assert_int_equal(ring2_unmount(&world->node, 1), 0);
    sim_disk_peek(world->disk, block * BLOCK + 100, &byte, 1);
    byte ^= 0xff;
    sim_disk_poke(world->disk, block * BLOCK + 100, &byte, 1);
    assert_int_equal(ring2_mount(&world->node, 1, &world->world, world->disk, false), 0);
    world->volume = world->node.volume;
}

static void going_on_without_a_ledger(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    assert_int_equal(look_up(w, "file", &found), 0);
    struct open_file *file = open_by_number(w, found.inode);
    assert_int_equal(write_blocks(w, file, 5, 5), 5 * BLOCK);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_true(w->node.log.error_count > 0);
}

static void going_on_without_a_bucket(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    struct quota_row row;
    assert_int_equal(make_file(w, "another", &found), -ERROR_BLOCK_CHECKSUM);
    assert_int_equal(quota_get(w->volume->quota, user, &row), -ERROR_BLOCK_CHECKSUM);
    assert_int_equal(operation_unlink(w->volume, w->root, "file"), 0);
    while (operation_reclaim(w->volume)) {
    }
    assert_int_equal(look_up(w, "file", &found), -ENOENT);
    assert_true(w->node.log.error_count > 0);
}

static void counting_anew(void *argument)
{
    struct operation_world *w = argument;
    assert_int_equal(switch_to(w, false), 0);
    assert_int_equal(switch_to(w, true), 0);
    expect_sums(w);
}

static void test_a_damaged_ledger_stops_nobody(void **state)
{
    struct operation_world *world = *state;
    const struct geometry *g = &world->volume->geometry;
    uint64_t block = geometry_quota_ledger_block(g, world->volume->slot, 1);
    operation_world_run(world, begin_with_a_file);
    flip(world, block);
    operation_world_run(world, going_on_without_a_ledger);
    flip(world, block);
    operation_world_run(world, counting_anew);
}

static void test_a_damaged_bucket_keeps_no_file(void **state)
{
    struct operation_world *world = *state;
    const struct geometry *g = &world->volume->geometry;
    uint64_t block =
        geometry_quota_bucket_block(g, geometry_quota_bucket_of(g, user.kind, user.id));
    operation_world_run(world, begin_with_a_file);
    flip(world, block);
    operation_world_run(world, going_on_without_a_bucket);
    flip(world, block);
    operation_world_run(world, counting_anew);
}

// --- errors of a path ----------------------------------------------------------------------------

static void fail_reads_of(struct operation_world *w, uint64_t block, uint32_t operations)
{
    sim_disk_set_fault(w->node.path, &(struct sim_disk_fault){.operations = operations,
                                                              .first = block * BLOCK,
                                                              .last = block * BLOCK + BLOCK - 1,
                                                              .one_in = 1,
                                                              .error = -EIO});
}

static void heal(void *argument)
{
    struct operation_world *w = argument;
    environment_sleep(&w->node.world_node.environment, UINT64_C(1000000000));
    fail_reads_of(w, 0, 0);
}

static uint64_t failing_block;

static void deleting_while_reads_fail(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    assert_int_equal(look_up(w, "file", &found), 0);
    fail_reads_of(w, failing_block, 1u << BLOCK_READ);
    assert_int_equal(make_file(w, "another", &found), -EIO);
    coroutine_start(w->scheduler, "heal", heal, w);
    int result;
    while ((result = operation_unlink(w->volume, w->root, "file")) == -EIO)
        environment_sleep(&w->node.world_node.environment, 100000000);
    assert_int_equal(result, 0);
    while (operation_reclaim(w->volume)) {
    }
    assert_false(damage_is_known(w->volume->damage));
    assert_int_equal(row_of(w, user).blocks, 0);
    expect_sums(w);
}

static void make_it_again(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = make_open(w, "file", &made);
    assert_int_equal(write_blocks(w, file, 0, 5), 5 * BLOCK);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_errors_of_a_path_are_no_damage(void **state)
{
    struct operation_world *world = *state;
    const struct geometry *g = &world->volume->geometry;
    const uint64_t blocks[] = {
        geometry_quota_ledger_block(g, world->volume->slot, 1),
        geometry_quota_bucket_block(g, geometry_quota_bucket_of(g, user.kind, user.id))};
    for (unsigned i = 0; i < 2; i++) {
        failing_block = blocks[i];
        operation_world_run(world, i == 0 ? begin_with_a_file : make_it_again);
        operation_world_remount(world);
        operation_world_run(world, deleting_while_reads_fail);
        operation_world_remount(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_counts_what_is_there),
        OPERATION_TEST(test_charges_and_gives_back),
        OPERATION_TEST(test_refuses_what_is_too_much),
        OPERATION_TEST(test_refuses_bad_limits),
        OPERATION_TEST(test_soft_limits_have_a_grace),
        OPERATION_TEST(test_statfs_shows_a_projects_limit),
        OPERATION_TEST(test_more_owners_than_a_ledger_has_room_for),
        OPERATION_TEST(test_a_crash_keeps_the_sums),
        OPERATION_TEST(test_a_damaged_ledger_stops_nobody),
        OPERATION_TEST(test_a_damaged_bucket_keeps_no_file),
        OPERATION_TEST(test_errors_of_a_path_are_no_damage),
        cmocka_unit_test_setup_teardown(test_deletes_on_a_full_volume, operation_world_setup_small,
                                        operation_world_teardown),
    };
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
