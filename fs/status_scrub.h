// SPDX-License-Identifier: Apache-2.0
// The verb `scrub` of the control protocol.
//
//   {"action": "start", "blocks_per_second": 5000}    0 or none: as fast as the device is
//   {"action": "look", "from": 3}                     how far it is, and its lines from the fourth
//   on
//   {"action": "stop"}                                it ends soon
//
// Each answers with what `look` answers.
#pragma once

struct json_object;
struct scrubber;

// As the handler of control_server_config.
int status_scrub(struct scrubber *scrubber, struct json_object *arguments,
                 struct json_object *result, const char **why);
