// SPDX-License-Identifier: Apache-2.0
// Inside the transport. Included by dlm/transport*.c alone.
//
//   transport.c         peers and their sessions: connecting, reconnecting, frames in and out
//   transport_listen.c  who knocks: accept, hello, handing the connection to its peer
//   transport_tls.c     one TLS connection        transport_key.c  the key
#pragma once

#include <sys/queue.h>

#include "dlm/session.h"
#include "dlm/transport.h"
#include "dlm/transport_tls.h"
#include "fs/base/environment_event.h"

enum {
    TRANSPORT_PENDING_MAX = 128,
    TRANSPORT_UNACKED_BYTES_MAX = 64 << 20,
    TRANSPORT_ADDRESS_TEXT_BYTES = 64,
};

#define TRANSPORT_HANDSHAKE_NS   ((uint64_t)5000000000)
#define TRANSPORT_BACKOFF_NS_MIN ((uint64_t)20000000)
#define TRANSPORT_BACKOFF_NS_MAX ((uint64_t)1000000000)

enum transport_peer_phase {
    PEER_DOWN,       // no connection; if we are to connect, the timer is armed
    PEER_CONNECTING, // TCP, TLS, hello: the timer says how long it may take
    PEER_UP,
};

struct transport_peer {
    TAILQ_ENTRY(transport_peer) link;
    struct transport *transport;
    struct dlm_node node;
    const struct transport_node *host; // what corosync's nodelist says of it
    uint16_t port;
    struct session *session;
    bool is_lost;    // the session cannot be resumed: nothing is tried any more
    bool is_removed; // freed once its callbacks have returned
    uint32_t busy;
    enum transport_peer_phase phase;
    struct tls_stream *stream;
    struct environment_timer timer;
    uint64_t backoff_ns;
    uint32_t attempts; // which address is next
    bool is_dirty;     // has something to write at the end of this turn
    bool has_been_up;
    struct transport_link stats;
};

// A connection that has not said yet who it is.
struct transport_caller {
    TAILQ_ENTRY(transport_caller) link;
    struct transport *transport;
    struct tls_stream *stream;
    struct environment_timer timer;
    char address[TRANSPORT_ADDRESS_TEXT_BYTES];
};

struct transport_listener {
    struct transport *transport;
    int fd; // -1: none
    struct environment_watch *watch;
};

struct transport {
    struct transport_config config;
    struct transport_node nodes[DLM_NODES_MAX];
    uint32_t node_count;
    const struct transport_node *self;
    struct tls_context *tls;
    uint16_t port;
    struct transport_listener listeners[TRANSPORT_ADDRESSES_MAX];
    TAILQ_HEAD(transport_callers, transport_caller) callers;
    uint32_t caller_count;
    TAILQ_HEAD(transport_peers, transport_peer) peers;
    struct environment_post flush;
    bool flush_is_posted;
    struct transport_counters counters;
    uint64_t complained_ns; // strangers are logged once a second
    uint32_t complaints_dropped;
};

// --- transport.c -----------------------------------------------------------------------------

struct transport_peer *transport_peer_find(struct transport *transport, struct dlm_node node);
const struct transport_node *transport_node_find(const struct transport *transport,
                                                 uint32_t node_id);
// A caller has shown that it is this peer: its connection takes the place of the one before.
void transport_peer_accept(struct transport_peer *peer, struct tls_stream *stream,
                           const struct hello *hello, const char *address);
// One line about somebody who is not let in, at most once a second.
void transport_complain(struct transport *transport, int error, const char *address,
                        const char *reason);
void transport_address_text(const struct sockaddr_storage *address, char *text, size_t bytes);

void transport_socket_tune(int fd);

// --- transport_listen.c ----------------------------------------------------------------------

int transport_listen(struct transport *transport);
void transport_listen_end(struct transport *transport);
void transport_address_set_port(struct sockaddr_storage *address, uint16_t port);
