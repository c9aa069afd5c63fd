// SPDX-License-Identifier: Apache-2.0
// dlm/transport.h over simulated time: connections between machines that reach each other, the
// production sessions over them. Frames take their time and keep their order; what is under way
// when a connection breaks is lost, and the session brings it again over the next one.
#include "dlm/transport.h"

#include <stdlib.h>
#include <string.h>

#include "dlm/session.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "tests/sim/ring3.h"

enum { UNACKED_BYTES_MAX = 64 << 20 };

struct peer {
    TAILQ_ENTRY(peer) link;
    struct transport *transport;
    struct dlm_node node;
    struct session *session;
    uint64_t connection; // while it is up; else 0
    uint64_t since_ns;   // on the node's clock
    uint64_t arrives_ns; // the last frame to it
    struct world_event attempt, cut;
};

struct transport {
    struct transport_config config;
    struct ring3_life *life;
    TAILQ_HEAD(peers, peer) peers;
    TAILQ_HEAD(frames, frame) held; // in order
    uint64_t connects;
};

// A frame, or (no length, no header sequence) nothing: it is in no list, and finds its ends again.
struct frame {
    struct world_event event; // first
    TAILQ_ENTRY(frame) link;  // of those that wait while their node stands still
    struct ring3_machine *to;
    uint32_t from_node_id;
    uint64_t connection;
    struct session_frame_wire header;
    size_t length;
    uint8_t bytes[];
};

static struct ring3 *ring3_of(const struct transport *transport)
{
    return transport->life->ring3;
}

static uint64_t own_now(const struct transport *transport)
{
    return environment_boot_ns(transport->config.environment);
}

static bool hear_each_other(const struct ring3_machine *a, const struct ring3_machine *b)
{
    return ring3_machine_hears(a, b) && ring3_machine_hears(b, a);
}

static struct peer *find_peer(struct transport *transport, struct dlm_node node)
{
    struct peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link) {
        if (peer->node.node_id == node.node_id && peer->node.incarnation == node.incarnation)
            return peer;
    }
    return NULL;
}

static struct peer *find_connection(struct transport *transport, uint64_t connection)
{
    struct peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link) {
        if (peer->connection == connection)
            return peer;
    }
    return NULL;
}

// --- breaking --------------------------------------------------------------------------------

static void try_again_in(struct peer *peer, uint64_t in_ns)
{
    ring3_arm_in(ring3_of(peer->transport), &peer->attempt, in_ns);
}

static void break_connection(struct peer *peer)
{
    struct transport *transport = peer->transport;
    if (peer->connection == 0)
        return;
    peer->connection = 0;
    peer->since_ns = own_now(transport);
    session_disconnect(peer->session);
    try_again_in(peer, ring3_between(ring3_of(transport), 1 * RING3_MS, 300 * RING3_MS));
    transport->config.link_changed(transport->config.context, peer->node, false, peer->since_ns);
}

static void cut_in(struct peer *peer, uint64_t in_ns)
{
    if (peer->connection != 0 && peer->cut.heap_slot == 0)
        ring3_arm_in(ring3_of(peer->transport), &peer->cut, in_ns);
}

// The other end of a connection sees it closed.
static void close_other_end(struct ring3_machine *machine, uint64_t connection, uint64_t in_ns)
{
    const struct ring3_life *life = machine->life;
    if (life == NULL || life->transport == NULL || connection == 0)
        return;
    struct peer *other = find_connection(life->transport, connection);
    if (other != NULL)
        cut_in(other, in_ns);
}

// As far as the network lets the other one know.
static void close_both(struct peer *peer)
{
    struct transport *transport = peer->transport;
    struct ring3_machine *machine = ring3_machine_of(ring3_of(transport), peer->node.node_id);
    if (ring3_machine_hears(machine, transport->life->machine))
        close_other_end(machine, peer->connection, 1 * RING3_MS);
    break_connection(peer);
}

static void cut_fires(struct world_event *event)
{
    struct peer *peer = (struct peer *)(void *)((char *)event - offsetof(struct peer, cut));
    const struct ring3_life *life = peer->transport->life;
    if (ring3_life_is_paused(life))
        world_event_arm(life->ring3->world, event, life->world_node.paused_until_ns);
    else
        close_both(peer);
}

static void lose_session(struct peer *peer)
{
    struct transport *transport = peer->transport;
    struct dlm_node node = peer->node;
    break_connection(peer);
    transport->config.session_lost(transport->config.context, node, -ERROR_SESSION_LOST);
}

// --- frames ----------------------------------------------------------------------------------

static void pump(struct peer *peer);

static void arrive(struct transport *transport, struct frame *frame)
{
    struct peer *peer = find_connection(transport, frame->connection);
    size_t length;
    if (peer == NULL)
        return;
    int result = session_frame_verify(&frame->header, &length);
    CHECK(result == 0 && length == frame->length);
    result = session_receive(peer->session, &frame->header);
    if (result < 0) {
        lose_session(peer);
        return;
    }
    if (result == 1)
        transport->config.deliver(transport->config.context, peer->node, frame->bytes, length);
    peer = find_connection(transport, frame->connection); // what was delivered may end it
    if (peer != NULL)
        pump(peer);
}

static void frame_arrives(struct world_event *event)
{
    struct frame *frame = (struct frame *)event;
    struct ring3_life *life = frame->to->life;
    struct transport *transport = life != NULL && !life->is_killed ? life->transport : NULL;
    struct ring3 *ring3 = frame->to->ring3;
    if (transport != NULL && ring3_life_is_paused(life)) {
        TAILQ_INSERT_TAIL(&transport->held, frame, link);
        return;
    }
    struct peer *peer = transport != NULL ? find_connection(transport, frame->connection) : NULL;
    bool is_cut = !ring3_machine_hears(frame->to, ring3_machine_of(ring3, frame->from_node_id));
    if (peer != NULL && is_cut) { // and so is what comes behind it
        peer->connection = 0;
        peer->since_ns = own_now(transport);
        session_disconnect(peer->session);
        try_again_in(peer, 500 * RING3_MS);
        transport->config.link_changed(transport->config.context, peer->node, false,
                                       peer->since_ns);
    } else if (peer != NULL) {
        arrive(transport, frame);
    }
    free(frame);
}

static void pump(struct peer *peer)
{
    struct transport *transport = peer->transport;
    struct ring3 *ring3 = ring3_of(transport);
    struct session_frame_wire header;
    const uint8_t *payload;
    size_t length;
    while (peer->connection != 0 && session_next(peer->session, &header, &payload, &length)) {
        struct frame *frame = calloc(1, sizeof(*frame) + length);
        CHECK(frame != NULL);
        frame->event.fire = frame_arrives;
        frame->to = ring3_machine_of(ring3, peer->node.node_id);
        frame->from_node_id = transport->config.hello.sender.node_id;
        frame->connection = peer->connection;
        frame->header = header;
        frame->length = length;
        if (length > 0)
            memcpy(frame->bytes, payload, length);
        uint64_t delay_ns = transport->life->machine->delay_ns_max;
        uint64_t at_ns = ring3->world->now_ns + ring3_between(ring3, 30000, 400000 + delay_ns);
        if (at_ns < peer->arrives_ns)
            at_ns = peer->arrives_ns;
        peer->arrives_ns = at_ns;
        world_event_arm(ring3->world, &frame->event, at_ns);
    }
}

// --- connecting ------------------------------------------------------------------------------

// The other end, if it waits for this one as well.
static struct peer *other_end(const struct peer *peer)
{
    struct ring3 *ring3 = ring3_of(peer->transport);
    struct ring3_machine *machine = ring3_machine_of(ring3, peer->node.node_id);
    const struct ring3_life *life = machine->life;
    if (life == NULL || life->is_killed || life->transport == NULL || ring3_life_is_paused(life) ||
        life->transport->config.hello.sender.incarnation != peer->node.incarnation ||
        !hear_each_other(peer->transport->life->machine, machine))
        return NULL;
    struct peer *other = find_peer(life->transport, peer->transport->config.hello.sender);
    return other != NULL && other->connection == 0 ? other : NULL;
}

static void stand(struct peer *peer, uint64_t connection)
{
    struct transport *transport = peer->transport;
    peer->connection = connection;
    peer->since_ns = own_now(transport);
    peer->arrives_ns = 0;
    world_event_disarm(ring3_of(transport)->world, &peer->attempt);
    world_event_disarm(ring3_of(transport)->world, &peer->cut);
}

static void tell_up(struct peer *peer)
{
    struct transport *transport = peer->transport;
    uint64_t connection = peer->connection;
    transport->config.link_changed(transport->config.context, peer->node, true, peer->since_ns);
    peer = find_connection(transport, connection);
    if (peer != NULL)
        pump(peer);
}

static void attempt_fires(struct world_event *event)
{
    struct peer *peer = (struct peer *)(void *)((char *)event - offsetof(struct peer, attempt));
    struct ring3 *ring3 = ring3_of(peer->transport);
    struct ring3_life *life = peer->transport->life;
    if (life->is_killed || peer->connection != 0)
        return;
    struct peer *other = ring3_life_is_paused(life) ? NULL : other_end(peer);
    if (other == NULL) {
        try_again_in(peer, ring3_between(ring3, 50 * RING3_MS, 300 * RING3_MS));
        return;
    }
    uint64_t own = session_received(peer->session), theirs = session_received(other->session);
    uint64_t connection = ((uint64_t)life->number << 32) + ++peer->transport->connects;
    stand(peer, connection);
    stand(other, connection);
    int result = session_connect(peer->session, theirs);
    int result_other = session_connect(other->session, own);
    struct ring3_life *other_life = other->transport->life;
    if (result_other != 0)
        lose_session(other);
    else
        tell_up(other);
    peer = find_connection(life->transport, connection);
    (void)other_life;
    if (peer == NULL)
        return;
    if (result != 0)
        lose_session(peer);
    else
        tell_up(peer);
}

// --- the contract ----------------------------------------------------------------------------

void transport_key_derive(uint8_t key[TRANSPORT_KEY_BYTES], const uint8_t *authkey,
                          size_t authkey_bytes, const uint8_t format_id[16])
{
    (void)authkey, (void)authkey_bytes, (void)format_id; // nobody listens here
    memset(key, 0, TRANSPORT_KEY_BYTES);
}

int transport_new(const struct transport_config *config, struct transport **out)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    CHECK(transport != NULL);
    transport->config = *config;
    transport->life = (struct ring3_life *)config->environment;
    transport->life->transport = transport;
    transport->life->incarnation = config->hello.sender.incarnation;
    TAILQ_INIT(&transport->peers);
    TAILQ_INIT(&transport->held);
    *out = transport;
    return 0;
}

static void peer_free(struct peer *peer)
{
    struct world *world = ring3_of(peer->transport)->world;
    world_event_disarm(world, &peer->attempt);
    world_event_disarm(world, &peer->cut);
    TAILQ_REMOVE(&peer->transport->peers, peer, link);
    session_free(peer->session);
    free(peer);
}

void transport_free(struct transport *transport)
{
    ring3_transport_life_gone(transport->life, 1 * RING3_MS);
    ring3_transport_resume(transport->life);
    while (!TAILQ_EMPTY(&transport->peers))
        peer_free(TAILQ_FIRST(&transport->peers));
    transport->life->transport = NULL;
    free(transport);
}

uint16_t transport_port(const struct transport *transport)
{
    return (uint16_t)(1000 + transport->life->machine->node_id);
}

// The lower id connects, as in production; both look for each other here, which comes to the same.
void transport_peer_add(struct transport *transport, struct dlm_node node, uint16_t port)
{
    struct peer *peer = find_peer(transport, node), *next;
    (void)port;
    if (peer != NULL)
        return;
    for (peer = TAILQ_FIRST(&transport->peers); peer != NULL; peer = next) {
        next = TAILQ_NEXT(peer, link);
        if (peer->node.node_id == node.node_id)
            transport_peer_remove(transport, peer->node);
    }
    peer = calloc(1, sizeof(*peer));
    CHECK(peer != NULL);
    peer->transport = transport;
    peer->node = node;
    peer->since_ns = own_now(transport);
    peer->session = session_new(&(struct session_config){.unacked_bytes_max = UNACKED_BYTES_MAX});
    peer->attempt.fire = attempt_fires;
    peer->cut.fire = cut_fires;
    TAILQ_INSERT_TAIL(&transport->peers, peer, link);
    try_again_in(peer, ring3_between(ring3_of(transport), 100000, 3 * RING3_MS));
}

void transport_peer_remove(struct transport *transport, struct dlm_node node)
{
    struct peer *peer = find_peer(transport, node);
    if (peer == NULL)
        return;
    struct ring3_machine *machine = ring3_machine_of(ring3_of(transport), node.node_id);
    if (!transport->life->is_killed && ring3_machine_hears(machine, transport->life->machine))
        close_other_end(machine, peer->connection, 1 * RING3_MS);
    peer_free(peer);
}

void transport_send(struct transport *transport, struct dlm_node to, const uint8_t *bytes,
                    size_t length)
{
    struct peer *peer = find_peer(transport, to);
    if (peer == NULL || transport->life->is_killed)
        return;
    if (session_send(peer->session, bytes, length) == 0)
        pump(peer);
    else
        cut_in(peer, 0); // the session says at the next connection that it is lost
}

// --- what happens to the network ---------------------------------------------------------------

void ring3_transport_life_gone(struct ring3_life *life, uint64_t heard_in_ns)
{
    struct peer *peer;
    if (life->transport == NULL)
        return;
    TAILQ_FOREACH (peer, &life->transport->peers, link) {
        close_other_end(ring3_machine_of(life->ring3, peer->node.node_id), peer->connection,
                        heard_in_ns);
        peer->connection = 0;
        world_event_disarm(life->ring3->world, &peer->cut);
    }
}

// What came meanwhile comes now, before all that comes later.
void ring3_transport_resume(struct ring3_life *life)
{
    struct frame *frame;
    if (life->transport == NULL)
        return;
    while ((frame = TAILQ_FIRST(&life->transport->held)) != NULL) {
        TAILQ_REMOVE(&life->transport->held, frame, link);
        ring3_arm_in(life->ring3, &frame->event, 0);
    }
}

void ring3_transport_cut(struct ring3 *ring3, uint32_t a, uint32_t b)
{
    const struct ring3_life *life = ring3_machine_of(ring3, a)->life;
    struct peer *peer;
    if (life == NULL || life->transport == NULL)
        return;
    TAILQ_FOREACH (peer, &life->transport->peers, link) {
        if (peer->node.node_id == b)
            cut_in(peer, 0);
    }
}

void ring3_transport_network_changed(struct ring3 *ring3)
{
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        struct ring3_machine *machine = &ring3->machines[i];
        struct peer *peer;
        if (machine->life == NULL || machine->life->transport == NULL)
            continue;
        TAILQ_FOREACH (peer, &machine->life->transport->peers, link) {
            if (!hear_each_other(machine, ring3_machine_of(ring3, peer->node.node_id)))
                cut_in(peer, ring3_between(ring3, 500 * RING3_MS, 2500 * RING3_MS));
        }
    }
}
