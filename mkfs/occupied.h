// SPDX-License-Identifier: Apache-2.0
// What stands on a device already, and whether it may be overwritten.
//
//   another file system, a partition table (libblkid)    only with -f; then its signatures go
//   a lunfs volume                                       only with -f, and never while it is in use
//   a lunfs volume of a newer format                     never: nobody here can tell its heartbeats
#pragma once

#include <stdbool.h>

#include "dlm/claim.h"
#include "fs/base/block_device.h"
#include "fs/base/stop_request.h"
#include "fs/base/text.h"

struct occupied {
    struct claim claim;
    bool has_claim;           // of the volume that is to be overwritten
    struct geometry geometry; // of that volume
};

struct occupied_question {
    struct block_device *device; // a block_device_file
    const char *path;
    bool is_forced;
    bool only_look;            // nothing is written
    struct stop_request *stop; // may give it up; may be NULL
};

// 0: go on, and with a claim on the old volume if there was one. Else -EEXIST, -EBUSY, -ECANCELED
// or another error, nothing was taken, and `why` holds one sentence with the remedy. May take some
// seconds, and on a device with long timeouts minutes, if the volume on it was not left cleanly.
int occupied_check(const struct occupied_question *question, struct occupied *occupied,
                   struct text *why);

// Removes the signatures that libblkid knows (just before the layout is written). 0 or -errno.
int occupied_wipe_signatures(const char *path);
