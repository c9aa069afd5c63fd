// SPDX-License-Identifier: Apache-2.0
// The block format that the journal is tested with: the journal knows blocks by callbacks only.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "journal/journal.h"

struct test_block {
    uint32_t magic;
    uint32_t checksum; // crc32c with this field 0
    uint64_t address;
    uint64_t owner;
    uint64_t version;
    uint64_t serial; // of the change that wrote this content: what the tests look for
    uint8_t unused[24];
    uint8_t content[4096 - 64];
};
_Static_assert(sizeof(struct test_block) == 4096, "test block");

extern const struct journal_callbacks test_block_callbacks; // no `failed`, no `progress`

// Everything but version and checksum; the content follows from address and serial.
void test_block_fill(struct test_block *block, uint64_t address, uint64_t owner, uint64_t serial);
void test_block_seal(struct test_block *block, uint64_t version);
// Header and content are consistent.
bool test_block_is_valid(const struct test_block *block, uint64_t address);
