// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

void ring3_memories_init(struct ring3_memories *memories)
{
    LIST_INIT(&memories->changes);
    memories->now = 1;
    memories->why[0] = '\0';
}

void ring3_memories_deinit(struct ring3_memories *memories)
{
    struct ring3_change *change;
    while ((change = LIST_FIRST(&memories->changes)) != NULL) {
        LIST_REMOVE(change, link);
        free(change);
    }
}

void ring3_memory_init(struct ring3_memory *memory, const struct ring3_memories *memories,
                       unsigned number)
{
    *memory =
        (struct ring3_memory){.memories = memories, .number = number, .lost_end_least = UINT64_MAX};
}

void ring3_memory_end(struct ring3_memory *memory)
{
    if (!memory->is_dead)
        memory->died = memory->memories->now;
    memory->is_dead = true;
}

ring3_tick ring3_tick_next(struct ring3_memories *memories)
{
    return ++memories->now;
}

// --- changes -------------------------------------------------------------------------------------

struct ring3_change *ring3_change_begin(struct ring3_memories *memories,
                                        struct ring3_memory *memory, const char *what)
{
    struct ring3_change *change = calloc(1, sizeof(*change));
    CHECK(change != NULL);
    change->memory = memory;
    change->what = what;
    change->begin = ring3_tick_next(memories);
    LIST_INSERT_HEAD(&memories->changes, change, link);
    return change;
}

void ring3_change_end(struct ring3_memories *memories, struct ring3_change *change)
{
    change->end = ring3_tick_next(memories);
}

// Whether whoever begins at `begin` must see it, or something later.
static bool is_certain(const struct ring3_version *version, ring3_tick begin)
{
    const struct ring3_change *change = version->change;
    if (change == NULL)
        return true;
    if (change->fate == RING3_SURVIVED)
        return (change->seen != 0 && change->seen <= begin) ||
               (change->end != 0 && change->end <= begin);
    if (version->seen_cut == change->memory->memories->cuts + 1)
        return true;
    if (change->end == 0 || change->end > begin || change->fate == RING3_LOST)
        return false;
    return !change->memory->is_dead || version->is_durable ||
           change->end <= change->memory->durable;
}

static bool note_survived(struct ring3_memories *memories, struct ring3_change *change)
{
    struct ring3_memory *memory = change->memory;
    if (change->seen == 0)
        change->seen = memories->now;
    if (change->fate == RING3_SURVIVED)
        return true;
    if (change->fate == RING3_LOST) {
        snprintf(memories->why, sizeof(memories->why), "life %u: half of a %s has survived",
                 memory->number, change->what);
        return false;
    }
    change->fate = RING3_SURVIVED;
    if (change->begin > memory->survived_begin_most)
        memory->survived_begin_most = change->begin;
    if (memory->lost_end_least >= change->begin)
        return true;
    snprintf(memories->why, sizeof(memories->why),
             "life %u: a %s has survived, and what was answered before it began has not",
             memory->number, change->what);
    return false;
}

static bool note_lost(struct ring3_memories *memories, struct ring3_change *change)
{
    struct ring3_memory *memory = change->memory;
    if (change->fate == RING3_LOST)
        return true;
    if (change->fate == RING3_SURVIVED) {
        snprintf(memories->why, sizeof(memories->why), "life %u: half of a %s is lost",
                 memory->number, change->what);
        return false;
    }
    change->fate = RING3_LOST;
    if (change->end == 0)
        return true;
    if (change->end < memory->lost_end_least)
        memory->lost_end_least = change->end;
    if (change->end >= memory->survived_begin_most)
        return true;
    snprintf(memories->why, sizeof(memories->why),
             "life %u: a %s is lost, and what began after it was answered has survived",
             memory->number, change->what);
    return false;
}

// --- cells ---------------------------------------------------------------------------------------

void ring3_cell_deinit(struct ring3_cell *cell)
{
    free(cell->versions);
    *cell = (struct ring3_cell){.is_content = cell->is_content};
}

static struct ring3_version *add_version(struct ring3_cell *cell)
{
    if (cell->count == cell->capacity) {
        cell->capacity = cell->capacity == 0 ? 2 : 2 * cell->capacity;
        cell->versions = memory_resize(cell->versions, cell->capacity, sizeof(cell->versions[0]));
    }
    struct ring3_version *version = &cell->versions[cell->count++];
    *version = (struct ring3_version){0};
    return version;
}

void ring3_cell_set(struct ring3_memories *memories, struct ring3_cell *cell, uint64_t value)
{
    cell->forgotten = memories->now;
    cell->count = 0;
    if (value != 0)
        add_version(cell)->value = value;
}

static void remove_version(struct ring3_cell *cell, uint32_t index)
{
    cell->count--;
    memmove(&cell->versions[index], &cell->versions[index + 1],
            (cell->count - index) * sizeof(cell->versions[0]));
}

static bool is_durable(const struct ring3_version *version)
{
    const struct ring3_change *change = version->change;
    return change == NULL || version->is_durable || change->fate == RING3_SURVIVED ||
           (change->end != 0 && change->end <= change->memory->durable);
}

// Whatever lies behind one that survives everything.
static void forget_old(struct ring3_cell *cell, ring3_tick now)
{
    enum { KEPT = 12 };
    if (cell->count < KEPT)
        return;
    for (uint32_t i = cell->count; i-- > 1;) {
        if (!is_durable(&cell->versions[i]))
            continue;
        cell->forgotten = now;
        memmove(&cell->versions[0], &cell->versions[i],
                (cell->count - i) * sizeof(cell->versions[0]));
        cell->count -= i;
        return;
    }
}

void ring3_cell_change(struct ring3_cell *cell, struct ring3_change *change, uint64_t value)
{
    forget_old(cell, change->begin);
    struct ring3_version *version = add_version(cell);
    version->value = value;
    version->change = change;
}

void ring3_cell_undo(struct ring3_cell *cell, const struct ring3_change *change)
{
    for (uint32_t i = cell->count; i-- > 0;) {
        if (cell->versions[i].change == change)
            remove_version(cell, i);
    }
}

uint64_t ring3_cell_latest(const struct ring3_cell *cell)
{
    for (uint32_t i = cell->count; i-- > 0;) {
        const struct ring3_change *change = cell->versions[i].change;
        if (change == NULL || change->fate != RING3_LOST)
            return cell->versions[i].value;
    }
    return 0;
}

bool ring3_cell_is_certain(const struct ring3_cell *cell)
{
    if (cell->is_blind)
        return false;
    for (uint32_t i = cell->count; i-- > 0;) {
        const struct ring3_change *change = cell->versions[i].change;
        if (change == NULL || change->fate != RING3_LOST)
            return is_certain(&cell->versions[i], UINT64_MAX);
    }
    return true;
}

bool ring3_cell_is_busy(const struct ring3_cell *cell)
{
    for (uint32_t i = cell->count; i-- > 0;) {
        const struct ring3_change *change = cell->versions[i].change;
        if (change != NULL && change->end == 0 && !change->memory->is_dead)
            return true;
    }
    return false;
}

// The newest first; the value 0 of a cell that nothing was ever in is behind all versions.
bool ring3_cell_candidate(const struct ring3_cell *cell, ring3_tick begin, unsigned index,
                          uint64_t *value)
{
    unsigned found = 0;
    for (uint32_t i = cell->count; i-- > 0;) {
        const struct ring3_version *version = &cell->versions[i];
        if (version->change != NULL && version->change->fate == RING3_LOST)
            continue;
        *value = version->value;
        if (found++ == index)
            return true;
        if (is_certain(version, begin))
            return false;
    }
    *value = 0;
    return found == index;
}

struct sight {
    uint32_t match; // of the versions; UINT32_MAX: the 0 behind them all
    unsigned matches;
    bool has_dead; // an uncertain version of a dead life is among the candidates
    bool is_early; // ... above the match, of a change that may have come after the look
};

static bool is_of_the_dead(const struct ring3_version *version)
{
    return version->change != NULL && version->change->memory->is_dead &&
           version->change->fate == RING3_OPEN;
}

// Both it and the end of its life: what was looked at was as it had been before.
static bool is_after(const struct ring3_version *version, ring3_tick begin)
{
    return version->change->begin > begin || version->change->memory->died >= begin;
}

static struct sight look(const struct ring3_cell *cell, ring3_tick begin, uint64_t value)
{
    struct sight sight = {.match = UINT32_MAX};
    for (uint32_t i = cell->count; i-- > 0;) {
        const struct ring3_version *version = &cell->versions[i];
        if (version->change != NULL && version->change->fate == RING3_LOST)
            continue;
        if (version->value == value && sight.matches++ == 0)
            sight.match = i;
        if (is_certain(version, begin))
            return sight;
        sight.has_dead |= is_of_the_dead(version);
        sight.is_early |= sight.matches == 0 && is_of_the_dead(version) && is_after(version, begin);
    }
    if (value == 0 && sight.matches++ == 0)
        sight.match = UINT32_MAX;
    return sight;
}

// Whether a look that began at `begin` may have come before it, whatever else it saw: it is under
// way, or was answered since, upon all that the dead left open.
static bool may_be_later(const struct ring3_version *version, ring3_tick begin, bool is_on_top)
{
    const struct ring3_change *change = version->change;
    if (change == NULL || change->memory->is_dead)
        return false;
    return change->end == 0 || (is_on_top && change->end > begin);
}

// What the dead left open in this cell is over: it holds the value for certain, and above it only
// what may have come after the look.
static void collapse(struct ring3_cell *cell, uint64_t value, ring3_tick begin, ring3_tick now)
{
    uint32_t kept = 0, dead_end = cell->count;
    cell->forgotten = now;
    struct ring3_version base = {.value = value};
    while (dead_end > 0 && !is_of_the_dead(&cell->versions[dead_end - 1]))
        dead_end--;
    for (uint32_t i = 0; i < cell->count; i++) {
        if (may_be_later(&cell->versions[i], begin, i >= dead_end))
            cell->versions[kept++] = cell->versions[i];
    }
    cell->count = kept;
    add_version(cell);
    memmove(&cell->versions[1], &cell->versions[0], kept * sizeof(cell->versions[0]));
    cell->versions[0] = base;
}

static void say_not_allowed(struct ring3_memories *memories, const struct ring3_cell *cell,
                            ring3_tick begin, uint64_t value)
{
    size_t length = (size_t)snprintf(memories->why, sizeof(memories->why),
                                     "%" PRIu64 " is there, and may be", value);
    uint64_t candidate;
    for (unsigned i = 0; ring3_cell_candidate(cell, begin, i, &candidate); i++) {
        if (length < sizeof(memories->why))
            length += (size_t)snprintf(memories->why + length, sizeof(memories->why) - length,
                                       " %" PRIu64, candidate);
    }
}

static bool conclude(struct ring3_memories *memories, struct ring3_cell *cell,
                     const struct ring3_memory *reader, uint32_t match)
{
    for (uint32_t i = cell->count; i-- > 0 && (match == UINT32_MAX || i > match);) {
        if (is_of_the_dead(&cell->versions[i]) && !note_lost(memories, cell->versions[i].change))
            return false;
    }
    if (match == UINT32_MAX || cell->versions[match].change == NULL)
        return true;
    struct ring3_change *change = cell->versions[match].change;
    return change->memory == reader || note_survived(memories, change);
}

// What of the dead did not get there does not come any more.
static void content_seen(const struct ring3_memories *memories, struct ring3_cell *cell,
                         const struct ring3_memory *reader, uint32_t match)
{
    if (match != UINT32_MAX && cell->versions[match].change != NULL &&
        cell->versions[match].change->memory != reader)
        cell->versions[match].seen_cut = memories->cuts + 1;
    for (uint32_t i = cell->count; i-- > 0 && (match == UINT32_MAX || i > match);) {
        const struct ring3_version *version = &cell->versions[i];
        if (version->change != NULL && version->change->memory->is_dead && !version->is_durable)
            remove_version(cell, i);
    }
}

bool ring3_cell_seen(struct ring3_memories *memories, struct ring3_cell *cell,
                     struct ring3_memory *reader, ring3_tick begin, uint64_t value)
{
    if (begin < cell->forgotten)
        return true;
    struct sight sight = look(cell, begin, value);
    if (sight.matches == 0) {
        say_not_allowed(memories, cell, begin, value);
        return false;
    }
    if (sight.is_early) // what it saw was there before: whether that change is lost stays open
        return true;
    if (cell->is_content) {
        content_seen(memories, cell, reader, sight.match);
        return true;
    }
    if (!sight.has_dead)
        return sight.matches > 1 || conclude(memories, cell, reader, sight.match);
    bool holds = sight.matches > 1 || conclude(memories, cell, reader, sight.match);
    if (sight.matches > 1 || sight.match == UINT32_MAX)
        collapse(cell, value, begin, memories->now);
    return holds;
}

bool ring3_cell_unblind(struct ring3_memories *memories, struct ring3_cell *cell, uint64_t value)
{
    struct ring3_version *last = cell->count > 0 ? &cell->versions[cell->count - 1] : NULL;
    cell->is_blind = false;
    if (last == NULL || last->change == NULL)
        return true;
    if (last->change->memory->is_dead) { // and whether it survived is open as well
        while (cell->count > 0 && is_of_the_dead(&cell->versions[cell->count - 1]))
            remove_version(cell, cell->count - 1);
        if (ring3_cell_latest(cell) != value) // else it is as certain as what others made it
            ring3_cell_set(memories, cell, value);
        return false;
    }
    last->value = value; // a rename may have moved something else
    return true;
}

bool ring3_cell_judge(struct ring3_memories *memories, struct ring3_cell *cell,
                      struct ring3_memory *reader, ring3_tick begin, uint64_t value)
{
    if (cell->is_blind && (cell->count == 0 || cell->versions[cell->count - 1].change == NULL)) {
        cell->is_blind = false;
        ring3_cell_set(memories, cell, value);
        return true;
    }
    if (cell->is_blind && !ring3_cell_unblind(memories, cell, value))
        return true;
    return ring3_cell_seen(memories, cell, reader, begin, value);
}

void ring3_cell_synced(struct ring3_cell *cell, const struct ring3_memory *memory, ring3_tick begin)
{
    for (uint32_t i = 0; i < cell->count; i++) {
        struct ring3_version *version = &cell->versions[i];
        if (version->change != NULL && version->change->memory == memory &&
            version->change->end != 0 && version->change->end <= begin)
            version->is_durable = true;
    }
}
