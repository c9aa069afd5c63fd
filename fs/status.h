// SPDX-License-Identifier: Apache-2.0
// What the daemon tells about itself: the verbs of the control protocol, answered on the core.
//
//   info   the volume, this mount's state, its counters     locks  who holds or waits for what
//   nodes  the members, and why the cluster waits           df     free space
//   stat   one inode and its extents                        fence, fence-confirm
//   freeze, thaw, freeze-state (fs/status_freeze.h), scrub (fs/status_scrub.h),
//   quota-state, quota-switch, quota-report, quota-show, quota-set (fs/status_quota.h)
#pragma once

struct cluster;
struct dlm_service;
struct fuse_server;
struct json_object;
struct log_daemon;
struct mount_options;
struct scrubber;
struct solo;
struct volume;

// All outlive the control server; a pointer may be NULL where said, and be set later.
struct status_source {
    struct volume *volume;
    const char *device, *directory;
    const struct mount_options *options;
    struct log_daemon *log;
    struct fuse_server *fuse;  // NULL until mounted
    struct cluster *cluster;   // NULL: a local mount; joining, perhaps
    struct solo *solo;         // NULL: not a local mount; joining, perhaps
    struct dlm_service *locks; // NULL until there is one
    struct scrubber *scrubber; // likewise
};

// The handler of control_server_config; `context` is a struct status_source.
int status_handle(void *context, const char *verb, struct json_object *arguments,
                  struct json_object *result, const char **why);
