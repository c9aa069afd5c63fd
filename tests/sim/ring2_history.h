// SPDX-License-Identifier: Apache-2.0
// Ring 2 of the simulator: one whole node on a disk that is cut off at any write. One seed is one
// history. With more nodes, which share the disk and do the clients' operations in turns, it shows
// that each node sees at once what another did; then cuts are checked for structure alone, because
// the order in which the operations of several nodes become durable is their locks', not the
// clients'.
//
//   format ─► [ mount ─► clients and lanes at work ─► crash or clean unmount ]* ─► clean, fsck
//                              │ at chosen writes
//                              └─► a copy of the disk as a power cut would leave it now (unflushed
//                                  sectors lost or not, writes torn): mount, compare, unmount, fsck
//
//   ring2_node.c    the node              ring2_client.c      what a client does next
//   ring2_data.c    what files must hold  ring2_names.c       names
//   ring2_tree.c    what names must be    ring2_attributes.c  attributes, extended ones too
//   ring2_check.c   a mounted volume      ring2_handles.c     open and close
//                   against both          ring2_files.c       content, by the core and by lanes
//   ring2_fsck.c    the structures        ring2_cut.c         a power cut, its recovery cut again
//   ring2_rows.c    proof of what was done    ring2_unnamed.c  files without a name
//                                         ring2_acl.c         access control lists
//                                         ring2_protection.c  immutable, append-only
//                                         ring2_quota.c       limits
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/sim/ring2_data.h"
#include "tests/sim/ring2_node.h"
#include "tests/sim/ring2_rows.h"
#include "tests/sim/ring2_tree.h"

struct open_file;
struct open_inode;

enum {
    RING2_CLIENTS = 2,
    RING2_LANES = 2,
    RING2_HANDLES = 4, // of a client
    RING2_FILES_MAX = 2000,
    RING2_STATES_MAX = 400,
    RING2_FAILURE_BYTES = 400,
    RING2_DEVICE = 0x103, // of device nodes: 1, 3
};

struct ring2_options {
    uint64_t seed;
    unsigned node_count;  // 1 to RING2_NODES_AT_ONCE
    bool cuts_everywhere; // after every write; else after some
    FILE *trace;          // every operation; NULL: none
};

struct ring2_result {
    bool is_failed;
    char failure[RING2_FAILURE_BYTES];
    uint64_t operations, lane_transfers, writes, cuts, crashes;
    uint32_t handle_credits_most;
    struct ring2_rows rows;
};

struct ring2_handle {
    struct open_file *open; // NULL: free
    struct ring2_file *file;
    uint64_t inode;
    int flags;                      // of open(2)
    unsigned node;                  // that has it open
    bool is_busy;                   // the client is at work on it
    struct ring2_tree_node unnamed; // if has_no_name: what it will be once it has one
    bool has_no_name;               // made without, and none was given yet
    unsigned lane_users;
};

struct ring2_history;

// A sequence of operations in a directory of its own.
struct ring2_client {
    struct ring2_history *history;
    unsigned number;
    unsigned node;             // that does its operation now
    struct ring2_tree tree;    // now
    struct ring2_tree pending; // if has_pending: what it will be when the operation has ended
    bool has_pending;
    struct ring2_tree *states; // since the last durable one, that first
    unsigned state_count;
    uint64_t first_state; // the number of the first of them
    struct ring2_handle handles[RING2_HANDLES];
    uint64_t top_inode;
    uint64_t operations_left;
};

struct ring2_history {
    struct ring2_options options;
    struct ring2_result result;
    struct random random; // of the workload
    struct random cut_random;
    struct world world;
    struct sim_disk *disk;
    struct ring2_node nodes[RING2_NODES_AT_ONCE];
    unsigned user_count; // clients and lanes at work
    uint64_t last_done, last_done_ns;
    struct ring2_client clients[RING2_CLIENTS];
    struct ring2_file *files[RING2_FILES_MAX];
    unsigned file_count;
    unsigned cuts_one_in;
    unsigned steps_under_way; // operations of several transactions: cuts and commits come often
    bool is_nearly_full;      // -ENOSPC may come at any time
    bool is_fragmented;       // free space is single blocks, far and wide
    bool is_full;             // it came, and nothing was deleted since
    bool is_checking;         // a cut is being looked at
    bool after_crash;         // the last life ended in one
    unsigned quota_probes;    // that must not see quotas turned on or off
};

void ring2_history_run(const struct ring2_options *options, struct ring2_result *result);

// The history has found something; the first one counts.
void ring2_fail(struct ring2_history *history, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ring2_trace(struct ring2_history *history, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline bool ring2_goes_on(const struct ring2_history *history)
{
    return !history->result.is_failed && !history->nodes[0].is_stopping;
}
struct ring2_file *ring2_history_new_file(struct ring2_history *history);

// It was done and answered as it should be.
static inline void ring2_did(struct ring2_history *history, enum ring2_row row)
{
    history->result.rows.counts[row]++;
}
// An operation of `node` answered -ENOSPC: whether it may. Waits for the space of deleted files, as
// front ends do.
bool ring2_no_space(struct ring2_history *history, unsigned node);
// An operation that gives space back was done.
void ring2_freed(struct ring2_history *history);

// --- parts ---------------------------------------------------------------------------------------

// Makes the disk and the volume on it.
void ring2_history_format(struct ring2_history *history);
// All but a little of a nearly full or fragmented volume goes to one file, which then has holes.
void ring2_history_fill(struct ring2_history *history);
// A power cut now, on a copy of the disk.
void ring2_cut(struct ring2_history *history);
// The same, but the copy has a group header that is damaged: no file loses anything by it, and the
// group is not made anew (rule 16).
void ring2_damage(struct ring2_history *history, const struct sim_disk *disk);
// The same with two nodes, one of whose blocks goes bad while they are mounted.
void ring2_damage_met(struct ring2_history *history, const struct sim_disk *disk);

// One operation of a client, of any kind. From a coroutine.
void ring2_client_step(struct ring2_client *client);
void ring2_client_sync(struct ring2_client *client); // the whole volume
void ring2_handles_step(struct ring2_client *client);
void ring2_handles_take(struct ring2_client *client, struct ring2_handle *handle,
                        struct open_file *open, struct ring2_file *file, uint64_t inode, int flags);
// Files without a name: one more on a free handle; a name for one that has none.
void ring2_unnamed_create(struct ring2_client *client, struct ring2_handle *handle);
void ring2_unnamed_link(struct ring2_client *client, struct ring2_handle *handle);
// As operation_write, but the bytes are copied from such a file.
ssize_t ring2_unnamed_copy(struct ring2_client *client, struct ring2_handle *handle,
                           uint64_t offset, const void *buffer, uint64_t length);
void ring2_names_make(struct ring2_client *client);
void ring2_names_link(struct ring2_client *client);
void ring2_names_unlink(struct ring2_client *client);
void ring2_names_rmdir(struct ring2_client *client);
void ring2_names_rename(struct ring2_client *client);
void ring2_names_look(struct ring2_client *client);
void ring2_attributes_step(struct ring2_client *client);
void ring2_acl_step(struct ring2_client *client, unsigned node);
void ring2_protection_step(struct ring2_client *client);
// Quotas, if the seed says so: on from the beginning, and one step of a client.
void ring2_quota_begin(struct ring2_history *history);
void ring2_quota_step(struct ring2_client *client);
// Takes away what a crash has left protected: true if there was something.
bool ring2_protection_undo(struct ring2_client *client);
// Ends all handles.
void ring2_client_close_all(struct ring2_client *client);
bool ring2_is_open(const struct ring2_client *client, const struct ring2_file *file);
// The number of the client's state now, and that no crash takes it behind that any more.
uint64_t ring2_client_state(const struct ring2_client *client);
void ring2_client_durable(struct ring2_client *client, uint64_t state);
// One operation on the content of an open file.
void ring2_files_step(struct ring2_client *client, struct ring2_handle *handle, bool is_unlinked);
// One transfer past the core.
void ring2_lane_step(struct ring2_history *history, unsigned lane);

// Compares a mounted volume with what it must hold now: after a crash one of the states since the
// durable one. With `adopts` the history goes on from what was found. From a coroutine.
void ring2_check(struct ring2_history *history, struct volume *volume, bool after_crash,
                 bool adopts);
// Runs fsck over a disk that nobody has mounted, without changing it. Clean or ring2_fail.
void ring2_fsck(struct ring2_history *history, struct world *world, struct sim_disk *disk);
