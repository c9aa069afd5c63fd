// SPDX-License-Identifier: Apache-2.0
// The verbs of the control protocol about quotas (fs/quota.h), answered on the core. Numbers are
// bytes, inodes and seconds; a limit of 0 is none.
#pragma once

struct json_object;
struct volume;

// {"phase": "off", "turns on", "on" or "turns off"; "counted": inodes; "ended": why the last switch
// of this node failed}
int status_quota_state(struct volume *volume, struct json_object *arguments,
                       struct json_object *result, const char **why);
// {"on"}: begins; whoever asked looks at the state until it is over.
int status_quota_switch(struct volume *volume, struct json_object *arguments,
                        struct json_object *result, const char **why);
// {"kind", "first": number}: {"rows": [...], "more": whether there are}
int status_quota_report(struct volume *volume, struct json_object *arguments,
                        struct json_object *result, const char **why);
// {"kind", "id"}: a row.
int status_quota_show(struct volume *volume, struct json_object *arguments,
                      struct json_object *result, const char **why);
// {"kind", "id"} and at least one of "bytes_hard", "bytes_soft", "inodes_hard", "inodes_soft",
// "bytes_grace_s", "inodes_grace_s". May be asked again if there was no answer in time.
int status_quota_set(struct volume *volume, struct json_object *arguments,
                     struct json_object *result, const char **why);
