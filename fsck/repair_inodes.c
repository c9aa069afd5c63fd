// SPDX-License-Identifier: Apache-2.0
// Fields that no inode can have become the nearest that one can; what the inode's own items and
// the entry that names it say decides. Counts and links are put right by later stages.
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/format_fields.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/repair.h"
#include "fsck/tree_walk.h"

// --- what the items say ----------------------------------------------------------------------

struct survey {
    const struct geometry *geometry;
    bool has_entries;
    uint64_t inline_bytes;
    uint64_t end; // bytes, of the last extent
};

static bool survey_item(struct tree_walk *walk, uint64_t block, const struct format_item *item)
{
    struct survey *survey = walk->context;
    struct format_extent extent;
    (void)block;
    if (item->key.kind == ITEM_DIRENT)
        survey->has_entries = true;
    else if (item->key.kind == ITEM_INLINE)
        survey->inline_bytes += item->length;
    else if (item->key.kind == ITEM_EXTENT &&
             format_extent_decode(item, survey->geometry, &extent, NULL) == 0)
        survey->end = (extent.file_block + extent.block_count) * BLOCK_BYTES;
    return true;
}

static void survey_items(struct check *check, const struct inode_disk *disk, uint64_t number,
                         struct survey *survey)
{
    struct tree_walk walk = {
        .check = check,
        .root_block = number,
        .area = disk->root,
        .area_bytes = sizeof(disk->root),
        .owner = number,
        .item = survey_item,
        .context = survey,
    };
    *survey = (struct survey){.geometry = &check->geometry};
    check->problems.is_off = true;
    tree_walk_run(&walk);
    check->problems.is_off = false;
}

// --- fields ----------------------------------------------------------------------------------

static bool type_is_known(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return true;
    default:
        return false;
    }
}

static uint32_t sound_mode(const struct inode_record *record, const struct survey *survey,
                           uint32_t mode)
{
    uint32_t type = mode & S_IFMT;
    if (!type_is_known(mode) && record->seen & INODE_SEEN_LINKED &&
        type_is_known(DTTOIF(record->type)))
        type = DTTOIF(record->type);
    else if (!type_is_known(mode))
        type = survey->has_entries ? S_IFDIR : S_IFREG;
    if (type == S_IFLNK && survey->inline_bytes == 0)
        type = S_IFREG; // a link to nowhere is none
    return type | (mode & 07777);
}

static uint64_t sound_size(const struct survey *survey, uint32_t mode, uint64_t size)
{
    uint64_t content = survey->inline_bytes > survey->end ? survey->inline_bytes : survey->end;
    if (S_ISLNK(mode) && (size == 0 || size > FORMAT_SYMLINK_BYTES_MAX))
        return content < FORMAT_SYMLINK_BYTES_MAX ? content : FORMAT_SYMLINK_BYTES_MAX;
    return size > FORMAT_FILE_BYTES_MAX ? content : size;
}

static void fix_time(struct time_disk *time)
{
    if (le32_get(time->nanoseconds) >= 1000000000)
        time->nanoseconds = le32_make(0);
}

static void clear_reserved(struct inode_disk *disk)
{
    const struct format_structure *structure = format_structure_of(BLOCK_TYPE_INODE);
    for (uint16_t i = 0; i < structure->field_count; i++) {
        const struct format_field *field = &structure->fields[i];
        for (uint16_t k = 0; field->kind == FIELD_RESERVED && k < field->count; k++)
            memset((uint8_t *)disk + field->offset + k * field->stride, 0, field->width);
    }
}

static void fix_links(struct check *check, struct inode_disk *disk, uint32_t mode)
{
    uint32_t flags = le32_get(disk->flags) & INODE_FLAG_ORPHAN;
    uint64_t parent = le64_get(disk->parent);
    if (flags != 0 && le32_get(disk->orphan_slot) >= check->geometry.slot_count)
        disk->orphan_slot = le32_make(0);
    if (flags == 0 && le32_get(disk->link_count) == 0)
        disk->link_count = le32_make(1);
    if (!S_ISDIR(mode))
        disk->parent = le64_make(0);
    else if (!geometry_is_data_range(&check->geometry, parent, 1))
        disk->parent = le64_make(check->geometry.root_inode);
    disk->flags = le32_make(flags);
}

static void fix_fields(struct check *check, const struct inode_record *record,
                       struct inode_disk *disk)
{
    struct survey survey;
    survey_items(check, disk, record->number, &survey);
    uint32_t mode = sound_mode(record, &survey, le32_get(disk->mode));
    uint64_t size = sound_size(&survey, mode, le64_get(disk->size));
    disk->mode = le32_make(mode);
    disk->size = le64_make(size);
    if (le64_get(disk->truncate_size) > FORMAT_FILE_BYTES_MAX)
        disk->truncate_size = le64_make(size);
    if (le64_get(disk->generation) == 0)
        disk->generation = le64_make(environment_random_u64(check->environment) | 1);
    fix_time(&disk->accessed);
    fix_time(&disk->modified);
    fix_time(&disk->changed);
    fix_time(&disk->created);
    fix_links(check, disk, mode);
    clear_reserved(disk);
}

static int repair_fields(struct check *check, const struct inode_record *record)
{
    CLEANUP_FREE struct inode_disk *disk = malloc(sizeof(*disk));
    CHECK(disk != NULL);
    struct format_inode inode;
    uint64_t number = record->number;
    int result = block_reader_read_verified(check->reader, BLOCK_TYPE_INODE, number, number, disk);
    if (result < 0)
        return result;
    fix_fields(check, record, disk);
    result = format_inode_decode(disk, &check->geometry, &inode, NULL);
    if (result == 0)
        repair_write(check, number, disk);
    return result;
}

// --- the root directory ----------------------------------------------------------------------

static struct time_disk now_of(struct check *check)
{
    int64_t now_ns = environment_wall_ns(check->environment);
    return (struct time_disk){
        .seconds = le64_make((uint64_t)(now_ns / 1000000000)),
        .nanoseconds = le32_make((uint32_t)(now_ns % 1000000000)),
    };
}

void repair_make_directory(struct check *check, const struct repair_directory *directory)
{
    struct inode_disk disk;
    struct block_expectation is = {
        .format_id = check->geometry.format_id,
        .address = directory->number,
        .owner = directory->number,
        .type = BLOCK_TYPE_INODE,
    };
    memset(&disk, 0, sizeof(disk));
    format_block_init(&disk, &is);
    disk.generation = le64_make(directory->generation);
    disk.mode = le32_make(S_IFDIR | directory->permissions);
    disk.link_count = le32_make(2);
    disk.parent = le64_make(directory->parent);
    disk.accessed = disk.modified = disk.changed = disk.created = now_of(check);
    format_node_init(disk.root, sizeof(disk.root), 0);
    repair_write(check, directory->number, &disk);
}

void repair_make_root(struct check *check)
{
    struct repair_directory root = {
        .number = check->geometry.root_inode,
        .generation = environment_random_u64(check->environment) | 1,
        .parent = check->geometry.root_inode,
        .permissions = 0755,
    };
    repair_make_directory(check, &root);
}

int repair_inode_fields(struct check *check)
{
    int result = 0;
    if (check->problems.counts[PROBLEM_ROOT] > 0)
        repair_make_root(check);
    for (size_t i = 0; i < check->inodes.count && result == 0; i++) {
        if (check->inodes.records[i].seen & INODE_SEEN_BAD_FIELDS)
            result = repair_fields(check, &check->inodes.records[i]);
    }
    return result;
}
