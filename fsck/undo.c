// SPDX-License-Identifier: Apache-2.0
#include "fsck/undo.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"
#include "fsck/check.h"
#include "fsck/superblocks.h"
#include "fsck/undo_file.h"

typedef unsigned long long ull;

enum { JOURNAL_HEADER_COPIES = 2 };

// --- which blocks ----------------------------------------------------------------------------

struct blocks {
    uint64_t *blocks; // ascending
    size_t count;
};

static int compare_blocks(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void sort_unique(struct blocks *blocks)
{
    size_t kept = 0;
    qsort(blocks->blocks, blocks->count, sizeof(*blocks->blocks), compare_blocks);
    for (size_t i = 0; i < blocks->count; i++) {
        if (i == 0 || blocks->blocks[i] != blocks->blocks[i - 1])
            blocks->blocks[kept++] = blocks->blocks[i];
    }
    blocks->count = kept;
}

static void list_blocks(const struct check *check, struct blocks *blocks)
{
    const struct geometry *g = &check->geometry;
    uint64_t superblocks[FORMAT_SUPERBLOCK_COUNT];
    size_t most = FORMAT_SUPERBLOCK_COUNT + (size_t)g->slot_count * JOURNAL_HEADER_COPIES +
                  check->overlay.image_count + check->changes.count;
    *blocks = (struct blocks){.blocks = calloc(most, sizeof(*blocks->blocks))};
    CHECK(blocks->blocks != NULL);
    geometry_superblock_blocks(g, superblocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        blocks->blocks[blocks->count++] = superblocks[i];
    for (uint32_t slot = 0; slot < g->slot_count; slot++) {
        for (unsigned i = 0; i < JOURNAL_HEADER_COPIES; i++)
            blocks->blocks[blocks->count++] = geometry_journal_block(g, slot) + i;
    }
    for (size_t i = 0; i < check->overlay.image_count; i++)
        blocks->blocks[blocks->count++] = check->overlay.images[i].address;
    for (size_t i = 0; i < check->changes.count; i++)
        blocks->blocks[blocks->count++] = check->changes.changes[i].block;
    sort_unique(blocks);
}

static int read_block(struct check *check, uint64_t block, void *buffer)
{
    check_breathe(check);
    return block_device_read(check->device, check->environment->scheduler, block * BLOCK_BYTES,
                             buffer, BLOCK_BYTES);
}

// --- saving ----------------------------------------------------------------------------------

static int save_blocks(struct check *check, struct undo_file *file, const struct blocks *blocks)
{
    CLEANUP_FREE void *buffer = block_buffer_new(BLOCK_BYTES);
    int result = 0;
    for (size_t i = 0; i < blocks->count && result == 0; i++) {
        file->index[i].block = le64_make(blocks->blocks[i]);
        result = read_block(check, blocks->blocks[i], buffer);
        if (result == 0)
            result = undo_file_write_block(file, i, buffer);
    }
    return result;
}

int undo_save(struct check *check)
{
    struct undo_file file;
    struct blocks blocks;
    if (check->options->undo_path == NULL)
        return 0;
    list_blocks(check, &blocks);
    int result =
        undo_file_create(&file, check->options->undo_path, check->geometry.format_id, blocks.count);
    if (result == 0)
        result = save_blocks(check, &file, &blocks);
    if (result == 0)
        result = undo_file_write_index(&file, UNDO_BEGUN);
    undo_file_close(&file);
    free(blocks.blocks);
    return result;
}

int undo_finish(struct check *check)
{
    CLEANUP_FREE void *buffer = block_buffer_new(BLOCK_BYTES);
    struct undo_file file;
    if (check->options->undo_path == NULL)
        return 0;
    int result = undo_file_open(&file, check->options->undo_path);
    for (size_t i = 0; result == 0 && i < file.count; i++) {
        result = read_block(check, le64_get(file.index[i].block), buffer);
        file.index[i].new_checksum = le32_make(crc32c(0, buffer, BLOCK_BYTES));
    }
    if (result == 0)
        result = undo_file_write_index(&file, UNDO_FINISHED);
    undo_file_close(&file);
    return result;
}

// --- restoring -------------------------------------------------------------------------------

static bool is_superblock(const struct check *check, uint64_t block)
{
    uint64_t superblocks[FORMAT_SUPERBLOCK_COUNT];
    geometry_superblock_blocks(&check->geometry, superblocks);
    return block == superblocks[0] || block == superblocks[1] || block == superblocks[2];
}

static bool is_marked(const struct check *check)
{
    return check->geometry.state & SUPERBLOCK_STATE_NEEDS_FSCK;
}

static int refuse_block(struct check *check, uint64_t block)
{
    return check_fail(check, -ERROR_BLOCK_CONTENT,
                      "block %llu was written to since the repair; nothing was restored",
                      (ull)block);
}

// Every block holds what the repair wrote, or what was there before it (a restore that was cut
// off). While the mark stands nobody has mounted the volume, and superblocks carry the mark.
static int compare_blocks_with_file(struct check *check, const struct undo_file *file)
{
    CLEANUP_FREE void *buffer = block_buffer_new(BLOCK_BYTES);
    bool is_finished = le32_get(file->header.state) == UNDO_FINISHED;
    for (size_t i = 0; i < file->count; i++) {
        const struct undo_entry_disk *entry = &file->index[i];
        uint64_t block = le64_get(entry->block);
        if (block >= check->geometry.block_count)
            return refuse_block(check, block);
        int result = read_block(check, block, buffer);
        if (result < 0)
            return check_fail(check, result, "block %llu cannot be read: %s", (ull)block,
                              error_text(result));
        uint32_t now = crc32c(0, buffer, BLOCK_BYTES);
        bool is_known = now == le32_get(entry->old_checksum) ||
                        (is_finished && now == le32_get(entry->new_checksum));
        if (!is_known && !(is_marked(check) && (!is_finished || is_superblock(check, block))))
            return refuse_block(check, block);
    }
    return 0;
}

static int restore_blocks(struct check *check, const struct undo_file *file, bool superblocks)
{
    CLEANUP_FREE void *buffer = block_buffer_new(BLOCK_BYTES);
    int result = 0;
    for (size_t i = 0; i < file->count && result == 0; i++) {
        uint64_t block = le64_get(file->index[i].block);
        if (is_superblock(check, block) != superblocks)
            continue;
        check_breathe(check);
        result = undo_file_read_block(file, i, buffer);
        if (result == 0)
            result = block_device_write(check->device, check->environment->scheduler,
                                        block * BLOCK_BYTES, buffer, BLOCK_BYTES);
    }
    return result == 0 ? block_device_flush(check->device, check->environment->scheduler) : result;
}

static int verify_file(struct check *check, const struct undo_file *file)
{
    CLEANUP_FREE void *buffer = block_buffer_new(BLOCK_BYTES);
    int result = 0;
    if (memcmp(file->header.format_id, check->geometry.format_id, 16) != 0)
        return check_fail(check, -ERROR_BLOCK_FORMAT_ID, "%s was made for another volume",
                          check->options->restore_path);
    for (size_t i = 0; i < file->count && result == 0; i++)
        result = undo_file_read_block(file, i, buffer);
    if (result < 0)
        return check_fail(check, result, "%s: %s", check->options->restore_path,
                          error_text(result));
    return compare_blocks_with_file(check, file);
}

static int restore(struct check *check, const struct undo_file *file)
{
    int result = verify_file(check, file);
    if (result < 0)
        return result;
    result = superblocks_write(check, check->geometry.state | SUPERBLOCK_STATE_NEEDS_FSCK);
    if (result == 0)
        result = restore_blocks(check, file, false);
    if (result == 0)
        result = restore_blocks(check, file, true);
    if (result < 0)
        return check_fail(check, result, "the restore failed: %s; run it again",
                          error_text(result));
    check->was_changed = true;
    check_tell(check, "%llu blocks are as they were before the repair", (ull)file->count);
    return 0;
}

int undo_restore(struct check *check)
{
    struct undo_file file;
    check->problems.is_off = true; // what is wrong with the volume is not the question
    int result = pass1_slots(check);
    if (result < 0)
        return result;
    result = undo_file_open(&file, check->options->restore_path);
    result = result < 0 ? check_fail(check, result, "%s: %s", check->options->restore_path,
                                     error_text(result))
                        : restore(check, &file);
    undo_file_close(&file);
    return result;
}
