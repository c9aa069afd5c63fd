// SPDX-License-Identifier: Apache-2.0
// The control protocol: good requests, hostile bytes, clients that go away, a core that does not
// answer. The client side runs in a thread, the core in the test's own.
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/environment_event.h"
#include "fs/base/error.h"
#include "fs/base/log.h"
#include "fs/base/random.h"
#include "fs/base/text.h"
#include "fs/control_client.h"
#include "fs/control_server.h"

struct world {
    char directory[32], path[64];
    struct scheduler *scheduler;
    struct environment *environment;
    struct control_server *server;
    struct log log;
    struct environment_post client_done;
    struct wait_queue stalled;
    unsigned stalled_count;
    unsigned handled;
};

static struct world world;

// --- the core's side ---------------------------------------------------------------------------

static int handle(void *context, const char *verb, struct json_object *arguments,
                  struct json_object *result, const char **why)
{
    struct world *w = context;
    struct json_object *value;
    w->handled++;
    if (strcmp(verb, "echo") == 0) {
        if (json_object_object_get_ex(arguments, "value", &value))
            json_object_object_add(result, "value", json_object_get(value));
        return 0;
    }
    if (strcmp(verb, "large") == 0) {
        char *text = calloc(1, 1000001);
        memset(text, 'x', 1000000);
        json_object_object_add(result, "value", json_object_new_string(text));
        free(text);
        return 0;
    }
    if (strcmp(verb, "stall") == 0) {
        w->stalled_count++;
        wait_queue_wait(w->scheduler, &w->stalled);
        return 0;
    }
    if (strcmp(verb, "fail") == 0)
        return -ERROR_QUORUM_LOST;
    *why = "unknown verb";
    return -ENOSYS;
}

static void free_server(void *argument)
{
    struct world *w = argument;
    wait_queue_wake_all(w->scheduler, &w->stalled);
    control_server_free(w->server);
    environment_event_stop(w->environment);
}

static void on_client_done(struct environment_post *post)
{
    (void)post;
    coroutine_start(world.scheduler, "end", free_server, &world);
}

static int setup(void **state)
{
    (void)state;
    strcpy(world.directory, "/tmp/lunfs-unit-XXXXXX");
    assert_non_null(mkdtemp(world.directory));
    snprintf(world.path, sizeof(world.path), "%s/control.sock", world.directory);
    world.scheduler = scheduler_new();
    world.environment = environment_event_new(world.scheduler);
    world.client_done.function = on_client_done;
    world.handled = world.stalled_count = 0;
    wait_queue_init(&world.stalled);
    log_init_null(&world.log);
    struct control_server_config config = {
        .environment = world.environment,
        .log = &world.log,
        .path = world.path,
        .handle = handle,
        .context = &world,
    };
    assert_int_equal(control_server_start(&config, &world.server), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    environment_event_free(world.environment);
    assert_int_equal(scheduler_alive(world.scheduler), 0);
    scheduler_free(world.scheduler);
    assert_int_not_equal(access(world.path, F_OK), 0); // the socket is gone
    rmdir(world.directory);
    return 0;
}

static void *client_body(void *argument)
{
    void (*client)(void) = *(void (**)(void))argument;
    client();
    environment_event_post(world.environment, &world.client_done);
    return NULL;
}

static void run_client(void (*client)(void))
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, client_body, &client), 0);
    environment_event_run(world.environment);
    pthread_join(thread, NULL);
}

// --- the client's side: CHECK, for cmocka's assertions work in the test's thread only ------------

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, world.path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0);
    return descriptor;
}

static void send_bytes(int descriptor, const void *bytes, size_t length)
{
    CHECK(send(descriptor, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
}

// One line; false when the server has hung up.
static bool receive_line(int descriptor, char *line, size_t capacity)
{
    size_t length = 0;
    while (length < capacity - 1 && recv(descriptor, line + length, 1, 0) == 1) {
        if (line[length] == '\n') {
            line[length] = '\0';
            return true;
        }
        length++;
    }
    return false;
}

static void expect_error(const char *request, const char *part)
{
    char line[4096];
    int descriptor = dial();
    send_bytes(descriptor, request, strlen(request));
    CHECK(receive_line(descriptor, line, sizeof(line)));
    CHECK(strstr(line, "\"ok\":false") != NULL && strstr(line, part) != NULL);
    close(descriptor);
}

static void ask_politely(void)
{
    struct json_object *result = NULL, *arguments = json_object_new_object(), *value;
    TEXT(why, 256);
    json_object_object_add(arguments, "value", json_object_new_string("\"quoted\"\n"));
    CHECK(control_client_call(world.path, "echo", arguments, &result, &why) == 0);
    CHECK(json_object_object_get_ex(result, "value", &value));
    CHECK(strcmp(json_object_get_string(value), "\"quoted\"\n") == 0);
    json_object_put(arguments);
    json_object_put(result);
    CHECK(control_client_call(world.path, "large", NULL, &result, &why) == 0);
    CHECK(json_object_object_get_ex(result, "value", &value));
    CHECK(json_object_get_string_len(value) == 1000000);
    json_object_put(result);
    CHECK(control_client_call(world.path, "fail", NULL, &result, &why) == -ERROR_QUORUM_LOST);
    CHECK(strstr(why.bytes, "quorum") != NULL);
    CHECK(control_client_call(world.path, "nonsense", NULL, &result, &why) == -ENOSYS);
}

static void test_polite(void **state)
{
    (void)state;
    run_client(ask_politely);
    assert_int_equal(world.handled, 4);
}

static void ask_twice_on_one_connection(void)
{
    char line[256];
    static const char both[] = "{\"verb\":\"echo\",\"arguments\":{\"value\":1}}\n"
                               "{\"verb\":\"echo\",\"arguments\":{\"value\":2}}\n";
    int descriptor = dial();
    send_bytes(descriptor, both, sizeof(both) - 1);
    CHECK(receive_line(descriptor, line, sizeof(line)) && strstr(line, ":1") != NULL);
    CHECK(receive_line(descriptor, line, sizeof(line)) && strstr(line, ":2") != NULL);
    close(descriptor);
}

static void test_pipelined(void **state)
{
    (void)state;
    run_client(ask_twice_on_one_connection);
}

static void send_nonsense(void)
{
    char *deep = malloc(5000), *huge = malloc(CONTROL_REQUEST_BYTES_MAX + 1);
    expect_error("\n", "JSON object");
    expect_error("{\n", "JSON object");
    expect_error("[]\n", "JSON object");
    expect_error("{} {}\n", "JSON object");
    expect_error("{}\n", "no verb");
    expect_error("{\"verb\":7}\n", "no verb");
    expect_error("{\"verb\":\"echo\",\"arguments\":[1]}\n", "arguments");
    expect_error("{\"verb\":\"\"}\n", "unknown verb");
    memset(deep, '[', 4000);
    strcpy(deep + 4000, "\n");
    expect_error(deep, "JSON object");
    memset(huge, ' ', CONTROL_REQUEST_BYTES_MAX);
    huge[CONTROL_REQUEST_BYTES_MAX] = '\0';
    expect_error(huge, "too long");
    free(deep);
    free(huge);
}

static void test_nonsense(void **state)
{
    (void)state;
    run_client(send_nonsense);
    assert_int_equal(world.handled, 1); // the verb ""
}

// Random bytes, cut off anywhere: the server lives and answers the next client.
static void send_garbage(void)
{
    struct random random;
    random_init(&random, 42);
    for (unsigned round = 0; round < 500; round++) {
        uint8_t bytes[512];
        size_t length = random_below(&random, sizeof(bytes)) + 1;
        for (size_t i = 0; i < length; i++)
            bytes[i] = random_one_in(&random, 8) ? '\n' : (uint8_t)random_u64(&random);
        int descriptor = dial();
        send(descriptor, bytes, length, MSG_NOSIGNAL);
        close(descriptor);
    }
    ask_politely();
}

static void test_garbage(void **state)
{
    (void)state;
    run_client(send_garbage);
}

static void ask_a_busy_core(void)
{
    struct json_object *result = NULL;
    TEXT(why, 256);
    static const char request[] = "{\"verb\":\"stall\"}\n";
    int gone = dial(); // asks and hangs up
    send_bytes(gone, request, sizeof(request) - 1);
    close(gone);
    uint64_t before = environment_event_now_ns();
    CHECK(control_client_call(world.path, "stall", NULL, &result, &why) == -EBUSY);
    CHECK(strstr(why.bytes, "in time") != NULL);
    CHECK(environment_event_now_ns() - before >= (uint64_t)CONTROL_PATIENCE_MS * 1000000);
    CHECK(control_client_call(world.path, "echo", NULL, &result, &why) == 0);
    json_object_put(result);
}

static void test_busy_core(void **state)
{
    (void)state;
    run_client(ask_a_busy_core);
    assert_int_equal(world.stalled_count, 2);
}

static void fill_all_places(void)
{
    int descriptors[CONTROL_CLIENTS_MAX];
    char line[256];
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        descriptors[i] = dial();
        send_bytes(descriptors[i], "{\"verb\":\"echo\"}\n", 16);
        CHECK(receive_line(descriptors[i], line, sizeof(line)));
    }
    int refused = dial();
    CHECK(!receive_line(refused, line, sizeof(line)));
    close(refused);
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        close(descriptors[i]);
}

static void test_places_are_bounded(void **state)
{
    (void)state;
    run_client(fill_all_places);
}

static _Noreturn void ask_as_nobody(void)
{
    char line[16];
    if (setuid(65534) != 0)
        _exit(2);
    int descriptor = dial();
    send(descriptor, "{\"verb\":\"echo\"}\n", 16, MSG_NOSIGNAL);
    _exit(receive_line(descriptor, line, sizeof(line)) ? 1 : 0);
}

// The socket's mode is opened up, so that what refuses is the look at the peer.
static void refuse_nobody(void)
{
    int status;
    CHECK(chmod(world.directory, 0755) == 0 && chmod(world.path, 0666) == 0);
    pid_t child = fork();
    if (child == 0)
        ask_as_nobody();
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_only_root(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    run_client(refuse_nobody);
    assert_int_equal(world.handled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_polite, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_busy_core, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_root, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
