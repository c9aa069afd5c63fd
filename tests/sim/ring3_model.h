// SPDX-License-Identifier: Apache-2.0
// What may be seen. Everything that clients change is a cell: a name in a directory, the mode of a
// file, 512 bytes of its content. A cell has the versions that changes gave it; a change has the
// life that did it, when it began, and when it was answered.
//
//   A: create x ──► answered         cell "x": nothing │ object 7 (by A)
//   A dies                           either may be there, if no sync of A made it durable;
//   B: lookup x                      what B sees is what counts from then on
//
// A life has one journal, so what of it survives is a front part: whatever ended before something
// that survived began has survived too, and a change has survived in all of its cells or in none.
// Once another life has seen a change it is durable: the lock went over, and with it the commit.
// Content is looser: each cell of it for itself, and what others have seen survives its writer, but
// not a power cut of the LUN.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum ring3_fate { RING3_OPEN, RING3_SURVIVED, RING3_LOST };

// Moments of a history: each begin and each answer has its own.
typedef uint64_t ring3_tick;

// Of a life.
struct ring3_memory {
    const struct ring3_memories *memories;
    unsigned number;
    bool is_dead; // it answers no more
    ring3_tick died;
    ring3_tick durable;             // what was answered before is
    ring3_tick survived_begin_most; // of its changes
    ring3_tick lost_end_least;      // UINT64_MAX: none
};

struct ring3_change {
    LIST_ENTRY(ring3_change) link;
    struct ring3_memory *memory;
    const char *what;      // constant
    ring3_tick begin, end; // end 0: not answered
    ring3_tick seen;       // by another life; 0: not
    enum ring3_fate fate;
};

struct ring3_memories {
    LIST_HEAD(ring3_changes, ring3_change) changes;
    ring3_tick now;
    uint64_t cuts; // of the LUN's power
    char why[300]; // what is wrong, if something is
};

struct ring3_version {
    uint64_t value;
    struct ring3_change *change; // NULL: certain
    bool is_durable;             // content: synced
    uint64_t seen_cut;           // content: others have seen it after so many cuts, less 1
};

struct ring3_cell {
    struct ring3_version *versions; // the oldest first; none: the value is 0
    uint32_t count, capacity;
    ring3_tick forgotten; // what could be seen before is not known any more
    bool is_content;
    bool is_blind; // changed while a death left open what was there: the next look decides
};

void ring3_memories_init(struct ring3_memories *memories);
void ring3_memories_deinit(struct ring3_memories *memories);
void ring3_memory_init(struct ring3_memory *memory, const struct ring3_memories *memories,
                       unsigned number);
// It answers no more from now on.
void ring3_memory_end(struct ring3_memory *memory);
ring3_tick ring3_tick_next(struct ring3_memories *memories);

// A change begins; then come its values, then its end.
struct ring3_change *ring3_change_begin(struct ring3_memories *memories,
                                        struct ring3_memory *memory, const char *what);
void ring3_cell_change(struct ring3_cell *cell, struct ring3_change *change, uint64_t value);
void ring3_change_end(struct ring3_memories *memories, struct ring3_change *change);
// It was refused: the cells it is in are named again with ring3_cell_undo.
void ring3_cell_undo(struct ring3_cell *cell, const struct ring3_change *change);

// It holds that, whatever was known.
void ring3_cell_set(struct ring3_memories *memories, struct ring3_cell *cell, uint64_t value);
void ring3_cell_deinit(struct ring3_cell *cell);
// The newest value that was answered or is being made.
uint64_t ring3_cell_latest(const struct ring3_cell *cell);
// Whether somebody who begins now can see one value only.
bool ring3_cell_is_certain(const struct ring3_cell *cell);
// A change of it is under way, in a life that has not died.
bool ring3_cell_is_busy(const struct ring3_cell *cell);
// All that may be seen by `reader` that begins at `begin`: false behind the last one.
bool ring3_cell_candidate(const struct ring3_cell *cell, ring3_tick begin, unsigned index,
                          uint64_t *value);
// `reader`, which began to look at `begin`, has seen `value`. False: it must not (memories->why).
bool ring3_cell_seen(struct ring3_memories *memories, struct ring3_cell *cell,
                     struct ring3_memory *reader, ring3_tick begin, uint64_t value);
// Of a blind cell: what its last change met has been found out. True: it can be judged again.
bool ring3_cell_unblind(struct ring3_memories *memories, struct ring3_cell *cell, uint64_t value);
// As ring3_cell_seen; of a blind cell whatever is there counts from now on.
bool ring3_cell_judge(struct ring3_memories *memories, struct ring3_cell *cell,
                      struct ring3_memory *reader, ring3_tick begin, uint64_t value);
// The content's change was synced by its life, in a sync that began at `begin`.
void ring3_cell_synced(struct ring3_cell *cell, const struct ring3_memory *memory,
                       ring3_tick begin);
