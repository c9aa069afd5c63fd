// SPDX-License-Identifier: Apache-2.0
// Sessions: exactly once and in order over any pattern of cuts; bounds; what cannot be resumed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dlm/session.h"
#include "fs/base/error.h"
#include "fs/base/random.h"

#include <string.h>

enum { ROUNDS = 200000 };

static struct session *make(size_t unacked_bytes_max)
{
    struct session *session =
        session_new(&(struct session_config){.unacked_bytes_max = unacked_bytes_max});

    assert_int_equal(session_connect(session, 0), 0);
    return session;
}

// Moves one frame; true and its content if it is delivered.
static bool move(struct session *from, struct session *to, uint64_t *content)
{
    struct session_frame_wire header;
    const uint8_t *payload;
    size_t length, verified;

    if (!session_next(from, &header, &payload, &length))
        return false;
    assert_int_equal(session_frame_verify(&header, &verified), 0);
    assert_int_equal(verified, length);
    int result = session_receive(to, &header);
    assert_true(result >= 0);
    if (result)
        memcpy(content, payload, sizeof(*content));
    return result;
}

static void lose_some(struct random *random, struct session *from)
{
    struct session_frame_wire header;
    const uint8_t *payload;
    size_t length;

    for (uint64_t i = random_below(random, 4); i > 0; i--)
        session_next(from, &header, &payload, &length);
}

static void reconnect(struct random *random, struct session *a, struct session *b)
{
    lose_some(random, a); // written, never arrives
    lose_some(random, b);
    session_disconnect(a);
    session_disconnect(b);
    uint64_t received_a = session_received(a), received_b = session_received(b);
    assert_int_equal(session_connect(a, received_b), 0);
    assert_int_equal(session_connect(b, received_a), 0);
}

static void test_once_and_in_order_over_cuts(void **state)
{
    struct session *ends[2] = {make(1 << 20), make(1 << 20)};
    uint64_t sent[2] = {0}, delivered[2] = {0}, content = 0;
    struct random random;

    (void)state;
    random_init(&random, 2026);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t side = random_below(&random, 2), what = random_below(&random, 40);
        if (what == 0) {
            reconnect(&random, ends[0], ends[1]);
        } else if (what < 15 && sent[side] - delivered[side] < 100) {
            sent[side]++;
            assert_int_equal(session_send(ends[side], &sent[side], sizeof(sent[side])), 0);
        } else if (move(ends[side], ends[1 - side], &content)) {
            assert_int_equal(content, ++delivered[side]);
        }
    }
    for (int side = 0; side < 2; side++) {
        while (move(ends[side], ends[1 - side], &content))
            assert_int_equal(content, ++delivered[side]);
        assert_int_equal(delivered[side], sent[side]);
    }
    assert_true(session_status_get(ends[0]).resent > 0);
    session_free(ends[0]);
    session_free(ends[1]);
}

static void test_acks_of_their_own_bound_the_queue(void **state)
{
    struct session *a = make(1 << 20), *b = make(1 << 20);
    uint8_t bytes[4096] = {0};
    uint64_t content;

    (void)state;
    for (int i = 0; i < 1000; i++) { // 4 MB one way, no answer but acks
        assert_int_equal(session_send(a, bytes, sizeof(bytes)), 0);
        assert_true(move(a, b, &content));
        while (move(b, a, &content))
            ;
    }
    assert_true(session_status_get(a).unacked_bytes <= SESSION_ACK_BYTES + 2 * sizeof(bytes));
    session_free(a);
    session_free(b);
}

static void test_too_much_unacked_is_the_end(void **state)
{
    struct session *session = make(1000);
    uint8_t bytes[400] = {0};

    (void)state;
    session_disconnect(session);
    assert_int_equal(session_send(session, bytes, sizeof(bytes)), 0);
    assert_int_equal(session_send(session, bytes, sizeof(bytes)), 0);
    assert_int_equal(session_send(session, bytes, sizeof(bytes)), -ERROR_SESSION_LOST);
    assert_int_equal(session_connect(session, 0), -ERROR_SESSION_LOST);
    assert_true(session_status_get(session).is_lost);
    session_free(session);
}

static void test_ends_that_do_not_fit(void **state)
{
    struct session *a = make(1 << 20), *b = make(1 << 20);
    uint64_t content = 5;

    (void)state;
    assert_int_equal(session_send(a, &content, sizeof(content)), 0);
    assert_true(move(a, b, &content));
    assert_int_equal(session_send(b, &content, sizeof(content)), 0);
    assert_true(move(b, a, &content)); // a knows that b has 1
    session_disconnect(a);
    assert_int_equal(session_connect(a, 0), -ERROR_SESSION_LOST); // b forgot what it had
    assert_int_equal(session_connect(b, 2), -ERROR_SESSION_LOST); // a has what b never sent
    session_free(a);
    session_free(b);
}

static void test_gaps_and_nonsense(void **state)
{
    struct session *session = make(1 << 20);
    struct session_frame_wire gap = {.length = le32_make(8), .sequence = le64_make(2)};
    struct session_frame_wire wrong_ack = {.ack = le64_make(1)};
    size_t length;

    (void)state;
    assert_int_equal(session_receive(session, &gap), -ERROR_SESSION_LOST);
    session_free(session);
    session = make(1 << 20);
    assert_int_equal(session_receive(session, &wrong_ack), -ERROR_SESSION_LOST);
    session_free(session);
    gap.length = le32_make(DLM_FRAME_BYTES_MAX + 8);
    assert_int_equal(session_frame_verify(&gap, &length), -ERROR_MESSAGE_LENGTH);
    gap.length = le32_make(7);
    assert_int_equal(session_frame_verify(&gap, &length), -ERROR_MESSAGE_LENGTH);
    gap.length = le32_make(0); // a sequence without a payload
    assert_int_equal(session_frame_verify(&gap, &length), -ERROR_MESSAGE_FIELD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_and_in_order_over_cuts),
        cmocka_unit_test(test_acks_of_their_own_bound_the_queue),
        cmocka_unit_test(test_too_much_unacked_is_the_end),
        cmocka_unit_test(test_ends_that_do_not_fit),
        cmocka_unit_test(test_gaps_and_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
