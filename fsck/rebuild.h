// SPDX-License-Identifier: Apache-2.0
// Writes one inode anew with what is sound of it: all items are read and judged, those that stay
// are put into a tree of fresh nodes, and the fields that follow from them are set. An inode of
// which everything stays is not touched.
#pragma once

#include <stdint.h>

#include "fs/format_decode.h"

struct check;

// Blocks that are not the inode's, or are only once.
struct rebuild_forbidden {
    uint64_t owner; // inode
    uint64_t block, count;
    uint8_t *is_taken; // a bit a block: the first extent that has it keeps it; NULL: none may
};

// A name to add.
struct rebuild_name {
    uint64_t inode, generation;
    uint8_t type; // DT_*
    char name[32];
};

struct rebuild_request {
    struct check *check;
    uint64_t number;
    const struct rebuild_forbidden *forbidden; // of this inode
    size_t forbidden_count;
    const struct rebuild_name *names; // a directory gets these
    size_t name_count;
    bool has_end; // blocks of the file from `file_block_end` on go, and no truncate is under way
    uint64_t file_block_end;
};

// Nothing but check and number is set: only what is wrong goes. 0 or a negative error.
int rebuild_inode(const struct rebuild_request *request);
