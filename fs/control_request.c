// SPDX-License-Identifier: Apache-2.0
#include "fs/control_request.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/control_protocol.h"

// NULL if the bytes are not one object.
static struct json_object *parse_object(const char *line, size_t length)
{
    struct json_tokener *parser = json_tokener_new_ex(CONTROL_DEPTH_MAX);
    CHECK(parser != NULL);
    json_tokener_set_flags(parser, JSON_TOKENER_STRICT);
    struct json_object *object = json_tokener_parse_ex(parser, line, (int)length);
    bool is_whole = json_tokener_get_error(parser) == json_tokener_success;
    json_tokener_free(parser);
    if (is_whole && json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    return NULL;
}

bool control_request_parse(const char *line, size_t length, struct control_request *request,
                           const char **why)
{
    struct json_object *verb, *arguments, *object = parse_object(line, length);
    *why = NULL;
    if (object == NULL) {
        *why = "the request is not one JSON object on a line";
    } else if (!json_object_object_get_ex(object, "verb", &verb) ||
               !json_object_is_type(verb, json_type_string)) {
        *why = "the request names no verb";
    } else if (json_object_object_get_ex(object, "arguments", &arguments) &&
               !json_object_is_type(arguments, json_type_object)) {
        *why = "the request's arguments are no object";
    } else {
        request->verb = strdup(json_object_get_string(verb));
        CHECK(request->verb != NULL);
        request->arguments =
            arguments != NULL ? json_object_get(arguments) : json_object_new_object();
    }
    json_object_put(object);
    return *why == NULL;
}

void control_request_deinit(struct control_request *request)
{
    free(request->verb);
    json_object_put(request->arguments);
}
