// SPDX-License-Identifier: Apache-2.0
// One node on a simulated disk: the whole core of a local mount (operations, structures, journal,
// locks with one member), without front ends, heartbeat and claim.
//
//   ring2_format(world, disk)                       an empty volume
//   ring2_mount(&node, world, disk) ... operations ... ring2_unmount(&node)
//                                                  or ring2_crash(&node), from outside of
//                                                  coroutines
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/log.h"
#include "fs/gate.h"
#include "fs/volume.h"
#include "tests/sim/disk.h"
#include "tests/sim/world.h"

struct dlm_service;
struct scrubber;

enum { RING2_NODES_AT_ONCE = 3 };

struct ring2_log {
    struct log log; // first
    bool prints;
    unsigned error_count;
    char first_error[200];
};

struct ring2_node {
    struct world_node world_node; // first: its environment
    struct world *world;
    struct sim_disk *disk;
    struct block_device *path;
    struct gate gate;
    struct ring2_log log;
    struct volume *volume;
    struct dlm_service *locks;
    struct ring2_node *nodes;                   // all of the cluster, this one among them
    uint64_t link_free_ns[RING2_NODES_AT_ONCE]; // when the last frame to a node arrives
    uint32_t slot;
    struct scrubber *scrubber;    // NULL: none was asked for
    bool has_scrubbed;            // to its end, in the life that has ended
    unsigned orphan_count;        // on all lists when it was mounted
    uint32_t handle_credits_most; // of the life that has ended
    bool is_mounted;
    bool is_stopping; // for those who work on it until it ends
};

struct ring2_geometry {
    uint64_t size_bytes; // of the disk
    uint32_t slot_count;
    uint64_t journal_bytes;
};

// Runs `body` as a coroutine until it has ended, with all events that come up to then.
void ring2_run(struct world *world, void (*body)(void *argument), void *argument);

// Makes a volume on the whole disk; it must succeed.
void ring2_format(struct world *world, struct sim_disk *disk,
                  const struct ring2_geometry *geometry);
// Replays all journals and starts `count` nodes, each in the slot of its index; the first works
// through all orphan lists. 0 or an error, with nothing left behind.
int ring2_mount(struct ring2_node *nodes, unsigned count, struct world *world,
                struct sim_disk *disk, bool prints_log);
// Scrubs the node's volume beside all that goes on, until it ends or the node does.
void ring2_scrub(struct ring2_node *node, uint64_t blocks_per_second);
// Counts what is on all orphan lists into node->orphan_count. From a coroutine. 0 or an error.
int ring2_count_orphans(struct ring2_node *node);
// No file is open. 0 or an error.
int ring2_unmount(struct ring2_node *nodes, unsigned count);
// The only node stops in the middle of what it does: nothing that it has in flight need land.
// `unwind` is called in a coroutine, to release what the test holds of the volume (open files),
// once all operations have failed; may be NULL.
void ring2_crash(struct ring2_node *node, void (*unwind)(void *argument), void *argument);
