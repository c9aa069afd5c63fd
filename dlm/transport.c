// SPDX-License-Identifier: Apache-2.0
// Peers and connections. A peer is a life of a node in the view; its session survives connections.
//
//   connection:  CONNECTING ─► HANDSHAKE ─► HELLO ─► UP ─► closed
//                (client)       TLS          hellos crossed; the session goes on
//
// The client (lower node id) says hello first; the server knows only then which peer it is. What is
// to be sent is gathered and written once a turn of the loop.
#include "dlm/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "dlm/session.h"
#include "dlm/transport_tls.h"
#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"

#define MS ((uint64_t)1000 * 1000)

enum {
    HANDSHAKE_MS = 5000, // from connect or accept to the peer's hello
    RETRY_MS_MIN = 50,   // between attempts to connect, doubled up to
    RETRY_MS_MAX = 1000,
    TCP_PATIENCE_MS = 3000, // unacknowledged data: the path is dead (rule 20)
    OUT_BYTES = 256 << 10,
    IN_BYTES = sizeof(struct session_frame_wire) + DLM_FRAME_BYTES_MAX,
    SESSION_UNACKED_MAX = 64 << 20,
    BACKLOG = 64,
    CONNECTIONS_MAX = 256, // strangers included
};

enum connection_state { CONNECTING, HANDSHAKE, HELLO, UP };

struct peer;

struct connection {
    TAILQ_ENTRY(connection) link;
    struct environment_timer deadline;
    struct transport *transport;
    struct peer *peer; // NULL: accepted, and has not said who it is
    struct transport_tls_stream *stream;
    struct environment_watch *watch;
    int socket;
    enum connection_state state;
    bool is_client;
    bool hello_sent;
    bool is_dead;   // to be freed once nobody works on it
    unsigned users; // callers up the stack
    char address[64];
    size_t out_length, out_sent;
    size_t in_length;
    uint8_t out[OUT_BYTES];
    uint8_t in[IN_BYTES];
};

struct peer {
    TAILQ_ENTRY(peer) link;
    struct environment_timer retry;
    struct transport *transport;
    struct dlm_node life;
    uint16_t port;
    struct session *session;
    struct connection *connection;
    uint32_t address_index;
    uint64_t retry_ms;
    uint64_t since_ns;
    bool is_up, is_lost;
    struct transport_link status;
};

struct transport {
    struct transport_config config;
    struct transport_node *nodes;
    struct transport_tls *tls;
    struct environment_watch *listen_watch;
    int listener;
    uint16_t port;
    TAILQ_HEAD(peer_list, peer) peers;
    TAILQ_HEAD(connection_list, connection) connections;
    unsigned connection_count;
    bool flush_is_due;
    bool is_closing;
    struct wait_queue flushed;
    struct transport_counters counters;
};

static void connection_close(struct connection *connection, int error);
static void connect_to(struct peer *peer);

// --- small things ----------------------------------------------------------------------------

static uint64_t now_of(const struct transport *transport)
{
    return environment_boot_ns(transport->config.environment);
}

static const struct transport_node *node_of(const struct transport *transport, uint32_t node_id)
{
    for (uint32_t i = 0; i < transport->config.node_count; i++) {
        if (transport->nodes[i].node_id == node_id)
            return &transport->nodes[i];
    }
    return NULL;
}

static bool knows(void *context, uint32_t node_id)
{
    return node_of(context, node_id) != NULL;
}

static struct peer *peer_find(struct transport *transport, struct dlm_node life)
{
    struct peer *peer;
    TAILQ_FOREACH (peer, &transport->peers, link) {
        if (peer->life.node_id == life.node_id && peer->life.incarnation == life.incarnation)
            return peer;
    }
    return NULL;
}

static bool we_connect_to(const struct transport *transport, const struct peer *peer)
{
    return transport->config.hello.sender.node_id < peer->life.node_id;
}

static void address_text(const struct sockaddr_storage *address, char text[64])
{
    char host[INET6_ADDRSTRLEN] = "?";
    uint16_t port = 0;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        port = ntohs(v4->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        port = ntohs(v6->sin6_port);
    }
    snprintf(text, 64, "%s:%u", host, port);
}

static void address_set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
}

static socklen_t address_length(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

// Lock messages are small and waited for; a path that swallows packets is to be noticed.
static void tune_socket(int socket)
{
    int on = 1, patience = TCP_PATIENCE_MS, idle = 1, interval = 1, probes = 3;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof(patience));
    setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

// --- links -----------------------------------------------------------------------------------

static void link_set(struct peer *peer, bool is_up)
{
    struct transport *transport = peer->transport;
    if (peer->is_up == is_up)
        return;
    peer->is_up = is_up;
    peer->since_ns = now_of(transport);
    transport->config.link_changed(transport->config.context, peer->life, is_up, peer->since_ns);
}

static void session_is_lost(struct peer *peer, int error)
{
    struct transport *transport = peer->transport;
    if (peer->is_lost)
        return;
    peer->is_lost = true;
    log_error(transport->config.log, -error, "the session with node %u: %s", peer->life.node_id,
              error_text(error));
    transport->config.session_lost(transport->config.context, peer->life, error);
}

// --- writing ---------------------------------------------------------------------------------

static void watch_for_what_is_due(struct connection *connection)
{
    bool has_more = connection->out_sent < connection->out_length ||
                    transport_tls_wants_write(connection->stream);
    environment_event_watch_change(connection->watch,
                                   ENVIRONMENT_READABLE | (has_more ? ENVIRONMENT_WRITABLE : 0));
}

// Fills the buffer with frames; false when nothing is left to write.
static bool gather(struct connection *connection)
{
    struct peer *peer = connection->peer;
    struct session_frame_wire header;
    const uint8_t *payload;
    size_t length;
    connection->out_length = connection->out_sent = 0;
    if (connection->state != UP)
        return false;
    while (connection->out_length + IN_BYTES <= OUT_BYTES &&
           session_next(peer->session, &header, &payload, &length)) {
        uint8_t *to = connection->out + connection->out_length;
        memcpy(to, &header, sizeof(header));
        if (length > 0)
            memcpy(to + sizeof(header), payload, length);
        connection->out_length += sizeof(header) + length;
        peer->status.frames_sent += length > 0;
    }
    peer->status.bytes_sent += connection->out_length;
    return connection->out_length > 0;
}

// Writes until the socket is full or nothing is left.
static void write_out(struct connection *connection)
{
    while (!connection->is_dead) {
        if (connection->out_sent == connection->out_length && !gather(connection))
            break;
        ssize_t done =
            transport_tls_write(connection->stream, connection->out + connection->out_sent,
                                connection->out_length - connection->out_sent);
        if (done == -EAGAIN)
            break;
        if (done < 0) {
            connection_close(connection, 0);
            return;
        }
        connection->out_sent += (size_t)done;
    }
    if (!connection->is_dead)
        watch_for_what_is_due(connection);
}

static void send_hello(struct connection *connection)
{
    struct transport *transport = connection->transport;
    struct hello hello = transport->config.hello;
    struct hello_wire wire;
    hello.peer_incarnation = connection->peer->life.incarnation;
    hello.session_received = session_received(connection->peer->session);
    message_hello_encode(&hello, &wire);
    memcpy(connection->out + connection->out_length, &wire, sizeof(wire));
    connection->out_length += sizeof(wire);
    connection->hello_sent = true;
}

// --- hello -----------------------------------------------------------------------------------

static void refuse(struct connection *connection, uint64_t *counter, int error)
{
    ++*counter;
    log_error(connection->transport->config.log, -error, "peer %s is refused: %s",
              connection->address, error_text(error));
    connection_close(connection, 0);
}

// Finds out on the accepting side who it is. A life that is not in our view yet tries again.
static bool adopt(struct connection *connection, const struct hello *hello)
{
    struct transport *transport = connection->transport;
    if (hello->sender.node_id != transport_tls_peer(connection->stream)) {
        refuse(connection, &transport->counters.refused_hello, -ERROR_PEER_HANDSHAKE);
        return false;
    }
    struct peer *peer = peer_find(transport, hello->sender);
    if (peer == NULL || peer->is_lost) {
        connection_close(connection, 0);
        return false;
    }
    if (peer->connection != NULL)
        connection_close(peer->connection, 0);
    peer->connection = connection;
    connection->peer = peer;
    return true;
}

static void take_hello(struct connection *connection, const struct hello_wire *wire)
{
    struct transport *transport = connection->transport;
    struct hello hello;
    uint16_t version;
    int result = message_hello_decode(wire, &transport->config.hello, &hello, &version);
    if (result == 0 && connection->peer != NULL &&
        (hello.sender.node_id != connection->peer->life.node_id ||
         hello.sender.incarnation != connection->peer->life.incarnation))
        result = -ERROR_MESSAGE_SENDER;
    if (result != 0) {
        refuse(connection, &transport->counters.refused_hello, result);
        return;
    }
    if (connection->peer == NULL && !adopt(connection, &hello))
        return;
    struct peer *peer = connection->peer;
    if (!connection->hello_sent)
        send_hello(connection);
    result = session_connect(peer->session, hello.session_received);
    if (result != 0) {
        session_is_lost(peer, result);
        connection_close(connection, 0);
        return;
    }
    connection->state = UP;
    environment_timer_disarm(transport->config.environment, &connection->deadline);
    peer->retry_ms = RETRY_MS_MIN;
    peer->status.connects++;
    link_set(peer, true);
}

// --- reading ---------------------------------------------------------------------------------

// Takes one hello or frame from the front of what has come in; bytes used, 0: not whole yet.
static size_t take_one(struct connection *connection, const uint8_t *bytes, size_t size)
{
    if (connection->state == HELLO) {
        struct hello_wire wire;
        if (size < sizeof(wire))
            return 0;
        memcpy(&wire, bytes, sizeof(wire));
        take_hello(connection, &wire);
        return sizeof(wire);
    }
    struct session_frame_wire header;
    struct peer *peer = connection->peer;
    struct transport *transport = connection->transport;
    size_t length = 0;
    if (size < sizeof(header))
        return 0;
    memcpy(&header, bytes, sizeof(header));
    int result = session_frame_verify(&header, &length);
    if (result != 0) {
        refuse(connection, &transport->counters.refused_frame, result);
        session_is_lost(peer, -ERROR_SESSION_LOST);
        return size;
    }
    if (size < sizeof(header) + length)
        return 0;
    result = session_receive(peer->session, &header);
    if (result < 0) {
        session_is_lost(peer, result);
        connection_close(connection, 0);
        return size;
    }
    peer->status.bytes_received += sizeof(header) + length;
    peer->status.frames_received += result == 1;
    if (result == 1)
        transport->config.deliver(transport->config.context, peer->life, bytes + sizeof(header),
                                  length);
    return sizeof(header) + length;
}

static void take_all(struct connection *connection)
{
    size_t used = 0, one;
    while (!connection->is_dead && used < connection->in_length &&
           (one = take_one(connection, connection->in + used, connection->in_length - used)) > 0)
        used += one;
    memmove(connection->in, connection->in + used, connection->in_length - used);
    connection->in_length -= used;
}

static void read_in(struct connection *connection)
{
    while (!connection->is_dead) {
        ssize_t got = transport_tls_read(connection->stream, connection->in + connection->in_length,
                                         IN_BYTES - connection->in_length);
        if (got == -EAGAIN)
            break;
        if (got <= 0) {
            connection_close(connection, 0);
            return;
        }
        connection->in_length += (size_t)got;
        take_all(connection);
    }
}

// --- connections -----------------------------------------------------------------------------

static void connection_free_if_unused(struct connection *connection)
{
    if (!connection->is_dead || connection->users > 0)
        return;
    if (connection->stream != NULL)
        transport_tls_stream_free(connection->stream);
    close(connection->socket);
    free(connection);
}

static void retry_later(struct peer *peer)
{
    struct transport *transport = peer->transport;
    if (transport->is_closing || peer->is_lost || !we_connect_to(transport, peer))
        return;
    environment_timer_arm(transport->config.environment, &peer->retry,
                          now_of(transport) + peer->retry_ms * MS);
    peer->retry_ms = peer->retry_ms * 2 > RETRY_MS_MAX ? RETRY_MS_MAX : peer->retry_ms * 2;
}

// Closes at once, frees when nobody up the stack works on it. The session of its peer waits.
static void connection_close(struct connection *connection, int error)
{
    struct transport *transport = connection->transport;
    struct peer *peer = connection->peer;
    if (connection->is_dead)
        return;
    if (error != 0)
        log_error(transport->config.log, -error, "peer %s: %s", connection->address,
                  error_text(error));
    connection->is_dead = true;
    environment_timer_disarm(transport->config.environment, &connection->deadline);
    environment_event_unwatch(connection->watch);
    TAILQ_REMOVE(&transport->connections, connection, link);
    transport->connection_count--;
    if (peer != NULL) {
        peer->connection = NULL;
        connection->peer = NULL;
        session_disconnect(peer->session);
        link_set(peer, false);
        retry_later(peer);
    }
    connection_free_if_unused(connection);
}

static bool finish_connect(struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(connection->socket, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == EINPROGRESS)
        return false;
    if (error != 0) {
        connection_close(connection, 0);
        return false;
    }
    connection->state = HANDSHAKE;
    return true;
}

static bool finish_handshake(struct connection *connection)
{
    int result = transport_tls_handshake(connection->stream);
    if (result == -EAGAIN) {
        watch_for_what_is_due(connection);
        return false;
    }
    if (result != 0) {
        refuse(connection, &connection->transport->counters.refused_handshake, result);
        return false;
    }
    connection->state = HELLO;
    if (connection->is_client)
        send_hello(connection);
    return true;
}

static void work(struct connection *connection)
{
    if (connection->state == CONNECTING && !finish_connect(connection))
        return;
    if (connection->state == HANDSHAKE && !finish_handshake(connection))
        return;
    write_out(connection);
    read_in(connection);
    if (!connection->is_dead)
        write_out(connection); // answers and acks
}

static void connection_ready(void *argument, unsigned what)
{
    struct connection *connection = argument;
    (void)what;
    connection->users++;
    work(connection);
    connection->users--;
    connection_free_if_unused(connection);
}

static void too_slow(struct environment_timer *timer)
{
    struct connection *connection =
        (struct connection *)(void *)((char *)timer - offsetof(struct connection, deadline));
    if (connection->state == CONNECTING)
        connection_close(connection, 0);
    else
        refuse(connection, &connection->transport->counters.refused_handshake,
               -ERROR_PEER_HANDSHAKE);
}

static struct connection *connection_new(struct transport *transport, int socket, bool is_client)
{
    struct connection *connection = malloc(sizeof(*connection));
    CHECK(connection != NULL);
    memset(connection, 0, offsetof(struct connection, out));
    connection->transport = transport;
    connection->socket = socket;
    connection->is_client = is_client;
    connection->state = is_client ? CONNECTING : HANDSHAKE;
    connection->stream = transport_tls_stream_new(transport->tls, socket, is_client);
    CHECK(connection->stream != NULL);
    tune_socket(socket);
    connection->watch = environment_event_watch_fd(
        transport->config.environment, socket,
        is_client ? ENVIRONMENT_WRITABLE : ENVIRONMENT_READABLE, connection_ready, connection);
    connection->deadline.fire = too_slow;
    environment_timer_arm(transport->config.environment, &connection->deadline,
                          now_of(transport) + HANDSHAKE_MS * MS);
    TAILQ_INSERT_TAIL(&transport->connections, connection, link);
    transport->connection_count++;
    return connection;
}

// --- connecting and accepting ------------------------------------------------------------------

static void retry(struct environment_timer *timer)
{
    struct peer *peer = (struct peer *)(void *)((char *)timer - offsetof(struct peer, retry));
    if (peer->connection == NULL)
        connect_to(peer);
}

// Each attempt takes the next of the peer's addresses: ring0's, then ring1's.
static void connect_to(struct peer *peer)
{
    struct transport *transport = peer->transport;
    const struct transport_node *node = node_of(transport, peer->life.node_id);
    if (node == NULL || node->address_count == 0 || peer->port == 0)
        return;
    struct sockaddr_storage address = node->addresses[peer->address_index++ % node->address_count];
    address_set_port(&address, peer->port);
    int descriptor = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        retry_later(peer);
        return;
    }
    int result = connect(descriptor, (const struct sockaddr *)&address, address_length(&address));
    if (result != 0 && errno != EINPROGRESS) {
        close(descriptor);
        retry_later(peer);
        return;
    }
    struct connection *connection = connection_new(transport, descriptor, true);
    connection->peer = peer;
    peer->connection = connection;
    address_text(&address, connection->address);
}

static bool is_from_a_node(const struct transport *transport,
                           const struct sockaddr_storage *address)
{
    for (uint32_t i = 0; i < transport->config.node_count; i++) {
        const struct transport_node *node = &transport->nodes[i];
        for (uint32_t j = 0; j < node->address_count; j++) {
            const struct sockaddr_storage *known = &node->addresses[j];
            if (known->ss_family != address->ss_family)
                continue;
            if (known->ss_family == AF_INET &&
                ((const struct sockaddr_in *)known)->sin_addr.s_addr ==
                    ((const struct sockaddr_in *)address)->sin_addr.s_addr)
                return true;
            if (known->ss_family == AF_INET6 &&
                memcmp(&((const struct sockaddr_in6 *)known)->sin6_addr,
                       &((const struct sockaddr_in6 *)address)->sin6_addr, 16) == 0)
                return true;
        }
    }
    return false;
}

static void accept_one(void *argument, unsigned what)
{
    struct transport *transport = argument;
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    (void)what;
    int descriptor = accept4(transport->listener, (struct sockaddr *)&address, &length,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0)
        return;
    char text[64];
    address_text(&address, text);
    if (!is_from_a_node(transport, &address)) {
        transport->counters.refused_unknown++;
        log_error(transport->config.log, ERROR_PEER_UNKNOWN, "peer %s is refused: %s", text,
                  error_text(-ERROR_PEER_UNKNOWN));
        close(descriptor);
        return;
    }
    if (transport->connection_count >= CONNECTIONS_MAX) {
        close(descriptor);
        return;
    }
    struct connection *connection = connection_new(transport, descriptor, false);
    memcpy(connection->address, text, sizeof(text));
}

// Listens on our ring0 address, so that no other network sees the port.
static int open_listener(struct transport *transport)
{
    const struct transport_node *self = node_of(transport, transport->config.hello.sender.node_id);
    if (self == NULL || self->address_count == 0)
        return -ERROR_PEER_UNKNOWN;
    struct sockaddr_storage address = self->addresses[0];
    bool has_rings = self->address_count > 1; // ring1 must reach us too
    if (has_rings && address.ss_family == AF_INET)
        ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_ANY);
    if (has_rings && address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_any;
    address_set_port(&address, transport->config.port);
    int on = 1;
    transport->listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (transport->listener < 0)
        return -errno;
    setsockopt(transport->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(transport->listener, (struct sockaddr *)&address, address_length(&address)) != 0 ||
        listen(transport->listener, BACKLOG) != 0)
        return -errno;
    socklen_t length = sizeof(address);
    if (getsockname(transport->listener, (struct sockaddr *)&address, &length) != 0)
        return -errno;
    transport->port =
        ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                           : ((struct sockaddr_in6 *)&address)->sin6_port);
    transport->listen_watch =
        environment_event_watch_fd(transport->config.environment, transport->listener,
                                   ENVIRONMENT_READABLE, accept_one, transport);
    return 0;
}

// --- life ------------------------------------------------------------------------------------

int transport_new(const struct transport_config *config, struct transport **out)
{
    struct transport *transport = calloc(1, sizeof(*transport));
    CHECK(transport != NULL);
    transport->config = *config;
    explicit_bzero(transport->config.key, sizeof(transport->config.key));
    transport->nodes = calloc(config->node_count, sizeof(*transport->nodes));
    CHECK(transport->nodes != NULL);
    memcpy(transport->nodes, config->nodes, config->node_count * sizeof(*transport->nodes));
    TAILQ_INIT(&transport->peers);
    TAILQ_INIT(&transport->connections);
    wait_queue_init(&transport->flushed);
    transport->listener = -1;
    transport->tls = transport_tls_new(config->key, sizeof(config->key),
                                       config->hello.sender.node_id, knows, transport);
    int result = open_listener(transport);
    if (result != 0) {
        transport_free(transport);
        return result;
    }
    *out = transport;
    return 0;
}

static void peer_free(struct peer *peer)
{
    struct transport *transport = peer->transport;
    peer->is_lost = true; // no retry
    environment_timer_disarm(transport->config.environment, &peer->retry);
    if (peer->connection != NULL)
        connection_close(peer->connection, 0);
    TAILQ_REMOVE(&transport->peers, peer, link);
    session_free(peer->session);
    free(peer);
}

void transport_free(struct transport *transport)
{
    transport->is_closing = true;
    while (!TAILQ_EMPTY(&transport->peers))
        peer_free(TAILQ_FIRST(&transport->peers));
    while (!TAILQ_EMPTY(&transport->connections))
        connection_close(TAILQ_FIRST(&transport->connections), 0);
    if (transport->listen_watch != NULL)
        environment_event_unwatch(transport->listen_watch);
    if (transport->listener >= 0)
        close(transport->listener);
    while (transport->flush_is_due) // from a coroutine; the one that flushes ends in this turn
        wait_queue_wait(transport->config.environment->scheduler, &transport->flushed);
    transport_tls_free(transport->tls);
    free(transport->nodes);
    free(transport);
}

uint16_t transport_port(const struct transport *transport)
{
    return transport->port;
}

// --- peers -----------------------------------------------------------------------------------

static struct peer *peer_new(struct transport *transport, struct dlm_node life)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    CHECK(peer != NULL);
    peer->transport = transport;
    peer->life = life;
    peer->retry.fire = retry;
    peer->retry_ms = RETRY_MS_MIN;
    peer->since_ns = now_of(transport);
    peer->session = session_new(&(struct session_config){.unacked_bytes_max = SESSION_UNACKED_MAX});
    CHECK(peer->session != NULL);
    TAILQ_INSERT_TAIL(&transport->peers, peer, link);
    return peer;
}

void transport_peer_add(struct transport *transport, struct dlm_node life, uint16_t port)
{
    struct peer *peer, *next;
    for (peer = TAILQ_FIRST(&transport->peers); peer != NULL; peer = next) {
        next = TAILQ_NEXT(peer, link);
        if (peer->life.node_id == life.node_id && peer->life.incarnation != life.incarnation)
            peer_free(peer);
    }
    peer = peer_find(transport, life);
    if (peer == NULL)
        peer = peer_new(transport, life);
    peer->port = port;
    if (peer->connection == NULL && !peer->is_lost && we_connect_to(transport, peer))
        connect_to(peer);
}

void transport_peer_remove(struct transport *transport, struct dlm_node life)
{
    struct peer *peer = peer_find(transport, life);
    if (peer != NULL)
        peer_free(peer);
}

static void flush_all(void *argument)
{
    struct transport *transport = argument;
    struct connection *connection, *next;
    transport->flush_is_due = false;
    wait_queue_wake_all(transport->config.environment->scheduler, &transport->flushed);
    for (connection = TAILQ_FIRST(&transport->connections); connection != NULL; connection = next) {
        next = TAILQ_NEXT(connection, link);
        if (connection->state != UP || connection->is_dead || connection->users > 0)
            continue;
        connection->users++;
        write_out(connection);
        connection->users--;
        connection_free_if_unused(connection);
    }
}

void transport_send(struct transport *transport, struct dlm_node to, const uint8_t *bytes,
                    size_t length)
{
    struct peer *peer = peer_find(transport, to);
    if (peer == NULL || peer->is_lost)
        return;
    int result = session_send(peer->session, bytes, length);
    if (result != 0) {
        session_is_lost(peer, result);
        return;
    }
    if (transport->flush_is_due || transport->is_closing)
        return;
    transport->flush_is_due = true;
    coroutine_start(transport->config.environment->scheduler, "transport flush", flush_all,
                    transport);
}

// --- looking ---------------------------------------------------------------------------------

bool transport_link_get(const struct transport *transport, uint32_t index,
                        struct transport_link *link)
{
    const struct peer *peer = TAILQ_FIRST(&transport->peers);
    for (; peer != NULL && index > 0; index--)
        peer = TAILQ_NEXT(peer, link);
    if (peer == NULL)
        return false;
    *link = peer->status;
    link->peer = peer->life;
    link->is_up = peer->is_up;
    link->since_ns = peer->since_ns;
    if (peer->connection != NULL)
        memcpy(link->address, peer->connection->address, sizeof(link->address));
    return true;
}

const struct transport_counters *transport_counters(const struct transport *transport)
{
    return &transport->counters;
}
