// SPDX-License-Identifier: Apache-2.0
#include "fs/base/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

// The instruction takes three cycles, and a new one can begin in each: three streams keep it busy.
//
//   │◄── STREAM ──►│◄── STREAM ──►│◄── STREAM ──►│       crc(a b c) = a · x^(16 STREAM)
//          a               b              c                          + b · x^(8 STREAM) + c
//
// A carry-less product with x^(8 n - 33) and the instruction, which multiplies by x^32 and divides,
// move a remainder n bytes on (bits are mirrored: one more x). Three times 336 bytes take a block
// of 4,096 in four rounds, with little left over.
enum { STREAM_BYTES = 336, STREAM_WORDS = STREAM_BYTES / 8 };
#define PAST_ONE_STREAM  UINT32_C(0xa60ce07b) // x^(8 * 336 - 33) modulo the polynomial
#define PAST_TWO_STREAMS UINT32_C(0xcec3662e) // x^(8 * 672 - 33)

__attribute__((target("sse4.2,pclmul"))) static uint64_t move_on(uint64_t crc, uint32_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)factor), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

static uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t three_streams(uint64_t crc,
                                                                       const uint8_t *p)
{
    uint64_t second = 0, third = 0;
    for (int i = 0; i < STREAM_WORDS; i++, p += 8) {
        crc = _mm_crc32_u64(crc, word_at(p));
        second = _mm_crc32_u64(second, word_at(p + STREAM_BYTES));
        third = _mm_crc32_u64(third, word_at(p + 2 * STREAM_BYTES));
    }
    return move_on(crc, PAST_TWO_STREAMS) ^ move_on(second, PAST_ONE_STREAM) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
crc32c_instruction(uint32_t seed, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint64_t crc = ~seed;
    for (; size >= 3 * STREAM_BYTES; size -= 3 * STREAM_BYTES, p += 3 * STREAM_BYTES)
        crc = three_streams(crc, p);
    for (; size >= 8; size -= 8, p += 8)
        crc = _mm_crc32_u64(crc, word_at(p));
    for (; size > 0; size--, p++)
        crc = _mm_crc32_u8((uint32_t)crc, *p);
    return ~(uint32_t)crc;
}

uint32_t crc32c(uint32_t seed, const void *bytes, size_t size)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_instruction(seed, bytes, size);
    return crc32c_table(seed, bytes, size);
}

#else

uint32_t crc32c(uint32_t seed, const void *bytes, size_t size)
{
    return crc32c_table(seed, bytes, size);
}

#endif
