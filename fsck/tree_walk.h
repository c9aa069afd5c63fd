// SPDX-License-Identifier: Apache-2.0
// Walks a tree that may be hostile: fsck's own walker, so that a fault of the file system's is not
// shared. It shares the decoding of a node alone.
//
// It ends on any input: levels fall by one with each step down, and a child is entered only if its
// keys lie between those of the slots around it. Two slots' ranges are disjoint, so a node with two
// or more items is entered through one of them at most.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format_decode.h"
#include "fsck/problem.h"

struct check;

struct tree_walk {
    struct check *check;
    uint64_t root_block; // where the embedded root stands
    const void *area;    // the root
    size_t area_bytes;
    uint64_t owner;       // of the tree's blocks
    enum problem problem; // what a damaged node is reported as
    // Both are called in the order of the keys; `block` is where it stands. Return false to stop.
    // A block of the tree, its range already checked; NULL: of no interest.
    bool (*node)(struct tree_walk *walk, uint64_t block);
    bool (*item)(struct tree_walk *walk, uint64_t block, const struct format_item *item);
    void *context;
    bool is_damaged; // afterwards: something was reported, parts were not seen
};

// The root's node must be readable to the caller's eyes; this reports what is wrong and goes on.
void tree_walk_run(struct tree_walk *walk);
