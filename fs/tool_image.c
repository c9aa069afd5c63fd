// SPDX-License-Identifier: Apache-2.0
// Saves what a bug report needs and nothing else: every metadata block at its own address in a
// sparse file of the volume's size, so that fsck.lunfs can be run over it. Contents of files are
// left out, also small ones that stand in their inode; names and attributes are not, unless they
// are to be scrambled.
//
// The walk takes no block's word for more than where to look next, and visits each block once: so
// it ends on any volume, however damaged.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "fs/base/block_device_file.h"
#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/siphash.h"
#include "fs/base/text.h"
#include "fs/format_decode.h"
#include "fs/format_find.h"
#include "fs/format_quota.h"
#include "fs/tool.h"
#include "journal/header.h"

// A block that is to be saved, or was.
struct seen_block {
    uint64_t block;
    bool hides_content; // belongs to a regular file: its inline items are contents
    struct seen_block *next;
    UT_hash_handle hh;
};

struct image {
    struct block_device *device;
    struct geometry geometry;
    int out;
    uint8_t *buffer; // one block
    struct seen_block *seen;
    struct seen_block *first_waiting, **last_waiting;
    uint64_t saved_count, skipped_count;
    bool is_scrambled;
    uint8_t scramble_key[16]; // random: nobody can try names
};

// --- blocks ----------------------------------------------------------------------------------

static int read_block(struct image *image, uint64_t block)
{
    return block_device_read(image->device, NULL, block * BLOCK_BYTES, image->buffer, BLOCK_BYTES);
}

static int write_block(struct image *image, uint64_t block)
{
    image->saved_count++;
    return block_device_pwrite(image->out, image->buffer, BLOCK_BYTES, block * BLOCK_BYTES);
}

// A block of the areas that hold nothing but metadata: as it is, whatever it is.
static int save_plain(struct image *image, uint64_t block)
{
    if (read_block(image, block) < 0) {
        image->skipped_count++; // what cannot be read is a hole in the image
        return 0;
    }
    return write_block(image, block);
}

static int save_range(struct image *image, uint64_t block, uint64_t count)
{
    int result = 0;
    for (uint64_t i = 0; i < count && result == 0; i++)
        result = save_plain(image, block + i);
    return result;
}

static void want(struct image *image, uint64_t block, bool hides_content)
{
    struct seen_block *seen;
    HASH_FIND(hh, image->seen, &block, sizeof(block), seen);
    if (seen != NULL)
        return;
    seen = calloc(1, sizeof(*seen));
    CHECK(seen != NULL);
    *seen = (struct seen_block){.block = block, .hides_content = hides_content};
    HASH_ADD(hh, image->seen, block, sizeof(seen->block), seen);
    *image->last_waiting = seen;
    image->last_waiting = &seen->next;
}

static void want_in_group(struct image *image, uint64_t block, bool hides_content)
{
    if (geometry_is_data_range(&image->geometry, block, 1))
        want(image, block, hides_content);
}

// --- scrambling ------------------------------------------------------------------------------

// Letters that depend on all of the bytes and a key that is forgotten: equal ones stay equal, the
// length stays, nothing else does.
static void scramble(const struct image *image, uint8_t *bytes, size_t length)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    uint64_t hash = siphash24(image->scramble_key, bytes, length);
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (uint8_t)letters[hash % (sizeof(letters) - 1)];
        hash = siphash24(image->scramble_key, &hash, sizeof(hash));
    }
}

// The prefix of an attribute's name ("user.") tells no secret, and fsck.lunfs looks at it.
static void scramble_xattr(const struct image *image, const struct format_item *item,
                           uint8_t *value)
{
    struct format_xattr xattr;
    bool is_first = (item->key.minor & 0xffff) == 0;
    if (!is_first) {
        scramble(image, value, item->length);
    } else if (format_xattr_decode(item, &xattr, NULL) == 0) {
        const uint8_t *dot = memchr(xattr.name, '.', xattr.name_length);
        size_t prefix = dot != NULL ? (size_t)(dot - xattr.name) + 1 : 0;
        uint8_t *name = value + (xattr.name - item->value);
        scramble(image, name + prefix, xattr.name_length - prefix);
        scramble(image, name + xattr.name_length, xattr.part_length);
    }
}

static void scramble_item(const struct image *image, const struct format_item *item, uint8_t *value)
{
    struct format_dirent entry;
    if (item->key.kind == ITEM_INLINE)
        scramble(image, value, item->length);
    else if (item->key.kind == ITEM_XATTR)
        scramble_xattr(image, item, value);
    else if (item->key.kind == ITEM_DIRENT && format_dirent_decode(item, &entry, NULL) == 0)
        scramble(image, value + (entry.name - item->value), entry.name_length);
}

// --- where blocks point to -----------------------------------------------------------------------

static void follow_item(struct image *image, const struct format_item *item, uint8_t *area,
                        bool hides_content)
{
    struct format_dirent entry;
    uint64_t generation;
    if (item->key.kind == ITEM_INLINE && hides_content)
        memset(area + (item->value - area), 0, item->length);
    else if (item->key.kind == ITEM_DIRENT && format_dirent_decode(item, &entry, NULL) == 0)
        want_in_group(image, entry.inode, false);
    else if (item->key.kind == ITEM_ORPHAN && format_orphan_decode(item, &generation, NULL) == 0)
        want_in_group(image, item->key.major, false);
    if (image->is_scrambled && (item->key.kind != ITEM_INLINE || !hides_content))
        scramble_item(image, item, area + (item->value - area));
}

static void follow_node(struct image *image, uint8_t *area, size_t area_bytes, bool hides_content)
{
    struct format_node node;
    if (format_node_open(&node, area, area_bytes, NULL) < 0)
        return;
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        if (node.level > 0)
            want_in_group(image, format_node_child(&node, i), hides_content);
        else
            follow_item(image, &item, area, hides_content);
    }
}

// Into the block in the buffer; contents of files go from it.
static void follow_block(struct image *image, bool hides_content)
{
    struct inode_disk *inode = (struct inode_disk *)image->buffer;
    struct ag_header_disk *group = (struct ag_header_disk *)image->buffer;
    struct slot_state_disk *state = (struct slot_state_disk *)image->buffer;
    struct quota_bucket_disk *bucket = (struct quota_bucket_disk *)image->buffer;
    struct tree_block_disk *tree = (struct tree_block_disk *)image->buffer;
    switch (le16_get(inode->header.type)) {
    case BLOCK_TYPE_INODE:
        follow_node(image, inode->root, sizeof(inode->root), !S_ISLNK(le32_get(inode->mode)));
        break;
    case BLOCK_TYPE_AG_HEADER:
        follow_node(image, group->free_root, sizeof(group->free_root), false);
        follow_node(image, group->reference_root, sizeof(group->reference_root), false);
        break;
    case BLOCK_TYPE_SLOT_STATE:
        follow_node(image, state->orphan_root, sizeof(state->orphan_root), false);
        break;
    case BLOCK_TYPE_QUOTA_BUCKET:
        follow_node(image, bucket->record_root, sizeof(bucket->record_root), false);
        break;
    case BLOCK_TYPE_TREE_NODE:
        follow_node(image, tree->area, sizeof(tree->area), hides_content);
        break;
    default:
        break;
    }
}

// A damaged pointer may lead to a file's data: only what says that it is a block of this volume, in
// its place, is saved. A block whose checksum is wrong is saved as it stands: it may be the bug.
static bool is_ours(const struct image *image, uint64_t block)
{
    const struct block_header_disk *header = (const struct block_header_disk *)image->buffer;
    return le32_get(header->magic) == BLOCK_MAGIC && le64_get(header->address) == block &&
           memcmp(header->format_id, image->geometry.format_id, sizeof(header->format_id)) == 0;
}

static bool checksum_is_right(const struct image *image)
{
    const struct block_header_disk *header = (const struct block_header_disk *)image->buffer;
    struct block_expectation itself = {
        .format_id = header->format_id,
        .address = le64_get(header->address),
        .owner = le64_get(header->owner),
        .type = (enum block_type)le16_get(header->type),
    };
    return format_block_verify(image->buffer, &itself) == 0;
}

static int save_wanted(struct image *image, const struct seen_block *wanted)
{
    if (read_block(image, wanted->block) < 0 || !is_ours(image, wanted->block)) {
        image->skipped_count++;
        return 0;
    }
    bool was_right = checksum_is_right(image);
    if (!was_right && image->is_scrambled) { // names may stand where nobody finds them
        image->skipped_count++;
        return 0;
    }
    follow_block(image, wanted->hides_content);
    if (was_right)
        format_block_seal(image->buffer, format_block_version(image->buffer));
    return write_block(image, wanted->block);
}

// --- the volume ------------------------------------------------------------------------------

// A clean journal is its header; one that a node left behind is needed whole.
static int save_journal(struct image *image, uint32_t slot)
{
    const struct geometry *g = &image->geometry;
    uint64_t first = geometry_journal_block(g, slot);
    bool is_clean = true;
    for (uint64_t i = 0; i < JOURNAL_HEADER_COPIES; i++) {
        struct journal_header header;
        if (read_block(image, first + i) < 0)
            continue;
        bool is_header = journal_header_decode((const struct journal_header_disk *)image->buffer,
                                               g->journal_block_count, &header);
        is_clean = is_clean && is_header && header.state == JOURNAL_STATE_CLEAN;
    }
    bool is_whole = !is_clean && !image->is_scrambled; // its records are full of names
    return save_range(image, first, is_whole ? g->journal_block_count : JOURNAL_HEADER_COPIES);
}

static int save_areas(struct image *image)
{
    const struct geometry *g = &image->geometry;
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    int result = 0;
    geometry_superblock_blocks(g, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT && result == 0; i++)
        result = save_plain(image, blocks[i]);
    if (result == 0)
        result = save_plain(image, FORMAT_CLAIM_BLOCK);
    if (result == 0)
        result = save_range(image, FORMAT_AG_MAP_BLOCK, g->ag_map_block_count);
    if (result == 0)
        result =
            save_range(image, g->slot_table_block, (uint64_t)g->slot_count * FORMAT_SLOT_BLOCKS);
    for (uint32_t slot = 0; slot < g->slot_count && result == 0; slot++)
        result = save_journal(image, slot);
    return result;
}

static void want_groups(struct image *image)
{
    const struct geometry *g = &image->geometry;
    for (uint32_t i = 0; i < g->ag_map_block_count; i++) {
        uint64_t first = (uint64_t)i * AG_MAP_BITS_PER_BLOCK;
        if (read_block(image, FORMAT_AG_MAP_BLOCK + i) < 0)
            continue;
        const struct ag_map_disk *map = (const struct ag_map_disk *)image->buffer;
        for (uint64_t bit = 0; bit < AG_MAP_BITS_PER_BLOCK && first + bit < g->ag_count; bit++) {
            if (map->bits[bit / 8] >> (bit % 8) & 1)
                want(image, geometry_ag_first_block(g, (uint32_t)(first + bit)), false);
        }
    }
}

static int save_trees(struct image *image)
{
    const struct geometry *g = &image->geometry;
    int result = 0;
    want_groups(image);
    for (uint32_t slot = 0; slot < g->slot_count; slot++) {
        want(image, geometry_slot_state_block(g, slot), false);
        if (g->feature_ro_compat & FEATURE_RO_COMPAT_QUOTA_BLOCKS)
            want(image, geometry_quota_bucket_block(g, slot), false);
    }
    want(image, g->root_inode, false);
    for (; image->first_waiting != NULL && result == 0;
         image->first_waiting = image->first_waiting->next)
        result = save_wanted(image, image->first_waiting);
    return result;
}

static int save_volume(struct image *image)
{
    if (ftruncate(image->out, (off_t)(image->geometry.block_count * BLOCK_BYTES)) != 0)
        return -errno;
    int result = save_areas(image);
    if (result == 0)
        result = save_trees(image);
    return result == 0 && fsync(image->out) != 0 ? -errno : result;
}

// --- the verb --------------------------------------------------------------------------------

static void forget_seen(struct image *image)
{
    struct seen_block *block, *next;
    HASH_ITER (hh, image->seen, block, next) {
        HASH_DEL(image->seen, block);
        free(block);
    }
}

static int save_to(struct image *image, const char *path)
{
    image->out = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (image->out < 0)
        return tool_fail(TOOL_EXIT_FAILURE, "%s: %s", path, strerror(errno));
    image->buffer = block_buffer_new(BLOCK_BYTES);
    image->last_waiting = &image->first_waiting;
    int result = save_volume(image);
    forget_seen(image);
    free(image->buffer);
    close(image->out);
    if (result < 0) {
        unlink(path);
        return tool_fail(TOOL_EXIT_FAILURE, "%s: %s", path, error_text(result));
    }
    printf("%llu blocks saved, %llu could not be\n", (unsigned long long)image->saved_count,
           (unsigned long long)image->skipped_count);
    return TOOL_EXIT_OK;
}

int tool_image(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct format_superblock_finding finding;
    struct image image = {.out = -1};
    char path[PATH_MAX];
    int exit_code = tool_parse(verb, argc, argv, 2, 2, &options);
    if (exit_code >= 0)
        return exit_code;
    image.is_scrambled = options.scramble;
    if (options.scramble &&
        getrandom(image.scramble_key, sizeof(image.scramble_key), 0) != sizeof(image.scramble_key))
        return tool_fail(TOOL_EXIT_FAILURE, "no random numbers: %s", strerror(errno));
    if (!tool_target_device(options.arguments[0], path))
        return TOOL_EXIT_FAILURE;
    int result = block_device_file_open(path, BLOCK_DEVICE_READ_ONLY | BLOCK_DEVICE_ALLOW_BUFFERED,
                                        &image.device);
    if (result < 0)
        return tool_fail(TOOL_EXIT_FAILURE, "%s: %s", path, error_text(result));
    result = format_superblock_find(image.device, NULL, &finding);
    if (result == 0) {
        image.geometry = finding.places[finding.chosen].geometry;
        exit_code = save_to(&image, options.arguments[1]);
    } else {
        exit_code = tool_fail(TOOL_EXIT_FAILURE, "%s: %s", path, error_text(result));
    }
    block_device_close(image.device);
    return exit_code;
}
