// SPDX-License-Identifier: Apache-2.0
// What a file must hold. Content is words of 8 bytes, each of which says whose it is: the file's
// id, the write that put it there, and its place in the file. So a word that came from another
// file, from a write that was overwritten, or from another place is told from the right one.
//
// After a crash each word must be the last durable one or that of a write since (any of them: what
// was not synced may survive or not). Beyond the durable end nothing but what was written there may
// show: never zeros where an extending write had put data.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    RING2_WORD_BYTES = 8,
    RING2_FILE_BYTES_MAX = 256 << 10,
    RING2_FILE_WORDS = RING2_FILE_BYTES_MAX / RING2_WORD_BYTES,
    RING2_OPERATIONS_MAX = 512, // of a file since its last sync
};

enum ring2_data_kind { RING2_WRITE, RING2_ZERO, RING2_TRUNCATE, RING2_ALLOCATE };

struct ring2_data_operation {
    TAILQ_ENTRY(ring2_data_operation) link;
    enum ring2_data_kind kind;
    uint64_t offset, end; // bytes; of a truncation: the new size and the end of everything
    uint64_t size_before;
    uint64_t end_order; // 0: under way
    uint16_t sequence;  // of a write
    bool grows;         // an allocation or zeroing that takes the size along
};
TAILQ_HEAD(ring2_data_operations, ring2_data_operation);

struct ring2_file {
    uint64_t inode;
    uint16_t id;
    uint16_t last_sequence;
    uint64_t size; // now
    uint64_t durable_size;
    uint64_t *now; // RING2_FILE_WORDS each
    uint64_t *durable;
    struct ring2_data_operations done; // since the last sync, in the order in which they ended
    struct ring2_data_operations under_way;
    unsigned operation_count; // in both
    unsigned reader_count;    // reads under way: what ends meanwhile is kept
    uint64_t last_end_order;
    bool is_protected;   // immutable or append-only, and no change of that is under way
    uint64_t last_state; // of its client, when a name or attribute of it changed last
};

struct ring2_file *ring2_file_new(uint16_t id);
void ring2_file_free(struct ring2_file *file);

uint64_t ring2_word(uint16_t id, uint16_t sequence, uint64_t index);
// Fills `buffer` with the words of a write at `offset` (a multiple of 8).
void ring2_fill(void *buffer, uint16_t id, uint16_t sequence, uint64_t offset, size_t length);

// Whether an operation may begin on [offset, end): no write overlaps another that is under way.
// What takes away may overlap writes of lanes: it drains them first, so it counts as the later one.
bool ring2_may_begin(const struct ring2_file *file, enum ring2_data_kind kind, uint64_t offset,
                     uint64_t end);
struct ring2_data_operation *ring2_begin(struct ring2_file *file, enum ring2_data_kind kind,
                                         uint64_t offset, uint64_t end);
// `end`: how far it got (a short write).
void ring2_end(struct ring2_file *file, struct ring2_data_operation *operation, uint64_t end);
// It failed with nothing done.
void ring2_void(struct ring2_file *file, struct ring2_data_operation *operation);

// A sync makes durable what had ended at its begin: `ring2_synced` is called at its end with the
// mark of its begin.
uint64_t ring2_sync_mark(const struct ring2_file *file);
void ring2_synced(struct ring2_file *file, uint64_t mark);

// A read while the file is in use: what was under way at any time between the two may show, or not.
// `why` says what is wrong if it is not allowed.
uint64_t ring2_read_begin(struct ring2_file *file);
void ring2_read_end(struct ring2_file *file);
bool ring2_check_read(const struct ring2_file *file, uint64_t begin, uint64_t offset,
                      const void *bytes, size_t length, char *why, size_t why_bytes);
// All of the file as it was found after a crash.
bool ring2_check_recovered(const struct ring2_file *file, uint64_t size, const void *bytes,
                           char *why, size_t why_bytes);
// The history goes on with what was found.
void ring2_adopt(struct ring2_file *file, uint64_t size, const void *bytes);
