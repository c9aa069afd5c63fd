// SPDX-License-Identifier: Apache-2.0
// The verbs of the control protocol about freezing (fs/freeze.h), answered on the core. None waits:
// whoever froze or thawed asks `freeze-state` until it says what was wanted.
#pragma once

struct json_object;
struct volume;

// {"timeout_ms": how long it may last at most}
int status_freeze_begin(struct volume *volume, struct json_object *arguments,
                        struct json_object *result, const char **why);
// {"held": whether this node's freeze held until now; "asked": another node is asked to thaw}
int status_freeze_end(struct volume *volume, struct json_object *arguments,
                      struct json_object *result, const char **why);
// The member "freeze": state, for_ms, left_ms, ended. Nothing is added before the volume started.
void status_freeze_add(struct json_object *result, struct volume *volume);
