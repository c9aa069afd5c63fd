// SPDX-License-Identifier: Apache-2.0
// Files: content of all kinds, sizes, holes, handles, times, extended attributes, a full volume.
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/open_inode.h"
#include "fs/pass.h"
#include "tests/unit/operation_world.h"

enum { BUFFER_BYTES = 1 << 20 };

static struct open_file *create_open(struct operation_world *w, const char *name,
                                     struct attributes *made)
{
    struct open_file *file = NULL;
    assert_int_equal(operation_create(w->volume, w->root, name, S_IFREG | 0644, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, made, &file),
                     0);
    return file;
}

static void write_bytes(struct operation_world *w, struct open_file *file, uint64_t offset,
                        uint8_t byte, size_t length)
{
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    memset(buffer, byte, length);
    assert_int_equal(operation_write(w->volume, file, offset, buffer, length), length);
    free(buffer);
}

static void expect_bytes(struct operation_world *w, struct open_file *file, uint64_t offset,
                         uint8_t byte, size_t length)
{
    uint8_t *buffer = block_buffer_new(length + 2 * BLOCK_BYTES);
    assert_int_equal(operation_read(w->volume, file, offset, buffer, length), length);
    for (size_t i = 0; i < length; i++) {
        if (buffer[i] != byte)
            fail_msg("byte %zu behind %llu is %u, expected %u", i, (unsigned long long)offset,
                     buffer[i], byte);
    }
    free(buffer);
}

static struct stat stat_of(struct operation_world *w, uint64_t inode)
{
    struct attributes now;
    assert_int_equal(operation_get_attributes(w->volume, inode, &now), 0);
    return now.stat;
}

static void resize(struct operation_world *w, uint64_t inode, uint64_t size)
{
    struct attributes wanted = {.stat = {.st_size = (off_t)size}}, out;
    assert_int_equal(operation_set_attributes(w->volume, inode, &wanted, SET_SIZE, &out), 0);
    assert_int_equal(out.stat.st_size, size);
}

// --- content ---------------------------------------------------------------------------------

static void growing_from_inline(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = create_open(w, "a", &made);
    write_bytes(w, file, 0, 1, 100);
    write_bytes(w, file, 200, 2, 100); // a gap of zeros
    assert_int_equal(stat_of(w, made.inode).st_blocks, 0);
    expect_bytes(w, file, 100, 0, 100);
    resize(w, made.inode, 250);
    resize(w, made.inode, 1280);
    expect_bytes(w, file, 200, 2, 50);
    expect_bytes(w, file, 250, 0, 1030);
    write_bytes(w, file, 1280, 3, 10); // too large for the inode now
    assert_int_not_equal(stat_of(w, made.inode).st_blocks, 0);
    expect_bytes(w, file, 0, 1, 100);
    expect_bytes(w, file, 250, 0, 1030);
    expect_bytes(w, file, 1280, 3, 10);
    resize(w, made.inode, 0);
    write_bytes(w, file, 0, 4, 8);
    resize(w, made.inode, 100000); // inline to a hole
    expect_bytes(w, file, 0, 4, 8);
    expect_bytes(w, file, 8, 0, 99992);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_small_files(void **state)
{
    operation_world_run(*state, growing_from_inline);
}

static void writing_far_away(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    uint64_t far = (uint64_t)60 << 40;
    struct open_file *file = create_open(w, "a", &made);
    uint8_t *buffer = block_buffer_new(BUFFER_BYTES);
    write_bytes(w, file, far + 5, 7, 20000);
    assert_int_equal(stat_of(w, made.inode).st_size, far + 20005);
    expect_bytes(w, file, far + 5, 7, 20000);
    expect_bytes(w, file, far - 4096, 0, 4101);
    assert_int_equal(operation_seek(w->volume, file, 0, SEEK_DATA), far);
    assert_int_equal(operation_seek(w->volume, file, 0, SEEK_HOLE), 0);
    assert_int_equal(operation_seek(w->volume, file, (off_t)far + 10, SEEK_HOLE), far + 20005);
    assert_int_equal(operation_seek(w->volume, file, (off_t)far + 20005, SEEK_DATA), -ENXIO);
    assert_int_equal(operation_write(w->volume, file, FORMAT_FILE_BYTES_MAX - 10, buffer, 20),
                     -EFBIG);
    assert_int_equal(operation_read(w->volume, file, far + 20005, buffer, 10), 0);
    assert_int_equal(operation_read(w->volume, file, far + 20000, buffer, 10), 5);
    free(buffer);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_a_sparse_file(void **state)
{
    operation_world_run(*state, writing_far_away);
}

static void appending(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = create_open(w, "a", &made), *appender = NULL;
    assert_int_equal(operation_open(w->volume, made.inode, O_WRONLY | O_APPEND, &appender), 0);
    write_bytes(w, appender, 12345, 1, 3000);
    write_bytes(w, file, 0, 2, 10);
    write_bytes(w, appender, 0, 3, 3000);
    assert_int_equal(stat_of(w, made.inode).st_size, 6000);
    expect_bytes(w, file, 10, 1, 2990);
    expect_bytes(w, file, 3000, 3, 3000);
    open_file_set_flags(appender, O_WRONLY); // as fcntl(F_SETFL) does
    write_bytes(w, appender, 100, 4, 10);
    expect_bytes(w, file, 100, 4, 10);
    assert_int_equal(operation_release(w->volume, appender), 0);
    assert_int_equal(operation_open(w->volume, made.inode, O_WRONLY | O_TRUNC, &appender), 0);
    assert_int_equal(stat_of(w, made.inode).st_size, 0);
    assert_int_equal(operation_release(w->volume, appender), 0);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_append_and_truncate_on_open(void **state)
{
    operation_world_run(*state, appending);
}

static void cutting_and_growing(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = create_open(w, "a", &made);
    write_bytes(w, file, 0, 9, 50000);
    resize(w, made.inode, 10001);
    resize(w, made.inode, 50000);
    expect_bytes(w, file, 0, 9, 10001);
    expect_bytes(w, file, 10001, 0, 39999);
    resize(w, made.inode, 10001);
    write_bytes(w, file, 30000, 8, 100);
    expect_bytes(w, file, 10001, 0, 19999);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_cut_bytes_do_not_come_back(void **state)
{
    operation_world_run(*state, cutting_and_growing);
}

// --- allocation ------------------------------------------------------------------------------

static void allocating(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    struct open_file *file = create_open(w, "a", &made);
    assert_int_equal(operation_allocate(w->volume, file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
    assert_int_equal(stat_of(w, made.inode).st_size, 0);
    assert_int_equal(stat_of(w, made.inode).st_blocks, (1 << 20) / 512);
    assert_int_equal(operation_allocate(w->volume, file, 0, 0, 2 << 20), 0);
    assert_int_equal(stat_of(w, made.inode).st_size, 2 << 20);
    expect_bytes(w, file, 0, 0, 100000);
    assert_int_equal(operation_seek(w->volume, file, 0, SEEK_DATA), -ENXIO);
    write_bytes(w, file, 8192, 5, 40960);
    assert_int_equal(operation_seek(w->volume, file, 0, SEEK_DATA), 8192);
    assert_int_equal(operation_allocate(w->volume, file, punch, 10000, 20000), 0);
    expect_bytes(w, file, 8192, 5, 1808);
    expect_bytes(w, file, 10000, 0, 20000);
    expect_bytes(w, file, 30000, 5, 19152);
    int64_t blocks = stat_of(w, made.inode).st_blocks;
    assert_int_equal(blocks, ((2 << 20) - 4 * 4096) / 512);
    assert_int_equal(operation_allocate(w->volume, file, FALLOC_FL_ZERO_RANGE, 40000, 3 << 20), 0);
    expect_bytes(w, file, 40000, 0, 500000);
    expect_bytes(w, file, 36864, 5, 3136);
    assert_int_equal(stat_of(w, made.inode).st_size, 40000 + (3 << 20));
    assert_int_equal(operation_allocate(w->volume, file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096),
                     -EOPNOTSUPP);
    assert_int_equal(operation_allocate(w->volume, file, 0, 0, 0), -EINVAL);
    assert_int_equal(operation_allocate(w->volume, file, 0, FORMAT_FILE_BYTES_MAX, 1), -EFBIG);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(stat_of(w, made.inode).st_size, 40000 + (3 << 20));
}

static void test_fallocate(void **state)
{
    operation_world_run(*state, allocating);
}

static void writing_ahead(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = create_open(w, "a", &made);
    for (uint64_t i = 0; i < 40; i++)
        write_bytes(w, file, i * 100000, 5, 100000);
    assert_true(stat_of(w, made.inode).st_blocks > (4000000 + 4095) / 4096 * 8);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(stat_of(w, made.inode).st_blocks, (4000000 + 4095) / 4096 * 8);
}

static void test_what_is_allocated_ahead_is_given_back(void **state)
{
    operation_world_run(*state, writing_ahead);
}

static void filling_up(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, big;
    uint64_t free_at_first = free_blocks(w);
    struct open_file *file = create_open(w, "big", &big);
    uint8_t *buffer = block_buffer_new(BUFFER_BYTES);
    char name[16];
    int result = 0, files = 0;
    // What does not fit is not allocated in part.
    assert_int_equal(operation_allocate(w->volume, file, 0, 0, (uint64_t)1 << 40), -ENOSPC);
    assert_int_equal(stat_of(w, big.inode).st_blocks, 0);
    ssize_t written = BUFFER_BYTES;
    uint64_t offset = 0;
    while (written == BUFFER_BYTES) {
        written = operation_write(w->volume, file, offset, buffer, BUFFER_BYTES);
        offset += written > 0 ? (uint64_t)written : 0;
    }
    assert_true(written == -ENOSPC || written > 0);
    for (files = 0; result == 0 && files < 10000; files++) {
        snprintf(name, sizeof(name), "f%d", files);
        result = make_file(w, name, &made);
    }
    assert_int_equal(result, -ENOSPC);
    assert_int_equal(look_up(w, name, &made), -ENOENT); // no half operation
    assert_int_equal(operation_sync_file(w->volume, file, false), 0);
    assert_int_equal(operation_release(w->volume, file), 0);
    for (int i = 0; i < files - 1; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(operation_unlink(w->volume, w->root, name), 0);
    }
    assert_int_equal(operation_unlink(w->volume, w->root, "big"), 0);
    assert_in_range(free_blocks(w), free_at_first - 40, free_at_first + 40);
    assert_int_equal(make_file(w, "again", &made), 0);
    free(buffer);
}

static void test_a_full_volume(void **state)
{
    operation_world_run(*state, filling_up);
}

// --- handles, passes -------------------------------------------------------------------------

static void unlinking_while_open(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out;
    uint64_t free_before = free_blocks(w);
    struct open_file *first = create_open(w, "a", &made), *second;
    write_bytes(w, first, 0, 6, 300000);
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), 0);
    assert_int_equal(stat_of(w, made.inode).st_nlink, 0);
    second = open_by_number(w, made.inode); // /proc/self/fd
    expect_bytes(w, second, 0, 6, 300000);
    write_bytes(w, second, 300000, 7, 5000);
    resize(w, made.inode, 1000);
    assert_int_equal(operation_release(w->volume, first), 0);
    expect_bytes(w, second, 0, 6, 1000);
    assert_int_equal(operation_set_xattr(w->volume, made.inode, "user.a", "b", 1, 0), 0);
    assert_int_equal(operation_release(w->volume, second), 0);
    assert_int_equal(operation_open(w->volume, made.inode, O_RDWR, &second), -ESTALE);
    assert_in_range(free_blocks(w), free_before - 20, free_before + 20);
    assert_int_equal(operation_get_attributes(w->volume, made.inode, &out), -ESTALE);
    assert_int_equal(operation_open(w->volume, w->root, O_RDONLY, &second), -EISDIR);
    assert_int_equal(operation_open(w->volume, 3, O_RDONLY, &second), -ESTALE);
}

static void test_unlink_while_open(void **state)
{
    operation_world_run(*state, unlinking_while_open);
}

static void publishing(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    uint64_t place, run;
    struct open_file *file = create_open(w, "a", &made);
    struct pass *pass = open_file_pass(file);
    write_bytes(w, file, 0, 1, 40960);
    assert_int_equal(pass_kinds(pass), PASS_READ | PASS_WRITE);
    assert_true(pass_enter(pass, PASS_WRITE)); // at once, though the map on disk says unwritten
    assert_true(pass_translate(pass, 4096, &place, &run));
    assert_int_equal(run, 40960 - 4096);
    pass_leave(pass);
    assert_int_equal(pass_size(pass), 40960);
    resize(w, made.inode, 10000);
    assert_false(pass_enter(pass, PASS_READ)); // taken away for the change
    expect_bytes(w, file, 0, 1, 10000);
    assert_true(pass_enter(pass, PASS_READ));
    assert_false(pass_translate(pass, 12288, &place, &run));
    pass_leave(pass);
    write_bytes(w, file, 100, 2, 10); // part of a block
    assert_int_equal(pass_kinds(pass), PASS_READ | PASS_WRITE);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_passes_follow_the_file(void **state)
{
    operation_world_run(*state, publishing);
}

// --- durability ------------------------------------------------------------------------------

static uint64_t synced_inode;

static void writing_and_syncing(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = create_open(w, "synced", &made);
    synced_inode = made.inode;
    write_bytes(w, file, 0, 3, 70000);
    assert_int_equal(operation_sync_file(w->volume, file, true), 0);
    write_bytes(w, file, 70000, 4, 1000);
    assert_int_equal(operation_release(w->volume, file), 0);
    assert_int_equal(make_file(w, "not synced", &made), 0);
}

static void reading_what_was_synced(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    assert_int_equal(look_up(w, "synced", &found), 0);
    assert_int_equal(found.inode, synced_inode);
    assert_true(found.stat.st_size >= 70000);
    struct open_file *file = open_by_number(w, found.inode);
    expect_bytes(w, file, 0, 3, 70000);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_what_was_synced_survives(void **state)
{
    struct operation_world *w = *state;
    operation_world_run(w, writing_and_syncing);
    operation_world_crash(w);
    operation_world_run(w, reading_what_was_synced);
    operation_world_remount(w);
    operation_world_run(w, reading_what_was_synced);
}

static void closing_later(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = create_open(w, "a", &made);
    write_bytes(w, file, 0, 3, 70000);
    assert_int_equal(operation_release(w->volume, file), 0);
    // A second handle syncs what the first has written.
    file = open_by_number(w, made.inode);
    assert_int_equal(operation_sync_file(w->volume, file, false), 0);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void finding_all(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    assert_int_equal(look_up(w, "a", &found), 0);
    assert_int_equal(found.stat.st_size, 70000);
}

static void test_sync_through_another_handle(void **state)
{
    operation_world_run(*state, closing_later);
    operation_world_crash(*state);
    operation_world_run(*state, finding_all);
}

// --- attributes ------------------------------------------------------------------------------

static int64_t ns_of(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void pass_time(struct operation_world *w, uint64_t ns)
{
    environment_sleep(&w->node.world_node.environment, ns);
}

static void keeping_times(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out, wanted = {.stat = {.st_mtim = {1000, 5}, .st_atim = {2000, 6}}};
    struct open_file *file = create_open(w, "a", &made);
    write_bytes(w, file, 0, 1, 8192);
    struct stat first = stat_of(w, made.inode);
    pass_time(w, 1000000);
    write_bytes(w, file, 0, 2, 8192);
    struct stat second = stat_of(w, made.inode);
    assert_true(ns_of(second.st_mtim) > ns_of(first.st_mtim));
    assert_int_equal(ns_of(second.st_mtim), ns_of(second.st_ctim));
    pass_time(w, 1000000); // what is set counts, not what was noted before
    assert_int_equal(
        operation_set_attributes(w->volume, made.inode, &wanted, SET_MTIME | SET_ATIME, &out), 0);
    assert_int_equal(operation_sync_file(w->volume, file, false), 0);
    struct stat third = stat_of(w, made.inode);
    assert_int_equal(ns_of(third.st_mtim), 1000 * INT64_C(1000000000) + 5);
    assert_int_equal(ns_of(third.st_atim), 2000 * INT64_C(1000000000) + 6);
    assert_true(ns_of(third.st_ctim) > ns_of(second.st_ctim));
    pass_time(w, 1000000); // relatime: the first read after a change, then none for a day
    write_bytes(w, file, 0, 2, 8192);
    expect_bytes(w, file, 0, 2, 10);
    int64_t accessed = ns_of(stat_of(w, made.inode).st_atim);
    assert_true(accessed > ns_of(third.st_atim));
    assert_int_equal(operation_release(w->volume, file), 0);
    file = open_by_number(w, made.inode);
    pass_time(w, 1000000);
    expect_bytes(w, file, 0, 2, 10);
    assert_int_equal(ns_of(stat_of(w, made.inode).st_atim), accessed);
    wanted.stat.st_mtim.tv_nsec = 1000000000;
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_MTIME, &out),
                     -EINVAL);
    assert_int_equal(operation_release(w->volume, file), 0);
}

static void test_times(void **state)
{
    operation_world_run(*state, keeping_times);
}

static void changing_modes(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out, wanted = {.stat = {.st_mode = 06755, .st_uid = 5}};
    assert_int_equal(make_file(w, "a", &made), 0);
    assert_int_equal(
        operation_set_attributes(w->volume, made.inode, &wanted, SET_MODE | SET_UID, &out), 0);
    assert_int_equal(out.stat.st_mode, S_IFREG | 06755);
    assert_int_equal(out.stat.st_uid, 5);
    assert_int_equal(out.stat.st_gid, 1000);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_KILL_SUID, &out),
                     0);
    assert_int_equal(out.stat.st_mode, S_IFREG | 0755);
    wanted.stat.st_mode = 02644; // no group execution: not a set-group-id
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_MODE, &out), 0);
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_KILL_SUID, &out),
                     0);
    assert_int_equal(out.stat.st_mode, S_IFREG | 02644);
    wanted.stat.st_size = 0;
    assert_int_equal(operation_set_attributes(w->volume, w->root, &wanted, SET_SIZE, &out),
                     -EISDIR);
    wanted.stat.st_size = -1;
    assert_int_equal(operation_set_attributes(w->volume, made.inode, &wanted, SET_SIZE, &out),
                     -EINVAL);
}

static void test_modes_and_owners(void **state)
{
    operation_world_run(*state, changing_modes);
}

static void keeping_xattrs(void *argument)
{
    struct operation_world *w = argument;
    struct volume *v = w->volume;
    struct attributes made;
    char value[4000], found[4000], names[200];
    assert_int_equal(make_file(w, "a", &made), 0);
    uint64_t inode = made.inode;
    memset(value, 'v', sizeof(value));
    assert_int_equal(operation_get_xattr(v, inode, "user.a", found, 10), -ENODATA);
    assert_int_equal(operation_set_xattr(v, inode, "user.a", value, 4000, XATTR_REPLACE), -ENODATA);
    assert_int_equal(operation_set_xattr(v, inode, "user.a", value, 4000, XATTR_CREATE), 0);
    assert_int_equal(operation_set_xattr(v, inode, "user.a", value, 10, XATTR_CREATE), -EEXIST);
    assert_int_equal(operation_set_xattr(v, inode, "security.b", NULL, 0, 0), 0);
    assert_int_equal(operation_set_xattr(v, inode, "other.c", value, 1, 0), -EOPNOTSUPP);
    assert_int_equal(operation_get_xattr(v, inode, "user.a", found, 0), 4000);
    assert_int_equal(operation_get_xattr(v, inode, "user.a", found, 100), -ERANGE);
    assert_int_equal(operation_get_xattr(v, inode, "user.a", found, 4000), 4000);
    assert_memory_equal(found, value, 4000);
    assert_int_equal(operation_get_xattr(v, inode, "security.b", found, 0), 0);
    assert_int_equal(operation_list_xattr(v, inode, true, names, sizeof(names)),
                     strlen("user.a") + strlen("security.b") + 2);
    assert_int_equal(operation_remove_xattr(v, inode, "security.b"), 0);
    assert_int_equal(operation_remove_xattr(v, inode, "security.b"), -ENODATA);
    char *large = calloc(1, 70000);
    assert_int_equal(operation_set_xattr(v, inode, "user.l", large, 65537, 0), -E2BIG);
    free(large);
}

static void test_extended_attributes(void **state)
{
    operation_world_run(*state, keeping_xattrs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_small_files),
        OPERATION_TEST(test_a_sparse_file),
        OPERATION_TEST(test_append_and_truncate_on_open),
        OPERATION_TEST(test_cut_bytes_do_not_come_back),
        OPERATION_TEST(test_fallocate),
        OPERATION_TEST(test_what_is_allocated_ahead_is_given_back),
        cmocka_unit_test_setup_teardown(test_a_full_volume, operation_world_setup_small,
                                        operation_world_teardown),
        OPERATION_TEST(test_unlink_while_open),
        OPERATION_TEST(test_passes_follow_the_file),
        OPERATION_TEST(test_what_was_synced_survives),
        OPERATION_TEST(test_sync_through_another_handle),
        OPERATION_TEST(test_times),
        OPERATION_TEST(test_modes_and_owners),
        OPERATION_TEST(test_extended_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
