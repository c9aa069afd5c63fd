// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of all blocks and journal records.
#pragma once

#include <stddef.h>
#include <stdint.h>

// The checksum of `size` bytes, continued from `seed` (0 to begin). crc32c(crc32c(0, a), b) is the
// checksum of a followed by b. Uses the processor's instruction where it has one.
uint32_t crc32c(uint32_t seed, const void *bytes, size_t size);

// The same by table alone: what the tests hold the instruction against.
uint32_t crc32c_table(uint32_t seed, const void *bytes, size_t size);
