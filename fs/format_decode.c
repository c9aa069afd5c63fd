// SPDX-License-Identifier: Apache-2.0
#include "fs/format_decode.h"

#include <string.h>
#include <sys/stat.h>

#include "fs/base/error.h"
#include "fs/format_fields.h"

static int fail(int error, const char **reason, const char *sentence)
{
    if (reason != NULL)
        *reason = sentence;
    return -error;
}

static int fail_content(const char **reason, const char *sentence)
{
    return fail(ERROR_BLOCK_CONTENT, reason, sentence);
}

static bool is_terminated(const uint8_t *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static bool reserved_is_set(const void *block, enum block_type type)
{
    return !format_reserved_is_zero(format_structure_of(type), block);
}

static const char reserved_is_used[] = "reserved bytes are not 0";

// --- heartbeat, mailbox, claim, group map ----------------------------------------------------

int format_heartbeat_decode(const struct heartbeat_disk *disk, struct format_heartbeat *heartbeat,
                            const char **reason)
{
    if (le32_get(disk->state) > HEARTBEAT_STOPPED)
        return fail_content(reason, "the slot's state is unknown");
    if (!is_terminated(disk->node_name, sizeof(disk->node_name)))
        return fail_content(reason, "the node's name is not terminated");
    if (reserved_is_set(disk, BLOCK_TYPE_HEARTBEAT))
        return fail_content(reason, reserved_is_used);
    *heartbeat = (struct format_heartbeat){
        .incarnation = le64_get(disk->incarnation),
        .beat = le64_get(disk->beat),
        .lamport = le64_get(disk->lamport),
        .recovered_incarnation = le64_get(disk->recovered_incarnation),
        .boot_ns = le64_get(disk->boot_ns),
        .wall_ns = le64_get(disk->wall_ns),
        .state = (enum heartbeat_state)le32_get(disk->state),
        .slot = (uint32_t)le64_get(disk->header.owner),
        .node_id = le32_get(disk->node_id),
        .lease_ms = le32_get(disk->lease_ms),
        .beat_ms = le32_get(disk->beat_ms),
    };
    memcpy(heartbeat->node_name, disk->node_name, sizeof(heartbeat->node_name));
    memcpy(heartbeat->cluster_id, disk->cluster_id, sizeof(heartbeat->cluster_id));
    return 0;
}

int format_mailbox_decode(const struct mailbox_disk *disk, struct format_mailbox *mailbox,
                          const char **reason)
{
    if (!is_terminated(disk->reason, sizeof(disk->reason)))
        return fail_content(reason, "the note's reason is not terminated");
    if (reserved_is_set(disk, BLOCK_TYPE_MAILBOX))
        return fail_content(reason, reserved_is_used);
    *mailbox = (struct format_mailbox){
        .victim_incarnation = le64_get(disk->victim_incarnation),
        .writer_incarnation = le64_get(disk->writer_incarnation),
        .wall_ns = le64_get(disk->wall_ns),
        .slot = (uint32_t)le64_get(disk->header.owner),
        .writer_slot = le32_get(disk->writer_slot),
        .writer_node_id = le32_get(disk->writer_node_id),
    };
    memcpy(mailbox->reason, disk->reason, sizeof(mailbox->reason));
    return 0;
}

int format_claim_decode(const struct claim_disk *disk, struct format_claim *claim,
                        const char **reason)
{
    if (le32_get(disk->purpose) > CLAIM_MKFS)
        return fail_content(reason, "the claim's purpose is unknown");
    if (!is_terminated(disk->host_name, sizeof(disk->host_name)))
        return fail_content(reason, "the claim's host name is not terminated");
    if (reserved_is_set(disk, BLOCK_TYPE_CLAIM))
        return fail_content(reason, reserved_is_used);
    *claim = (struct format_claim){
        .purpose = (enum claim_purpose)le32_get(disk->purpose),
        .beat_ms = le32_get(disk->beat_ms),
        .beat = le64_get(disk->beat),
        .wall_ns = le64_get(disk->wall_ns),
    };
    memcpy(claim->holder, disk->holder, sizeof(claim->holder));
    memcpy(claim->cluster_id, disk->cluster_id, sizeof(claim->cluster_id));
    memcpy(claim->host_name, disk->host_name, sizeof(claim->host_name));
    return 0;
}

int format_ag_map_check(const struct ag_map_disk *disk, const struct geometry *g,
                        uint32_t block_index, const char **reason)
{
    for (uint64_t i = 0; i < AG_MAP_BITS_PER_BLOCK; i++) {
        uint64_t ag = (uint64_t)block_index * AG_MAP_BITS_PER_BLOCK + i;
        if (ag >= g->ag_count && (disk->bits[i / 8] >> (i % 8) & 1))
            return fail_content(reason, "a group behind the last one counts as initialised");
    }
    return 0;
}

// --- allocation group ------------------------------------------------------------------------

int format_ag_decode(const struct ag_header_disk *disk, const struct geometry *g, uint32_t ag,
                     struct format_ag *header, const char **reason)
{
    uint64_t first = geometry_ag_first_block(g, ag);
    header->block_count = le64_get(disk->block_count);
    header->free_block_count = le64_get(disk->free_block_count);
    header->reserve_count = le32_get(disk->reserve_count);
    if (header->block_count != geometry_ag_block_count(g, ag))
        return fail_content(reason, "the group's size is not what the superblock says");
    if (header->free_block_count >= header->block_count)
        return fail_content(reason, "more blocks are free than the group has");
    if (header->reserve_count > AG_RESERVE_MAX)
        return fail_content(reason, "the group's reserve is larger than its table");
    for (uint32_t i = 0; i < AG_RESERVE_MAX; i++) {
        uint64_t block = le64_get(disk->reserve[i]);
        header->reserve[i] = block;
        if (i >= header->reserve_count && block != 0)
            return fail_content(reason, "an unused reserve entry is not 0");
        if (i < header->reserve_count && (block <= first || block - first >= header->block_count))
            return fail_content(reason, "a reserve block lies outside of the group");
    }
    if (reserved_is_set(disk, BLOCK_TYPE_AG_HEADER))
        return fail_content(reason, reserved_is_used);
    return 0;
}

int format_slot_state_check(const struct slot_state_disk *disk, const char **reason)
{
    if (reserved_is_set(disk, BLOCK_TYPE_SLOT_STATE))
        return fail_content(reason, reserved_is_used);
    return 0;
}

// --- inode -----------------------------------------------------------------------------------

static struct format_time time_decode(const struct time_disk *disk)
{
    return (struct format_time){
        .seconds = (int64_t)le64_get(disk->seconds),
        .nanoseconds = le32_get(disk->nanoseconds),
    };
}

static bool mode_is_known(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
    default:
        return false;
    }
}

static bool times_are_sound(const struct format_inode *inode)
{
    const uint32_t second = 1000000000;
    return inode->accessed.nanoseconds < second && inode->modified.nanoseconds < second &&
           inode->changed.nanoseconds < second && inode->created.nanoseconds < second;
}

static uint32_t flags_known(const struct geometry *g)
{
    bool has_protection = (g->feature_incompat & FEATURE_INCOMPAT_PROTECTION) != 0;
    bool has_projects = (g->feature_incompat & FEATURE_INCOMPAT_PROJECTS) != 0;
    return INODE_FLAG_ORPHAN | (has_protection ? INODE_FLAGS_PROTECTING : 0) |
           (has_projects ? INODE_FLAG_PROJECT_DOWN : 0);
}

static const char *inode_broken(const struct format_inode *inode, const struct geometry *g)
{
    bool is_orphan = inode->flags & INODE_FLAG_ORPHAN;
    if (inode->generation == 0)
        return "the inode's generation is 0";
    if (!mode_is_known(inode->mode))
        return "the inode's type is unknown";
    if (inode->size > FORMAT_FILE_BYTES_MAX || inode->truncate_size > FORMAT_FILE_BYTES_MAX)
        return "the inode's size is out of range";
    if (S_ISLNK(inode->mode) && (inode->size == 0 || inode->size > FORMAT_SYMLINK_BYTES_MAX))
        return "the symbolic link's length is out of range";
    if (!times_are_sound(inode))
        return "a time stamp has more than 999,999,999 nanoseconds";
    if ((inode->flags & ~flags_known(g)) != 0)
        return "the inode has unknown flags";
    if ((inode->flags & INODE_FLAGS_PROTECTING) != 0 && !S_ISREG(inode->mode) &&
        !S_ISDIR(inode->mode))
        return "the inode has flags that only files and directories have";
    if ((inode->flags & INODE_FLAG_PROJECT_DOWN) != 0 && !S_ISDIR(inode->mode))
        return "the inode has a flag that only directories have";
    if (inode->link_count == 0 && !is_orphan)
        return "the inode has no link and stands on no orphan list";
    if (is_orphan && inode->orphan_slot >= g->slot_count)
        return "the inode names an orphan list that does not exist";
    if (S_ISDIR(inode->mode) ? !geometry_is_data_range(g, inode->parent, 1) : inode->parent != 0)
        return "the inode's parent is out of range";
    return NULL;
}

static void inode_from_disk(const struct inode_disk *disk, struct format_inode *inode)
{
    *inode = (struct format_inode){
        .number = le64_get(disk->header.owner),
        .generation = le64_get(disk->generation),
        .size = le64_get(disk->size),
        .block_count = le64_get(disk->block_count),
        .rdev = le64_get(disk->rdev),
        .parent = le64_get(disk->parent),
        .truncate_size = le64_get(disk->truncate_size),
        .mode = le32_get(disk->mode),
        .link_count = le32_get(disk->link_count),
        .uid = le32_get(disk->uid),
        .gid = le32_get(disk->gid),
        .project_id = le32_get(disk->project_id),
        .flags = le32_get(disk->flags),
        .orphan_slot = le32_get(disk->orphan_slot),
        .xattr_count = le32_get(disk->xattr_count),
        .accessed = time_decode(&disk->accessed),
        .modified = time_decode(&disk->modified),
        .changed = time_decode(&disk->changed),
        .created = time_decode(&disk->created),
        .claim_generation = le64_get(disk->claim_generation),
        .claim_node_id = le32_get(disk->claim_node_id),
    };
    memcpy(inode->claim_export, disk->claim_export, sizeof(inode->claim_export));
}

int format_inode_decode(const struct inode_disk *disk, const struct geometry *g,
                        struct format_inode *inode, const char **reason)
{
    inode_from_disk(disk, inode);
    const char *broken = inode_broken(inode, g);
    if (broken == NULL && reserved_is_set(disk, BLOCK_TYPE_INODE))
        broken = reserved_is_used;
    return broken == NULL ? 0 : fail(ERROR_CORRUPT_INODE, reason, broken);
}

// --- values of tree items --------------------------------------------------------------------

static int fail_tree(const char **reason, const char *sentence)
{
    return fail(ERROR_CORRUPT_TREE, reason, sentence);
}

int format_extent_decode(const struct format_item *item, const struct geometry *g,
                         struct format_extent *extent, const char **reason)
{
    struct extent_disk disk;
    if (item->length != sizeof(disk) || item->key.minor != 0)
        return fail_tree(reason, "an extent's item has the wrong shape");
    memcpy(&disk, item->value, sizeof(disk));
    *extent = (struct format_extent){
        .file_block = item->key.major,
        .start_block = le64_get(disk.start_block),
        .block_count = le32_get(disk.block_count),
        .flags = le32_get(disk.flags),
    };
    if ((extent->flags & ~(uint32_t)EXTENT_UNWRITTEN) != 0)
        return fail_tree(reason, "an extent has unknown flags");
    if (!geometry_is_data_range(g, extent->start_block, extent->block_count))
        return fail_tree(reason, "an extent lies outside of the allocation groups");
    uint64_t file_blocks_max = FORMAT_FILE_BYTES_MAX >> FORMAT_BLOCK_SHIFT;
    if (extent->file_block >= file_blocks_max ||
        extent->block_count > file_blocks_max - extent->file_block)
        return fail_tree(reason, "an extent lies behind the largest file size");
    return 0;
}

static bool name_is_sound(const uint8_t *name, size_t length)
{
    if (length == 0 || memchr(name, 0, length) != NULL || memchr(name, '/', length) != NULL)
        return false;
    bool is_dots = name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'));
    return !is_dots;
}

int format_dirent_decode(const struct format_item *item, struct format_dirent *dirent,
                         const char **reason)
{
    struct dirent_disk disk;
    if (item->length < sizeof(disk))
        return fail(ERROR_CORRUPT_DIRECTORY, reason, "a directory entry is too short");
    memcpy(&disk, item->value, sizeof(disk));
    *dirent = (struct format_dirent){
        .inode = le64_get(disk.inode),
        .generation = le64_get(disk.generation),
        .type = disk.type,
        .name_length = disk.name_length,
        .name = item->value + sizeof(disk),
    };
    if (item->length != sizeof(disk) + disk.name_length)
        return fail(ERROR_CORRUPT_DIRECTORY, reason, "a directory entry's length is wrong");
    if (!name_is_sound(dirent->name, dirent->name_length))
        return fail(ERROR_CORRUPT_DIRECTORY, reason, "a directory entry's name is not allowed");
    return 0;
}

int format_xattr_decode(const struct format_item *item, struct format_xattr *xattr,
                        const char **reason)
{
    struct xattr_disk disk;
    if (item->length < sizeof(disk))
        return fail_tree(reason, "an extended attribute is too short");
    memcpy(&disk, item->value, sizeof(disk));
    size_t head = sizeof(disk) + disk.name_length;
    if (disk.name_length == 0 || item->length < head)
        return fail_tree(reason, "an extended attribute's name has the wrong length");
    *xattr = (struct format_xattr){
        .value_length = le32_get(disk.value_length),
        .name_length = disk.name_length,
        .name = item->value + sizeof(disk),
        .value = item->value + head,
        .part_length = (uint16_t)(item->length - head),
    };
    if (xattr->part_length > xattr->value_length)
        return fail_tree(reason, "an extended attribute's value has the wrong length");
    if (disk.reserved[0] != 0 || disk.reserved[1] != 0 || disk.reserved[2] != 0)
        return fail_tree(reason, reserved_is_used);
    return 0;
}

int format_free_decode(const struct format_item *item, uint64_t *block_count, const char **reason)
{
    struct free_disk disk;
    if (item->length != sizeof(disk) || item->key.minor != 0)
        return fail_tree(reason, "a free extent's item has the wrong shape");
    memcpy(&disk, item->value, sizeof(disk));
    *block_count = le64_get(disk.block_count);
    return *block_count > 0 ? 0 : fail_tree(reason, "a free extent is empty");
}

int format_orphan_decode(const struct format_item *item, uint64_t *generation, const char **reason)
{
    struct orphan_disk disk;
    if (item->length != sizeof(disk) || item->key.minor != 0)
        return fail_tree(reason, "an orphan's item has the wrong shape");
    memcpy(&disk, item->value, sizeof(disk));
    *generation = le64_get(disk.generation);
    return 0;
}

int format_reference_decode(const struct format_item *item, uint64_t *block_count, uint64_t *count,
                            const char **reason)
{
    struct reference_disk disk;
    if (item->length != sizeof(disk) || item->key.minor != 0)
        return fail_tree(reason, "a shared extent's item has the wrong shape");
    memcpy(&disk, item->value, sizeof(disk));
    *block_count = le64_get(disk.block_count);
    *count = le64_get(disk.count);
    if (*block_count == 0 || *count < 2)
        return fail_tree(reason, "a shared extent is empty or has one owner");
    return 0;
}
