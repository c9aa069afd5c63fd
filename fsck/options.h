// SPDX-License-Identifier: Apache-2.0
// The command line of fsck.lunfs.
#pragma once

#include <stdbool.h>

struct fsck_options {
    const char *path;
    bool no_changes; // -n
    bool is_preen;   // -p, -a: a volume that was left cleanly needs no look
    bool is_yes;     // -y: put right also what may lose something
    bool is_forced;  // -f: look anyway
    bool is_verbose;
    const char *undo_path;    // --undo; NULL: none
    const char *restore_path; // --restore: nothing else is done; or NULL
};

enum fsck_exit { // fsck(8)
    FSCK_EXIT_CLEAN = 0,
    FSCK_EXIT_CORRECTED = 1,
    FSCK_EXIT_UNCORRECTED = 4,
    FSCK_EXIT_OPERATIONAL = 8,
    FSCK_EXIT_USAGE = 16,
    FSCK_EXIT_CANCELLED = 32,
};

// -1: go on with `options`; else the status to exit with, all that is to be said has been printed.
int fsck_options_parse(int argc, char **argv, struct fsck_options *options);
