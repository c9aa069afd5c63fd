// SPDX-License-Identifier: Apache-2.0
// A freeze as the front ends of its own node see it (rule 24): changes wait, reading goes on, what
// was written is in place, and the thaw says whether it held. Between nodes:
// tests/sim/ring3_freeze.c.
#include <errno.h>
#include <fcntl.h>

#include "fs/cluster_lock.h"
#include "fs/freeze.h"
#include "fs/lock_types.h"
#include "fs/pass.h"
#include "fs/volume.h"
#include "journal/journal.h"
#include "tests/sim/disk.h"
#include "tests/unit/operation_world.h"

#define SECOND_NS UINT64_C(1000000000)

enum { BYTES = 8 * 4096 };

static uint8_t data[BYTES + 4096] __attribute__((aligned(4096)));

static void let_pass(struct operation_world *w, uint64_t ns)
{
    environment_sleep(&w->node.world_node.environment, ns);
}

static enum freeze_state state_of(struct operation_world *w)
{
    struct freeze_status status;
    freeze_status_get(w->volume->freeze, &status);
    return status.state;
}

static void freeze(struct operation_world *w, uint64_t limit_ns)
{
    assert_int_equal(freeze_begin(w->volume->freeze, limit_ns), 0);
    assert_int_equal(state_of(w), FREEZE_BEGINS);
    while (state_of(w) == FREEZE_BEGINS)
        let_pass(w, 1000000);
    assert_int_equal(state_of(w), FREEZE_HOLDS);
}

static struct open_file *make_written(struct operation_world *w, const char *name,
                                      struct attributes *made)
{
    memset(data, 'f', BYTES);
    assert_int_equal(make_file(w, name, made), 0);
    struct open_file *file = open_by_number(w, made->inode);
    assert_int_equal(operation_write(w->volume, file, 0, data, BYTES), BYTES);
    return file;
}

// --- changes wait --------------------------------------------------------------------------------

struct writer {
    struct operation_world *w;
    struct open_file *file;
    long result;
    bool is_done;
};

static void write_some(void *argument)
{
    struct writer *writer = argument;
    writer->result = operation_write(writer->w->volume, writer->file, 0, data, BYTES);
    writer->is_done = true;
}

static void make_another(void *argument)
{
    struct writer *writer = argument;
    struct attributes made;
    writer->result = make_file(writer->w, "another", &made);
    writer->is_done = true;
}

static void changes_that_wait(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, found;
    struct writer writes = {.w = w, .file = make_written(w, "file", &made)};
    struct writer makes = {.w = w};
    freeze(w, 60 * SECOND_NS);
    assert_int_equal(pass_kinds(open_file_pass(writes.file)) & PASS_WRITE, 0);
    coroutine_start(w->scheduler, "writes", write_some, &writes);
    coroutine_start(w->scheduler, "makes", make_another, &makes);
    let_pass(w, 20 * SECOND_NS); // past every timer
    assert_false(writes.is_done || makes.is_done);
    assert_int_equal(operation_get_attributes(w->volume, made.inode, &found), 0);
    assert_int_equal(operation_read(w->volume, writes.file, 0, data, BYTES), BYTES);
    assert_int_equal(pass_kinds(open_file_pass(writes.file)), PASS_READ);
    assert_int_equal(freeze_end(w->volume->freeze), 0);
    let_pass(w, SECOND_NS);
    assert_true(writes.is_done && makes.is_done);
    assert_int_equal(writes.result, BYTES);
    assert_int_equal(makes.result, 0);
    assert_int_not_equal(pass_kinds(open_file_pass(writes.file)) & PASS_WRITE, 0);
    assert_int_equal(operation_release(w->volume, writes.file), 0);
}

static void test_changes_wait_and_reading_goes_on(void **state)
{
    operation_world_run(*state, changes_that_wait);
}

static void killed_in_wait(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct writer writes = {.w = w, .file = make_written(w, "file", &made)};
    freeze(w, 60 * SECOND_NS);
    struct coroutine *coroutine = coroutine_start(w->scheduler, "writes", write_some, &writes);
    let_pass(w, SECOND_NS);
    assert_false(writes.is_done);
    assert_true(operation_interrupt(w->volume, coroutine));
    let_pass(w, SECOND_NS);
    assert_true(writes.is_done);
    assert_int_equal(writes.result, -EINTR);
    assert_int_equal(freeze_end(w->volume->freeze), 0);
    assert_int_equal(operation_release(w->volume, writes.file), 0);
}

static void test_who_waits_can_be_killed(void **state)
{
    operation_world_run(*state, killed_in_wait);
}

// --- what the kernel waits for -------------------------------------------------------------------

// A kernel that keeps a dirty page: told to drop it, it writes it back first. Just then somebody
// freezes the volume.
struct kernel {
    struct borrower borrower; // first
    struct operation_world *w;
    struct open_file *file;
    bool has_written;
};

static void drop_dirty_page(struct borrower *borrower, const struct loan_recall *what)
{
    struct kernel *kernel = (struct kernel *)borrower;
    struct operation_world *w = kernel->w;
    (void)what;
    if (kernel->has_written)
        return;
    assert_int_equal(freeze_begin(w->volume->freeze, 60 * SECOND_NS), 0);
    let_pass(w, SECOND_NS);
    assert_int_equal(state_of(w), FREEZE_BEGINS); // it waits for the inode
    memset(data, 'k', 4096);
    assert_int_equal(operation_write_pages(w->volume, kernel->file, 0, data, 4096), 4096);
    kernel->has_written = true;
}

static void lend_page(struct operation_world *w, uint64_t inode)
{
    struct cluster_lock *lock = cluster_lock_get(w->volume->locks, lock_name_inode(inode));
    assert_int_equal(cluster_lock_acquire(lock, LOCK_SHARED, 0), 0);
    assert_true(cluster_lock_lend_pages(lock, 500, LOAN_PAGES | LOAN_WRITABLE));
    cluster_lock_release(lock, LOCK_SHARED);
    cluster_lock_put(lock);
}

static void writing_back(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct kernel kernel = {.borrower = {drop_dirty_page}, .w = w};
    kernel.file = make_written(w, "file", &made);
    w->volume->borrower = &kernel.borrower;
    lend_page(w, made.inode);
    assert_int_equal(operation_write(w->volume, kernel.file, 4096, data, 4096), 4096);
    assert_true(kernel.has_written);
    while (state_of(w) == FREEZE_BEGINS)
        let_pass(w, 1000000);
    assert_int_equal(state_of(w), FREEZE_HOLDS);
    assert_int_equal(operation_read(w->volume, kernel.file, 0, data, 4096), 4096);
    assert_int_equal(data[0], 'k');
    struct journal_status status;
    journal_status_get(w->volume->journal, &status);
    assert_int_equal(status.used_block_count, 0);
    assert_int_equal(freeze_end(w->volume->freeze), 0);
    w->volume->borrower = NULL;
    assert_int_equal(operation_release(w->volume, kernel.file), 0);
}

static void test_kernel_writes_back_while_a_freeze_begins(void **state)
{
    operation_world_run(*state, writing_back);
}

// --- nothing is left to write --------------------------------------------------------------------

static void count_write(void *context, const struct sim_disk_write *write)
{
    unsigned *count = context;
    (void)write;
    ++*count;
}

// Reading, and closing what was only read or written before, writes nothing: not even a time.
static void nothing_written(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    struct open_file *file = make_written(w, "file", &made);
    struct journal_status status;
    unsigned writes = 0;
    freeze(w, 60 * SECOND_NS);
    journal_status_get(w->volume->journal, &status);
    assert_int_equal(status.used_block_count, 0);
    sim_disk_set_hook(w->disk, count_write, &writes);
    assert_int_equal(operation_read(w->volume, file, 0, data, BYTES), BYTES);
    assert_int_equal(operation_sync_file(w->volume, file, false), 0);
    assert_int_equal(operation_release(w->volume, file), 0);
    let_pass(w, 30 * SECOND_NS);
    assert_int_equal(writes, 0);
    assert_int_equal(freeze_end(w->volume->freeze), 0);
    sim_disk_set_hook(w->disk, NULL, NULL);
}

static void test_nothing_is_written_while_frozen(void **state)
{
    operation_world_run(*state, nothing_written);
}

// --- how it ends ---------------------------------------------------------------------------------

static void ending(void *argument)
{
    struct operation_world *w = argument;
    struct freeze *own = w->volume->freeze;
    struct attributes made;
    assert_int_equal(freeze_end(own), -ENODATA);
    freeze(w, 60 * SECOND_NS);
    assert_int_equal(freeze_begin(own, SECOND_NS), -EBUSY);
    assert_int_equal(freeze_end(own), 0);
    assert_int_equal(freeze_end(own), -ENODATA);
    freeze(w, 2 * SECOND_NS);
    let_pass(w, 3 * SECOND_NS);
    assert_int_equal(state_of(w), FREEZE_NONE);
    assert_int_equal(make_file(w, "after", &made), 0);
    assert_int_equal(freeze_end(own), -ETIMEDOUT);
    assert_int_equal(freeze_begin(own, SECOND_NS), 0);
    assert_int_equal(freeze_end(own), -ECANCELED); // before it held
    let_pass(w, SECOND_NS);
    assert_int_equal(state_of(w), FREEZE_NONE);
    assert_int_equal(make_file(w, "at last", &made), 0);
}

static void test_ends_by_thaw_or_by_its_limit(void **state)
{
    operation_world_run(*state, ending);
}

static void frozen_at_the_end(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(make_file(w, "file", &made), 0);
    freeze(w, 3600 * SECOND_NS);
}

// The teardown unmounts.
static void test_unmount_thaws(void **state)
{
    operation_world_run(*state, frozen_at_the_end);
    operation_world_remount(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_changes_wait_and_reading_goes_on),
        OPERATION_TEST(test_who_waits_can_be_killed),
        OPERATION_TEST(test_kernel_writes_back_while_a_freeze_begins),
        OPERATION_TEST(test_nothing_is_written_while_frozen),
        OPERATION_TEST(test_ends_by_thaw_or_by_its_limit),
        OPERATION_TEST(test_unmount_thaws),
    };
    return cmocka_run_group_tests_name("freeze", tests, NULL, NULL);
}
