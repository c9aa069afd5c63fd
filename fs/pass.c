// SPDX-License-Identifier: Apache-2.0
// The word and the maps. All loads and stores that decide who goes first are sequentially
// consistent:
//
//   core: store map, then load word ── count 0 ──► whoever counts later finds the new map,
//   lane: add to word, then load map               so the replaced ones can be freed
//
// A map is an array of chunks that are never changed; the next map shares all but those that the
// change touches.
#include "fs/pass.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#define COUNT_MASK  UINT64_C(0xffffffff)
#define KINDS_SHIFT 32
#define KINDS_MASK  ((uint64_t)PASS_ALL << KINDS_SHIFT)
#define TELL        (UINT64_C(1) << 35) // somebody waits for count 0

enum {
    CHUNK_EXTENTS = 64,
    RETIRED_MAX = 64, // replaced maps kept while lanes are busy
};

struct pass_chunk {
    unsigned references; // the core's
    unsigned count;      // > 0
    struct pass_extent extents[CHUNK_EXTENTS];
};

struct pass_map {
    struct pass_map *next_retired;
    uint64_t size;
    size_t chunk_count;
    struct pass_chunk *chunks[];
};

// --- maps: the core --------------------------------------------------------------------------

static struct pass_map *map_new(uint64_t size, size_t chunk_count)
{
    struct pass_map *map = malloc(sizeof(*map) + chunk_count * sizeof(map->chunks[0]));
    CHECK(map != NULL);
    map->next_retired = NULL;
    map->size = size;
    map->chunk_count = chunk_count;
    return map;
}

static struct pass_chunk *chunk_new(const struct pass_extent *extents, unsigned count)
{
    struct pass_chunk *chunk = malloc(sizeof(*chunk));
    CHECK(chunk != NULL && count > 0 && count <= CHUNK_EXTENTS);
    chunk->references = 1;
    chunk->count = count;
    memcpy(chunk->extents, extents, count * sizeof(extents[0]));
    return chunk;
}

static struct pass_chunk *chunk_get(struct pass_chunk *chunk)
{
    chunk->references++;
    return chunk;
}

static void map_free(struct pass_map *map)
{
    for (size_t i = 0; i < map->chunk_count; i++) {
        if (--map->chunks[i]->references == 0)
            free(map->chunks[i]);
    }
    free(map);
}

static struct pass_map *map_build(uint64_t size, const struct pass_extent *extents, size_t count)
{
    struct pass_map *map = map_new(size, (count + CHUNK_EXTENTS - 1) / CHUNK_EXTENTS);
    for (size_t i = 0; i < map->chunk_count; i++) {
        size_t first = i * CHUNK_EXTENTS;
        size_t rest = count - first;
        map->chunks[i] =
            chunk_new(extents + first, (unsigned)(rest < CHUNK_EXTENTS ? rest : CHUNK_EXTENTS));
    }
    return map;
}

// --- looking -----------------------------------------------------------------------------------

// How many of the chunks begin at or before `block`.
static size_t chunks_up_to(const struct pass_map *map, uint64_t block)
{
    size_t low = 0, high = map->chunk_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->chunks[middle]->extents[0].file_block <= block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static unsigned extents_up_to(const struct pass_chunk *chunk, uint64_t block)
{
    unsigned low = 0, high = chunk->count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (chunk->extents[middle].file_block <= block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct pass_extent *map_find(const struct pass_map *map, uint64_t block)
{
    size_t chunks = chunks_up_to(map, block);
    if (chunks == 0)
        return NULL;
    const struct pass_chunk *chunk = map->chunks[chunks - 1];
    const struct pass_extent *extent = &chunk->extents[extents_up_to(chunk, block) - 1];
    return block - extent->file_block < extent->block_count ? extent : NULL;
}

bool pass_translate(struct pass *pass, uint64_t offset, uint64_t *volume_offset, uint64_t *run)
{
    const struct pass_map *map = atomic_load(&pass->map);
    if (map == NULL || offset >= map->size)
        return false;
    const struct pass_extent *extent = map_find(map, offset / BLOCK_BYTES);
    if (extent == NULL)
        return false;
    uint64_t in_extent = offset - extent->file_block * BLOCK_BYTES;
    uint64_t to_end = extent->block_count * BLOCK_BYTES - in_extent;
    uint64_t to_size = map->size - offset;
    *volume_offset = extent->volume_block * BLOCK_BYTES + in_extent;
    *run = to_end < to_size ? to_end : to_size;
    return true;
}

uint64_t pass_size(struct pass *pass)
{
    const struct pass_map *map = atomic_load(&pass->map);
    return map != NULL ? map->size : 0;
}

// --- the word ----------------------------------------------------------------------------------

#ifdef LUNFS_SABOTAGE
// Provided by the simulator: lets others run at a place where a real thread could be interrupted.
void sabotage_interrupt(void);

static bool enter_testing_first(struct pass *pass, uint64_t kind)
{
    if ((atomic_load(&pass->word) & kind) == 0)
        return false;
    sabotage_interrupt();
    atomic_fetch_add(&pass->word, 1);
    return true;
}
#endif

bool pass_enter(struct pass *pass, unsigned kind)
{
    uint64_t flag = (uint64_t)kind << KINDS_SHIFT;
#ifdef LUNFS_SABOTAGE
    if (SABOTAGE(pass_test_before_count))
        return enter_testing_first(pass, flag);
#endif
    if ((atomic_fetch_add(&pass->word, 1) & flag) != 0)
        return true;
    pass_leave(pass);
    return false;
}

void pass_leave(struct pass *pass)
{
    uint64_t before = atomic_fetch_sub(&pass->word, 1);
    CHECK((before & COUNT_MASK) > 0);
    if ((before & COUNT_MASK) == 1 && (before & TELL) != 0)
        pass->drained(pass);
}

bool pass_is_idle(const struct pass *pass)
{
    return (atomic_load(&pass->word) & COUNT_MASK) == 0;
}

unsigned pass_kinds(const struct pass *pass)
{
    return (unsigned)((atomic_load(&pass->word) & KINDS_MASK) >> KINDS_SHIFT);
}

static void forbid(struct pass *pass, unsigned kinds)
{
    atomic_fetch_or(&pass->word, TELL);
    atomic_fetch_and(&pass->word, ~((uint64_t)kinds << KINDS_SHIFT));
}

static void allow(struct pass *pass, unsigned kinds)
{
    pass->is_resting = false;
    atomic_fetch_or(&pass->word, (uint64_t)kinds << KINDS_SHIFT);
    atomic_fetch_and(&pass->word, ~TELL);
}

void pass_revoke(struct pass *pass, unsigned kinds)
{
    pass->is_resting = false;
    forbid(pass, kinds);
}

void pass_withdraw(struct pass *pass, unsigned kinds)
{
    atomic_fetch_and(&pass->word, ~((uint64_t)kinds << KINDS_SHIFT));
}

// --- publishing --------------------------------------------------------------------------------

// The number of maps that could not be freed.
static unsigned free_retired(struct pass *pass)
{
    bool is_idle = pass_is_idle(pass);
    unsigned kept = 0;
    struct pass_map *map = pass->retired;
    if (is_idle)
        pass->retired = NULL;
    while (map != NULL) {
        struct pass_map *next = map->next_retired;
        if (is_idle)
            map_free(map);
        else
            kept++;
        map = next;
    }
    return kept;
}

// Puts a map in the place of the one that lanes may be looking at.
static void replace(struct pass *pass, struct pass_map *map)
{
    struct pass_map *old = atomic_exchange(&pass->map, map);
    if (old != NULL) {
        old->next_retired = pass->retired;
        pass->retired = old;
    }
    if (free_retired(pass) <= RETIRED_MAX)
        return;
    forbid(pass, PASS_ALL);
    pass->is_resting = true;
}

void pass_rest(struct pass *pass)
{
    if (!pass_is_published(pass))
        return;
    forbid(pass, PASS_ALL);
    pass->is_resting = true;
}

bool pass_is_published(const struct pass *pass)
{
    return pass->is_resting || pass_kinds(pass) != 0;
}

bool pass_resume(struct pass *pass, unsigned kinds)
{
    if (!pass->is_resting)
        return false;
    if (free_retired(pass) == 0)
        allow(pass, kinds);
    return true;
}

void pass_init(struct pass *pass, void (*drained)(struct pass *pass), void *context)
{
    atomic_init(&pass->word, 0);
    atomic_init(&pass->map, NULL);
    atomic_init(&pass->modified_ns, 0);
    atomic_init(&pass->accessed_ns, 0);
    pass->drained = drained;
    pass->context = context;
    pass->retired = NULL;
    pass->is_resting = false;
}

void pass_deinit(struct pass *pass)
{
    CHECK(pass_is_idle(pass));
    struct pass_map *map = atomic_exchange(&pass->map, NULL);
    if (map != NULL)
        map_free(map);
    free_retired(pass);
}

void pass_publish(struct pass *pass, unsigned kinds, uint64_t size,
                  const struct pass_extent *extents, size_t count)
{
    // Nobody looks at the new map under kinds that only the old one was good for.
    pass_revoke(pass, ~kinds & PASS_ALL);
    replace(pass, map_build(size, extents, count));
    if (!pass->is_resting)
        allow(pass, kinds);
}

void pass_grow(struct pass *pass, uint64_t size)
{
    struct pass_map *old = atomic_load(&pass->map);
    if (!pass_is_published(pass) || old->size >= size)
        return;
    struct pass_map *map = map_new(size, old->chunk_count);
    for (size_t i = 0; i < old->chunk_count; i++)
        map->chunks[i] = chunk_get(old->chunks[i]);
    replace(pass, map);
}

static bool continues(const struct pass_extent *first, const struct pass_extent *second)
{
    return first->file_block + first->block_count == second->file_block &&
           first->volume_block + first->block_count == second->volume_block;
}

// The chunk's extents with one more, merged with its neighbours; returns how many there are.
static unsigned merge_into(const struct pass_chunk *chunk, const struct pass_extent *added,
                           struct pass_extent merged[CHUNK_EXTENTS + 1])
{
    unsigned at = extents_up_to(chunk, added->file_block), count = 0;
    memcpy(merged, chunk->extents, at * sizeof(merged[0]));
    count = at;
    if (at > 0) {
        const struct pass_extent *before = &merged[at - 1];
        CHECK(before->file_block + before->block_count <= added->file_block);
    }
    if (at > 0 && continues(&merged[at - 1], added))
        merged[at - 1].block_count += added->block_count;
    else
        merged[count++] = *added;
    if (at < chunk->count) {
        CHECK(added->file_block + added->block_count <= chunk->extents[at].file_block);
        if (continues(&merged[count - 1], &chunk->extents[at]))
            merged[count - 1].block_count += chunk->extents[at++].block_count;
    }
    memcpy(merged + count, chunk->extents + at, (chunk->count - at) * sizeof(merged[0]));
    return count + chunk->count - at;
}

// The map with the chunk at `at` (none if at == chunk_count) replaced by one or two of `count`
// extents.
static struct pass_map *map_with(const struct pass_map *old, uint64_t size, size_t at,
                                 const struct pass_extent *extents, unsigned count)
{
    size_t removed = at < old->chunk_count ? 1 : 0;
    size_t inserted = count > CHUNK_EXTENTS ? 2 : 1;
    struct pass_map *map = map_new(size, old->chunk_count - removed + inserted);
    for (size_t i = 0; i < at; i++)
        map->chunks[i] = chunk_get(old->chunks[i]);
    unsigned first = inserted == 2 ? count / 2 : count;
    map->chunks[at] = chunk_new(extents, first);
    if (inserted == 2)
        map->chunks[at + 1] = chunk_new(extents + first, count - first);
    for (size_t i = at + removed; i < old->chunk_count; i++)
        map->chunks[i - removed + inserted] = chunk_get(old->chunks[i]);
    return map;
}

void pass_extend(struct pass *pass, uint64_t size, const struct pass_extent *added)
{
    const struct pass_map *old = atomic_load(&pass->map);
    struct pass_extent merged[CHUNK_EXTENTS + 1];
    if (!pass_is_published(pass))
        return;
    if (size < old->size)
        size = old->size;
    if (old->chunk_count == 0) {
        replace(pass, map_build(size, added, 1));
        return;
    }
    size_t chunks = chunks_up_to(old, added->file_block);
    size_t at = chunks > 0 ? chunks - 1 : 0;
    unsigned count = merge_into(old->chunks[at], added, merged);
    replace(pass, map_with(old, size, at, merged, count));
}
