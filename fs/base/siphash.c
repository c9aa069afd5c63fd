// SPDX-License-Identifier: Apache-2.0
#include "fs/base/siphash.h"

#include <endian.h>
#include <string.h>

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static void sip_round(struct sip_state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 = rotate_left(s->v2, 32);
}

static void sip_absorb(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

// Up to eight bytes as a little-endian number.
static uint64_t load(const uint8_t *bytes, size_t length)
{
    uint64_t word = 0;
    memcpy(&word, bytes, length);
    return le64toh(word);
}

static struct sip_state sip_begin(const uint8_t key[16])
{
    uint64_t k0 = load(key, 8);
    uint64_t k1 = load(key + 8, 8);
    return (struct sip_state){
        .v0 = k0 ^ 0x736f6d6570736575u,
        .v1 = k1 ^ 0x646f72616e646f6du,
        .v2 = k0 ^ 0x6c7967656e657261u,
        .v3 = k1 ^ 0x7465646279746573u,
    };
}

uint64_t siphash24(const uint8_t key[16], const void *bytes, size_t length)
{
    struct sip_state state = sip_begin(key);
    const uint8_t *at = bytes;
    size_t whole = length & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8)
        sip_absorb(&state, load(at + i, 8));
    uint64_t last = length > whole ? load(at + whole, length - whole) : 0;
    sip_absorb(&state, last | (uint64_t)length << 56);
    state.v2 ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(&state);
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}
