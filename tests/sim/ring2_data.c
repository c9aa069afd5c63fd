// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring2_data.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

struct ring2_file *ring2_file_new(uint16_t id)
{
    struct ring2_file *file = calloc(1, sizeof(*file));
    CHECK(file != NULL);
    file->id = id;
    file->now = calloc(RING2_FILE_WORDS, sizeof(uint64_t));
    file->durable = calloc(RING2_FILE_WORDS, sizeof(uint64_t));
    CHECK(file->now != NULL && file->durable != NULL);
    TAILQ_INIT(&file->done);
    TAILQ_INIT(&file->under_way);
    return file;
}

static void free_operations(struct ring2_data_operations *operations)
{
    struct ring2_data_operation *operation;
    while ((operation = TAILQ_FIRST(operations)) != NULL) {
        TAILQ_REMOVE(operations, operation, link);
        free(operation);
    }
}

void ring2_file_free(struct ring2_file *file)
{
    free_operations(&file->done);
    free_operations(&file->under_way);
    free(file->now);
    free(file->durable);
    free(file);
}

// --- words ---------------------------------------------------------------------------------------

uint64_t ring2_word(uint16_t id, uint16_t sequence, uint64_t index)
{
    return (uint64_t)id << 48 | (uint64_t)sequence << 32 | (index + 1);
}

void ring2_fill(void *buffer, uint16_t id, uint16_t sequence, uint64_t offset, size_t length)
{
    uint64_t *words = buffer;
    for (size_t i = 0; i < length / RING2_WORD_BYTES; i++)
        words[i] = ring2_word(id, sequence, offset / RING2_WORD_BYTES + i);
}

static bool is_own(const struct ring2_file *file, uint64_t word, uint64_t index)
{
    uint16_t sequence = (uint16_t)(word >> 32);
    return word == ring2_word(file->id, sequence, index) && sequence <= file->last_sequence;
}

// --- operations ----------------------------------------------------------------------------------

static bool overlaps(const struct ring2_data_operation *operation, uint64_t offset, uint64_t end)
{
    return operation->offset < end && offset < operation->end;
}

bool ring2_may_begin(const struct ring2_file *file, enum ring2_data_kind kind, uint64_t offset,
                     uint64_t end)
{
    const struct ring2_data_operation *other;
    if (file->operation_count == RING2_OPERATIONS_MAX || file->last_sequence == UINT16_MAX)
        return false;
    TAILQ_FOREACH (other, &file->under_way, link) {
        if (kind == RING2_WRITE && other->kind == RING2_WRITE && overlaps(other, offset, end))
            return false;
    }
    return true;
}

struct ring2_data_operation *ring2_begin(struct ring2_file *file, enum ring2_data_kind kind,
                                         uint64_t offset, uint64_t end)
{
    struct ring2_data_operation *operation = calloc(1, sizeof(*operation));
    CHECK(operation != NULL && end <= RING2_FILE_BYTES_MAX);
    operation->kind = kind;
    operation->offset = offset;
    operation->end = end;
    operation->size_before = file->size;
    if (kind == RING2_WRITE)
        operation->sequence = ++file->last_sequence;
    TAILQ_INSERT_TAIL(&file->under_way, operation, link);
    file->operation_count++;
    return operation;
}

// What the operation does to words and size.
static void apply(const struct ring2_file *file, const struct ring2_data_operation *operation,
                  uint64_t *words, uint64_t *size)
{
    bool is_write = operation->kind == RING2_WRITE;
    bool changes_words = operation->kind != RING2_ALLOCATE;
    for (uint64_t i = operation->offset / RING2_WORD_BYTES;
         changes_words && i < operation->end / RING2_WORD_BYTES; i++)
        words[i] = is_write ? ring2_word(file->id, operation->sequence, i) : 0;
    if (operation->kind == RING2_TRUNCATE)
        *size = operation->offset;
    else if ((is_write || operation->grows) && operation->end > *size)
        *size = operation->end;
}

void ring2_end(struct ring2_file *file, struct ring2_data_operation *operation, uint64_t end)
{
    operation->end = end;
    operation->end_order = ++file->last_end_order;
    TAILQ_REMOVE(&file->under_way, operation, link);
    TAILQ_INSERT_TAIL(&file->done, operation, link);
    apply(file, operation, file->now, &file->size);
}

void ring2_void(struct ring2_file *file, struct ring2_data_operation *operation)
{
    TAILQ_REMOVE(&file->under_way, operation, link);
    file->operation_count--;
    free(operation);
}

// --- sync ----------------------------------------------------------------------------------------

uint64_t ring2_sync_mark(const struct ring2_file *file)
{
    return file->last_end_order;
}

void ring2_synced(struct ring2_file *file, uint64_t mark)
{
    struct ring2_data_operation *operation;
    if (file->reader_count > 0)
        return; // less is known to be durable than could be
    while ((operation = TAILQ_FIRST(&file->done)) != NULL && operation->end_order <= mark) {
        apply(file, operation, file->durable, &file->durable_size);
        TAILQ_REMOVE(&file->done, operation, link);
        file->operation_count--;
        free(operation);
    }
}

// --- reading while in use ------------------------------------------------------------------------

uint64_t ring2_read_begin(struct ring2_file *file)
{
    file->reader_count++;
    return file->last_end_order;
}

void ring2_read_end(struct ring2_file *file)
{
    file->reader_count--;
}

static bool changes(const struct ring2_data_operation *operation, uint64_t byte)
{
    return operation->kind != RING2_ALLOCATE && overlaps(operation, byte, byte + 1);
}

static bool may_have_changed(const struct ring2_file *file, uint64_t begin, uint64_t byte)
{
    const struct ring2_data_operation *operation;
    TAILQ_FOREACH (operation, &file->under_way, link) {
        if (changes(operation, byte))
            return true;
    }
    TAILQ_FOREACH (operation, &file->done, link) {
        if (operation->end_order > begin && changes(operation, byte))
            return true;
    }
    return false;
}

bool ring2_check_read(const struct ring2_file *file, uint64_t begin, uint64_t offset,
                      const void *bytes, size_t length, char *why, size_t why_bytes)
{
    const uint64_t *words = bytes;
    for (size_t i = 0; i < length / RING2_WORD_BYTES; i++) {
        uint64_t index = offset / RING2_WORD_BYTES + i, expected = file->now[index];
        if (words[i] == expected)
            continue;
        if (may_have_changed(file, begin, index * RING2_WORD_BYTES) &&
            (words[i] == 0 || is_own(file, words[i], index)))
            continue;
        snprintf(why, why_bytes,
                 "inode %" PRIu64 " (file %u) at %" PRIu64 ": read %016" PRIx64
                 ", expected %016" PRIx64,
                 file->inode, file->id, index * RING2_WORD_BYTES, words[i], expected);
        return false;
    }
    return true;
}

// --- after a crash -------------------------------------------------------------------------------

// First writes become visible in order, block by block.
static bool is_size_from(const struct ring2_data_operation *operation, uint64_t size)
{
    if (operation->kind == RING2_TRUNCATE)
        return size == operation->offset;
    if (operation->kind != RING2_WRITE && !operation->grows)
        return false;
    return size == operation->end ||
           (size % 4096 == 0 && size > operation->size_before && size < operation->end);
}

// Calls `test` for all operations that are not durable until it answers true.
static bool any_operation(const struct ring2_file *file,
                          bool (*test)(const struct ring2_data_operation *operation,
                                       uint64_t argument),
                          uint64_t argument)
{
    const struct ring2_data_operation *operation;
    TAILQ_FOREACH (operation, &file->done, link) {
        if (test(operation, argument))
            return true;
    }
    TAILQ_FOREACH (operation, &file->under_way, link) {
        if (test(operation, argument))
            return true;
    }
    return false;
}

static bool is_no_write(const struct ring2_data_operation *operation, uint64_t argument)
{
    (void)argument;
    return operation->kind != RING2_WRITE;
}

// Whether the word at a place behind the durable end was put there by the first write that made the
// file reach it: then no zero can show.
static bool was_appended(const struct ring2_file *file, uint64_t byte)
{
    const struct ring2_data_operation *operation;
    TAILQ_FOREACH (operation, &file->done, link) {
        if (operation->end > byte)
            return operation->offset <= byte;
    }
    TAILQ_FOREACH (operation, &file->under_way, link) {
        if (operation->end > byte)
            return operation->offset <= byte;
    }
    return false;
}

static bool takes_away(const struct ring2_data_operation *operation, uint64_t byte)
{
    return (operation->kind == RING2_ZERO || operation->kind == RING2_TRUNCATE) &&
           overlaps(operation, byte, byte + RING2_WORD_BYTES);
}

static bool is_word_of_write(const struct ring2_file *file, uint64_t index, uint64_t word)
{
    const struct ring2_data_operation *operation;
    uint64_t byte = index * RING2_WORD_BYTES;
    const struct ring2_data_operations *lists[] = {&file->done, &file->under_way};
    for (int i = 0; i < 2; i++) {
        TAILQ_FOREACH (operation, lists[i], link) {
            if (operation->kind == RING2_WRITE &&
                overlaps(operation, byte, byte + RING2_WORD_BYTES) &&
                word == ring2_word(file->id, operation->sequence, index))
                return true;
        }
    }
    return false;
}

static bool is_word_allowed(const struct ring2_file *file, uint64_t index, uint64_t word,
                            bool only_writes)
{
    uint64_t byte = index * RING2_WORD_BYTES;
    bool is_durable = byte < file->durable_size;
    uint64_t base = is_durable ? file->durable[index] : 0;
    if (word == base && (is_durable || !only_writes || !was_appended(file, byte)))
        return true;
    if (is_word_of_write(file, index, word))
        return true;
    return word == 0 && any_operation(file, takes_away, byte);
}

bool ring2_check_recovered(const struct ring2_file *file, uint64_t size, const void *bytes,
                           char *why, size_t why_bytes)
{
    const uint64_t *words = bytes;
    bool only_writes = !any_operation(file, is_no_write, 0);
    if (size != file->durable_size && !any_operation(file, is_size_from, size)) {
        snprintf(why, why_bytes,
                 "inode %" PRIu64 " (file %u): size %" PRIu64 ", durable %" PRIu64 ", now %" PRIu64,
                 file->inode, file->id, size, file->durable_size, file->size);
        return false;
    }
    for (uint64_t i = 0; i < size / RING2_WORD_BYTES; i++) {
        if (is_word_allowed(file, i, words[i], only_writes))
            continue;
        snprintf(why, why_bytes,
                 "inode %" PRIu64 " (file %u) at %" PRIu64 " of %" PRIu64 ": found %016" PRIx64
                 ", durable %016" PRIx64 " (size %" PRIu64 "), now %016" PRIx64 ", %u unsynced",
                 file->inode, file->id, i * RING2_WORD_BYTES, size, words[i], file->durable[i],
                 file->durable_size, file->now[i], file->operation_count);
        return false;
    }
    return true;
}

void ring2_adopt(struct ring2_file *file, uint64_t size, const void *bytes)
{
    memset(file->now, 0, RING2_FILE_BYTES_MAX);
    memcpy(file->now, bytes, size);
    memcpy(file->durable, file->now, RING2_FILE_BYTES_MAX);
    file->size = file->durable_size = size;
    free_operations(&file->done);
    free_operations(&file->under_way);
    file->operation_count = 0;
}
