// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 with a pre-shared key (RFC 8446, section 4.2.11; external PSK, no certificates) over
// non-blocking sockets: what OpenSSL needs, and nothing of peers or sessions. For dlm/transport.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct transport_tls;        // keys and settings, one a transport
struct transport_tls_stream; // one connection

// Asks whether a node id may connect. Called during handshakes.
typedef bool transport_tls_knows(void *context, uint32_t node_id);

struct transport_tls *transport_tls_new(const uint8_t *key, size_t key_bytes, uint32_t node_id,
                                        transport_tls_knows *knows, void *context);
void transport_tls_free(struct transport_tls *tls);

// Over a connected, non-blocking socket, which stays the caller's. NULL when memory is out.
struct transport_tls_stream *transport_tls_stream_new(struct transport_tls *tls, int socket,
                                                      bool is_client);
void transport_tls_stream_free(struct transport_tls_stream *stream);

// 0 when done; -EAGAIN: call again when the socket is ready; -ERROR_PEER_HANDSHAKE.
int transport_tls_handshake(struct transport_tls_stream *stream);
// The node id that the other side proved, after the handshake (on the accepting side; 0 elsewhere).
uint32_t transport_tls_peer(const struct transport_tls_stream *stream);
// Bytes; -EAGAIN; -EPIPE at the end of the stream or on any error.
ssize_t transport_tls_read(struct transport_tls_stream *stream, void *buffer, size_t size);
ssize_t transport_tls_write(struct transport_tls_stream *stream, const void *bytes, size_t size);
// After -EAGAIN: whether it waits for the socket to be writable.
bool transport_tls_wants_write(const struct transport_tls_stream *stream);
