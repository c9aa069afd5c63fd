// SPDX-License-Identifier: Apache-2.0
// One check of one volume: what the passes share, and the passes in their order. Each pass's file
// says what it assumes, builds and leaves.
//
//   pass0  superblock, its copies, claim         -> geometry
//   pass1  slots, journals                       -> replayed, on disk or as an overlay
//   pass2  groups: headers, free trees           -> space: what is free
//   pass3  inodes from the root and the orphan lists on, their trees -> inode table, space
//   pass4  directories' parents, link counts, orphans
//   pass5  space: every block once
//   repair what crashes leave
//
// Passes report problems and go on; a negative result means that nothing further can be checked.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dlm/claim.h"
#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/base/lamport.h"
#include "fs/base/log.h"
#include "fs/base/stop_request.h"
#include "fs/format.h"
#include "fs/format_decode.h"
#include "fs/format_find.h"
#include "fs/journal_format.h"
#include "fsck/inode_table.h"
#include "fsck/options.h"
#include "fsck/problem.h"
#include "fsck/progress.h"
#include "fsck/space.h"
#include "journal/journal.h"

struct block_reader;

// A group as its header said.
struct check_group {
    uint64_t free_block_count; // of the header
    uint64_t free_found;       // in its tree
};

struct check {
    const struct fsck_options *options;
    struct block_device *device;
    struct environment *environment;
    struct log *log;
    FILE *out;                 // problems and the verdict
    uint64_t io_max_ns;        // how long a write of somebody else's may be on its way to the LUN
    struct stop_request *stop; // looked at where nothing is half done; NULL: nobody asks
    struct problems problems;
    struct progress progress;

    // pass 0
    struct format_superblock_finding finding;
    struct geometry geometry;

    // pass 1
    struct format_heartbeat heartbeats[FORMAT_SLOT_COUNT_MAX];
    struct claim claim; // held if claim.is_held
    int claim_error;    // 0, or why it was lost
    uint64_t watch_begin_ns;
    struct lamport_clock clock;
    struct journal_format_context journal_context;
    struct journal_config journals[FORMAT_SLOT_COUNT_MAX];
    struct journal_scan overlay; // -n: what replay would write
    bool has_overlay;
    struct block_reader *reader;

    // passes 2 to 5
    struct check_group *groups; // ag_count of them
    struct space space;
    struct inode_table inodes;
    uint64_t file_count, directory_count, orphan_count;

    bool was_changed; // something was written
};

// All of it: the passes, the repair, the verdict. `check` is zeroed but for options, device,
// environment, log, out, io_max_ns and stop. An enum fsck_exit.
int check_run(struct check *check);

// 0, or a negative error after which the check is over, and then the reason was printed.
int pass0_superblock(struct check *check);
int pass1_slots(struct check *check);
int pass2_groups(struct check *check);
int pass3_inodes(struct check *check);
void pass4_directories(struct check *check);
void pass5_space(struct check *check);

// Puts right what can be. Called only if nothing else is wrong. 0 or a negative error.
int repair_volume(struct check *check);

// Whether the check is to end here, between two things that it looks at; a repair is never left in
// the middle for it. 0 or -ECANCELED.
int check_cancelled(const struct check *check);
// Between two blocks of long work: beats the claim, draws the progress bar.
void check_breathe(struct check *check);
// Prints "fsck.lunfs: PATH: ..." to standard error and returns `error`.
int check_fail(struct check *check, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// A line of information, only with -v.
void check_note(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
