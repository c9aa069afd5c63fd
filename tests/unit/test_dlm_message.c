// SPDX-License-Identifier: Apache-2.0
// The wire: what cores say passes verification, what anybody else says gets an error code and no
// crash. The mutation loop runs under the address sanitiser too (make SAN=address,undefined).
#include "tests/unit/test_dlm_cluster.h"

#include "dlm/message.h"
#include "fs/base/error.h"
#include "fs/base/random.h"

#include <stdlib.h>
#include <string.h>

enum { MUTATIONS = 200000 };

static size_t make_frame(uint8_t *bytes)
{
    struct message_request_wire request = {
        .header = message_header_make(MESSAGE_REQUEST, sizeof(request)),
        .name = message_name_make((struct lock_name){1, 2}),
        .mode = DLM_PR,
    };
    struct message_rule_wire rule = {
        .header = message_header_make(MESSAGE_RULE, sizeof(rule) + 2 * sizeof(struct node_wire)),
        .member_count = le32_make(1),
        .blocker_count = le32_make(1),
        .gone = le64_make(1),
    };
    struct node_wire node = message_node_make((struct dlm_node){7, 1});
    struct frame_header header = {{2, 1}, 1, 1, 2};
    size_t at = sizeof(struct frame_header_wire);

    message_frame_header_encode(&header, bytes);
    memcpy(bytes + at, &request, sizeof(request));
    at += sizeof(request);
    memcpy(bytes + at, &rule, sizeof(rule));
    at += sizeof(rule);
    for (int i = 0; i < 2; i++, at += sizeof(node))
        memcpy(bytes + at, &node, sizeof(node));
    return at;
}

static void test_every_cut_is_refused(void **state)
{
    _Alignas(8) uint8_t bytes[512];
    struct frame_header header;
    size_t length = make_frame(bytes);

    (void)state;
    assert_int_equal(message_frame_verify(bytes, length, &header), 0);
    assert_int_equal(header.message_count, 2);
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *exact = malloc(cut + 1); // its end is the sanitiser's border
        memcpy(exact, bytes, cut);
        assert_true(message_frame_verify(exact, cut, &header) < 0);
        free(exact);
    }
    assert_int_equal(message_frame_verify(bytes, length + 8, &header), -ERROR_MESSAGE_LENGTH);
}

static void test_fields_out_of_range(void **state)
{
    _Alignas(8) uint8_t bytes[512];
    struct frame_header header;
    size_t length = make_frame(bytes);
    struct message_request_wire *request = (void *)(bytes + sizeof(struct frame_header_wire));
    struct message_rule_wire *rule = (void *)(request + 1);

    (void)state;
    request->mode = DLM_MODE_COUNT;
    assert_int_equal(message_frame_verify(bytes, length, &header), -ERROR_MESSAGE_FIELD);
    request->mode = DLM_EX;
    request->zero[3] = 1;
    assert_int_equal(message_frame_verify(bytes, length, &header), -ERROR_MESSAGE_FIELD);
    request->zero[3] = 0;
    rule->blocker_count = le32_make(0xffffffff);
    assert_int_equal(message_frame_verify(bytes, length, &header), -ERROR_MESSAGE_FIELD);
    rule->blocker_count = le32_make(1);
    rule->gone = le64_make(2); // of a member that there is not
    assert_int_equal(message_frame_verify(bytes, length, &header), -ERROR_MESSAGE_FIELD);
    rule->gone = le64_make(1);
    rule->header.type = le16_make(MESSAGE_TYPE_COUNT);
    assert_int_equal(message_frame_verify(bytes, length, &header), -ERROR_MESSAGE_TYPE);
    rule->header.type = le16_make(0);
    assert_int_equal(message_frame_verify(bytes, length, &header), -ERROR_MESSAGE_TYPE);
}

// Bits of true frames are turned and the result is given to a core: it must live, and say so.
static void test_mutated_frames_do_no_harm(void **state)
{
    struct cluster cluster;
    struct random random;
    uint64_t bad = 0;

    (void)state;
    random_init(&random, 2026);
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    struct cluster_frame *frame = &cluster.frames[0];
    cluster_request(&cluster, 0, cluster_name_of(&cluster, 1), 1, DLM_PR, 0);
    for (uint32_t i = 0; i < MUTATIONS; i++) {
        struct cluster_frame *original = frame + random_below(&random, cluster.frame_count);
        uint8_t *copy = malloc(original->length);
        memcpy(copy, original->bytes, original->length);
        for (uint64_t flips = 1 + random_below(&random, 3); flips > 0; flips--)
            copy[random_below(&random, original->length)] ^=
                (uint8_t)(1U << random_below(&random, 8));
        struct dlm_event event = {
            .type = DLM_EVENT_FRAME,
            .frame = {{2, 1}, copy, original->length},
        };
        dlm_core_step(cluster.cores[0], &event, 1, &cluster.effects);
        for (size_t e = 0; e < cluster.effects.count; e++)
            bad += cluster.effects.items[e].type == DLM_EFFECT_BAD_FRAME;
        free(copy);
    }
    assert_true(bad > 0);
    assert_int_equal(dlm_core_counters(cluster.cores[0])->frames_bad, bad);
    cluster_deinit(&cluster);
}

static void test_sender_must_be_who_it_says(void **state)
{
    struct cluster cluster;
    _Alignas(8) uint8_t bytes[512];
    struct dlm_event event = {.type = DLM_EVENT_FRAME};

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    event.frame = (struct dlm_frame){{3, 1}, bytes, make_frame(bytes)};
    dlm_core_step(cluster.cores[0], &event, 1, &cluster.effects);
    assert_int_equal(cluster.effects.items[0].type, DLM_EFFECT_BAD_FRAME);
    assert_int_equal(cluster.effects.items[0].bad_frame.error, -ERROR_MESSAGE_SENDER);
    cluster_deinit(&cluster);
}

static void test_odd_addresses(void **state)
{
    struct cluster cluster;
    uint8_t shifted[512];

    (void)state;
    cluster_init(&cluster, 2);
    cluster_view(&cluster, 3, 0);
    cluster_settle(&cluster);
    cluster_request(&cluster, 0, cluster_name_of(&cluster, 1), 1, DLM_PR, 0);
    memcpy(shifted + 3, cluster.frames[0].bytes, cluster.frames[0].length);
    struct dlm_event event = {
        .type = DLM_EVENT_FRAME,
        .frame = {{1, 1}, shifted + 3, cluster.frames[0].length},
    };
    dlm_core_step(cluster.cores[1], &event, 1, &cluster.effects);
    assert_int_equal(dlm_core_counters(cluster.cores[1])->mastered_grants, 1);
    cluster_deinit(&cluster);
}

static void test_hello(void **state)
{
    struct hello mine = {.sender = {1, 5},
                         .version_min = 1,
                         .version_max = 2,
                         .features_may = 3,
                         .format_id = "volume"};
    struct hello theirs = mine, peer;
    struct hello_wire wire;
    uint16_t version;

    (void)state;
    theirs.sender = (struct dlm_node){2, 9};
    theirs.version_max = 1;
    theirs.peer_incarnation = 5;
    theirs.session_received = 77;
    message_hello_encode(&theirs, &wire);
    assert_int_equal(message_hello_decode(&wire, &mine, &peer, &version), 0);
    assert_int_equal(version, 1);
    assert_int_equal(peer.sender.incarnation, 9);
    assert_int_equal(peer.session_received, 77);
    theirs.peer_incarnation = 4;
    message_hello_encode(&theirs, &wire);
    assert_int_equal(message_hello_decode(&wire, &mine, &peer, &version), -ERROR_MESSAGE_SENDER);
    theirs.format_id[0] = 'V';
    message_hello_encode(&theirs, &wire);
    assert_int_equal(message_hello_decode(&wire, &mine, &peer, &version), -ERROR_PEER_VOLUME);
    theirs.features_must = 4;
    message_hello_encode(&theirs, &wire);
    assert_int_equal(message_hello_decode(&wire, &mine, &peer, &version), -ERROR_PEER_VERSION);
    wire.magic = le32_make(0);
    assert_int_equal(message_hello_decode(&wire, &mine, &peer, &version), -ERROR_PEER_HANDSHAKE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_fields_out_of_range),
        cmocka_unit_test(test_mutated_frames_do_no_harm),
        cmocka_unit_test(test_sender_must_be_who_it_says),
        cmocka_unit_test(test_odd_addresses),
        cmocka_unit_test(test_hello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
