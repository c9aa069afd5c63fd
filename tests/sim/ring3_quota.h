// SPDX-License-Identifier: Apache-2.0
// Owners with limits, in every second history: workers on all nodes let files of one user grow and
// shrink, more than it may have. What is known of the files says what a limit must have answered:
//
//   least   what all files certainly had at one moment       never above the limit
//   most    what all may have had while one was refused      with what it asked for, above the
//   limit
#pragma once

#include "tests/sim/ring3.h"

enum {
    RING3_QUOTA_FILES = 4,
    RING3_QUOTA_UID = 7777,
    RING3_QUOTA_SLACK = 8, // blocks of trees that a file has, or that were not refused
};

// A file; its worker alone changes it.
struct ring3_quota_file {
    uint64_t inode;
    uint64_t least, most; // blocks; meanwhile, if it is under way
    unsigned deaths;      // the history's when it was looked at: since then nothing is certain
    bool is_known;
    // A change that is under way.
    bool is_pending;
    uint64_t asked;
    uint64_t others_most; // what the others may have had at any moment since it began
    bool is_open_ended;   // ... or nobody knows
};

struct ring3_quota {
    struct ring3 *ring3;
    uint64_t limit;
    struct ring3_quota_file files[RING3_QUOTA_FILES];
    uint64_t refused;
};

// Makes the files and turns quotas on. From a coroutine, before anything goes wrong.
void ring3_quota_set_up(struct ring3 *ring3, struct ring3_life *life);
void ring3_quota_start(struct ring3 *ring3);
// When all is quiet: what a node says is used is what is there. From a coroutine.
void ring3_quota_verify(struct ring3 *ring3, struct ring3_life *life);
void ring3_quota_free(struct ring3 *ring3);

// ring3_check_quota.c
void ring3_check_quota_known(struct ring3_quota *quota, struct ring3_quota_file *file,
                             uint64_t blocks, unsigned deaths);
// It begins to grow by `asked` blocks, or (0) to shrink.
void ring3_check_quota_begin(struct ring3_quota *quota, struct ring3_quota_file *file,
                             uint64_t asked);
// It was refused.
void ring3_check_quota_refused(struct ring3_quota *quota, struct ring3_quota_file *file);
// It ended somehow: ring3_check_quota_known follows when somebody has looked.
void ring3_check_quota_end(struct ring3_quota *quota, struct ring3_quota_file *file);
