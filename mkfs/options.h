// SPDX-License-Identifier: Apache-2.0
// The command line of mkfs.lunfs.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format.h"

struct mkfs_options {
    const char *path;
    char label[FORMAT_LABEL_BYTES]; // padded with 0
    uint8_t uuid[16];               // all 0: a random one
    uint32_t slot_count;            // 0: by size
    uint64_t journal_bytes;         // 0: by size
    bool is_forced;
    bool is_dry_run;
    bool is_quiet;
    bool is_json;
};

enum mkfs_exit {
    MKFS_EXIT_DONE = 0,
    MKFS_EXIT_REFUSED = 1, // nothing was written
    MKFS_EXIT_USAGE = 2,   // nothing was written
    MKFS_EXIT_FAILED = 4,  // failed while writing: the device holds no volume
};

// -1: go on with `options`; else the status to exit with, all that is to be said has been printed.
int mkfs_options_parse(int argc, char **argv, struct mkfs_options *options);
