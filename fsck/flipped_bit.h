// SPDX-License-Identifier: Apache-2.0
// One wrong bit in a block can be found by its checksum: each of the 32768 places changes it in a
// way of its own. Two wrong bits are never taken for one, more of them with a chance of 1 in
// 100,000. Pure.
#pragma once

#include <stdbool.h>

// Puts the bit back in a block of 4096 bytes whose checksum is wrong; false if it is not one bit
// that is wrong, and then the block is as it was.
bool flipped_bit_put_back(void *block);
