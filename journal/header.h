// SPDX-License-Identifier: Apache-2.0
// The journal's header: whether it is clean, the salt of this life of the log, and where the oldest
// live record stands. Pure; header_store.c reads and writes it.
//
//   journal block 0        header, copy of even generations
//                 1        header, copy of odd generations
//                 2 ...    the ring
//
// The copies are written in turn, each with the next generation, so a torn write leaves the other
// one, which is the state before. Space that only the older copy's tail still covers is not
// overwritten before the newer copy is durable.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/endian.h"

enum { JOURNAL_HEADER_COPIES = 2, JOURNAL_SALT_BYTES = 16, JOURNAL_FORMAT_VERSION = 1 };

enum journal_state {
    JOURNAL_STATE_CLEAN = 1,  // nothing to replay
    JOURNAL_STATE_IN_USE = 2, // mounted, or its node died
};

#define JOURNAL_HEADER_MAGIC 0x44484a4cu // bytes "LJHD"

struct journal_header_disk {
    uint8_t block_header[64];         // 0    common to all metadata blocks; by callbacks
    le32_t magic;                     // 64   JOURNAL_HEADER_MAGIC
    le32_t format_version;            // 68   JOURNAL_FORMAT_VERSION
    le32_t state;                     // 72   enum journal_state
    le32_t block_count;               // 76   of the journal, header copies included
    le64_t generation;                // 80   counts the writes of the header; the higher copy holds
    uint8_t salt[JOURNAL_SALT_BYTES]; // 88   random, fresh for each life of the log
    le64_t tail_position;             // 104  of the oldest record that may be live
    le64_t tail_sequence;             // 112  its number
    le32_t tail_chain;                // 120  checksum of the record before it
    le32_t reserved0;                 // 124
    le64_t version_max;               // 128  the node's Lamport clock when this was written
    uint8_t reserved1[4096 - 136];    // 136  zero
};
_Static_assert(sizeof(struct journal_header_disk) == 4096, "journal header");
_Static_assert(offsetof(struct journal_header_disk, salt) == 88, "journal header");
_Static_assert(offsetof(struct journal_header_disk, version_max) == 128, "journal header");

struct journal_header {
    enum journal_state state;
    uint32_t block_count;
    uint64_t generation;
    uint8_t salt[JOURNAL_SALT_BYTES];
    uint64_t tail_position;
    uint64_t tail_sequence;
    uint32_t tail_chain;
    uint64_t version_max;
};

// Fills all of `disk` but the common header, which it sets to zero.
void journal_header_encode(struct journal_header_disk *disk, const struct journal_header *header);
// False if it is not a header of a journal of `block_count` blocks. The common header has been
// verified.
bool journal_header_decode(const struct journal_header_disk *disk, uint32_t block_count,
                           struct journal_header *header);
