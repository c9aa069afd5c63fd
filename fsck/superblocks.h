// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

struct check;

// Writes the superblock and its copies, with `state`; durable when it returns. 0 or -errno.
int superblocks_write(struct check *check, uint32_t state);
