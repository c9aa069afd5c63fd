// SPDX-License-Identifier: Apache-2.0
// Reads metadata blocks as they will be: over the disk lie the journals' images, as replay would
// write them, and over those what the repair has changed so far.
//
// Inodes and tree nodes stand next to each other more often than not, so the disk is read in
// chunks, and the last ones are kept.
#pragma once

#include <stdint.h>

#include "fs/format.h"

struct block_reader;
struct check;

struct block_reader *block_reader_new(struct check *check);
void block_reader_free(struct block_reader *reader);

// The block will be read soon: check.reads_ahead. Does not wait.
void block_reader_expect(struct block_reader *reader, uint64_t block);

// The block's 4096 bytes. 0; -ERROR_BLOCK_RANGE; or what the device answered.
int block_reader_read(struct block_reader *reader, uint64_t block, void *buffer);
// The same, and verifies its header: also -ERROR_BLOCK_*. One wrong bit is put back in `buffer`,
// and reported.
int block_reader_read_verified(struct block_reader *reader, enum block_type type, uint64_t block,
                               uint64_t owner, void *buffer);
