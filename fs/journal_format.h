// SPDX-License-Identifier: Apache-2.0
// What the journal must know of this format's blocks: struct journal_callbacks over fs/format.h.
// Used by the daemon, mkfs and fsck alike.
#pragma once

#include <stdint.h>

#include "journal/journal.h"

// The context of the callbacks: alive as long as the journal.
struct journal_format_context {
    uint8_t format_id[16];
    void *user; // of the two below, which may be NULL
    void (*failed)(void *user, int error);
    void (*progress)(void *user, uint64_t done, uint64_t total);
};

extern const struct journal_callbacks journal_format_callbacks;
