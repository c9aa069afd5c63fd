// SPDX-License-Identifier: Apache-2.0
#include "fs/inode.h"

#include <errno.h>
#include <string.h>

#include "fs/allocator.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"
#include "fs/operation.h"
#include "fs/quota_charge.h"
#include "fs/tree_node.h"
#include "fs/volume.h"

enum { INODE_VERIFIED = 1u << 1 }; // in cache_block.verified, beside the tree's

static struct inode_disk *disk_of(struct inode *inode)
{
    return (struct inode_disk *)inode->block->bytes;
}

// --- its tree's nodes --------------------------------------------------------------------------

static struct inode *inode_of_nodes(struct tree_nodes *nodes)
{
    return (struct inode *)((char *)nodes - offsetof(struct inode, nodes));
}

static int node_allocate(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t *block)
{
    struct inode *inode = inode_of_nodes(nodes);
    CHECK(inode->space != NULL);
    int result = allocator_allocate_node(inode->space, handle, block);
    if (result != 0)
        return result;
    inode_change(inode, handle);
    inode_add_blocks(inode, 1);
    return 0;
}

static int node_release(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t block)
{
    struct inode *inode = inode_of_nodes(nodes);
    CHECK(inode->space != NULL);
    int result = allocator_free_node(inode->space, handle, block);
    if (result != 0)
        return result;
    inode_change(inode, handle);
    inode_add_blocks(inode, -1);
    return 0;
}

// --- load, create, destroy ---------------------------------------------------------------------

static void inode_init(struct inode *inode, struct volume *volume, uint64_t number,
                       struct cache_block *block)
{
    *inode = (struct inode){
        .volume = volume,
        .number = number,
        .block = block,
        .tree = {.cache = volume->cache,
                 .root = block,
                 .area_offset = offsetof(struct inode_disk, root),
                 .area_bytes = sizeof(((struct inode_disk *)0)->root),
                 .owner = number,
                 .lock = lock_name_inode(number),
                 .nodes = &inode->nodes,
                 .log = volume->log},
        .nodes = {.allocate = node_allocate, .release = node_release},
    };
}

static struct cache_identity identity_of(uint64_t number)
{
    return (struct cache_identity){
        .address = number,
        .owner = number,
        .type = BLOCK_TYPE_INODE,
        .lock = lock_name_inode(number),
    };
}

static int verify(struct volume *volume, struct cache_block *block)
{
    if (block->verified & INODE_VERIFIED)
        return 0;
    struct format_inode decoded;
    const char *reason = NULL;
    int result = format_inode_decode((const struct inode_disk *)block->bytes, &volume->geometry,
                                     &decoded, &reason);
    if (result == 0)
        block->verified |= INODE_VERIFIED;
    else
        cache_report_damage(volume->cache, result, "inode %llu: %s",
                            (unsigned long long)block->address, reason);
    return result;
}

int inode_load(struct inode *inode, struct volume *volume, uint64_t number)
{
    if (!geometry_is_data_range(&volume->geometry, number, 1))
        return -ERROR_BLOCK_RANGE;
    struct cache_identity identity = identity_of(number);
    struct cache_block *block;
    int result = cache_read(volume->cache, &identity, &block);
    if (result != 0)
        return result;
    result = verify(volume, block);
    if (result != 0) {
        cache_put(block);
        return result;
    }
    inode_init(inode, volume, number, block);
    return 0;
}

void inode_unload(struct inode *inode)
{
    cache_put(inode->block);
    inode->block = NULL;
}

static struct time_disk time_encode(struct timespec time)
{
    return (struct time_disk){
        .seconds = le64_make((uint64_t)time.tv_sec),
        .nanoseconds = le32_make((uint32_t)time.tv_nsec),
    };
}

static void fill(struct inode_disk *disk, const struct inode_creation *creation)
{
    struct time_disk now = time_encode(creation->now);
    disk->generation = le64_make(creation->generation);
    disk->mode = le32_make(creation->mode);
    disk->link_count = le32_make(creation->link_count);
    disk->uid = le32_make(creation->uid);
    disk->gid = le32_make(creation->gid);
    disk->project_id = le32_make(creation->project);
    disk->flags = le32_make(creation->hands_project_down ? INODE_FLAG_PROJECT_DOWN : 0);
    disk->rdev = le64_make(creation->rdev);
    disk->parent = le64_make(creation->parent);
    disk->accessed = disk->modified = disk->changed = disk->created = now;
    format_node_init(disk->root, sizeof(disk->root), 0);
}

int inode_create(struct inode *inode, struct volume *volume, struct journal_handle *handle,
                 uint64_t number, const struct inode_creation *creation)
{
    CHECK(creation->generation != 0);
    struct cache_identity identity = identity_of(number);
    struct cache_block *block;
    int result = cache_create(volume->cache, handle, &identity, &block);
    if (result != 0)
        return result;
    inode_init(inode, volume, number, block);
    fill(disk_of(inode), creation);
    return 0;
}

// All of it comes to its owners, or goes from them.
static void charge_all(const struct inode *inode, int sign)
{
    quota_charge_add(inode->charge, inode_uid(inode), inode_gid(inode), inode_project(inode),
                     sign * (int64_t)inode_block_count(inode), sign);
}

bool inode_is_bare(const struct inode *inode)
{
    struct tree_node root = {inode->block->bytes + inode->tree.area_offset, inode->tree.area_bytes};
    return tree_node_level(root) == 0 && tree_node_count(root) == 0;
}

int inode_destroy(struct inode *inode, struct journal_handle *handle)
{
    CHECK(inode_is_bare(inode) && inode->space != NULL);
    charge_all(inode, -1);
    return allocator_free_node(inode->space, handle, inode->number);
}

// --- fields ------------------------------------------------------------------------------------

uint64_t inode_generation(const struct inode *inode)
{
    return le64_get(inode_disk(inode)->generation);
}
uint64_t inode_size(const struct inode *inode)
{
    return le64_get(inode_disk(inode)->size);
}
uint64_t inode_block_count(const struct inode *inode)
{
    return le64_get(inode_disk(inode)->block_count);
}
mode_t inode_mode(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->mode);
}
uint32_t inode_link_count(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->link_count);
}
uid_t inode_uid(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->uid);
}
gid_t inode_gid(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->gid);
}
uint32_t inode_flags(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->flags);
}
uint32_t inode_project(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->project_id);
}
uint64_t inode_rdev(const struct inode *inode)
{
    return le64_get(inode_disk(inode)->rdev);
}
uint64_t inode_parent(const struct inode *inode)
{
    return le64_get(inode_disk(inode)->parent);
}
uint32_t inode_orphan_slot(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->orphan_slot);
}
uint32_t inode_xattr_count(const struct inode *inode)
{
    return le32_get(inode_disk(inode)->xattr_count);
}
uint64_t inode_truncate_size(const struct inode *inode)
{
    return le64_get(inode_disk(inode)->truncate_size);
}

static const size_t time_offsets[] = {
    [INODE_ACCESSED] = offsetof(struct inode_disk, accessed),
    [INODE_MODIFIED] = offsetof(struct inode_disk, modified),
    [INODE_CHANGED] = offsetof(struct inode_disk, changed),
    [INODE_CREATED] = offsetof(struct inode_disk, created),
};

struct timespec inode_time(const struct inode *inode, enum inode_time which)
{
    const struct time_disk *disk =
        (const struct time_disk *)(inode->block->bytes + time_offsets[which]);
    return (struct timespec){
        .tv_sec = (time_t)le64_get(disk->seconds),
        .tv_nsec = le32_get(disk->nanoseconds),
    };
}

void inode_get_attributes(const struct inode *inode, struct attributes *attributes)
{
    *attributes = (struct attributes){
        .inode = inode->number,
        .generation = inode_generation(inode),
        .stat = {.st_ino = inode->number,
                 .st_mode = inode_mode(inode),
                 .st_nlink = inode_link_count(inode),
                 .st_uid = inode_uid(inode),
                 .st_gid = inode_gid(inode),
                 .st_rdev = inode_rdev(inode),
                 .st_size = (off_t)inode_size(inode),
                 .st_blksize = BLOCK_BYTES,
                 .st_blocks = (blkcnt_t)(inode_block_count(inode) * (BLOCK_BYTES / 512)),
                 .st_atim = inode_time(inode, INODE_ACCESSED),
                 .st_mtim = inode_time(inode, INODE_MODIFIED),
                 .st_ctim = inode_time(inode, INODE_CHANGED)},
        .created = inode_time(inode, INODE_CREATED),
        .xattr_count = inode_xattr_count(inode),
        .protection = inode_flags(inode) & INODE_FLAGS_PROTECTING,
        .project = inode_project(inode),
        .hands_project_down = inode_hands_project_down(inode),
    };
}

// A setter is used in the handle that inode_change was called with.
static struct inode_disk *changing(struct inode *inode)
{
    CHECK(inode->block->journal.handle != NULL);
    return disk_of(inode);
}

void inode_set_size(struct inode *inode, uint64_t size)
{
    changing(inode)->size = le64_make(size);
}

void inode_set_mode(struct inode *inode, mode_t mode)
{
    CHECK(((mode ^ inode_mode(inode)) & S_IFMT) == 0);
    changing(inode)->mode = le32_make(mode);
}

void inode_set_link_count(struct inode *inode, uint32_t link_count)
{
    changing(inode)->link_count = le32_make(link_count);
}

void inode_set_owner(struct inode *inode, uid_t uid, gid_t gid)
{
    charge_all(inode, -1);
    changing(inode)->uid = le32_make(uid);
    changing(inode)->gid = le32_make(gid);
    charge_all(inode, 1);
}

void inode_set_parent(struct inode *inode, uint64_t parent)
{
    changing(inode)->parent = le64_make(parent);
}

void inode_set_time(struct inode *inode, enum inode_time which, struct timespec time)
{
    changing(inode);
    struct time_disk disk = time_encode(time);
    memcpy(inode->block->bytes + time_offsets[which], &disk, sizeof(disk));
}

void inode_set_protection(struct inode *inode, uint32_t flags)
{
    CHECK((flags & ~(uint32_t)INODE_FLAGS_PROTECTING) == 0);
    flags |= inode_flags(inode) & ~(uint32_t)INODE_FLAGS_PROTECTING;
    changing(inode)->flags = le32_make(flags);
}

void inode_set_project(struct inode *inode, uint32_t project, bool hands_down)
{
    uint32_t flags = inode_flags(inode) & ~(uint32_t)INODE_FLAG_PROJECT_DOWN;
    CHECK(!hands_down || inode_is_directory(inode));
    charge_all(inode, -1);
    changing(inode)->flags = le32_make(hands_down ? flags | INODE_FLAG_PROJECT_DOWN : flags);
    changing(inode)->project_id = le32_make(project);
    charge_all(inode, 1);
}

void inode_set_orphan(struct inode *inode, bool is_orphan, uint32_t slot)
{
    uint32_t flags = inode_flags(inode) & ~(uint32_t)INODE_FLAG_ORPHAN;
    changing(inode)->flags = le32_make(is_orphan ? flags | INODE_FLAG_ORPHAN : flags);
    changing(inode)->orphan_slot = le32_make(is_orphan ? slot : 0);
}

void inode_set_truncate_size(struct inode *inode, uint64_t size)
{
    changing(inode)->truncate_size = le64_make(size);
}

// Counts that the disk brought in wrong must not wrap.
void inode_add_blocks(struct inode *inode, int64_t block_count)
{
    uint64_t before = inode_block_count(inode);
    uint64_t less = block_count < 0 ? (uint64_t)-block_count : 0;
    uint64_t after = less > before ? 0 : before + (uint64_t)block_count;
    changing(inode)->block_count = le64_make(after);
    quota_charge_add(inode->charge, inode_uid(inode), inode_gid(inode), inode_project(inode),
                     (int64_t)(after - before), 0);
}

void inode_add_xattrs(struct inode *inode, int32_t count)
{
    uint32_t before = inode_xattr_count(inode);
    uint32_t less = count < 0 ? (uint32_t)-count : 0;
    changing(inode)->xattr_count = le32_make(less > before ? 0 : before + (uint32_t)count);
}

// --- inline content ----------------------------------------------------------------------------

enum {
    INLINE_CHUNKS_MAX = (INODE_INLINE_BYTES_MAX + TREE_VALUE_BYTES_MAX - 1) / TREE_VALUE_BYTES_MAX
};

static uint32_t chunk_count(size_t length)
{
    return (uint32_t)((length + TREE_VALUE_BYTES_MAX - 1) / TREE_VALUE_BYTES_MAX);
}

static struct tree_key chunk_key(uint32_t chunk)
{
    return TREE_KEY(ITEM_INLINE, 0, chunk);
}

int inode_get_inline(struct inode *inode, void *buffer, size_t capacity)
{
    size_t length = 0;
    for (uint32_t chunk = 0; chunk < INLINE_CHUNKS_MAX; chunk++) {
        size_t room = capacity > length ? capacity - length : 0;
        uint8_t *place = (uint8_t *)buffer + (room > 0 ? length : 0);
        int result = tree_get(&inode->tree, chunk_key(chunk), place, room);
        if (result == -ENOENT)
            break;
        if (result < 0)
            return result;
        length += (size_t)result;
        if (result < TREE_VALUE_BYTES_MAX)
            break;
    }
    return (int)length;
}

static int set_chunk(struct inode *inode, struct journal_handle *handle, uint32_t chunk,
                     const void *bytes, size_t length)
{
    int result = tree_replace(&inode->tree, handle, chunk_key(chunk), bytes, length);
    if (result == -ENOENT)
        result = tree_insert(&inode->tree, handle, chunk_key(chunk), bytes, length);
    return result;
}

int inode_set_inline(struct inode *inode, struct journal_handle *handle, const void *bytes,
                     size_t length)
{
    CHECK(length <= INODE_INLINE_BYTES_MAX);
    int result = 0;
    uint32_t count = chunk_count(length);
    for (uint32_t chunk = 0; chunk < count && result == 0; chunk++) {
        size_t offset = (size_t)chunk * TREE_VALUE_BYTES_MAX;
        size_t rest = length - offset;
        result = set_chunk(inode, handle, chunk, (const uint8_t *)bytes + offset,
                           rest < TREE_VALUE_BYTES_MAX ? rest : TREE_VALUE_BYTES_MAX);
    }
    for (uint32_t chunk = count; chunk < INLINE_CHUNKS_MAX && result == 0; chunk++) {
        result = tree_delete(&inode->tree, handle, chunk_key(chunk));
        if (result == -ENOENT)
            return 0;
    }
    return result;
}

struct tree_cost inode_inline_cost(const struct inode *inode, size_t length)
{
    uint32_t chunks = chunk_count(length);
    if (chunks <= 1 && tree_level(&inode->tree) == 0)
        return tree_run_cost(&inode->tree, 2, length);
    return tree_run_cost(&inode->tree, chunks + INLINE_CHUNKS_MAX, length + INODE_INLINE_BYTES_MAX);
}
