// SPDX-License-Identifier: Apache-2.0
// The claim block: who uses this volume at all (rule 15). mkfs, fsck, local mounts and the first
// mount of a cluster take it; it keeps out whoever is not in the same corosync cluster, which no
// message could.
//
//   cleanly left (claim idle, all slots free):      else:
//     read idle ── write ── 50 ms ── read back        watch 2 beats + io_max: claim or any
//     heartbeat (read to write done within 25 ms, else the       moves ──► held by ...
//      other way)                                     write ── 2 beats + io_max ── read back,
//      nothing
//                                                      else moved ──► ours
//
// Why 25 and 50: whoever read idle before our write was done has his own write done 25 ms after
// his read, so before our read back, which then shows him. Who stays insists: a holder writes its
// claim over a stranger's at each beat; a stranger who tries backs off when he sees that.
//
// Works over any block_device: from a coroutine of the daemon, or plainly in a tool.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/block_device.h"
#include "fs/base/text.h"
#include "fs/format.h"

struct environment;

// The caller's time; `wait_ns` sleeps.
struct claim_clock {
    uint64_t (*boot_ns)(void *context);
    int64_t (*wall_ns)(void *context);
    void (*wait_ns)(void *context, uint64_t ns);
    // Called now and then during long waits (a progress line); may be NULL.
    void (*progress)(void *context, const char *what);
    // Asked at least four times a second of a long wait: true gives the try up; may be NULL.
    bool (*is_cancelled)(void *context);
    void *context;
};

// The clock of a plain program, and of a coroutine in this environment.
struct claim_clock claim_clock_system(void);
struct claim_clock claim_clock_environment(struct environment *environment);

struct claim_config {
    struct block_device *device;
    struct scheduler *scheduler;     // of the caller's coroutine; NULL in tools
    const struct geometry *geometry; // of the volume; outlives the claim
    struct claim_clock clock;
    enum claim_purpose purpose;
    uint8_t holder[16];     // random, fresh for each try
    uint8_t cluster_id[16]; // CLAIM_CLUSTER
    uint64_t io_max_ns;
    char host_name[FORMAT_NODE_NAME_BYTES];
};

struct claim {
    struct claim_config config;
    uint64_t beat;
    uint64_t version;
    uint64_t beaten_ns; // last beat that was acknowledged
    bool is_held;
};

// Whose life was seen, for the refusal.
struct claim_user {
    bool is_slot; // a node's heartbeat moves; else the claim block itself
    uint32_t slot;
    uint32_t node_id;
    enum claim_purpose purpose; // of the claim
    enum heartbeat_state state; // of a slot
    bool is_same_cluster;
    char name[FORMAT_NODE_NAME_BYTES];
};

enum { CLAIM_USERS_MAX = FORMAT_SLOT_COUNT_MAX + 1 };

struct claim_users {
    uint32_t count;
    struct claim_user users[CLAIM_USERS_MAX];
};

// Takes the claim: 0; -ECANCELED, nothing of ours left behind; -ERROR_CLAIM_HELD with `users`
// filled; -ERROR_CLUSTER_NAME: the same, and for CLAIM_CLUSTER all of them are of other clusters;
// or what the device answered. May take 2 beats + io_max, twice. `beat_ms` of others is read from
// their blocks, at most 60 s.
int claim_acquire(struct claim *claim, const struct claim_config *config,
                  struct claim_users *users);
// The same for what stands on a device before mkfs writes to it: 0 when nothing moves, without
// taking anything; -ECANCELED. Reads only.
int claim_watch_live(const struct claim_config *config, struct claim_users *users);
// True if the claim is idle and no slot is in use: nothing to wait for, nothing to replay. 0 or 1,
// or a negative error. Reads only.
int claim_is_cleanly_left(const struct claim_config *config);

// For members of a running cluster, which hold the claim together: adopts the claim that stands
// there. 0; -ERROR_CLUSTER_NAME if it is not our cluster's.
int claim_adopt(struct claim *claim, const struct claim_config *config);
// To be called about once a second by the holder (in a cluster: by the member with the lowest node
// id). 0; -ERROR_CLAIM_HELD if somebody took it because we were silent too long; or I/O errors.
int claim_beat(struct claim *claim);
// Writes idle. Only after everything else of this user is durable. 0 or -errno.
int claim_release(struct claim *claim);

// "n2 (slot 3, running), fsck.lunfs on host web1"
void claim_users_to_text(const struct claim_users *users, struct text *text);
const char *claim_purpose_text(enum claim_purpose purpose);
