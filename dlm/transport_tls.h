// SPDX-License-Identifier: Apache-2.0
// A TLS 1.3 connection with a pre-shared key over a non-blocking socket: handshake, bytes out,
// bytes in. It knows nothing of peers and sessions. On the core's thread.
//
// Both ends prove that they know the key: a server without a certificate can only accept a client
// that offers the key, and a client takes no certificate at all.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/environment.h"

struct tls_context;
struct tls_stream;

enum { TLS_KEY_BYTES = 32, TLS_IDENTITY_BYTES_MAX = 32 };

// Whether a client with this identity may come in; on the server's side.
typedef bool tls_identity_is_known(void *context, const char *identity);

// Never NULL. `identity` is ours as a client.
struct tls_context *tls_context_new(const uint8_t key[TLS_KEY_BYTES], const char *identity,
                                    tls_identity_is_known *is_known, void *context);
void tls_context_free(struct tls_context *tls);

struct tls_stream_callbacks {
    void (*opened)(void *context); // the handshake is over
    // Bytes have come: takes whole pieces from the front, says how many; is called again with the
    // rest and more. May close the stream.
    size_t (*received)(void *context, const uint8_t *bytes, size_t length);
    // There is room for more output, or there may be: called when the socket takes bytes again.
    void (*writable)(void *context);
    // The connection is gone: `error` is negative, `reason` says more. The stream is closed.
    void (*closed)(void *context, int error, const char *reason);
};

// Takes the connected (or connecting) non-blocking socket over. `received` is given at most
// `input_bytes_max` bytes at a time; a piece that is longer is the owner's to refuse.
struct tls_stream *tls_stream_new(struct environment *environment, struct tls_context *tls, int fd,
                                  bool is_client, size_t input_bytes_max,
                                  const struct tls_stream_callbacks *callbacks, void *context);
// From now on these are called; allowed from inside `received`.
void tls_stream_retarget(struct tls_stream *stream, const struct tls_stream_callbacks *callbacks,
                         void *context);
// Takes as much as the output buffer has room for; how much it took.
size_t tls_stream_write(struct tls_stream *stream, const void *bytes, size_t length);
size_t tls_stream_room(const struct tls_stream *stream);
// Pushes the output buffer into the socket. True if all of it went; else `writable` or `closed` is
// called some time.
bool tls_stream_flush(struct tls_stream *stream);
// No callback comes after it; the memory goes when no callback is on the stack. NULL: nothing.
void tls_stream_close(struct tls_stream *stream);
