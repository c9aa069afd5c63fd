// SPDX-License-Identifier: Apache-2.0
#include "dlm/transport_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"

enum { OUTPUT_BYTES = 262144, READ_BYTES_MIN = 16384, REASON_BYTES = 160 };

struct tls_context {
    SSL_CTX *ssl;
    uint8_t key[TLS_KEY_BYTES];
    char identity[TLS_IDENTITY_BYTES_MAX];
    tls_identity_is_known *is_known;
    void *context;
};

struct tls_stream {
    struct environment *environment;
    struct environment_watch *watch;
    SSL *ssl;
    int fd;
    unsigned interest;
    bool is_client;
    bool is_open;
    bool is_closed;
    bool read_wants_write; // TLS itself has something to say before it can go on
    uint32_t busy;         // callbacks on the stack
    struct tls_stream_callbacks callbacks;
    void *context;
    uint8_t *input;
    size_t input_length, input_capacity;
    uint8_t *output;
    size_t output_begin, output_end;
};

// --- the key ---------------------------------------------------------------------------------

static const uint8_t cipher_id[] = {0x13, 0x01}; // TLS_AES_128_GCM_SHA256: its hash is the key's

// OpenSSL takes a session only in the context that it names, also one made from a key.
static const uint8_t session_context[] = {'l', 'u', 'n', 'f', 's'};

static SSL_SESSION *key_session(struct tls_context *tls, SSL *ssl)
{
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, cipher_id);
    SSL_SESSION *session = SSL_SESSION_new();
    if (cipher != NULL && session != NULL && SSL_SESSION_set_cipher(session, cipher) == 1 &&
        SSL_SESSION_set1_master_key(session, tls->key, sizeof(tls->key)) == 1 &&
        SSL_SESSION_set1_id_context(session, session_context, sizeof(session_context)) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static struct tls_context *context_of(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

static int offer_key(SSL *ssl, const EVP_MD *digest, const unsigned char **identity,
                     size_t *identity_length, SSL_SESSION **session)
{
    struct tls_context *tls = context_of(ssl);
    *session = NULL;
    if (digest != NULL && EVP_MD_get_type(digest) != NID_sha256)
        return 1; // the peer chose a cipher that our key is not for: no key
    *identity = (const unsigned char *)tls->identity;
    *identity_length = strlen(tls->identity);
    *session = key_session(tls, ssl);
    return *session != NULL;
}

static int find_key(SSL *ssl, const unsigned char *identity, size_t identity_length,
                    SSL_SESSION **session)
{
    struct tls_context *tls = context_of(ssl);
    char text[TLS_IDENTITY_BYTES_MAX] = "";
    *session = NULL;
    if (identity_length >= sizeof(text))
        return 1; // nobody we know
    memcpy(text, identity, identity_length);
    if (!tls->is_known(tls->context, text))
        return 1;
    *session = key_session(tls, ssl);
    return *session != NULL;
}

struct tls_context *tls_context_new(const uint8_t key[TLS_KEY_BYTES], const char *identity,
                                    tls_identity_is_known *is_known, void *context)
{
    struct tls_context *tls = calloc(1, sizeof(*tls));
    CHECK(tls != NULL && strlen(identity) < sizeof(tls->identity));
    memcpy(tls->key, key, sizeof(tls->key));
    snprintf(tls->identity, sizeof(tls->identity), "%s", identity);
    tls->is_known = is_known;
    tls->context = context;
    tls->ssl = SSL_CTX_new(TLS_method());
    CHECK(tls->ssl != NULL);
    SSL_CTX_set_app_data(tls->ssl, tls);
    CHECK(SSL_CTX_set_min_proto_version(tls->ssl, TLS1_3_VERSION) == 1);
    CHECK(SSL_CTX_set_ciphersuites(tls->ssl, "TLS_AES_128_GCM_SHA256") == 1);
    CHECK(SSL_CTX_set_session_id_context(tls->ssl, session_context, sizeof(session_context)) == 1);
    SSL_CTX_set_session_cache_mode(tls->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(tls->ssl, 0);
    SSL_CTX_set_mode(tls->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_psk_use_session_callback(tls->ssl, offer_key);
    SSL_CTX_set_psk_find_session_callback(tls->ssl, find_key);
    return tls;
}

void tls_context_free(struct tls_context *tls)
{
    SSL_CTX_free(tls->ssl);
    OPENSSL_cleanse(tls->key, sizeof(tls->key));
    free(tls);
}

// --- closing ---------------------------------------------------------------------------------

static void stream_free(struct tls_stream *stream)
{
    SSL_free(stream->ssl);
    free(stream->input);
    free(stream->output);
    free(stream);
}

static void disconnect(struct tls_stream *stream)
{
    stream->is_closed = true;
    environment_event_unwatch(stream->watch);
    close(stream->fd);
}

void tls_stream_close(struct tls_stream *stream)
{
    if (stream == NULL || stream->is_closed)
        return;
    disconnect(stream);
    if (stream->busy == 0)
        stream_free(stream);
}

// Callbacks may close the stream that they are about, so each way in here that may make one holds
// it, once: what these call does not.
static void stream_enter(struct tls_stream *stream)
{
    stream->busy++;
}

static void stream_leave(struct tls_stream *stream)
{
    if (--stream->busy == 0 && stream->is_closed)
        stream_free(stream);
}

static void fail(struct tls_stream *stream, int error, const char *reason)
{
    if (stream->is_closed)
        return;
    CHECK(stream->busy > 0);
    disconnect(stream);
    stream->callbacks.closed(stream->context, error, reason);
}

static void fail_ssl(struct tls_stream *stream, int result)
{
    int what = SSL_get_error(stream->ssl, result);
    int system_error = errno;
    unsigned long code = ERR_get_error();
    char reason[REASON_BYTES] = "the connection was closed";
    int error = -ECONNRESET;
    if (what == SSL_ERROR_SSL && code != 0) {
        const char *text = ERR_reason_error_string(code);
        snprintf(reason, sizeof(reason), "TLS: %s", text != NULL ? text : "unknown error");
        error = stream->is_open ? -EPROTO : -ERROR_PEER_HANDSHAKE;
    } else if (what == SSL_ERROR_SYSCALL && system_error != 0) {
        snprintf(reason, sizeof(reason), "%s", strerror(system_error));
        error = -system_error;
    }
    ERR_clear_error();
    fail(stream, error, reason);
}

// --- moving bytes ----------------------------------------------------------------------------

static bool is_waiting(struct tls_stream *stream, int result, bool *wants_write)
{
    int what = SSL_get_error(stream->ssl, result);
    *wants_write = what == SSL_ERROR_WANT_WRITE;
    return what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE;
}

static void update_interest(struct tls_stream *stream, bool wants_write)
{
    unsigned interest = ENVIRONMENT_READABLE | (wants_write ? ENVIRONMENT_WRITABLE : 0u);
    if (stream->is_closed || interest == stream->interest)
        return;
    stream->interest = interest;
    environment_event_watch_change(stream->watch, interest);
}

size_t tls_stream_room(const struct tls_stream *stream)
{
    return OUTPUT_BYTES - (stream->output_end - stream->output_begin);
}

size_t tls_stream_write(struct tls_stream *stream, const void *bytes, size_t length)
{
    size_t room = tls_stream_room(stream);
    if (length > room)
        length = room;
    if (length == 0)
        return 0;
    if (stream->output_end + length > OUTPUT_BYTES) {
        memmove(stream->output, stream->output + stream->output_begin,
                stream->output_end - stream->output_begin);
        stream->output_end -= stream->output_begin;
        stream->output_begin = 0;
    }
    memcpy(stream->output + stream->output_end, bytes, length);
    stream->output_end += length;
    return length;
}

static bool flush(struct tls_stream *stream)
{
    bool wants_write = false;
    if (!stream->is_open || stream->is_closed)
        return false;
    while (stream->output_begin < stream->output_end) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_write(stream->ssl, stream->output + stream->output_begin,
                               (int)(stream->output_end - stream->output_begin));
        if (result > 0) {
            stream->output_begin += (size_t)result;
            continue;
        }
        if (is_waiting(stream, result, &wants_write))
            break;
        fail_ssl(stream, result);
        return false;
    }
    bool is_all = stream->output_begin == stream->output_end;
    if (is_all)
        stream->output_begin = stream->output_end = 0;
    update_interest(stream, !is_all || stream->read_wants_write);
    return is_all;
}

bool tls_stream_flush(struct tls_stream *stream)
{
    stream_enter(stream);
    bool is_all = flush(stream);
    stream_leave(stream);
    return is_all;
}

// Gives the owner what has come; false when the stream is closed.
static bool hand_on(struct tls_stream *stream)
{
    size_t taken = stream->callbacks.received(stream->context, stream->input, stream->input_length);
    if (stream->is_closed)
        return false;
    CHECK(taken <= stream->input_length);
    stream->input_length -= taken;
    memmove(stream->input, stream->input + taken, stream->input_length);
    return true;
}

static void read_some(struct tls_stream *stream)
{
    for (;;) {
        size_t room = stream->input_capacity - stream->input_length;
        if (room == 0) {
            fail(stream, -ERROR_MESSAGE_LENGTH, "the peer sent more than one frame may hold");
            return;
        }
        ERR_clear_error();
        errno = 0;
        int result = SSL_read(stream->ssl, stream->input + stream->input_length, (int)room);
        if (result > 0) {
            stream->input_length += (size_t)result;
            if (!hand_on(stream))
                return;
            continue;
        }
        if (is_waiting(stream, result, &stream->read_wants_write)) {
            bool has_output = stream->output_begin < stream->output_end;
            update_interest(stream, stream->read_wants_write || has_output);
            return;
        }
        fail_ssl(stream, result);
        return;
    }
}

static void shake_hands(struct tls_stream *stream)
{
    bool wants_write = false;
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(stream->ssl);
    if (result != 1) {
        if (is_waiting(stream, result, &wants_write))
            update_interest(stream, wants_write);
        else
            fail_ssl(stream, result);
        return;
    }
    if (!SSL_session_reused(stream->ssl)) { // the key was not used
        fail(stream, -ERROR_PEER_HANDSHAKE, "TLS: the peer does not use the key");
        return;
    }
    stream->is_open = true;
    update_interest(stream, false);
    stream->callbacks.opened(stream->context);
}

static void socket_ready(void *argument, unsigned what)
{
    struct tls_stream *stream = argument;
    stream_enter(stream);
    if (!stream->is_open)
        shake_hands(stream);
    if (stream->is_open && !stream->is_closed && (what & ENVIRONMENT_WRITABLE)) {
        flush(stream);
        if (!stream->is_closed)
            stream->callbacks.writable(stream->context);
    }
    if (stream->is_open && !stream->is_closed)
        read_some(stream);
    stream_leave(stream);
}

void tls_stream_retarget(struct tls_stream *stream, const struct tls_stream_callbacks *callbacks,
                         void *context)
{
    stream->callbacks = *callbacks;
    stream->context = context;
}

struct tls_stream *tls_stream_new(struct environment *environment, struct tls_context *tls, int fd,
                                  bool is_client, size_t input_bytes_max,
                                  const struct tls_stream_callbacks *callbacks, void *context)
{
    struct tls_stream *stream = calloc(1, sizeof(*stream));
    CHECK(stream != NULL);
    *stream = (struct tls_stream){.environment = environment,
                                  .fd = fd,
                                  .is_client = is_client,
                                  .callbacks = *callbacks,
                                  .context = context,
                                  .input_capacity = input_bytes_max + READ_BYTES_MIN};
    stream->input = malloc(stream->input_capacity);
    stream->output = malloc(OUTPUT_BYTES);
    stream->ssl = SSL_new(tls->ssl);
    CHECK(stream->input != NULL && stream->output != NULL && stream->ssl != NULL);
    CHECK(SSL_set_fd(stream->ssl, fd) == 1);
    if (is_client) {
        SSL_set_connect_state(stream->ssl);
        SSL_set_verify(stream->ssl, SSL_VERIFY_PEER, NULL); // we would trust no certificate
    } else {
        SSL_set_accept_state(stream->ssl);
    }
    // A client waits for its connection: the socket becomes writable then.
    stream->interest = is_client ? ENVIRONMENT_WRITABLE : ENVIRONMENT_READABLE;
    stream->watch =
        environment_event_watch_fd(environment, fd, stream->interest, socket_ready, stream);
    return stream;
}
