// SPDX-License-Identifier: Apache-2.0
// The right to do data I/O of one file without the core (I5). A lane that wants to read or write:
//
//   lane                                        core (to revoke)
//   pass_enter: count += 1, then test the flag  pass_revoke: clear the flag, then wait for count 0
//     flag set:   translate, do the I/O           (one atomic word holds both: whoever comes
//     flag clear: count -= 1, go to the core       second sees the first; rule 2)
//   pass_leave when the completion was reaped
//
// Behind the flag stands an immutable map of the file's written extents and its size. Additive
// changes publish a new map without draining; every change that removes, shares or moves an extent,
// or shrinks the size, revokes and drains first, whoever asked (rule 3).
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scheduler;

struct pass_extent {
    uint64_t file_block;
    uint64_t volume_block;
    uint64_t block_count;
};

// Written extents only, in file order; what is not in it is a hole, unwritten or inline: the
// core's.
struct pass_map;

struct pass {
    _Atomic uint64_t word;              // PASS_* flags, count in the low 32 bits
    _Atomic(struct pass_map *) map;     // NULL: nothing may be done
    _Atomic uint64_t modified_ns;       // wall clock of the last write; 0: none since folded in
    _Atomic uint64_t accessed_ns;       // of the last read
    void (*drained)(struct pass *pass); // any thread: count fell to 0 while a revoke waits
    void *context;
    struct pass_map *retired; // replaced maps, freed once nobody can look at them
    bool is_resting;          // the core's, see pass_rest
};

enum {
    PASS_READ = 1,
    PASS_WRITE = 2,
    PASS_FILL = 4, // reads of pages that the kernel keeps: it was lent them (fs/page_loans.h)
    PASS_ALL = 7,
};

// --- any thread ------------------------------------------------------------------------------

// Whether I/O of `kind` may go on; if true the caller is counted until pass_leave.
bool pass_enter(struct pass *pass, unsigned kind);
void pass_leave(struct pass *pass);

// The pass lives until every pass_leave has returned: whoever ends it has answered, or waited for,
// all requests that use it.

// Between enter and leave: the volume byte offset of file offset `offset` and in `*run` how many
// bytes from there are contiguous, written and inside the size (for PASS_READ the run may end at
// the size). False: the core must do it.
bool pass_translate(struct pass *pass, uint64_t offset, uint64_t *volume_offset, uint64_t *run);
// The file's size as the pass knows it; a read at or behind it answers 0 bytes.
uint64_t pass_size(struct pass *pass);

// --- core ------------------------------------------------------------------------------------

void pass_init(struct pass *pass, void (*drained)(struct pass *pass), void *context);
// No I/O may be in flight.
void pass_deinit(struct pass *pass);
// Replaces the map (copied in) and sets the allowed kinds. Never with kinds that the held cluster
// lock does not cover.
void pass_publish(struct pass *pass, unsigned kinds, uint64_t size,
                  const struct pass_extent *extents, size_t count);
// Adds an extent that overlaps none of the map, and sets the size, which does not shrink; the kinds
// stay. Costs little however many extents there are: maps share what they have in common. Does
// nothing if none is published.
void pass_extend(struct pass *pass, uint64_t size, const struct pass_extent *added);
// The same without an extent.
void pass_grow(struct pass *pass, uint64_t size);
// Keeps the lanes out for a while: no kinds are allowed, but the map stays good (and can be
// extended) until pass_resume; the caller waits for pass_is_idle as after a revoke. The pass also
// comes to rest by itself when lanes are so busy that too many replaced maps had to be kept.
void pass_rest(struct pass *pass);
// If the pass rests: true, and `kinds` are allowed again, unless maps still have to be kept.
bool pass_resume(struct pass *pass, unsigned kinds);
// Whether the map is good: kinds are allowed, or the pass rests.
bool pass_is_published(const struct pass *pass);
// Clears `kinds`. The caller then waits until pass_is_idle (it is told through `drained`).
void pass_revoke(struct pass *pass, unsigned kinds);
bool pass_is_idle(const struct pass *pass);
// Clears `kinds`, for who does not wait.
void pass_withdraw(struct pass *pass, unsigned kinds);
// The kinds now allowed.
unsigned pass_kinds(const struct pass *pass);
