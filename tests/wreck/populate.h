// SPDX-License-Identifier: Apache-2.0
// Fills a new volume with one of everything, without the file system: so a fault of the file
// system's cannot hide one of the checker's.
//
//   /            small (inline), large (extents), fragmented (a tree of extents), link (symlink),
//                attributes (long ones), fifo, sub/ (with hard, a second link to large), many/ (a
//                tree of 400 entries), empty/
//   group 0      fragmented free space: a tree of free extents
//   quotas       on (tests/wreck/populate_quotas.h)
#pragma once

#include "tests/wreck/image.h"

// Where things stand afterwards; found again by name, so a populated volume can be opened later.
struct places {
    uint64_t root, small, large, fragmented, link, attributes, fifo, sub, many, empty;
};

void populate(struct image *image);
void places_find(const struct image *image, struct places *places);
// One more regular file in group 0 that no directory names: number of its inode. `extent_count`
// extents of two blocks each. Its blocks come out of the free space, the group's tree is rewritten.
uint64_t populate_nameless(struct image *image, uint32_t link_count, unsigned extent_count);
