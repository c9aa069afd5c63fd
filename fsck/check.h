// SPDX-License-Identifier: Apache-2.0
// One check of one volume: what the passes share, and the passes in their order. Each pass's file
// says what it assumes, builds and leaves.
//
//   pass0  superblock, its copies, claim         -> geometry
//   pass1  slots, journals                       -> what replay would write, as an overlay
//   pass2  groups: headers, free trees           -> space: what is free
//   pass3  inodes from the root and the orphan lists on, their trees, and those that nothing points
//          to                                    -> inode table, space
//   pass4  directories' parents, link counts, orphans
//   pass5  space: every block once
//   pass6  quotas: what records and ledgers say against what the inodes add up to
//
// Passes report problems and go on; a negative result means that nothing further can be checked.
//
//   passes ──► nothing wrong ──────────────────────────────────► commit: undo file, disk
//     ▲    └─► the first stage that something is wrong with ─┐
//     └──── over the changes, in memory ◄────────────────────┘
//
// So nothing is written before all is looked at, and nothing is written at all unless a check of
// the result finds it sound.
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
#include "fsck/change_log.h"
#include "fsck/inode_table.h"
#include "fsck/options.h"
#include "fsck/overlaps.h"
#include "fsck/problem.h"
#include "fsck/progress.h"
#include "fsck/quota_sums.h"
#include "fsck/space.h"
#include "journal/journal.h"

struct block_reader;

// The volume is in use meanwhile (fsck/scrub.h): what is looked at is held by its lock, and only
// for that long, so no bytes are kept from one object to the next, and no object is compared with
// another one.
struct check_online {
    uint64_t blocks_read;
};

struct block_numbers {
    uint64_t *numbers;
    size_t count;
};

// A leaf in space that is neither used nor free, and whose inode it says it belongs to.
struct stray_leaf {
    uint64_t owner, block;
};

struct stray_leaves {
    struct stray_leaf *leaves;
    size_t count, capacity;
};

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
    FILE *out;                             // problems and the verdict
    const struct claim_clock *watch_clock; // for the claim; NULL: the environment's
    uint64_t io_max_ns;          // how long a write of somebody else's may be on its way to the LUN
    struct stop_request *stop;   // looked at where nothing is half done; NULL: nobody asks
    bool reads_ahead;            // with threads: the device is a file's, and no simulation
    struct check_online *online; // NULL: nobody else uses the volume
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
    struct journal_config journals[FORMAT_SLOT_COUNT_MAX]; // but for the bad ones
    uint32_t journal_count;
    uint64_t bad_journals;       // a bit a slot: to be emptied
    uint64_t worn_journals;      // a bit a slot: one copy of the header is not valid
    struct journal_scan overlay; // what replay would write
    bool has_overlay;
    struct block_reader *reader;

    // passes 2 to 6, anew in each round
    unsigned round;
    struct check_group *groups; // ag_count of them
    struct space space;
    struct overlaps overlaps;
    struct inode_table inodes;
    struct quota_sums quotas;     // of owners; only records if quotas are off
    struct block_numbers flipped; // blocks with one wrong bit
    struct stray_leaves strays;
    uint64_t file_count, directory_count, orphan_count;
    bool has_lost_names; // in this round or one before: directories were damaged

    // the repair
    struct change_log changes;
    struct space_pool pool; // for new blocks
    struct problems found;  // by the first round
    bool is_beyond_repair;

    bool was_changed; // something was written
};

// All of it: the passes, the repair, the verdict. `check` is zeroed but for options, device,
// environment, log, out, io_max_ns and stop. An enum fsck_exit.
int check_run(struct check *check);

// 0, or a negative error after which the check is over, and then the reason was printed.
int pass0_superblock(struct check *check);
int pass1_slots(struct check *check);       // once: who uses the volume
int pass1_slots_again(struct check *check); // each round
int pass2_groups(struct check *check);
int pass3_inodes(struct check *check);
void pass4_directories(struct check *check);
void pass5_space(struct check *check);
void pass6_quota_blocks(struct check *check); // after groups
void pass6_quota_inode(struct check *check, const struct format_inode *inode);
void pass6_quotas(struct check *check); // after all else

// --- parts of passes, for the scrub ------------------------------------------------------------

// Superblocks against the one in use: `finding` is filled in.
void pass0_compare_copies(struct check *check);
void pass1_claim(struct check *check);
void pass1_slot(struct check *check, uint32_t slot); // heartbeat, mailbox, journal header
void pass1_slot_state(struct check *check, uint32_t slot);
void pass2_map(struct check *check); // after space_init
void pass2_group(struct check *check, uint32_t ag);
// The inode and its tree; what a directory names is put into the table. The table grows: `record`
// is not valid after it.
void pass3_inode(struct check *check, struct inode_record *record);
void pass3_orphan_list(struct check *check, uint32_t slot);
// What each says by itself; a volume that has none is not asked for them.
void pass6_quota_bucket(struct check *check, uint32_t slot);
void pass6_quota_ledger(struct check *check, uint32_t slot);

// Whether what was found so far may be put right.
bool check_may_repair(const struct check *check);
// The journal of a slot, for the journal's own functions.
void check_configure_journal(struct check *check, uint32_t slot, struct journal_config *config);

// Whether the check is to end here, between two things that it looks at; what is being written is
// never left in the middle for it. 0 or -ECANCELED.
int check_cancelled(const struct check *check);
// Of the claim's clock.
uint64_t check_boot_ns(const struct check *check);
// Between two blocks of long work: beats the claim, draws the progress bar.
void check_breathe(struct check *check);
// Prints "fsck.lunfs: PATH: ..." to standard error and returns `error`.
int check_fail(struct check *check, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// A line of information, only with -v.
void check_note(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A line that says what the repair does.
void check_tell(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
