// SPDX-License-Identifier: Apache-2.0
// The metadata journal of one node slot: transactions of whole 4 KiB blocks, gathered in memory,
// committed as a group into one record of a ring on the LUN, written in place later, replayed by a
// survivor. docs/journal.md has the pictures and the timelines. The journal knows blocks and lock
// names, not files: what a block looks like inside comes by callbacks.
//
//   begin ── change ─ change ─ revoke ── end          one handle: one operation, all or nothing
//     └──────── many handles ───────┐
//                           running transaction ── commit ──► record in the ring, flushed: durable
//                                                                │
//                        block in place ◄── write-back ──────────┘ then the tail may pass it
//
// What the journal promises: a transaction is durable as a whole or not at all, in the order in
// which handles ended; a block reaches its place only with committed content; the life of every
// image in the ring ends in time (write-back, revoke, retire), so that replay of a dead node's
// journal never moves a block backwards (protocols, rules 4 to 7, 30 to 32).
//
// All functions are called on the core's thread. Those marked "waits" are called from a coroutine;
// with a device that completes at once (tools) journal_format, journal_scan and journal_replay may
// be called outside of one. Results: 0, -errno of the device, or -ERROR_JOURNAL_*.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/block_device.h"
#include "fs/base/environment.h"
#include "fs/base/lamport.h"
#include "fs/base/lock_name.h"
#include "fs/base/log.h"

struct journal;
struct journal_handle;
struct journal_transaction;
struct journal_lock;
struct text;

// --- configuration ---------------------------------------------------------------------------

// What the journal must know of the format of blocks. None of them may wait.
struct journal_callbacks {
    // Writes version and checksum into the header of a metadata block of 4096 bytes.
    void (*seal)(void *context, uint8_t *bytes, uint64_t version);
    // The version in the header of a block that may be changed since it was sealed.
    uint64_t (*version)(void *context, const uint8_t *bytes);
    // Whether `bytes` are a valid, sealed metadata block of this volume that belongs at `address`;
    // if so its owner and version.
    bool (*inspect)(void *context, const uint8_t *bytes, uint64_t address, uint64_t *owner,
                    uint64_t *version);
    // Fills the common block header (bytes 0 to 63) of a journal header block but for version and
    // checksum, which `seal` writes.
    void (*header_init)(void *context, uint8_t *bytes, uint64_t address, uint32_t slot);
    // 0, or the failed check (-ERROR_BLOCK_*) of a journal header block's common header.
    int (*header_verify)(void *context, const uint8_t *bytes, uint64_t address, uint32_t slot);
    // Called once: the journal cannot be written any more, the node must stop. May be NULL.
    void (*failed)(void *context, int error);
    // How far a replay is, in blocks; called now and then. May be NULL.
    void (*progress)(void *context, uint64_t done, uint64_t total);
};

// One journal: copied by journal_open; what it points to stays the caller's and outlives it.
struct journal_config {
    struct block_device *device; // the volume: address a stands at offset a * 4096
    struct environment *environment;
    struct log *log;
    struct lamport_clock *clock;
    const struct journal_callbacks *callbacks;
    void *context;        // of the callbacks
    uint64_t start_block; // of the journal on the volume
    uint32_t block_count; // at least JOURNAL_BLOCKS_MIN
    uint32_t slot;
    uint8_t format_id[16];
    uint64_t commit_interval_ns;     // oldest change to commit; 0: 5 s
    uint64_t checkpoint_interval_ns; // commit to write-back at leisure; 0: 10 s
};

enum { JOURNAL_BLOCKS_MIN = 32 };

// --- life ------------------------------------------------------------------------------------

// Makes an empty, clean journal (mkfs); whatever stood there before is dead by the new salt. Waits.
int journal_format(const struct journal_config *config);

// Writes both copies of the header again, as the valid one says: of a journal that nobody uses.
// -ERROR_JOURNAL_HEADER if neither is valid. Waits.
int journal_renew_headers(const struct journal_config *config);

// Opens a clean journal for mount and starts a new life of it: a fresh salt, durable before this
// returns. -ERROR_JOURNAL_HEADER if neither header copy is valid, -EBUSY if it is not clean (replay
// it first). The clock takes note of the versions that the header knows. Waits.
int journal_open(const struct journal_config *config, struct journal **journal);

// Commits, writes everything in place, flushes, and makes the clean mark durable; then frees the
// journal. On a failed or stopped journal it writes nothing and frees. The journal is gone after
// it, whatever the result. No handle may be open, no other call may be under way but such that
// fail. Waits.
int journal_close(struct journal *journal);

// The node must not write any more (fenced, lease lost): nothing further is submitted or
// acknowledged, every waiting call returns -ERROR_JOURNAL_FAILED. `error` is for the log. Does not
// call `failed`. May be called at any time, also twice.
void journal_stop(struct journal *journal, int error);

// --- blocks ----------------------------------------------------------------------------------

// One metadata block in memory, embedded in the block cache's own structure. `bytes` is the live
// content, 4096 bytes; it is changed only inside a handle that called journal_transaction_change.
struct journal_block {
    uint64_t address;
    struct lock_name lock; // what protects the block; fixed while the block is busy
    uint8_t *bytes;

    // The journal's.
    struct journal_handle *handle;          // the open handle that changes or frees it
    struct journal_transaction *running;    // changed in it
    struct journal_transaction *committing; // its image is being written to the log
    struct journal_transaction *dirty;      // holds its newest durable image, not in place yet
    struct journal_transaction *freed_by;   // revoked in it, not durable yet
    struct journal_lock *lock_state;        // set while any of the four is
    bool is_freed_by_handle;
    bool is_in_write_back;
    TAILQ_ENTRY(journal_block) running_link;
    TAILQ_ENTRY(journal_block) committing_link;
    TAILQ_ENTRY(journal_block) dirty_link;
    TAILQ_ENTRY(journal_block) lock_link;
    TAILQ_ENTRY(journal_block) freed_link;
};

// A block that the journal knows nothing of.
void journal_block_init(struct journal_block *block, uint64_t address, struct lock_name lock,
                        uint8_t *bytes);

// The cache keeps a busy block in memory and at its place: it is in a running or committing
// transaction, committed but not in place, in write-back, or freed and its revoke not yet durable.
bool journal_block_is_busy(const struct journal_block *block);

// --- transactions ----------------------------------------------------------------------------

// The most credits one handle can ask for: an eighth of the ring. Larger operations are rolling
// transactions with an intent on disk (rule 32).
uint32_t journal_credits_max(const struct journal *journal);

// Opens a handle for one operation. `credits` is an upper bound of the blocks that it changes plus
// those that it revokes, 1 to journal_credits_max. Waits for room, in order of arrival; the room
// until the operation's end is then reserved, it cannot fail for lack of it.
//
// Take all cluster locks and read all blocks that can be known before: while a handle is open no
// commit can complete, so it must not wait for a lock, another handle, a sync, or open a second
// handle. It may wait for reads of blocks.
int journal_transaction_begin(struct journal *journal, uint32_t credits,
                              struct journal_handle **handle);

// Called before the first change of `block` in this handle (further calls do nothing). The block's
// lock is held in a mode that allows the change, and the caller's own exclusion keeps every other
// handle from the block until this one has ended (CHECKed).
void journal_transaction_change(struct journal_handle *handle, struct journal_block *block);

// The metadata block at `address` is freed by this handle; `block` is it, or NULL if it is not in
// memory. Its images so far are dead once the transaction is durable, its queued write-back is
// cancelled. It is not touched again before it was allocated anew, which is not before
// on_durable (rule 4). Costs a credit.
void journal_transaction_revoke(struct journal_handle *handle, uint64_t address,
                                struct journal_block *block);

// Runs once the transaction is durable and no write-back of a block revoked in it is in flight:
// only then may space that the transaction frees be given out or discarded.
struct journal_on_durable {
    // result: 0, or -ERROR_JOURNAL_FAILED (the space is not free, release your memory). Must not
    // wait; the structure is the callee's again.
    void (*run)(struct journal_on_durable *on_durable, int result);
    TAILQ_ENTRY(journal_on_durable) link;
};
// Owned by the journal until it ran; never run and given back at once if the handle is aborted.
void journal_transaction_on_durable(struct journal_handle *handle,
                                    struct journal_on_durable *on_durable);

// The handle makes data visible that was written to the device: it must be durable before the
// commit record is submitted (rule 5). The caller's data writes have completed before
// journal_transaction_end.
void journal_transaction_needs_data_flush(struct journal_handle *handle);

// Stands for the handle's transaction in journal_sync_ticket; tickets only grow.
uint64_t journal_transaction_ticket(const struct journal_handle *handle);

// Ends the operation: its changes are part of the transaction, all of them. Does not wait. The
// handle is gone after it.
void journal_transaction_end(struct journal_handle *handle);

// Takes every change of this handle back, byte for byte: no half operation ever. The handle is gone
// after it.
void journal_transaction_abort(struct journal_handle *handle);

// --- durability ------------------------------------------------------------------------------

// Returns 0 once every handle that ended before the call is durable, and with it every write to the
// device that had completed before the call (the device is flushed also when there is nothing to
// commit). Concurrent callers share commits and flushes. Waits.
int journal_sync(struct journal *journal);

// The same, but commits no more than the transactions up to `ticket`: fsync of a file whose last
// change is long durable costs a flush only. Waits.
int journal_sync_ticket(struct journal *journal, uint64_t ticket);

// Commits and writes everything in place that had ended before the call, and moves the tail past
// it: under memory pressure, for a quick replay. Waits.
int journal_checkpoint(struct journal *journal);

// Everything is in place and the journal marked clean, as journal_close leaves it, and stays open:
// the next handle wakes it, which costs two writes of the header. The caller keeps handles away
// meanwhile (rule 24); those that are open are waited for. Waits.
int journal_rest(struct journal *journal);

// --- giving up locks (rules 5 and 6) -----------------------------------------------------------

// Before locks go below PW: what they protect is committed, written in place and flushed when this
// returns 0. The caller keeps new changes under them away from before the call until it has let
// go. Many locks share one commit and one flush; clean locks cost nothing. Waits.
int journal_lock_write_back(struct journal *journal, const struct lock_name *names, size_t count);

// Before locks go below PR, after journal_lock_write_back: makes a retire of them durable. Free for
// a lock of which no image lies between tail and head since its last retire; that, and never
// whether the lock is dirty, decides. Many locks share one record. Waits.
int journal_lock_retire(struct journal *journal, const struct lock_name *names, size_t count);

// Both in one call: what a node does before a lock goes to NL. Waits.
int journal_lock_give_up(struct journal *journal, const struct lock_name *names, size_t count);

// --- status ----------------------------------------------------------------------------------

struct journal_status {
    uint32_t ring_block_count;
    uint32_t used_block_count;     // between the durable tail and the head
    uint32_t running_block_count;  // changed, not being committed yet
    uint32_t dirty_block_count;    // durable in the log, not in place
    uint32_t lock_count;           // with images in the log that no retire ended
    uint32_t waiting_handle_count; // in journal_transaction_begin
    uint64_t ticket_durable;       // newest durable transaction
    uint64_t commit_count;         // records with images or revokes, since open
    uint64_t retire_record_count;  // records with retires alone
    uint64_t image_count;          // written to the log
    uint64_t write_back_count;     // blocks written in place
    uint64_t flush_count;          // of the device
    uint64_t header_write_count;
    uint32_t handle_credits_most; // that one handle asked for, since open
    uint32_t handle_credits_max;  // that one may ask for
    bool is_failed;
};
void journal_status_get(const struct journal *journal, struct journal_status *status);
void journal_status_to_text(const struct journal_status *status, struct text *text);

// --- recovery --------------------------------------------------------------------------------

// A block that replay would write: the newest live image among the scanned journals.
struct journal_image {
    uint64_t address;
    uint64_t version;
    struct lock_name lock;
    uint32_t journal;  // index of the configuration that it was found with
    uint32_t checksum; // crc32c of the image
    uint64_t block;    // where the image stands on the volume
};

struct journal_scan {
    uint32_t journal_count;
    uint32_t dirty_count;         // journals that are not clean
    uint64_t record_count;        // in dirty journals, between tail and end
    uint64_t scanned_count;       // images in them
    uint64_t version_max;         // of images, records and headers
    struct journal_image *images; // live, by address; at most one for an address
    size_t image_count;
};

// Reads the headers and logs of `count` journals and plans their joint replay; writes nothing
// (fsck -n overlays the images). -ERROR_JOURNAL_HEADER, -ERROR_JOURNAL_RECORD, -errno. Waits.
int journal_scan(const struct journal_config *configs, size_t count, struct journal_scan *scan);
// Reads one image into `buffer` (4096 bytes, aligned) and checks it. Waits.
int journal_scan_read(const struct journal_config *configs, const struct journal_image *image,
                      uint8_t *buffer);
void journal_scan_deinit(struct journal_scan *scan);

struct journal_replay_report {
    uint32_t journal_count;
    uint32_t dirty_count; // journals replayed
    uint64_t record_count;
    uint64_t scanned_count; // images read
    uint64_t written_count; // blocks written in place
    uint64_t version_max;   // the clock has taken note of it
    uint64_t error_address; // the block at fault, if the result says JOURNAL_VERSION or RECORD
};

// Replays `count` journals together (dead nodes' after the fence; all dirty ones at a first mount):
// writes the newest live image of each block in place, flushes, makes the clean marks durable; only
// after that may the locks go (rule 6, 'The replay rule'). Clean journals are left alone. May be
// cut off anywhere and repeated by anybody. -ERROR_JOURNAL_VERSION, found before the first write,
// if an older version would go over a newer one of the same owner. Waits.
int journal_replay(const struct journal_config *configs, size_t count,
                   struct journal_replay_report *report);
