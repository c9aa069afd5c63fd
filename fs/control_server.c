// SPDX-License-Identifier: Apache-2.0
#include "fs/control_server.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"
#include "fs/base/log.h"
#include "fs/base/memory.h"
#include "fs/base/text.h"
#include "fs/control_request.h"

// Who owns a query: the core until it stores DONE; whoever of the two stores second frees it.
enum query_state { QUERY_RUNS, QUERY_DONE, QUERY_ABANDONED };

struct query {
    struct environment_post post;
    struct control_server *server;
    struct control_request request;
    struct json_object *result;
    const char *why; // constant
    int error;
    _Atomic int state;
};

struct client {
    int descriptor; // -1: entry unused
    size_t received, sent;
    struct query *query; // being answered; nothing is read meanwhile
    uint64_t deadline_ns;
    char *answer; // to be sent
    size_t answer_bytes;
    char line[CONTROL_REQUEST_BYTES_MAX];
};

struct control_server {
    struct control_server_config config;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int listener, wake; // wake: an eventfd: an answer is there, or the end
    pthread_t thread;
    _Atomic bool is_ending;
    struct client clients[CONTROL_CLIENTS_MAX];
    // The core's:
    _Atomic unsigned queries; // alive
    struct wait_queue idle_waiters;
};

// --- queries: the core's side ----------------------------------------------------------------

static void query_free(struct query *query)
{
    control_request_deinit(&query->request);
    json_object_put(query->result);
    free(query);
}

static void wake_thread(struct control_server *server)
{
    uint64_t one = 1;
    ssize_t written = write(server->wake, &one, sizeof(one));
    (void)written;
}

static void run_query(void *argument)
{
    struct query *query = argument;
    struct control_server *server = query->server;
    const struct control_server_config *config = &server->config;
    query->error = config->handle(config->context, query->request.verb, query->request.arguments,
                                  query->result, &query->why);
    if (atomic_exchange(&query->state, QUERY_DONE) == QUERY_ABANDONED)
        query_free(query);
    else
        wake_thread(server);
    if (atomic_fetch_sub(&server->queries, 1) == 1)
        wait_queue_wake_all(config->environment->scheduler, &server->idle_waiters);
}

static void on_query(struct environment_post *post)
{
    struct query *query = (struct query *)post;
    coroutine_start(query->server->config.environment->scheduler, "control", run_query, query);
}

// --- answers ---------------------------------------------------------------------------------

static void set_answer(struct client *client, struct json_object *answer)
{
    size_t length;
    const char *text = json_object_to_json_string_length(answer, JSON_C_TO_STRING_PLAIN, &length);
    client->answer = memory_new(length + 1);
    memcpy(client->answer, text, length);
    client->answer[length] = '\n';
    client->answer_bytes = length + 1;
    client->sent = 0;
    json_object_put(answer);
}

static void set_error(struct client *client, int result, const char *why)
{
    struct json_object *answer = json_object_new_object();
    json_object_object_add(answer, "ok", json_object_new_boolean(false));
    json_object_object_add(answer, "error",
                           json_object_new_string(why != NULL ? why : error_text(result)));
    json_object_object_add(answer, "errno", json_object_new_int(error_to_errno(result)));
    json_object_object_add(answer, "code",
                           json_object_new_int(error_is_check(result) ? -result : 0));
    set_answer(client, answer);
}

static void set_result(struct client *client, struct query *query)
{
    if (query->error != 0) {
        set_error(client, query->error, query->why);
        return;
    }
    struct json_object *answer = json_object_new_object();
    json_object_object_add(answer, "ok", json_object_new_boolean(true));
    json_object_object_add(answer, "result", json_object_get(query->result));
    set_answer(client, answer);
}

// --- requests --------------------------------------------------------------------------------

static void take_request(struct control_server *server, struct client *client, size_t length)
{
    struct control_request request;
    const char *why;
    if (!control_request_parse(client->line, length, &request, &why)) {
        set_error(client, -EINVAL, why);
        return;
    }
    struct query *query = calloc(1, sizeof(*query));
    CHECK(query != NULL);
    query->server = server;
    query->request = request;
    query->result = json_object_new_object();
    query->post.function = on_query;
    client->query = query;
    client->deadline_ns = environment_event_now_ns() + (uint64_t)CONTROL_PATIENCE_MS * 1000000;
    atomic_fetch_add(&server->queries, 1);
    environment_event_post(server->config.environment, &query->post);
}

// Answers the next whole line, if there is one and nothing is being answered.
static void take_line(struct control_server *server, struct client *client)
{
    if (client->query != NULL || client->answer != NULL)
        return;
    char *newline = memchr(client->line, '\n', client->received);
    if (newline == NULL) {
        if (client->received == sizeof(client->line)) {
            client->received = 0;
            set_error(client, -EMSGSIZE, "the request is too long");
        }
        return;
    }
    size_t length = (size_t)(newline - client->line);
    take_request(server, client, length);
    client->received -= length + 1;
    memmove(client->line, newline + 1, client->received);
}

// --- clients ---------------------------------------------------------------------------------

static void client_close(struct client *client)
{
    if (client->query != NULL &&
        atomic_exchange(&client->query->state, QUERY_ABANDONED) == QUERY_DONE)
        query_free(client->query);
    close(client->descriptor);
    free(client->answer);
    client->query = NULL;
    client->answer = NULL;
    client->descriptor = -1;
}

static bool is_root(int descriptor)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0;
}

static void accept_client(struct control_server *server)
{
    int descriptor = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0)
        return;
    for (unsigned i = 0; is_root(descriptor) && i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &server->clients[i];
        if (client->descriptor >= 0)
            continue;
        client->descriptor = descriptor;
        client->received = 0;
        return;
    }
    close(descriptor);
}

static void receive(struct client *client)
{
    ssize_t got = recv(client->descriptor, client->line + client->received,
                       sizeof(client->line) - client->received, 0);
    if (got > 0)
        client->received += (size_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        client_close(client);
}

static void send_answer(struct client *client)
{
    ssize_t sent = send(client->descriptor, client->answer + client->sent,
                        client->answer_bytes - client->sent, MSG_NOSIGNAL);
    if (sent > 0)
        client->sent += (size_t)sent;
    else if (sent < 0 && errno != EAGAIN && errno != EINTR)
        client_close(client);
    if (client->descriptor < 0 || client->sent < client->answer_bytes)
        return;
    free(client->answer);
    client->answer = NULL;
}

static void look_at_query(struct client *client, uint64_t now_ns)
{
    struct query *query = client->query;
    if (query == NULL)
        return;
    bool is_done = atomic_load(&query->state) == QUERY_DONE;
    if (!is_done && now_ns < client->deadline_ns)
        return;
    if (!is_done && atomic_exchange(&query->state, QUERY_ABANDONED) != QUERY_DONE) {
        client->query = NULL;
        set_error(client, -EBUSY,
                  "the daemon did not answer in time: it waits for other nodes, or "
                  "for the device");
        return;
    }
    set_result(client, query);
    client->query = NULL;
    query_free(query);
}

// --- the thread ------------------------------------------------------------------------------

static int prepare_poll(struct control_server *server, struct pollfd *polled)
{
    int wait_ms = -1;
    uint64_t now_ns = environment_event_now_ns();
    polled[0] = (struct pollfd){.fd = server->listener, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = server->wake, .events = POLLIN};
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct client *client = &server->clients[i];
        short events = client->answer != NULL ? POLLOUT : client->query != NULL ? 0 : POLLIN;
        polled[2 + i] = (struct pollfd){.fd = client->descriptor, .events = events};
        if (client->query == NULL)
            continue;
        int left_ms =
            client->deadline_ns > now_ns ? (int)((client->deadline_ns - now_ns) / 1000000) + 1 : 0;
        if (wait_ms < 0 || left_ms < wait_ms)
            wait_ms = left_ms;
    }
    return wait_ms;
}

static void serve_client(struct control_server *server, struct client *client, short events)
{
    if (client->descriptor < 0)
        return;
    look_at_query(client, environment_event_now_ns());
    if ((events & POLLIN) != 0)
        receive(client);
    else if ((events & (POLLHUP | POLLERR)) != 0)
        client_close(client);
    if (client->descriptor >= 0 && client->answer != NULL)
        send_answer(client);
    // Also when nothing came: a client may have sent several requests at once.
    if (client->descriptor >= 0)
        take_line(server, client);
}

static void *serve(void *argument)
{
    struct control_server *server = argument;
    struct pollfd polled[2 + CONTROL_CLIENTS_MAX];
    pthread_setname_np(pthread_self(), "lunfs-control");
    while (!atomic_load(&server->is_ending)) {
        int wait_ms = prepare_poll(server, polled);
        if (poll(polled, 2 + CONTROL_CLIENTS_MAX, wait_ms) < 0 && errno != EINTR)
            break;
        uint64_t news;
        if ((polled[1].revents & POLLIN) != 0 && read(server->wake, &news, sizeof(news)) < 0)
            continue;
        for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
            serve_client(server, &server->clients[i], polled[2 + i].revents);
        if ((polled[0].revents & POLLIN) != 0)
            accept_client(server);
    }
    return NULL;
}

// --- start and end ---------------------------------------------------------------------------

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    text_copy(address.sun_path, sizeof(address.sun_path), path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return -errno;
    unlink(path);
    mode_t before = umask(0177);
    int result = bind(descriptor, (struct sockaddr *)&address, sizeof(address));
    umask(before);
    if (result == 0)
        result = listen(descriptor, CONTROL_CLIENTS_MAX);
    if (result == 0)
        return descriptor;
    result = -errno;
    close(descriptor);
    return result;
}

static void server_close(struct control_server *server)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (server->clients[i].descriptor >= 0)
            client_close(&server->clients[i]);
    }
    if (server->listener >= 0) {
        unlink(server->path);
        close(server->listener);
    }
    if (server->wake >= 0)
        close(server->wake);
    free(server);
}

int control_server_start(const struct control_server_config *config, struct control_server **out)
{
    struct control_server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return -ENOMEM;
    server->config = *config;
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        server->clients[i].descriptor = -1;
    wait_queue_init(&server->idle_waiters);
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->listener = listen_at(config->path);
    int result = server->wake < 0 ? -errno : server->listener < 0 ? server->listener : 0;
    if (result == 0) {
        snprintf(server->path, sizeof(server->path), "%s", config->path);
        result = -pthread_create(&server->thread, NULL, serve, server);
    }
    if (result != 0) {
        log_error(config->log, 0, "control socket %s: %s", config->path, strerror(-result));
        server_close(server);
        return result;
    }
    *out = server;
    return 0;
}

void control_server_free(struct control_server *server)
{
    if (server == NULL)
        return;
    atomic_store(&server->is_ending, true);
    wake_thread(server);
    pthread_join(server->thread, NULL);
    while (atomic_load(&server->queries) > 0)
        wait_queue_wait(server->config.environment->scheduler, &server->idle_waiters);
    server_close(server);
}
