// SPDX-License-Identifier: Apache-2.0
// A line of the control protocol. The script is the line. What must hold beside "no crash": a
// request that was taken is taken again, with the same verb and arguments, when it is written anew.
#include <json-c/json.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/control_protocol.h"
#include "fs/control_request.h"
#include "tests/fuzz/fuzz.h"

enum { MARK_TAKEN, MARK_ARGUMENTS, MARK_NO_JSON, MARK_NO_VERB, MARK_NO_OBJECT };
static const char *const marks[] = {
    "a request",
    "a request with arguments",
    "bytes that are no JSON",
    "a request without a verb",
    "arguments that are no object",
    NULL,
};

static void write_anew(const struct control_request *request)
{
    struct control_request again;
    const char *why;
    size_t length;
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "verb", json_object_new_string(request->verb));
    json_object_object_add(object, "arguments", json_object_get(request->arguments));
    const char *line = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &length);
    CHECK(memchr(line, '\n', length) == NULL);
    CHECK(control_request_parse(line, length, &again, &why));
    CHECK(strcmp(again.verb, request->verb) == 0);
    CHECK(json_object_object_length(again.arguments) ==
          json_object_object_length(request->arguments));
    control_request_deinit(&again);
    json_object_put(object);
}

static uint64_t run(const uint8_t *bytes, size_t length)
{
    struct control_request request;
    const char *why = NULL;
    if (length > CONTROL_REQUEST_BYTES_MAX)
        return 0;
    if (!control_request_parse((const char *)bytes, length, &request, &why)) {
        CHECK(why != NULL);
        return strstr(why, "verb") != NULL        ? 1u << MARK_NO_VERB
               : strstr(why, "arguments") != NULL ? 1u << MARK_NO_OBJECT
                                                  : 1u << MARK_NO_JSON;
    }
    uint64_t reached = 1u << MARK_TAKEN;
    if (json_object_object_length(request.arguments) > 0)
        reached |= 1u << MARK_ARGUMENTS;
    write_anew(&request);
    control_request_deinit(&request);
    return reached;
}

static size_t seed(unsigned number, uint8_t *bytes)
{
    static const char *const lines[] = {
        "{\"verb\": \"nodes\"}",
        "{\"verb\": \"stat\", \"arguments\": {\"inode\": 8241, \"x\": [1.5e3, null, \"\\u00e4\"]}}",
        "{\"verb\": \"stat\", \"arguments\": {\"inode\": 8241}",
        "{\"verb\": 7}",
        "{\"verb\": \"stat\", \"arguments\": []}",
        "[[[[[[[[[[[[[[[[",
    };
    if (number >= sizeof(lines) / sizeof(lines[0]))
        return 0;
    size_t length = strlen(lines[number]);
    memcpy(bytes, lines[number], length);
    return length;
}

const struct fuzz_target fuzz_target = {"control", run, seed, marks};
