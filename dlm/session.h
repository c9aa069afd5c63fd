// SPDX-License-Identifier: Apache-2.0
// One session between two lives of two nodes, over any number of connections: what one end sends
// the other delivers once and in order, or the session is lost for good (protocols, rule 8). Pure:
// the transport owns the connections and the bytes on them.
//
//   A  send 7, send 8          ╳ cut      connect: "received 4"    next: 8
//   B  delivers 7    (8 lost)             connect: "received 7"    delivers 8
//
// On the wire, behind the hello (dlm/message.h), the same both ways:
//
//    0        4        8                16               24
//   ┌────────┬────────┬────────────────┬────────────────┬───────────────
//   │ length │ 0      │ sequence       │ ack            │ payload ...
//   └────────┴────────┴────────────────┴────────────────┴───────────────
//   length of the payload; 0 and sequence 0: only an ack. Sequences begin with 1.
//
// Everything is kept until the peer has confirmed it. Acks travel with frames; alone only when
// many have come in without an answer. What stays unconfirmed in an idle session is few.
#pragma once

#include "dlm/dlm.h"
#include "fs/base/endian.h"

struct session_frame_wire {
    le32_t length;   // 0   of the payload, at most DLM_FRAME_BYTES_MAX
    le32_t zero;     // 4
    le64_t sequence; // 8
    le64_t ack;      // 16  last sequence delivered at the sender
};
_Static_assert(sizeof(struct session_frame_wire) == 24, "wire size");

enum { SESSION_ACK_BYTES = 262144 }; // an ack of its own after so much without one

struct session;

struct session_config {
    size_t unacked_bytes_max; // headers included; beyond it the session counts as lost
};

struct session *session_new(const struct session_config *config);
void session_free(struct session *session);

// Takes a copy of one payload to send. 0, or -ERROR_SESSION_LOST: the peer has confirmed nothing
// for too long (or the session was lost before).
int session_send(struct session *session, const void *bytes, size_t length);

// What our hello says as session_received. To be asked only after session_disconnect: whatever an
// earlier connection still brings is not to be received any more.
uint64_t session_received(const struct session *session);

// A connection is up and its hello says that the peer had delivered `peer_received`. Unconfirmed
// frames will be written again. 0, or -ERROR_SESSION_LOST: the ends do not fit together.
int session_connect(struct session *session, uint64_t peer_received);
void session_disconnect(struct session *session);

// The next frame to write on the connection: true and header, payload (valid until the next call
// for this session), payload length; false: nothing to write, or no connection.
bool session_next(struct session *session, struct session_frame_wire *header,
                  const uint8_t **payload, size_t *length);

// Judges a frame header before its payload is read: 0 and the payload's length, or
// -ERROR_MESSAGE_LENGTH, -ERROR_MESSAGE_FIELD.
int session_frame_verify(const struct session_frame_wire *header, size_t *length);

// Takes a whole frame that has passed session_frame_verify: 1 deliver the payload, 0 do not (an
// ack, or delivered before), -ERROR_SESSION_LOST: a gap, or an ack of what was never sent.
int session_receive(struct session *session, const struct session_frame_wire *header);

struct session_status {
    uint64_t sent;     // last sequence
    uint64_t acked;    // confirmed by the peer
    uint64_t received; // delivered here
    size_t unacked_bytes;
    uint64_t resent; // frames written again
    bool is_connected;
    bool is_lost;
};

struct session_status session_status_get(const struct session *session);
