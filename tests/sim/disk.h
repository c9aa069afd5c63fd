// SPDX-License-Identifier: Apache-2.0
// The simulated LUN, mean in the right way. Many nodes share it, each over a path of its own, which
// is a struct block_device.
//
//   submit ──latency──► lands: seen by all ──► completes ······ a later flush ──► durable
//      └ the node stops: may still land,        └ unflushed: at a power cut each sector survives
//        whole or torn, until it is fenced        or not
//
// What it may do: complete in any order; tear a write that is cut off between two sectors; lose
// what was not flushed, sector by sector, also a newer write while an older one to the same place
// survives; let a stopped node's writes land late, but never after its fence; fail requests where
// told to, having done all, some or nothing of the write. What it never does: lose what was
// flushed, tear within a sector, change what nobody wrote.
//
// All choices come from the world's generator. Content is kept sparsely in pages of 4 KiB that
// clones share, so 64 TiB cost what was written to them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/block_device.h"
#include "tests/sim/world.h"

struct sim_disk;

struct sim_disk_options {
    uint64_t size_bytes;     // a multiple of 4096
    uint32_t sector_bytes;   // 512 or 4096: what a write cannot tear
    bool has_volatile_cache; // else what has landed is durable
    uint64_t latency_ns_min; // of each request, uniform between
    uint64_t latency_ns_max;
    uint32_t slow_one_in; // one in so many takes up to slow_ns_max; 0: none
    uint64_t slow_ns_max;
    uint64_t slow_first, slow_last; // of those only that touch these bytes
    uint64_t late_ns_max; // how long after its submission a stopped path's may land; 0: 1 s
};

// All zeros, durable. The disk belongs to the caller.
struct sim_disk *sim_disk_new(struct world *world, const struct sim_disk_options *options);
// No path may be attached.
void sim_disk_free(struct sim_disk *disk);

// --- paths ---------------------------------------------------------------------------------------

// A node's way to the disk; block_device_close detaches it (nothing may be in flight; a stopped one
// is fenced first).
struct block_device *sim_disk_attach(struct sim_disk *disk, const char *name);

// The node's process is gone. All that it has in flight completes with -EIO at once and so does all
// that it submits from now on, so that its coroutines can unwind; none of what they do reaches the
// disk any more. Writes that were in flight may still land, until sim_disk_fence.
void sim_disk_stop(struct block_device *path);
void sim_disk_stop_all(struct sim_disk *disk);
// The node's process stands still until then, as by SIGSTOP: what it has in flight lands, and it
// hears of it only then. An earlier moment shortens the pause.
void sim_disk_pause(struct block_device *path, uint64_t until_ns);
// Each request on this path takes up to so long from now on; 0: as on the others.
void sim_disk_slow(struct block_device *path, uint64_t latency_ns_max);
// What lands on this path is durable at once (FUA).
void sim_disk_write_through(struct block_device *path);
// Requests that have not landed yet, those of a stopped path among them.
unsigned sim_disk_in_flight(const struct block_device *path);
// After it nothing of a stopped path lands: what is left of its writes lands now, torn, or never.
void sim_disk_fence(struct block_device *path);

// Requests whose operation is in the mask (1u << BLOCK_WRITE ...) fail with `error` (negative), one
// in `one_in` of those that touch bytes [first, last]; a write may have landed in part. Replaces
// the fault that was set; mask 0: none.
struct sim_disk_fault {
    uint32_t operations;
    uint64_t first, last;
    uint32_t one_in;
    int error;
};
void sim_disk_set_fault(struct block_device *path, const struct sim_disk_fault *fault);

// --- power ---------------------------------------------------------------------------------------

// The LUN loses power and gets it back: its cache is gone but for a seeded subset. All paths must
// have been stopped; they are fenced by it.
void sim_disk_power_cut(struct sim_disk *disk);

// --- looking and cutting -------------------------------------------------------------------------

// Called after each write or discard that has landed, in whole or in part, before its node hears of
// it. It may stop paths (also this one), fence them, cut the power and clone the disk.
struct sim_disk_write {
    struct block_device *path;
    uint64_t offset;
    size_t length;
    uint64_t number; // of writes that landed, from 1
};
void sim_disk_set_hook(struct sim_disk *disk,
                       void (*hook)(void *context, const struct sim_disk_write *write),
                       void *context);

// A second disk with what this one holds as all nodes see it; nothing is in flight on it, all is
// durable. With `random`: what this one would hold after a power cut now, drawn from it, writes in
// flight torn among it; this disk stays as it is.
struct sim_disk *sim_disk_clone(const struct sim_disk *disk, struct world *world,
                                struct random *random);

// Content as all nodes see it. Any offset and length inside the disk.
void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, void *buffer, size_t length);
// Changes content behind everybody's back, durable at once (wreckers, mkfs shortcuts).
void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *bytes, size_t length);

// Whether both hold the same, as all nodes see it, apart from bytes [first, last]; else `differs`
// is where a page that is not the same begins.
bool sim_disk_is_same(const struct sim_disk *a, const struct sim_disk *b, uint64_t first,
                      uint64_t last, uint64_t *differs);

struct sim_disk_counts {
    uint64_t read_count, write_count, flush_count, discard_count; // submitted
    uint64_t landed_count;                                        // writes and discards that landed
    uint64_t late_count;                                          // of a stopped path
    uint64_t torn_count;                                          // in part
    size_t page_count;                                            // in memory
    size_t unflushed_count; // page writes that a power cut may lose
};
struct sim_disk_counts sim_disk_counts_get(const struct sim_disk *disk);
