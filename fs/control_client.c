// SPDX-License-Identifier: Apache-2.0
#include "fs/control_client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/text.h"

enum { ANSWER_SECONDS_MAX = 5, CHUNK_BYTES = 65536 };

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS_MAX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    text_copy(address.sun_path, sizeof(address.sun_path), path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -errno;
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0)
        return descriptor;
    int error = -errno;
    close(descriptor);
    return error;
}

static int send_request(int descriptor, const char *verb, struct json_object *arguments)
{
    struct json_object *request = json_object_new_object();
    json_object_object_add(request, "verb", json_object_new_string(verb));
    if (arguments != NULL)
        json_object_object_add(request, "arguments", json_object_get(arguments));
    const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
    size_t length = strlen(text);
    bool is_sent = send(descriptor, text, length, MSG_NOSIGNAL) == (ssize_t)length &&
                   send(descriptor, "\n", 1, MSG_NOSIGNAL) == 1;
    int error = is_sent ? 0 : -errno;
    json_object_put(request);
    return error;
}

// The answer's line without its newline, the caller's to free; NULL with errno set.
static char *receive_line(int descriptor)
{
    size_t capacity = 0, length = 0;
    char *line = NULL;
    while (length < CONTROL_ANSWER_BYTES_MAX) {
        if (length + CHUNK_BYTES > capacity) {
            char *larger = realloc(line, capacity + 4 * CHUNK_BYTES);
            if (larger == NULL)
                break;
            line = larger;
            capacity += 4 * CHUNK_BYTES;
        }
        ssize_t got = recv(descriptor, line + length, CHUNK_BYTES, 0);
        if (got <= 0) {
            errno = got == 0 ? ECONNRESET : errno;
            break;
        }
        char *newline = memchr(line + length, '\n', (size_t)got);
        length += (size_t)got;
        if (newline != NULL) {
            *newline = '\0';
            return line;
        }
    }
    free(line);
    return NULL;
}

static int error_of(struct json_object *answer, struct text *why)
{
    struct json_object *member;
    int code = 0, number = EIO;
    if (json_object_object_get_ex(answer, "error", &member))
        text_add(why, "%s", json_object_get_string(member));
    if (json_object_object_get_ex(answer, "code", &member))
        code = json_object_get_int(member);
    if (json_object_object_get_ex(answer, "errno", &member))
        number = json_object_get_int(member);
    return code > 0 ? -code : number > 0 ? -number : -EIO;
}

static int take_answer(const char *line, struct json_object **result, struct text *why)
{
    struct json_object *answer = json_tokener_parse(line), *ok, *found;
    int error = 0;
    if (!json_object_is_type(answer, json_type_object) ||
        !json_object_object_get_ex(answer, "ok", &ok)) {
        text_add(why, "the daemon's answer is not understood");
        error = -EPROTO;
    } else if (!json_object_get_boolean(ok)) {
        error = error_of(answer, why);
    } else if (!json_object_object_get_ex(answer, "result", &found)) {
        text_add(why, "the daemon's answer has no result");
        error = -EPROTO;
    } else {
        *result = json_object_get(found);
    }
    json_object_put(answer);
    return error;
}

int control_client_call(const char *path, const char *verb, struct json_object *arguments,
                        struct json_object **result, struct text *why)
{
    CLEANUP_CLOSE int descriptor = connect_to(path);
    if (descriptor < 0) {
        text_add(why, "%s: %s", path, strerror(-descriptor));
        return descriptor;
    }
    int error = send_request(descriptor, verb, arguments);
    CLEANUP_FREE char *line = error == 0 ? receive_line(descriptor) : NULL;
    if (line == NULL) {
        error = error != 0 ? error : -errno;
        text_add(why, "%s: %s", path, strerror(-error));
        return error;
    }
    return take_answer(line, result, why);
}
