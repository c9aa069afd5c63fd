// SPDX-License-Identifier: Apache-2.0
// Two transports in one process, over loopback: frames both ways, a cut connection that is resumed,
// strangers, wrong keys, garbage. Nothing waits for the clock: each test turns the loop until what
// it wants has happened, and a watchdog ends a loop that never sees it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "dlm/transport.h"
#include "dlm/transport_tls.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment_event.h"

#define WATCHDOG_NS ((uint64_t)30000000000)

enum { NODES = 2, FRAMES_MAX = 4096 };

struct side {
    struct world *world;
    struct transport *transport;
    struct dlm_node self;
    uint32_t delivered;
    uint64_t delivered_bytes;
    uint32_t next; // number expected in the next frame
    uint32_t ups, downs, lost;
    bool is_up;
};

struct world {
    struct scheduler *scheduler;
    struct environment *environment;
    struct log log;
    struct transport_node nodes[NODES];
    struct side sides[NODES];
    bool (*is_done)(struct world *world);
    struct environment_timer watchdog;
    bool is_late;
    uint32_t complaints;
};

static const uint8_t format_id[16] = {1, 2, 3};

// --- callbacks -------------------------------------------------------------------------------

static void look(struct world *world)
{
    if (world->is_done != NULL && world->is_done(world))
        environment_event_stop(world->environment);
}

static void deliver(void *context, struct dlm_node from, const uint8_t *bytes, size_t length)
{
    struct side *side = context;
    uint32_t number;
    assert_true(length >= sizeof(number));
    assert_int_not_equal(from.node_id, side->self.node_id);
    memcpy(&number, bytes, sizeof(number));
    assert_int_equal(number, side->next);
    for (size_t i = sizeof(number); i < length; i++)
        assert_int_equal(bytes[i], (uint8_t)(number + i));
    side->next++;
    side->delivered++;
    side->delivered_bytes += length;
    look(side->world);
}

static void link_changed(void *context, struct dlm_node peer, bool is_up, uint64_t since_ns)
{
    struct side *side = context;
    (void)peer;
    assert_true(since_ns > 0);
    assert_true(side->is_up != is_up);
    side->is_up = is_up;
    side->ups += is_up;
    side->downs += !is_up;
    look(side->world);
}

static void session_lost(void *context, struct dlm_node peer, int error)
{
    struct side *side = context;
    (void)peer, (void)error;
    side->lost++;
    look(side->world);
}

static void write_log(struct log *log, enum log_level level, int code, const char *line)
{
    struct world *world = (struct world *)(void *)((char *)log - offsetof(struct world, log));
    (void)code, (void)line;
    if (level == LOG_LEVEL_ERROR) {
        world->complaints++;
        look(world);
    }
}

static void watchdog(struct environment_timer *timer)
{
    struct world *world =
        (struct world *)(void *)((char *)timer - offsetof(struct world, watchdog));
    world->is_late = true;
    environment_event_stop(world->environment);
}

static void run_until(struct world *world, bool (*is_done)(struct world *world))
{
    if (is_done(world))
        return;
    world->is_done = is_done;
    environment_timer_arm(world->environment, &world->watchdog,
                          environment_boot_ns(world->environment) + WATCHDOG_NS);
    environment_event_run(world->environment);
    environment_timer_disarm(world->environment, &world->watchdog);
    world->is_done = NULL;
    assert_false(world->is_late);
    assert_true(is_done(world));
}

// --- the world -------------------------------------------------------------------------------

static void make_node(struct transport_node *node, uint32_t node_id)
{
    struct sockaddr_in *address = (struct sockaddr_in *)&node->addresses[0];
    memset(node, 0, sizeof(*node));
    node->node_id = node_id;
    snprintf(node->name, sizeof(node->name), "n%u", node_id);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK + node_id - 1); // 127.0.0.1, 127.0.0.2
    node->address_count = 1;
}

static void start_side(struct world *world, uint32_t index, uint64_t incarnation, uint8_t key)
{
    struct side *side = &world->sides[index];
    *side = (struct side){.world = world, .self = {index + 1, incarnation}};
    struct transport_config config = {
        .environment = world->environment,
        .log = &world->log,
        .hello = {.sender = side->self,
                  .version_min = MESSAGE_VERSION_MIN,
                  .version_max = MESSAGE_VERSION},
        .nodes = world->nodes,
        .node_count = NODES,
        .context = side,
        .deliver = deliver,
        .link_changed = link_changed,
        .session_lost = session_lost,
    };
    uint8_t authkey[128];
    memset(authkey, key, sizeof(authkey));
    memcpy(config.hello.format_id, format_id, sizeof(format_id));
    transport_key_derive(config.key, authkey, sizeof(authkey), format_id);
    assert_int_equal(transport_new(&config, &side->transport), 0);
    assert_int_not_equal(transport_port(side->transport), 0);
}

static void introduce(struct world *world)
{
    struct side *sides = world->sides;
    transport_peer_add(sides[0].transport, sides[1].self, transport_port(sides[1].transport));
    transport_peer_add(sides[1].transport, sides[0].self, transport_port(sides[0].transport));
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->scheduler = scheduler_new();
    world->environment = environment_event_new(world->scheduler);
    world->log = (struct log){.level_max = LOG_LEVEL_NOTICE, .write = write_log};
    world->watchdog.fire = watchdog;
    for (uint32_t i = 0; i < NODES; i++)
        make_node(&world->nodes[i], i + 1);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    for (uint32_t i = 0; i < NODES; i++)
        if (world->sides[i].transport != NULL)
            transport_free(world->sides[i].transport);
    environment_event_free(world->environment);
    scheduler_free(world->scheduler);
    free(world);
    return 0;
}

static void send_numbered(struct side *from, struct side *to, uint32_t number, size_t length)
{
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(number + i);
    memcpy(bytes, &number, sizeof(number));
    transport_send(from->transport, to->self, bytes, length);
    free(bytes);
}

static bool both_are_up(struct world *world)
{
    return world->sides[0].is_up && world->sides[1].is_up;
}

static bool all_have_come(struct world *world)
{
    return world->sides[0].delivered == FRAMES_MAX && world->sides[1].delivered == FRAMES_MAX;
}

// --- tests -----------------------------------------------------------------------------------

static void test_frames_both_ways(void **state)
{
    struct world *world = *state;
    start_side(world, 0, 10, 7);
    start_side(world, 1, 20, 7);
    introduce(world);
    for (uint32_t i = 0; i < FRAMES_MAX; i++) { // sizes from a few bytes to the longest frame
        size_t length = i % 64 == 0 ? DLM_FRAME_BYTES_MAX : 8 + i % 500 / 8 * 8;
        send_numbered(&world->sides[0], &world->sides[1], i, length);
        send_numbered(&world->sides[1], &world->sides[0], i, length);
    }
    run_until(world, all_have_come);
    struct transport_link link;
    assert_true(transport_link_get(world->sides[0].transport, 0, &link));
    assert_true(link.is_up && link.connects == 1);
    assert_false(transport_link_get(world->sides[0].transport, 1, &link));
}

static bool was_cut_and_is_up(struct world *world)
{
    return world->sides[0].downs >= 1 && world->sides[1].downs >= 1 && both_are_up(world);
}

// The node's own life goes on; only its connection is cut, with frames on their way.
static void test_cut_and_resume(void **state)
{
    struct world *world = *state;
    start_side(world, 0, 10, 7);
    start_side(world, 1, 20, 7);
    introduce(world);
    run_until(world, both_are_up);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < FRAMES_MAX / 4; i++) {
            send_numbered(&world->sides[0], &world->sides[1], round * FRAMES_MAX / 4 + i, 2000);
            send_numbered(&world->sides[1], &world->sides[0], round * FRAMES_MAX / 4 + i, 2000);
        }
        world->sides[0].downs = world->sides[1].downs = 0;
        transport_cut(world->sides[round % 2].transport);
        run_until(world, was_cut_and_is_up);
    }
    run_until(world, all_have_come);
    assert_int_equal(world->sides[0].lost + world->sides[1].lost, 0);
}

static bool is_refused(struct world *world)
{
    const struct transport_counters *counters = transport_counters(world->sides[1].transport);
    return counters->refused_handshake > 0 && world->complaints > 0;
}

static void test_wrong_key_is_refused(void **state)
{
    struct world *world = *state;
    start_side(world, 0, 10, 8); // another cluster's key
    start_side(world, 1, 20, 7);
    introduce(world);
    run_until(world, is_refused);
    assert_int_equal(world->sides[0].ups + world->sides[1].ups, 0);
}

static int plain_socket(struct world *world)
{
    struct sockaddr_in to = *(struct sockaddr_in *)&world->nodes[1].addresses[0];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_port = htons(transport_port(world->sides[1].transport));
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void test_garbage_is_refused_and_the_rest_goes_on(void **state)
{
    struct world *world = *state;
    uint8_t garbage[4096];
    start_side(world, 0, 10, 7);
    start_side(world, 1, 20, 7);
    int fd = plain_socket(world);
    memset(garbage, 0x5a, sizeof(garbage));
    assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
    run_until(world, is_refused);
    close(fd);
    introduce(world);
    run_until(world, both_are_up);
}

static bool a_stranger_was_refused(struct world *world)
{
    return transport_counters(world->sides[1].transport)->refused_unknown > 0;
}

static void test_unknown_address_is_refused(void **state)
{
    struct world *world = *state;
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 50)};
    start_side(world, 1, 20, 7);
    struct sockaddr_in to = *(struct sockaddr_in *)&world->nodes[1].addresses[0];
    to.sin_port = htons(transport_port(world->sides[1].transport));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    run_until(world, a_stranger_was_refused);
    close(fd);
}

// --- a peer that knows the key but talks nonsense ----------------------------------------------

struct liar {
    struct tls_stream *stream;
    const uint8_t *bytes;
    size_t length;
    bool has_hello;
};

static void liar_opened(void *context)
{
    struct liar *liar = context;
    tls_stream_write(liar->stream, liar->bytes, liar->length);
    tls_stream_flush(liar->stream);
}

static size_t liar_received(void *context, const uint8_t *bytes, size_t length)
{
    struct liar *liar = context;
    (void)bytes;
    if (!liar->has_hello) {
        uint8_t junk[64];
        memset(junk, 0xff, sizeof(junk));
        liar->has_hello = true;
        tls_stream_write(liar->stream, junk, sizeof(junk));
        tls_stream_flush(liar->stream);
    }
    return length;
}

static void liar_writable(void *context)
{
    (void)context;
}

static void liar_closed(void *context, int error, const char *reason)
{
    struct liar *liar = context;
    (void)error, (void)reason;
    liar->stream = NULL;
}

static bool nobody_is_known(void *context, const char *identity)
{
    (void)context, (void)identity;
    return false;
}

static bool is_hello_refused(struct world *world)
{
    return transport_counters(world->sides[1].transport)->refused_hello > 0;
}

static bool is_frame_refused(struct world *world)
{
    return transport_counters(world->sides[1].transport)->refused_frame > 0;
}

static void lie(struct world *world, const struct hello_wire *hello,
                bool (*is_done)(struct world *world))
{
    static const struct tls_stream_callbacks callbacks = {.opened = liar_opened,
                                                          .received = liar_received,
                                                          .writable = liar_writable,
                                                          .closed = liar_closed};
    uint8_t authkey[128], key[TRANSPORT_KEY_BYTES];
    memset(authkey, 7, sizeof(authkey));
    transport_key_derive(key, authkey, sizeof(authkey), format_id);
    struct tls_context *tls = tls_context_new(key, "lunfs 1", nobody_is_known, NULL);
    struct liar liar = {.bytes = (const uint8_t *)hello, .length = sizeof(*hello)};
    liar.stream =
        tls_stream_new(world->environment, tls, plain_socket(world), true, 4096, &callbacks, &liar);
    run_until(world, is_done);
    tls_stream_close(liar.stream);
    tls_context_free(tls);
}

static struct hello_wire hello_of(uint32_t node_id, uint64_t incarnation, uint8_t volume)
{
    struct hello hello = {.sender = {node_id, incarnation},
                          .version_min = MESSAGE_VERSION_MIN,
                          .version_max = MESSAGE_VERSION};
    struct hello_wire wire;
    memcpy(hello.format_id, format_id, sizeof(format_id));
    hello.format_id[0] = volume;
    message_hello_encode(&hello, &wire);
    return wire;
}

static void test_another_volume_is_refused(void **state)
{
    struct world *world = *state;
    struct hello_wire hello = hello_of(1, 10, 99);
    start_side(world, 1, 20, 7);
    lie(world, &hello, is_hello_refused);
}

static void test_nonsense_frames_cut_the_peer_off(void **state)
{
    struct world *world = *state;
    struct hello_wire hello = hello_of(1, 10, format_id[0]);
    start_side(world, 1, 20, 7);
    transport_peer_add(world->sides[1].transport, (struct dlm_node){1, 10}, 1);
    lie(world, &hello, is_frame_refused);
    assert_int_equal(world->sides[1].ups, 1);
    assert_int_equal(world->sides[1].downs, 1);
}

static bool second_is_up(struct world *world)
{
    return world->sides[1].ups >= 1 && world->sides[0].is_up && world->sides[1].is_up;
}

static void test_a_new_life_begins_a_new_session(void **state)
{
    struct world *world = *state;
    start_side(world, 0, 10, 7);
    start_side(world, 1, 20, 7);
    introduce(world);
    run_until(world, both_are_up);
    send_numbered(&world->sides[0], &world->sides[1], 0, 104);
    transport_free(world->sides[1].transport);
    start_side(world, 1, 21, 7);
    world->sides[0].is_up = false; // told or not: the life is another one
    introduce(world);
    run_until(world, second_is_up);
    assert_int_equal(world->sides[1].delivered, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_frames_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_and_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_is_refused_and_the_rest_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_unknown_address_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_volume_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense_frames_cut_the_peer_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_life_begins_a_new_session, setup, teardown),
    };
    return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
