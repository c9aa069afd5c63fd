// SPDX-License-Identifier: Apache-2.0
// The device in chunks of 64 KiB, the last ones kept, and those that will be wanted soon read ahead
// by threads, so that many reads are on their way at once. What is read does not depend on when it
// came: a check says the same with threads and without.
//
//   checker   chunk_cache_expect(n) ─► a place is set aside, n joins the queue
//   threads   ........................ take n, read it ─► ready
//   checker   chunk_cache_find(n)   ─► ready; on its way: waits; else reads it itself
//
// One checker; all functions are its.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/block_device.h"

struct chunk_cache;

// What may be expected at a time; a quarter of what is kept.
enum { CHUNK_CACHE_BLOCKS = 16, CHUNK_CACHE_AHEAD = 64 };

// With threads, `device` is read by them and the caller at once, which devices of files allow, and
// nothing is written to what was expected and not found yet. Else `scheduler` is that of the
// caller's coroutine, or NULL.
struct chunk_cache *chunk_cache_new(struct block_device *device, struct scheduler *scheduler,
                                    bool has_threads);
void chunk_cache_free(struct chunk_cache *cache);

// The bytes of `block`, valid until the next call; NULL if its chunk cannot be read as a whole.
const uint8_t *chunk_cache_find(struct chunk_cache *cache, uint64_t block);
// The block will be asked for soon. Does not wait; may do nothing.
void chunk_cache_expect(struct chunk_cache *cache, uint64_t block);
