// SPDX-License-Identifier: Apache-2.0
#include "fs/base/crc32c.h"

#include <string.h>

// One row a nibble: small enough to be written here, fast enough where no instruction is.
static const uint32_t nibble_table[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c_table(uint32_t seed, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint32_t crc = ~seed;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ nibble_table[crc & 15];
        crc = (crc >> 4) ^ nibble_table[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t seed,
                                                                     const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint64_t crc = ~seed;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        crc = __builtin_ia32_crc32di(crc, word);
    }
    for (; size > 0; size--, p++)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, *p);
    return ~(uint32_t)crc;
}

uint32_t crc32c(uint32_t seed, const void *bytes, size_t size)
{
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_instruction(seed, bytes, size);
    return crc32c_table(seed, bytes, size);
}

#else

uint32_t crc32c(uint32_t seed, const void *bytes, size_t size)
{
    return crc32c_table(seed, bytes, size);
}

#endif
