// SPDX-License-Identifier: Apache-2.0
// The lock service between the turns of an event loop: a view change with many locks goes on a
// slice a turn, and what is asked or arrives meanwhile waits for its end, in order.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/message.h"
#include "fs/base/environment.h"
#include "fs/base/lamport.h"
#include "fs/dlm_service.h"
#include "fs/lock_types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOCKS = 2000, NODES = 2, FRAMES_MAX = 4096 };

struct frame {
    uint32_t to;
    uint8_t *bytes;
    size_t length;
};

struct loop {
    struct environment environment; // first
    struct lock_service_client client;
    struct environment_timer *armed;
    struct dlm_service *services[NODES];
    struct lamport_clock clocks[NODES];
    struct frame frames[FRAMES_MAX];
    size_t frame_first;
    size_t frame_count;
    uint64_t granted;
    uint64_t last_granted;
};

static uint64_t boot_ns(struct environment *environment)
{
    (void)environment;
    return 0;
}

static void timer_arm(struct environment *environment, struct environment_timer *timer, uint64_t at)
{
    struct loop *loop = (struct loop *)environment;

    (void)at;
    loop->armed = timer;
}

static void timer_disarm(struct environment *environment, struct environment_timer *timer)
{
    struct loop *loop = (struct loop *)environment;

    (void)timer; // there is but one
    loop->armed = NULL;
}

static const struct environment_operations operations = {
    .boot_ns = boot_ns, .timer_arm = timer_arm, .timer_disarm = timer_disarm};

static struct loop *loop_of(struct lock_service_client *client)
{
    return (struct loop *)(void *)((char *)client - offsetof(struct loop, client));
}

static void granted(struct lock_service_client *client, uint64_t cookie, enum lock_right right)
{
    (void)right;
    loop_of(client)->granted++;
    loop_of(client)->last_granted = cookie;
}

static void denied(struct lock_service_client *client, uint64_t cookie, int error)
{
    (void)client;
    fail_msg("lock %llu is denied: %d", (unsigned long long)cookie, error);
}

static void blocking(struct lock_service_client *client, uint64_t cookie, enum lock_right keep)
{
    (void)client;
    (void)keep;
    fail_msg("lock %llu is called back", (unsigned long long)cookie);
}

static void send(void *context, struct dlm_node to, const uint8_t *bytes, size_t length)
{
    struct loop *loop = context;
    struct frame *frame = &loop->frames[loop->frame_count++];

    assert_true(loop->frame_count < FRAMES_MAX);
    *frame = (struct frame){to.node_id - 1, malloc(length), length};
    assert_non_null(frame->bytes);
    memcpy(frame->bytes, bytes, length);
}

// As the transport does it: the bytes are gone when the call is over.
static void deliver(struct loop *loop)
{
    struct frame *frame = &loop->frames[loop->frame_first++];

    dlm_service_frame(loop->services[frame->to], (struct dlm_node){2 - frame->to, 1}, frame->bytes,
                      frame->length);
    memset(frame->bytes, 0xff, frame->length);
    free(frame->bytes);
}

static void settle(struct loop *loop)
{
    while (loop->frame_first < loop->frame_count)
        deliver(loop);
}

static void view(struct loop *loop, uint32_t node, uint64_t epoch, uint32_t members)
{
    struct dlm_view view = {.epoch = epoch, .member_count = members, .members = {{1, 1}, {2, 1}}};

    dlm_service_view(loop->services[node], &view);
    memset(&view, 0xff, sizeof(view));
}

static void turn(struct loop *loop)
{
    struct environment_timer *timer = loop->armed;

    loop->armed = NULL;
    timer->fire(timer);
}

static struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    assert_non_null(loop);
    loop->environment.operations = &operations;
    loop->client = (struct lock_service_client){granted, denied, blocking};
    for (uint32_t i = 0; i < NODES; i++) {
        loop->services[i] = dlm_service_new(&(struct dlm_service_config){
            .self = {i + 1, 1},
            .clock = &loop->clocks[i],
            .environment = i == 0 ? &loop->environment : NULL,
            .send = send,
            .context = loop,
        });
        dlm_service_locks(loop->services[i])->client = &loop->client;
    }
    for (uint32_t i = 0; i < NODES; i++)
        view(loop, i, 1, NODES);
    settle(loop);
    return loop;
}

static void loop_free(struct loop *loop)
{
    for (uint32_t i = 0; i < NODES; i++)
        dlm_service_free(loop->services[i]);
    assert_null(loop->armed);
    while (loop->frame_first < loop->frame_count)
        free(loop->frames[loop->frame_first++].bytes);
    free(loop);
}

static void request(struct loop *loop, uint32_t node, uint64_t id)
{
    struct lock_service *locks = dlm_service_locks(loop->services[node]);

    locks->operations->request(locks, id, (struct lock_name){1, id}, RIGHT_SHARED, false);
}

static void take_many(struct loop *loop)
{
    for (uint64_t id = 1; id <= LOCKS; id++) {
        request(loop, 0, id);
        settle(loop);
    }
    assert_int_equal(loop->granted, LOCKS);
    assert_null(loop->armed);
}

static void test_view_change_goes_on_in_turns(void **state)
{
    struct loop *loop = loop_new();
    struct lock_service *locks = dlm_service_locks(loop->services[0]);
    unsigned turns = 0;

    (void)state;
    take_many(loop);
    view(loop, 0, 2, 1); // node 2 has left
    assert_non_null(loop->armed);
    locks->operations->release(locks, 7);
    request(loop, 0, LOCKS + 1);
    assert_int_equal(loop->granted, LOCKS); // waits
    for (; loop->armed; turns++) {
        assert_int_equal(loop->granted, LOCKS);
        turn(loop);
    }
    assert_true(turns > LOCKS / 128);
    assert_int_equal(loop->granted, LOCKS + 1);
    assert_int_equal(loop->last_granted, LOCKS + 1);
    assert_int_equal(dlm_core_status_get(dlm_service_core(loop->services[0])).lock_count, LOCKS);
    loop_free(loop);
}

// A frame and two more views come in between; each is used when its time has come.
static void test_views_and_frames_wait(void **state)
{
    struct loop *loop = loop_new();

    (void)state;
    take_many(loop);
    request(loop, 1, 2 * LOCKS); // its frame is of an epoch that will have passed
    for (uint64_t epoch = 2; epoch <= 3; epoch++) {
        view(loop, 0, epoch, NODES);
        view(loop, 1, epoch, NODES);
    }
    settle(loop);
    assert_int_equal(loop->granted, LOCKS);
    dlm_service_recovered(loop->services[0], (struct dlm_node){9, 1});
    while (loop->armed) {
        turn(loop);
        settle(loop);
    }
    struct dlm_core_status status = dlm_core_status_get(dlm_service_core(loop->services[0]));
    assert_int_equal(status.epoch, 3);
    assert_true(status.is_complete);
    assert_int_equal(loop->last_granted, 2 * LOCKS);
    loop_free(loop);
}

// What a lock's end lowers at the shadow goes with the next frame there, or when the timer fires.
static void test_lowered_notes_may_wait(void **state)
{
    struct loop *loop = loop_new();
    const struct dlm_core *core = dlm_service_core(loop->services[0]);
    const struct dlm_core *other = dlm_service_core(loop->services[1]);
    struct lock_service *locks = dlm_service_locks(loop->services[0]);
    uint64_t ids[2] = {0};

    (void)state;
    for (uint64_t id = 1; !ids[1]; id++) // two that this node masters
        if (dlm_core_master_of(core, (struct lock_name){1, id}).node_id == 1)
            ids[ids[0] ? 1 : 0] = id;
    request(loop, 0, ids[0]);
    settle(loop);
    locks->operations->release(locks, ids[0]);
    assert_int_equal(loop->frame_first, loop->frame_count);
    assert_non_null(loop->armed);
    request(loop, 0, ids[1]);
    settle(loop);
    assert_int_equal(dlm_core_status_get(other).note_count, 1);
    locks->operations->release(locks, ids[1]);
    assert_int_equal(loop->frame_first, loop->frame_count);
    turn(loop);
    settle(loop);
    assert_int_equal(dlm_core_status_get(other).note_count, 0);
    assert_null(loop->armed);
    loop_free(loop);
}

// The daemon ends in the middle of it.
static void test_end_in_the_middle(void **state)
{
    struct loop *loop = loop_new();

    (void)state;
    take_many(loop);
    view(loop, 0, 2, 1);
    view(loop, 0, 3, 1);
    request(loop, 0, LOCKS + 1);
    turn(loop);
    assert_non_null(loop->armed);
    loop_free(loop);
}

// --- byte ranges -----------------------------------------------------------------------------

struct range_answer {
    unsigned count;
    int error;
};

static void range_answered(void *context, const struct dlm_effect_range_result *result)
{
    struct range_answer *answer = context;

    answer->count++;
    answer->error = result->error;
}

// Of these names some have the other node for master.
static void lock_ranges(struct loop *loop, struct range_answer *answers, size_t count)
{
    const struct dlm_range range = {.owner = 7, .end = 9, .type = DLM_RANGE_EXCLUSIVE};
    uint64_t cookie;

    for (size_t i = 0; i < count; i++)
        dlm_service_range_lock(loop->services[0], lock_name_ranges(i + 1), &range, true, &cookie,
                               range_answered, &answers[i]);
}

// The node's mount ends while a master owes it answers that never come, or come late.
static void test_ranges_of_an_ended_node(void **state)
{
    enum { RANGES = 32 };
    struct range_answer answers[RANGES] = {0}, later = {0};
    struct loop *loop = loop_new();
    unsigned failed = 0;

    (void)state;
    lock_ranges(loop, answers, RANGES);
    dlm_service_range_fail(loop->services[0], -EIO);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(answers[i].count, 1);
        failed += answers[i].error == -EIO;
    }
    assert_true(failed > 0);
    settle(loop);
    for (size_t i = 0; i < RANGES; i++)
        assert_int_equal(answers[i].count, 1);
    lock_ranges(loop, &later, 1);
    assert_int_equal(later.count, 1);
    assert_int_equal(later.error, -EIO);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_view_change_goes_on_in_turns),
        cmocka_unit_test(test_views_and_frames_wait),
        cmocka_unit_test(test_lowered_notes_may_wait),
        cmocka_unit_test(test_end_in_the_middle),
        cmocka_unit_test(test_ranges_of_an_ended_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
