// SPDX-License-Identifier: Apache-2.0
// The mesh: one TLS 1.3 connection between two nodes, with a pre-shared key that only members of
// this corosync cluster can derive, bound to this volume. Above it stands dlm/session.h, which
// makes what connections carry exactly-once and in order over reconnects.
//
//   frames of the lock core
//   └─ session frames (dlm/session.h): sequence numbers, acks, resend
//      └─ TLS 1.3, PSK; identity "lunfs NODE_ID"
//         └─ TCP, ring0's address, then ring1's
//
// The node with the lower id connects to the one with the higher. First bytes each way: the hello
// of dlm/message.h. A peer that fails the handshake, is not in the node list,
// has the wrong volume or sends nonsense is cut off and logged with its address; the rest goes on.
//
// On the core's thread, all of it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dlm/message.h"
#include "fs/base/environment.h"
#include "fs/base/log.h"
#include "fs/base/text.h"

enum {
    TRANSPORT_KEY_BYTES = 32,
    TRANSPORT_ADDRESSES_MAX = 2, // ring0, ring1
    TRANSPORT_NAME_BYTES = 64,
};

// HKDF-SHA256 of the cluster's key, bound to the volume: another volume's key is another one.
void transport_key_derive(uint8_t key[TRANSPORT_KEY_BYTES], const uint8_t *authkey,
                          size_t authkey_bytes, const uint8_t format_id[16]);

// Who may connect: corosync's node list.
struct transport_node {
    uint32_t node_id;
    char name[TRANSPORT_NAME_BYTES];
    struct sockaddr_storage addresses[TRANSPORT_ADDRESSES_MAX]; // port 0
    uint32_t address_count;
};

struct transport;

struct transport_config {
    struct environment *environment; // a real one
    struct log *log;
    uint8_t key[TRANSPORT_KEY_BYTES];
    struct hello hello;                 // ours: sender, versions, features, format_id
    const struct transport_node *nodes; // copied
    uint32_t node_count;                // ours among them
    uint16_t port;                      // 0: any
    void *context;
    // A payload of the session with `from`, in order, once. The bytes are valid during the call.
    void (*deliver)(void *context, struct dlm_node from, const uint8_t *bytes, size_t length);
    // The link to a peer went up or down; since_ns is on CLOCK_BOOTTIME (rule 20).
    void (*link_changed)(void *context, struct dlm_node peer, bool is_up, uint64_t since_ns);
    // The session with this life of the peer cannot be resumed: the link has failed for good
    // (rule 8); one of the two is to be expelled.
    void (*session_lost)(void *context, struct dlm_node peer, int error);
};

// Listens. 0 and *transport; -errno of the socket calls. The port is then transport_port.
int transport_new(const struct transport_config *config, struct transport **transport);
void transport_free(struct transport *transport);
uint16_t transport_port(const struct transport *transport);

// A member of the view: a link to it is kept up from now on. Again with the same incarnation:
// takes note of the port. Another incarnation: the old session ends, a new one begins.
void transport_peer_add(struct transport *transport, struct dlm_node peer, uint16_t port);
// Not in the view any more: the link is cut, what was queued is dropped.
void transport_peer_remove(struct transport *transport, struct dlm_node peer);
// Queues one payload for the peer's session; it is sent in this turn of the loop, with all others.
// Ignored for a life that was not added. `length` is a multiple of 8, at most DLM_FRAME_BYTES_MAX.
void transport_send(struct transport *transport, struct dlm_node to, const uint8_t *bytes,
                    size_t length);

// Cuts every connection; the links come up again by themselves. For tests, and for an administrator
// who wants a link to take another path.
void transport_cut(struct transport *transport);

struct transport_link {
    struct dlm_node peer;
    bool is_up;
    uint64_t since_ns;
    uint64_t frames_sent, frames_received, bytes_sent, bytes_received, connects;
    char address[64];
};
// False when `index` is behind the last peer.
bool transport_link_get(const struct transport *transport, uint32_t index,
                        struct transport_link *link);

struct transport_counters {
    uint64_t refused_handshake, refused_unknown, refused_hello, refused_frame;
};
const struct transport_counters *transport_counters(const struct transport *transport);
