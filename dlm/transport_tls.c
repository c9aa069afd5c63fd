// SPDX-License-Identifier: Apache-2.0
#include "dlm/transport_tls.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/transport.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

enum { IDENTITY_BYTES = 32 };

struct transport_tls {
    SSL_CTX *context;
    uint8_t key[TRANSPORT_KEY_BYTES];
    char identity[IDENTITY_BYTES]; // "lunfs NODE_ID"
    transport_tls_knows *knows;
    void *knows_context;
};

struct transport_tls_stream {
    SSL *ssl;
    struct transport_tls *tls;
    uint32_t peer;
    bool wants_write;
};

void transport_key_derive(uint8_t key[TRANSPORT_KEY_BYTES], const uint8_t *authkey,
                          size_t authkey_bytes, const uint8_t format_id[16])
{
    static char digest[] = "SHA256", info[] = "lunfs lock transport 1";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)authkey, authkey_bytes),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)format_id, 16),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof(info) - 1),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    CHECK(kdf != NULL && context != NULL);
    CHECK(EVP_KDF_derive(context, key, TRANSPORT_KEY_BYTES, parameters) == 1);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}

// --- the pre-shared key ------------------------------------------------------------------------

// The key in the form in which OpenSSL wants external ones: a session that never was.
static SSL_SESSION *session_of_key(SSL *ssl, const struct transport_tls *tls)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    bool is_made = session != NULL && cipher != NULL &&
                   SSL_SESSION_set1_master_key(session, tls->key, sizeof(tls->key)) == 1 &&
                   SSL_SESSION_set_cipher(session, cipher) == 1 &&
                   SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1;
    if (is_made)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static struct transport_tls_stream *stream_of(SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

static int use_key(SSL *ssl, const EVP_MD *digest, const unsigned char **identity,
                   size_t *identity_bytes, SSL_SESSION **session)
{
    const struct transport_tls *tls = stream_of(ssl)->tls;
    (void)digest;
    *session = session_of_key(ssl, tls);
    *identity = (const unsigned char *)tls->identity;
    *identity_bytes = strlen(tls->identity);
    return *session != NULL;
}

// An identity that is not in the node list gets no key: the handshake then fails.
static int find_key(SSL *ssl, const unsigned char *identity, size_t identity_bytes,
                    SSL_SESSION **session)
{
    struct transport_tls_stream *stream = stream_of(ssl);
    char text[IDENTITY_BYTES] = "";
    uint32_t node_id;
    char rest;
    *session = NULL;
    if (identity_bytes >= sizeof(text))
        return 1;
    memcpy(text, identity, identity_bytes);
    if (sscanf(text, "lunfs %u%c", &node_id, &rest) != 1 ||
        !stream->tls->knows(stream->tls->knows_context, node_id))
        return 1;
    stream->peer = node_id;
    *session = session_of_key(ssl, stream->tls);
    return *session != NULL;
}

// --- settings --------------------------------------------------------------------------------

struct transport_tls *transport_tls_new(const uint8_t *key, size_t key_bytes, uint32_t node_id,
                                        transport_tls_knows *knows, void *context)
{
    struct transport_tls *tls = calloc(1, sizeof(*tls));
    CHECK(tls != NULL && key_bytes == sizeof(tls->key));
    memcpy(tls->key, key, sizeof(tls->key));
    snprintf(tls->identity, sizeof(tls->identity), "lunfs %u", node_id);
    tls->knows = knows;
    tls->knows_context = context;
    tls->context = SSL_CTX_new(TLS_method());
    CHECK(tls->context != NULL);
    CHECK(SSL_CTX_set_min_proto_version(tls->context, TLS1_3_VERSION) == 1);
    CHECK(SSL_CTX_set_ciphersuites(tls->context, "TLS_AES_128_GCM_SHA256") == 1);
    SSL_CTX_set_options(tls->context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(tls->context, 0);
    SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_psk_use_session_callback(tls->context, use_key);
    SSL_CTX_set_psk_find_session_callback(tls->context, find_key);
    return tls;
}

void transport_tls_free(struct transport_tls *tls)
{
    SSL_CTX_free(tls->context);
    explicit_bzero(tls->key, sizeof(tls->key));
    free(tls);
}

// --- streams ---------------------------------------------------------------------------------

struct transport_tls_stream *transport_tls_stream_new(struct transport_tls *tls, int socket,
                                                      bool is_client)
{
    struct transport_tls_stream *stream = calloc(1, sizeof(*stream));
    SSL *ssl = SSL_new(tls->context);
    if (stream == NULL || ssl == NULL || SSL_set_fd(ssl, socket) != 1) {
        SSL_free(ssl);
        free(stream);
        return NULL;
    }
    stream->ssl = ssl;
    stream->tls = tls;
    SSL_set_app_data(ssl, stream);
    if (is_client)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    return stream;
}

void transport_tls_stream_free(struct transport_tls_stream *stream)
{
    SSL_free(stream->ssl);
    free(stream);
}

// True if the call may be repeated when the socket is ready. A failed one leaves OpenSSL's error
// queue empty: it is per thread, and the next stream would read it as its own.
static bool may_repeat(struct transport_tls_stream *stream, int result)
{
    int reason = SSL_get_error(stream->ssl, result);
    ERR_clear_error();
    stream->wants_write = reason == SSL_ERROR_WANT_WRITE;
    return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE;
}

// A node without the key could still offer certificates: only a PSK counts.
static bool used_key(const struct transport_tls_stream *stream)
{
    return SSL_session_reused(stream->ssl) == 1;
}

int transport_tls_handshake(struct transport_tls_stream *stream)
{
    int result = SSL_do_handshake(stream->ssl);
    if (result == 1)
        return used_key(stream) ? 0 : -ERROR_PEER_HANDSHAKE;
    return may_repeat(stream, result) ? -EAGAIN : -ERROR_PEER_HANDSHAKE;
}

uint32_t transport_tls_peer(const struct transport_tls_stream *stream)
{
    return stream->peer;
}

ssize_t transport_tls_read(struct transport_tls_stream *stream, void *buffer, size_t size)
{
    size_t done = 0;
    int result = SSL_read_ex(stream->ssl, buffer, size, &done);
    if (result == 1)
        return (ssize_t)done;
    return may_repeat(stream, result) ? -EAGAIN : -EPIPE;
}

ssize_t transport_tls_write(struct transport_tls_stream *stream, const void *bytes, size_t size)
{
    size_t done = 0;
    int result = SSL_write_ex(stream->ssl, bytes, size, &done);
    if (result == 1)
        return (ssize_t)done;
    return may_repeat(stream, result) ? -EAGAIN : -EPIPE;
}

bool transport_tls_wants_write(const struct transport_tls_stream *stream)
{
    return stream->wants_write;
}
