// SPDX-License-Identifier: Apache-2.0
// A seeded generator (xoshiro256**, Blackman and Vigna 2018). Never for keys: those come from the
// environment's entropy. All randomness of the core comes through one of these, so that one seed
// is one history.
#pragma once

#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_init(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
// Uniform in [0, bound); bound > 0.
uint64_t random_below(struct random *random, uint64_t bound);
// True once in `n` calls on average; n > 0.
static inline int random_one_in(struct random *random, uint64_t n)
{
    return random_below(random, n) == 0;
}
