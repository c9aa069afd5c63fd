// SPDX-License-Identifier: Apache-2.0
// Creates while some masters of locks do not answer: between the real lock core and the lock table
// stands a service that keeps requests for chosen names back.
//
//   node 1 of 3 dies ── nobody answers for the names that it mastered ── recovered: all answered
//        creates go on with numbers whose locks others master             the skipped ones are used
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/cluster_lock.h"
#include "fs/dlm_service.h"
#include "fs/lock_types.h"
#include "tests/unit/operation_world.h"

enum {
    KEPT_MAX = 8192,
    BATCH = 128, // of numbers, asked for ahead
};

struct kept {
    uint64_t cookie;
    struct lock_name name;
    enum lock_right right;
    bool no_wait;
};

// Stands in for the real operations: the service is the one of the only test that runs.
static struct {
    const struct lock_service_operations *real;
    struct lock_service *service;
    unsigned silent_of_3; // 0: all masters answer; 1: those of a third of the names do not; 3: none
    struct kept kept[KEPT_MAX];
    size_t kept_count;
    size_t kept_ever;
    uint64_t silent_from, silent_until; // if set, only numbers in between are silent
} masters;

static bool is_silent(struct lock_name name)
{
    uint64_t hash = (name.id * 31 + name.type) * UINT64_C(0x9E3779B97F4A7C15);
    bool is_number = name.type == LOCK_INODE || name.type == LOCK_OPEN;
    if (masters.silent_until != 0 &&
        (name.id < masters.silent_from || name.id >= masters.silent_until))
        return false;
    return is_number && (hash >> 32) % 3 < masters.silent_of_3;
}

static void request(struct lock_service *service, uint64_t cookie, struct lock_name name,
                    enum lock_right right, bool no_wait)
{
    if (!is_silent(name)) {
        masters.real->request(service, cookie, name, right, no_wait);
        return;
    }
    assert_true(masters.kept_count < KEPT_MAX);
    masters.kept[masters.kept_count++] = (struct kept){cookie, name, right, no_wait};
    masters.kept_ever++;
}

static void convert(struct lock_service *service, uint64_t cookie, enum lock_right right,
                    bool no_wait)
{
    masters.real->convert(service, cookie, right, no_wait);
}

static void release(struct lock_service *service, uint64_t cookie)
{
    masters.real->release(service, cookie);
}

static void cancel(struct lock_service *service, uint64_t cookie)
{
    for (size_t i = 0; i < masters.kept_count; i++) {
        if (masters.kept[i].cookie != cookie)
            continue;
        masters.kept[i] = masters.kept[--masters.kept_count];
        service->client->denied(service->client, cookie, -ECANCELED);
        return;
    }
    masters.real->cancel(service, cookie);
}

static const struct lock_service_operations operations = {
    .request = request, .convert = convert, .release = release, .cancel = cancel};

static void silence(struct operation_world *w, unsigned silent_of_3)
{
    masters.silent_of_3 = silent_of_3;
    masters.service = dlm_service_locks(w->node.locks);
    if (masters.service->operations == &operations)
        return;
    masters.kept_count = masters.kept_ever = 0;
    masters.silent_from = masters.silent_until = 0;
    masters.real = masters.service->operations;
    masters.service->operations = &operations;
}

static void answer_all(struct operation_world *w)
{
    silence(w, 0);
    for (size_t i = 0; i < masters.kept_count; i++) {
        struct kept *kept = &masters.kept[i];
        masters.real->request(masters.service, kept->cookie, kept->name, kept->right,
                              kept->no_wait);
    }
    masters.kept_count = 0;
}

static uint64_t create_number(struct operation_world *w, const char *prefix, int i)
{
    struct attributes made;
    struct open_file *file = NULL;
    char name[32];
    snprintf(name, sizeof(name), "%s-%d", prefix, i);
    assert_int_equal(operation_create(w->volume, w->root, name, S_IFREG | 0644, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, &made, &file),
                     0);
    assert_int_equal(operation_release(w->volume, file), 0);
    return made.inode;
}

// --- a third of the masters is silent
// ----------------------------------------------------------------------

enum { CREATES = 400 };

static void creates_go_on(void *argument)
{
    struct operation_world *w = argument;
    create_number(w, "before", 0);
    silence(w, 1);
    uint64_t highest = 0;
    for (int i = 0; i < CREATES; i++) {
        uint64_t number = create_number(w, "silent", i);
        highest = number > highest ? number : highest;
    }
    assert_true(masters.kept_count > 0);
    // Skipped are five in nine; asked ahead for are two batches more at most.
    assert_true(masters.kept_ever < CREATES * 4);
    answer_all(w);
    // What was skipped is used now, and nothing behind it.
    for (int i = 0; i < CREATES / 2; i++)
        assert_true(create_number(w, "answered", i) < highest);
}

static void test_creates_go_on_without_a_third_of_the_masters(void **state)
{
    operation_world_run(*state, creates_go_on);
}

static void removed_numbers(void *argument)
{
    struct operation_world *w = argument;
    uint64_t number = create_number(w, "round", 0);
    assert_int_equal(operation_unlink(w->volume, w->root, "round-0"), 0);
    free_blocks(w); // the number is free and durably so
    silence(w, 3);
    // Its locks are here: nobody need be asked.
    assert_int_equal(create_number(w, "round", 1), number);
    silence(w, 0);
    answer_all(w);
}

static void test_a_number_freed_here_is_used_again(void **state)
{
    operation_world_run(*state, removed_numbers);
}

// --- no master answers
// ----------------------------------------------------------------------------

struct creator {
    struct operation_world *w;
    int made_count;
};

static void create_many(void *argument)
{
    struct creator *creator = argument;
    while (creator->made_count < CREATES) {
        create_number(creator->w, "many", creator->made_count);
        creator->made_count++;
    }
}

static void sleep_a_moment(struct operation_world *w)
{
    environment_sleep(&w->node.world_node.environment, 1000000000);
}

// Who waits for a number does not hold the group's lock: files grow meanwhile.
static void others_go_on(void *argument)
{
    struct operation_world *w = argument;
    struct creator creator = {.w = w};
    struct attributes made;
    struct open_file *file = NULL;
    uint8_t *block = block_buffer_new(BLOCK_BYTES);
    memset(block, 'x', BLOCK_BYTES);
    assert_int_equal(operation_create(w->volume, w->root, "grows", S_IFREG | 0644, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, &made, &file),
                     0);
    silence(w, 3);
    coroutine_start(w->scheduler, "creates", create_many, &creator);
    sleep_a_moment(w);
    assert_true(creator.made_count > 0 && creator.made_count < CREATES);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(operation_write(w->volume, file, i << 20, block, BLOCK_BYTES),
                         BLOCK_BYTES);
    answer_all(w);
    sleep_a_moment(w);
    assert_int_equal(creator.made_count, CREATES);
    assert_int_equal(operation_release(w->volume, file), 0);
    free(block);
}

static void test_who_waits_for_a_number_holds_no_group(void **state)
{
    operation_world_run(*state, others_go_on);
}

// The numbers of the group that is in use hang on silent masters: another group has some.
static void other_groups(void *argument)
{
    struct operation_world *w = argument;
    const struct geometry *geometry = &w->volume->geometry;
    uint64_t first = create_number(w, "before", 0), begin_ns = w->world.now_ns;
    uint32_t group;
    assert_true(geometry_ag_of_block(geometry, first, &group));
    silence(w, 3);
    masters.silent_from = first;
    masters.silent_until = geometry_ag_first_block(geometry, group + 1);
    for (int i = 0; i < CREATES; i++)
        create_number(w, "elsewhere", i);
    assert_true(masters.kept_count > 0);
    // One create has waited in vain, the others knew.
    assert_true(w->world.now_ns - begin_ns < 200 * UINT64_C(1000000));
    answer_all(w);
    assert_true(create_number(w, "back", 0) < masters.silent_until);
}

static void test_another_group_has_numbers(void **state)
{
    operation_world_run(*state, other_groups);
}

static void leave_requests(void *argument)
{
    struct operation_world *w = argument;
    create_number(w, "before", 0);
    silence(w, 1);
    for (int i = 0; i < BATCH; i++)
        create_number(w, "left", i);
    assert_true(masters.kept_count > 0);
}

static void test_unmount_takes_requests_back(void **state)
{
    struct operation_world *w = *state;
    operation_world_run(w, leave_requests);
    operation_world_remount(w);
    assert_int_equal(masters.kept_count, 0);
}

int main(void)
{
#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, operation_world_setup, operation_world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_creates_go_on_without_a_third_of_the_masters),
        TEST(test_a_number_freed_here_is_used_again),
        TEST(test_who_waits_for_a_number_holds_no_group),
        TEST(test_another_group_has_numbers),
        TEST(test_unmount_takes_requests_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
