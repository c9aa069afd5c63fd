// SPDX-License-Identifier: Apache-2.0
// Where the blocks of a file stand: ITEM_EXTENT items in the inode's tree, keyed by their first
// file block. What no item covers is a hole. Unwritten extents are allocated but read as zeros.
//
// Extents never overlap; neighbours that continue each other on the volume with equal flags are
// merged. Values from disk are checked (length, order, inside a group's data:
// geometry_is_data_range) and give -ERROR_CORRUPT_INODE, logged, if wrong.
//
// The caller holds LOCK_INODE (EXCLUSIVE to change) and for changes has drained the file's passes
// where rule 3 says so. Changes take `inode->space` for tree nodes; data blocks that come free are
// handed to the caller, who gives them to allocator_free in the same handle. All functions may
// wait.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/inode.h"

struct journal_handle;

enum extent_state { EXTENT_HOLE, EXTENT_UNWRITTEN_RUN, EXTENT_WRITTEN_RUN };

struct extent {
    uint64_t file_block;
    uint64_t block_count;
    uint64_t volume_block; // 0 for a hole
    enum extent_state state;
};

// One changing call looks at and changes at most this many items; then it says where it stopped.
enum { EXTENT_MAP_STEP_MAX = 16 };

// Longest extent of one item; longer runs are several.
#define EXTENT_BLOCKS_MAX ((uint64_t)1 << 31)

// The run that holds `file_block`, from its start to its end, or the part of the hole from
// `file_block` up to the next extent (or to EXTENT_FILE_BLOCKS, if none follows).
#define EXTENT_FILE_BLOCKS (FORMAT_FILE_BYTES_MAX / BLOCK_BYTES)
int extent_map_lookup(struct inode *inode, uint64_t file_block, struct extent *extent);
// Extents and holes of [file_block, ...) in order, until `emit` returns false or no extent follows.
// The first may begin before `file_block`. A hole is reported where an extent follows it.
int extent_map_iterate(struct inode *inode, uint64_t file_block,
                       bool (*emit)(void *context, const struct extent *extent), void *context);
// The first block at or behind `file_block` that is written (data) or is not (hole, unwritten).
// -ENXIO if only holes follow (data). Up to `end_block` (the size) only; a hole is at `end_block`
// at the latest.
int extent_map_seek_data(struct inode *inode, uint64_t file_block, uint64_t end_block,
                         uint64_t *found);
int extent_map_seek_hole(struct inode *inode, uint64_t file_block, uint64_t end_block,
                         uint64_t *found);

// Maps a hole: `extent` is a run of newly allocated blocks, EXTENT_UNWRITTEN_RUN or
// EXTENT_WRITTEN_RUN. -ERROR_CORRUPT_INODE if any of it is mapped. The block count of the inode
// grows by it.
int extent_map_insert(struct inode *inode, struct journal_handle *handle,
                      const struct extent *extent);
// Makes unwritten blocks of [file_block, file_block + count) written. Holes and written blocks in
// it stay. `*done` is the block behind the last one looked at: less than the end if there is more
// to do.
int extent_map_mark_written(struct inode *inode, struct journal_handle *handle, uint64_t file_block,
                            uint64_t count, uint64_t *done);

// Runs that a change took out of the map, for allocator_free.
struct extent_removal {
    struct extent runs[EXTENT_MAP_STEP_MAX];
    unsigned count;
    bool has_more; // the range still holds extents
};
// What the next extent_map_remove of the same range will take out, so that their groups can be
// locked (allocator_want_free) before the handle: the last extents of [file_block, file_block +
// count), from the end towards the front, clipped to the range, `step_max` (up to
// EXTENT_MAP_STEP_MAX) at most.
int extent_map_plan_removal(struct inode *inode, uint64_t file_block, uint64_t count,
                            unsigned step_max, struct extent_removal *removal);
// Takes out exactly what the plan holds (made under the same hold of the lock). The block count of
// the inode shrinks by it.
int extent_map_remove(struct inode *inode, struct journal_handle *handle,
                      const struct extent_removal *removal);

// Credits and nodes: of extent_map_insert; of extent_map_mark_written; of extent_map_remove with
// `step` runs. The inode's block is included, what allocator_free costs is not.
struct tree_cost extent_map_insert_cost(const struct inode *inode);
struct tree_cost extent_map_mark_cost(const struct inode *inode);
struct tree_cost extent_map_remove_cost(const struct inode *inode, unsigned step);
