// SPDX-License-Identifier: Apache-2.0
// Who knocks at the lock port. A stranger costs one socket for a few seconds at most: its address
// must be in the node list, then it must know the key, then its hello must name a member.
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dlm/transport_internal.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

enum { BACKLOG = 64 };

// --- callers ---------------------------------------------------------------------------------

static void caller_free(struct transport_caller *caller)
{
    struct transport *transport = caller->transport;
    environment_timer_disarm(transport->config.environment, &caller->timer);
    TAILQ_REMOVE(&transport->callers, caller, link);
    transport->caller_count--;
    free(caller);
}

static void caller_refuse(struct transport_caller *caller, int error, const char *reason)
{
    transport_complain(caller->transport, error, caller->address, reason);
    tls_stream_close(caller->stream);
    caller_free(caller);
}

static void caller_closed(void *context, int error, const char *reason)
{
    struct transport_caller *caller = context;
    caller->transport->counters.refused_handshake++;
    transport_complain(caller->transport, error, caller->address, reason);
    caller_free(caller);
}

static void caller_is_late(struct environment_timer *timer)
{
    struct transport_caller *caller =
        (struct transport_caller *)(void *)((char *)timer -
                                            offsetof(struct transport_caller, timer));
    caller->transport->counters.refused_handshake++;
    caller_refuse(caller, -ERROR_PEER_HANDSHAKE, "it did not finish the handshake in time");
}

static void caller_nothing(void *context)
{
    (void)context;
}

static size_t caller_received(void *context, const uint8_t *bytes, size_t length)
{
    struct transport_caller *caller = context;
    struct transport *transport = caller->transport;
    struct hello_wire wire;
    struct hello hello;
    uint16_t version;
    if (length < sizeof(wire))
        return 0;
    memcpy(&wire, bytes, sizeof(wire));
    int result = message_hello_decode(&wire, &transport->config.hello, &hello, &version);
    if (result != 0) {
        transport->counters.refused_hello++;
        caller_refuse(caller, result, error_text(result));
        return 0;
    }
    if (hello.sender.node_id >= transport->config.hello.sender.node_id) {
        caller_refuse(caller, -ERROR_MESSAGE_SENDER, "the node with the lower id is to connect");
        return 0;
    }
    struct transport_peer *peer = transport_peer_find(transport, hello.sender);
    struct tls_stream *stream = caller->stream;
    char address[TRANSPORT_ADDRESS_TEXT_BYTES];
    memcpy(address, caller->address, sizeof(address));
    caller_free(caller);
    if (peer == NULL) // not in our view (yet): it will come again
        tls_stream_close(stream);
    else
        transport_peer_accept(peer, stream, &hello, address);
    return sizeof(wire);
}

// --- the port --------------------------------------------------------------------------------

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)a)->sin_addr,
                      &((const struct sockaddr_in *)b)->sin_addr, sizeof(struct in_addr)) == 0;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static bool host_is_known(const struct transport *transport, const struct sockaddr_storage *from)
{
    for (uint32_t i = 0; i < transport->node_count; i++)
        for (uint32_t j = 0; j < transport->nodes[i].address_count; j++)
            if (same_host(&transport->nodes[i].addresses[j], from))
                return true;
    return false;
}

static void take_caller(struct transport *transport, int fd, const struct sockaddr_storage *from)
{
    static const struct tls_stream_callbacks callbacks = {.opened = caller_nothing,
                                                          .received = caller_received,
                                                          .writable = caller_nothing,
                                                          .closed = caller_closed};
    struct transport_caller *caller = calloc(1, sizeof(*caller));
    CHECK(caller != NULL);
    caller->transport = transport;
    caller->timer.fire = caller_is_late;
    transport_address_text(from, caller->address, sizeof(caller->address));
    TAILQ_INSERT_TAIL(&transport->callers, caller, link);
    transport->caller_count++;
    transport_socket_tune(fd);
    caller->stream =
        tls_stream_new(transport->config.environment, transport->tls, fd, false,
                       sizeof(struct session_frame_wire) + DLM_FRAME_BYTES_MAX, &callbacks, caller);
    environment_timer_arm(transport->config.environment, &caller->timer,
                          environment_boot_ns(transport->config.environment) +
                              TRANSPORT_HANDSHAKE_NS);
}

static void somebody_knocks(void *argument, unsigned what)
{
    struct transport_listener *listener = argument;
    struct transport *transport = listener->transport;
    struct sockaddr_storage from = {0};
    socklen_t length = sizeof(from);
    (void)what;
    int fd = accept4(listener->fd, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    bool is_known = host_is_known(transport, &from);
    if (is_known && transport->caller_count < TRANSPORT_PENDING_MAX) {
        take_caller(transport, fd, &from);
        return;
    }
    char address[TRANSPORT_ADDRESS_TEXT_BYTES];
    transport_address_text(&from, address, sizeof(address));
    transport->counters.refused_unknown++;
    transport_complain(transport, -ERROR_PEER_UNKNOWN, address,
                       is_known ? "too many at once" : error_text(-ERROR_PEER_UNKNOWN));
    close(fd);
}

static socklen_t address_bytes(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

void transport_address_set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
}

static uint16_t address_port(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
}

static int listen_on(struct transport *transport, uint32_t index)
{
    struct transport_listener *listener = &transport->listeners[index];
    struct sockaddr_storage address = transport->self->addresses[index];
    int one = 1;
    transport_address_set_port(&address, transport->port);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    socklen_t length = sizeof(address);
    if (bind(fd, (struct sockaddr *)&address, address_bytes(&address)) != 0 ||
        listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        int result = -errno;
        close(fd);
        return result;
    }
    transport->port = address_port(&address);
    listener->transport = transport;
    listener->fd = fd;
    listener->watch = environment_event_watch_fd(transport->config.environment, fd,
                                                 ENVIRONMENT_READABLE, somebody_knocks, listener);
    return 0;
}

int transport_listen(struct transport *transport)
{
    transport->port = transport->config.port;
    int result = listen_on(transport, 0);
    for (uint32_t i = 1; i < transport->self->address_count && result == 0; i++) {
        int other = listen_on(transport, i);
        if (other != 0)
            log_warning(transport->config.log, "the lock port is not open on ring %u: %s", i,
                        error_text(other));
    }
    return result;
}

void transport_listen_end(struct transport *transport)
{
    for (uint32_t i = 0; i < TRANSPORT_ADDRESSES_MAX; i++) {
        if (transport->listeners[i].fd < 0)
            continue;
        environment_event_unwatch(transport->listeners[i].watch);
        close(transport->listeners[i].fd);
    }
    while (!TAILQ_EMPTY(&transport->callers)) {
        tls_stream_close(TAILQ_FIRST(&transport->callers)->stream);
        caller_free(TAILQ_FIRST(&transport->callers));
    }
}
