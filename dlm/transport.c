// SPDX-License-Identifier: Apache-2.0
#include "dlm/transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dlm/transport_internal.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

// A cut cable is noticed after about so long, though nothing answers (rule 20 counts from there).
enum { DEAD_AFTER_MS = 2000, KEEPALIVE_IDLE_S = 1, KEEPALIVE_INTERVAL_S = 1, KEEPALIVE_COUNT = 2 };

static void peer_cut(struct transport_peer *peer);
static size_t peer_receive(void *context, const uint8_t *bytes, size_t length);

// --- look-ups and texts ----------------------------------------------------------------------

struct transport_peer *transport_peer_find(struct transport *transport, struct dlm_node node)
{
    struct transport_peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link)
        if (!peer->is_removed && peer->node.node_id == node.node_id &&
            peer->node.incarnation == node.incarnation)
            return peer;
    return NULL;
}

const struct transport_node *transport_node_find(const struct transport *transport,
                                                 uint32_t node_id)
{
    for (uint32_t i = 0; i < transport->node_count; i++)
        if (transport->nodes[i].node_id == node_id)
            return &transport->nodes[i];
    return NULL;
}

void transport_address_text(const struct sockaddr_storage *address, char *text, size_t bytes)
{
    char host[48] = "?", port[8] = "?";
    getnameinfo((const struct sockaddr *)address, sizeof(*address), host, sizeof(host), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, bytes, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

void transport_complain(struct transport *transport, int error, const char *address,
                        const char *reason)
{
    uint64_t now_ns = environment_boot_ns(transport->config.environment);
    if (transport->complained_ns != 0 && now_ns < transport->complained_ns + 1000000000u) {
        transport->complaints_dropped++;
        return;
    }
    int code = error_is_check(error) ? -error : ERROR_PEER_HANDSHAKE;
    log_error(transport->config.log, code, "%s is cut off: %s (%u others since the last line)",
              address, reason, transport->complaints_dropped);
    transport->complained_ns = now_ns;
    transport->complaints_dropped = 0;
}

void transport_socket_tune(int fd)
{
    int one = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, count = KEEPALIVE_COUNT;
    unsigned dead_ms = DEAD_AFTER_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

// --- holding on ---------------------------------------------------------------------------------

// Callbacks may remove the peer that they are about, so each way in here (an event of the
// connection, a call) holds it, once: what these call does not.
static void peer_enter(struct transport_peer *peer)
{
    peer->busy++;
}

static void peer_leave(struct transport_peer *peer)
{
    if (--peer->busy > 0 || !peer->is_removed)
        return;
    session_free(peer->session);
    free(peer);
}

// --- writing ---------------------------------------------------------------------------------

// Moves frames into the connection's buffer while it has room for the longest; true: there are
// more.
static bool peer_fill(struct transport_peer *peer)
{
    struct session_frame_wire header;
    const uint8_t *payload;
    size_t length;
    while (tls_stream_room(peer->stream) >= sizeof(header) + DLM_FRAME_BYTES_MAX) {
        if (!session_next(peer->session, &header, &payload, &length))
            return false;
        tls_stream_write(peer->stream, &header, sizeof(header));
        tls_stream_write(peer->stream, payload, length);
        peer->stats.frames_sent++;
        peer->stats.bytes_sent += sizeof(header) + length;
    }
    return true;
}

// Until one of the two has no more: the session no frames, or the socket no room (then it says when
// it has some again).
static void peer_write(struct transport_peer *peer)
{
    bool has_more = true;
    peer->is_dirty = false;
    peer_enter(peer);
    while (has_more && peer->phase == PEER_UP) {
        has_more = peer_fill(peer);
        if (!tls_stream_flush(peer->stream))
            break;
    }
    peer_leave(peer);
}

static struct transport_peer *dirty_peer(struct transport *transport)
{
    struct transport_peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link)
        if (peer->is_dirty)
            return peer;
    return NULL;
}

// From the start after each one: writing may end connections, and peers with them.
static void flush_all(struct environment_post *post)
{
    struct transport *transport =
        (struct transport *)(void *)((char *)post - offsetof(struct transport, flush));
    struct transport_peer *peer;
    transport->flush_is_posted = false;
    while ((peer = dirty_peer(transport)) != NULL)
        peer_write(peer);
}

static void peer_is_dirty(struct transport_peer *peer)
{
    struct transport *transport = peer->transport;
    peer->is_dirty = true;
    if (transport->flush_is_posted)
        return;
    transport->flush_is_posted = true;
    environment_event_post(transport->config.environment, &transport->flush);
}

static void peer_writable(void *context)
{
    peer_write(context);
}

// --- up and down -----------------------------------------------------------------------------

static bool we_connect(const struct transport_peer *peer)
{
    return peer->transport->config.hello.sender.node_id < peer->node.node_id;
}

static void peer_retry(struct transport_peer *peer)
{
    struct environment *environment = peer->transport->config.environment;
    if (!we_connect(peer) || peer->is_lost || peer->is_removed)
        return;
    uint64_t jitter_ns = environment_random_u64(environment) % TRANSPORT_BACKOFF_NS_MIN;
    environment_timer_arm(environment, &peer->timer,
                          environment_boot_ns(environment) + peer->backoff_ns + jitter_ns);
    peer->backoff_ns *= 2;
    if (peer->backoff_ns > TRANSPORT_BACKOFF_NS_MAX)
        peer->backoff_ns = TRANSPORT_BACKOFF_NS_MAX;
}

// Without the connection, whatever it was at. Says so if it was up.
static void peer_down(struct transport_peer *peer, const char *reason)
{
    struct transport *transport = peer->transport;
    bool was_up = peer->phase == PEER_UP;
    peer->phase = PEER_DOWN;
    peer->stream = NULL;
    environment_timer_disarm(transport->config.environment, &peer->timer);
    if (!was_up)
        return;
    session_disconnect(peer->session);
    peer->stats.is_up = false;
    peer->stats.since_ns = environment_boot_ns(transport->config.environment);
    log_notice(transport->config.log, "the lock link to %s (%s) is down: %s", peer->host->name,
               peer->stats.address, reason);
    transport->config.link_changed(transport->config.context, peer->node, false,
                                   peer->stats.since_ns);
}

static void peer_closed(void *context, int error, const char *reason)
{
    struct transport_peer *peer = context;
    peer_enter(peer);
    if (peer->phase == PEER_CONNECTING && error == -ERROR_PEER_HANDSHAKE) {
        peer->transport->counters.refused_handshake++;
        transport_complain(peer->transport, error, peer->stats.address, reason);
    }
    peer_down(peer, reason);
    peer_retry(peer);
    peer_leave(peer);
}

static void peer_cut(struct transport_peer *peer)
{
    tls_stream_close(peer->stream);
    peer_down(peer, "cut off by this node");
}

static void peer_lost(struct transport_peer *peer, int error)
{
    struct transport *transport = peer->transport;
    if (peer->is_lost)
        return;
    peer->is_lost = true;
    peer_cut(peer);
    transport->config.session_lost(transport->config.context, peer->node, error);
}

static void peer_hello(const struct transport_peer *peer, struct hello_wire *wire)
{
    struct hello hello = peer->transport->config.hello;
    hello.peer_incarnation = peer->node.incarnation;
    hello.session_received = session_received(peer->session);
    message_hello_encode(&hello, wire);
}

// Both hellos are said: the session goes on over `stream`.
static void peer_up(struct transport_peer *peer, struct tls_stream *stream,
                    const struct hello *hello)
{
    struct transport *transport = peer->transport;
    int result = session_connect(peer->session, hello->session_received);
    peer->stream = stream;
    if (result != 0) {
        peer_lost(peer, result);
        return;
    }
    environment_timer_disarm(transport->config.environment, &peer->timer);
    peer->phase = PEER_UP;
    peer->backoff_ns = TRANSPORT_BACKOFF_NS_MIN;
    peer->stats.is_up = true;
    peer->stats.connects++;
    peer->stats.since_ns = environment_boot_ns(transport->config.environment);
    peer_is_dirty(peer);
    transport->config.link_changed(transport->config.context, peer->node, true,
                                   peer->stats.since_ns);
}

static void stream_nothing(void *context)
{
    (void)context;
}

// The old connection ends before our hello is made: what it still brings does not count.
void transport_peer_accept(struct transport_peer *peer, struct tls_stream *stream,
                           const struct hello *hello, const char *address)
{
    static const struct tls_stream_callbacks callbacks = {.opened = stream_nothing,
                                                          .received = peer_receive,
                                                          .writable = peer_writable,
                                                          .closed = peer_closed};
    struct hello_wire wire;
    peer_enter(peer);
    if (peer->phase == PEER_UP)
        peer_cut(peer);
    if (peer->is_removed || peer->is_lost) {
        tls_stream_close(stream);
    } else {
        snprintf(peer->stats.address, sizeof(peer->stats.address), "%s", address);
        peer_hello(peer, &wire);
        tls_stream_write(stream, &wire, sizeof(wire));
        tls_stream_retarget(stream, &callbacks, peer);
        peer_up(peer, stream, hello);
    }
    peer_leave(peer);
}

// --- reading ---------------------------------------------------------------------------------

static void peer_talks_nonsense(struct transport_peer *peer, int error)
{
    peer->transport->counters.refused_frame++;
    transport_complain(peer->transport, error, peer->stats.address, error_text(error));
    peer_cut(peer);
    peer_retry(peer);
}

// One whole frame at the front: its bytes; 0: not whole yet, or the connection was cut.
static size_t peer_take_frame(struct transport_peer *peer, const uint8_t *bytes, size_t length)
{
    struct session_frame_wire header;
    size_t payload_length;
    if (length < sizeof(header))
        return 0;
    memcpy(&header, bytes, sizeof(header));
    int result = session_frame_verify(&header, &payload_length);
    if (result != 0) {
        peer_talks_nonsense(peer, result);
        return 0;
    }
    if (length < sizeof(header) + payload_length)
        return 0;
    result = session_receive(peer->session, &header);
    if (result < 0) {
        peer_lost(peer, result);
        return 0;
    }
    peer->stats.frames_received++;
    peer->stats.bytes_received += sizeof(header) + payload_length;
    if (result == 1)
        peer->transport->config.deliver(peer->transport->config.context, peer->node,
                                        bytes + sizeof(header), payload_length);
    return sizeof(header) + payload_length;
}

static size_t peer_take_frames(struct transport_peer *peer, const uint8_t *bytes, size_t length)
{
    struct tls_stream *stream = peer->stream;
    size_t taken = 0;
    while (peer->stream == stream && peer->phase == PEER_UP) { // a delivery may end both
        size_t frame = peer_take_frame(peer, bytes + taken, length - taken);
        if (frame == 0)
            break;
        taken += frame;
    }
    if (peer->phase == PEER_UP && !peer->is_removed)
        peer_is_dirty(peer); // acks
    return taken;
}

static size_t peer_receive(void *context, const uint8_t *bytes, size_t length)
{
    struct transport_peer *peer = context;
    peer_enter(peer);
    size_t taken = peer_take_frames(peer, bytes, length);
    peer_leave(peer);
    return taken;
}

// --- connecting ------------------------------------------------------------------------------

static void outgoing_opened(void *context)
{
    struct transport_peer *peer = context;
    struct hello_wire wire;
    peer_hello(peer, &wire);
    tls_stream_write(peer->stream, &wire, sizeof(wire));
    tls_stream_flush(peer->stream);
}

static size_t outgoing_hello(struct transport_peer *peer, const uint8_t *bytes, size_t length)
{
    struct hello_wire wire;
    struct hello mine = peer->transport->config.hello, hello;
    uint16_t version;
    if (length < sizeof(wire))
        return 0;
    memcpy(&wire, bytes, sizeof(wire));
    int result = message_hello_decode(&wire, &mine, &hello, &version);
    bool is_meant = result == 0 && hello.sender.node_id == peer->node.node_id &&
                    hello.sender.incarnation == peer->node.incarnation;
    if (!is_meant) {
        if (result == 0)
            result = -ERROR_MESSAGE_SENDER;
        peer->transport->counters.refused_hello++;
        transport_complain(peer->transport, result, peer->stats.address, error_text(result));
        peer_cut(peer);
        peer_retry(peer);
        return 0;
    }
    peer_up(peer, peer->stream, &hello);
    return sizeof(wire);
}

static size_t outgoing_received(void *context, const uint8_t *bytes, size_t length)
{
    struct transport_peer *peer = context;
    struct tls_stream *stream = peer->stream;
    size_t taken = 0;
    peer_enter(peer);
    if (peer->phase == PEER_CONNECTING)
        taken = outgoing_hello(peer, bytes, length);
    if (peer->phase == PEER_UP && peer->stream == stream)
        taken += peer_take_frames(peer, bytes + taken, length - taken);
    peer_leave(peer);
    return taken;
}

static int connect_socket(const struct transport_peer *peer, uint32_t index,
                          struct sockaddr_storage *address)
{
    struct sockaddr_storage from = peer->transport->self->addresses[0];
    socklen_t bytes =
        address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (index < peer->transport->self->address_count)
        from = peer->transport->self->addresses[index]; // so that the other end knows us
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    transport_socket_tune(fd);
    if (from.ss_family == address->ss_family && bind(fd, (struct sockaddr *)&from, bytes) != 0)
        log_debug(peer->transport->config.log, "the lock link takes any source address");
    if (connect(fd, (struct sockaddr *)address, bytes) != 0 && errno != EINPROGRESS) {
        int result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

static void peer_connect(struct transport_peer *peer)
{
    static const struct tls_stream_callbacks callbacks = {.opened = outgoing_opened,
                                                          .received = outgoing_received,
                                                          .writable = peer_writable,
                                                          .closed = peer_closed};
    struct transport *transport = peer->transport;
    uint32_t index = peer->attempts++ % peer->host->address_count;
    struct sockaddr_storage address = peer->host->addresses[index];
    transport_address_set_port(&address, peer->port);
    transport_address_text(&address, peer->stats.address, sizeof(peer->stats.address));
    int fd = connect_socket(peer, index, &address);
    if (fd < 0) {
        peer_retry(peer);
        return;
    }
    peer->phase = PEER_CONNECTING;
    peer->stream =
        tls_stream_new(transport->config.environment, transport->tls, fd, true,
                       sizeof(struct session_frame_wire) + DLM_FRAME_BYTES_MAX, &callbacks, peer);
    environment_timer_arm(transport->config.environment, &peer->timer,
                          environment_boot_ns(transport->config.environment) +
                              TRANSPORT_HANDSHAKE_NS);
}

static void peer_timer(struct environment_timer *timer)
{
    struct transport_peer *peer =
        (struct transport_peer *)(void *)((char *)timer - offsetof(struct transport_peer, timer));
    if (peer->phase == PEER_DOWN) {
        peer_connect(peer);
    } else if (peer->phase == PEER_CONNECTING) { // it takes too long
        peer_cut(peer);
        peer_retry(peer);
    }
}

// --- peers -----------------------------------------------------------------------------------

static void peer_end(struct transport_peer *peer)
{
    struct transport *transport = peer->transport;
    peer_enter(peer);
    peer->is_removed = true;
    peer->is_lost = true;
    tls_stream_close(peer->stream);
    peer->stream = NULL;
    peer->phase = PEER_DOWN;
    environment_timer_disarm(transport->config.environment, &peer->timer);
    TAILQ_REMOVE(&transport->peers, peer, link);
    peer_leave(peer);
}

static struct transport_peer *peer_of_node(struct transport *transport, uint32_t node_id)
{
    struct transport_peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link)
        if (peer->node.node_id == node_id)
            return peer;
    return NULL;
}

void transport_peer_add(struct transport *transport, struct dlm_node node, uint16_t port)
{
    struct transport_peer *peer = peer_of_node(transport, node.node_id);
    if (peer != NULL && peer->node.incarnation == node.incarnation) {
        peer->port = port;
        return;
    }
    if (peer != NULL)
        peer_end(peer);
    const struct transport_node *host = transport_node_find(transport, node.node_id);
    if (host == NULL || host == transport->self)
        return;
    struct session_config session = {.unacked_bytes_max = TRANSPORT_UNACKED_BYTES_MAX};
    peer = calloc(1, sizeof(*peer));
    CHECK(peer != NULL);
    peer->transport = transport;
    peer->node = peer->stats.peer = node;
    peer->host = host;
    peer->port = port;
    peer->session = session_new(&session);
    peer->timer.fire = peer_timer;
    peer->backoff_ns = TRANSPORT_BACKOFF_NS_MIN;
    peer->stats.since_ns = environment_boot_ns(transport->config.environment);
    TAILQ_INSERT_TAIL(&transport->peers, peer, link);
    if (we_connect(peer))
        peer_connect(peer);
}

void transport_peer_remove(struct transport *transport, struct dlm_node node)
{
    struct transport_peer *peer = transport_peer_find(transport, node);
    if (peer != NULL)
        peer_end(peer);
}

void transport_send(struct transport *transport, struct dlm_node to, const uint8_t *bytes,
                    size_t length)
{
    struct transport_peer *peer = transport_peer_find(transport, to);
    if (peer == NULL || peer->is_lost)
        return;
    peer_enter(peer);
    int result = session_send(peer->session, bytes, length);
    if (result != 0)
        peer_lost(peer, result);
    else
        peer_is_dirty(peer);
    peer_leave(peer);
}

// --- the transport ---------------------------------------------------------------------------

static bool identity_is_known(void *context, const char *identity)
{
    unsigned node_id;
    char rest;
    return sscanf(identity, "lunfs %u%c", &node_id, &rest) == 1 &&
           transport_node_find(context, node_id) != NULL;
}

int transport_new(const struct transport_config *config, struct transport **out)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    char identity[TLS_IDENTITY_BYTES_MAX];
    CHECK(transport != NULL && config->node_count <= DLM_NODES_MAX);
    transport->config = *config;
    transport->node_count = config->node_count;
    memcpy(transport->nodes, config->nodes, config->node_count * sizeof(config->nodes[0]));
    transport->config.nodes = transport->nodes;
    transport->self = transport_node_find(transport, config->hello.sender.node_id);
    CHECK(transport->self != NULL && transport->self->address_count > 0);
    for (uint32_t i = 0; i < TRANSPORT_ADDRESSES_MAX; i++)
        transport->listeners[i].fd = -1;
    TAILQ_INIT(&transport->callers);
    TAILQ_INIT(&transport->peers);
    transport->flush.function = flush_all;
    snprintf(identity, sizeof(identity), "lunfs %u", config->hello.sender.node_id);
    transport->tls = tls_context_new(config->key, identity, identity_is_known, transport);
    signal(SIGPIPE, SIG_IGN); // OpenSSL writes to sockets whose other end may be gone
    int result = transport_listen(transport);
    if (result != 0) {
        transport_free(transport);
        return result;
    }
    *out = transport;
    return 0;
}

void transport_free(struct transport *transport)
{
    transport_listen_end(transport);
    while (!TAILQ_EMPTY(&transport->peers))
        peer_end(TAILQ_FIRST(&transport->peers));
    environment_event_post_cancel(transport->config.environment, &transport->flush);
    tls_context_free(transport->tls);
    free(transport);
}

static struct transport_peer *up_peer(struct transport *transport)
{
    struct transport_peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link)
        if (peer->phase == PEER_UP)
            return peer;
    return NULL;
}

void transport_cut(struct transport *transport)
{
    struct transport_peer *peer;
    while ((peer = up_peer(transport)) != NULL) {
        peer_enter(peer);
        peer_cut(peer);
        peer_retry(peer);
        peer_leave(peer);
    }
}

uint16_t transport_port(const struct transport *transport)
{
    return transport->port;
}

bool transport_link_get(const struct transport *transport, uint32_t index,
                        struct transport_link *link)
{
    const struct transport_peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link) {
        if (index-- > 0)
            continue;
        *link = peer->stats;
        return true;
    }
    return false;
}

const struct transport_counters *transport_counters(const struct transport *transport)
{
    return &transport->counters;
}
