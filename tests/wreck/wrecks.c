// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/wrecks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/siphash.h"
#include "fs/format_decode.h"
#include "tests/wreck/crash.h"

// --- helpers ---------------------------------------------------------------------------------

static uint64_t spoil(struct image *image, uint64_t block)
{
    uint8_t *bytes = image_block(image, block);
    bytes[1000] ^= 0x40; // not sealed: the checksum is wrong now
    return block;
}

static struct image_node root_of(const struct image *image, uint64_t inode)
{
    return image_node_of(image, inode, "root");
}

static struct image_node child_of(const struct image *image, const struct image_node *node,
                                  unsigned index)
{
    le64_t block;
    memcpy(&block, image_value(node, index), sizeof(block));
    return image_node_of(image, le64_get(block), "area");
}

// The index of the first item of a kind.
static unsigned first_of(const struct image_node *node, uint8_t kind)
{
    unsigned index = 0;
    while (image_slot_get(node, index, "kind") != kind)
        index++;
    return index;
}

// The item of the entry /NAME in the root directory, which is a single node.
static unsigned entry_of(const struct image *image, const struct image_node *root, uint64_t inode)
{
    const struct tree_node_disk *head = (const struct tree_node_disk *)root->area;
    for (unsigned i = 0; i < le16_get(head->item_count); i++) {
        struct dirent_disk entry;
        memcpy(&entry, image_value(root, i), sizeof(entry));
        if (le64_get(entry.inode) == inode)
            return i;
    }
    image_die("no entry of %llu in inode %llu", (unsigned long long)inode,
              (unsigned long long)image->g.root_inode);
}

static uint64_t group_header(const struct image *image)
{
    return geometry_ag_first_block(&image->g, 0);
}

// A leaf of group 0's free tree.
static struct image_node free_leaf(const struct image *image)
{
    struct image_node root = image_node_of(image, group_header(image), "free_root");
    return child_of(image, &root, 0);
}

// --- superblock and claim --------------------------------------------------------------------

static uint64_t superblock_copy(struct image *image, const struct places *places)
{
    (void)places;
    return spoil(image, FORMAT_SUPERBLOCK_COPY_BLOCK);
}

static uint64_t superblock_differs(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, image->g.block_count - 1, "created_ns", 12345);
    return image->g.block_count - 1;
}

static uint64_t needs_fsck(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    geometry_superblock_blocks(&image->g, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        image_set(image, blocks[i], "state", SUPERBLOCK_STATE_NEEDS_FSCK);
    return FORMAT_SUPERBLOCK_BLOCK;
}

static uint64_t claim(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, FORMAT_CLAIM_BLOCK, "purpose", 77);
    return FORMAT_CLAIM_BLOCK;
}

// --- slots and journals ----------------------------------------------------------------------

static uint64_t heartbeat(struct image *image, const struct places *places)
{
    (void)places;
    return spoil(image, geometry_heartbeat_block(&image->g, 1));
}

static uint64_t mailbox(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_mailbox_block(&image->g, 0);
    image_set(image, block, "owner", 1);
    return block;
}

static uint64_t slot_state(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_slot_state_block(&image->g, 1);
    image_set(image, block, "type", BLOCK_TYPE_MAILBOX);
    return block;
}

static uint64_t slot_not_left(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_heartbeat_block(&image->g, 0);
    image_set(image, block, "incarnation", 3);
    image_set(image, block, "beat_ms", 50);
    image_set(image, block, "state", HEARTBEAT_RUNNING);
    return block;
}

static uint64_t journal_dirty(struct image *image, const struct places *places)
{
    crash_with_dirty_journal(image, places->root, "accessed_seconds", 1800000000);
    return image->g.journal_block;
}

// Both copies of the header: one alone is what a torn write leaves.
static uint64_t journal(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = geometry_journal_block(&image->g, 1);
    spoil(image, block);
    spoil(image, block + 1);
    return block;
}

// --- groups ----------------------------------------------------------------------------------

static uint64_t ag_map(struct image *image, const struct places *places)
{
    (void)places;
    struct ag_map_disk *map = image_block(image, FORMAT_AG_MAP_BLOCK);
    map->bits[sizeof(map->bits) - 1] = 0x80; // a group far behind the last one
    image_seal(image, FORMAT_AG_MAP_BLOCK);
    return FORMAT_AG_MAP_BLOCK;
}

static uint64_t ag_header(struct image *image, const struct places *places)
{
    (void)places;
    return spoil(image, group_header(image));
}

static uint64_t ag_fields(struct image *image, const struct places *places)
{
    (void)places;
    image_set(image, group_header(image), "reserve_count", AG_RESERVE_MAX + 1);
    return group_header(image);
}

static uint64_t free_tree(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = free_leaf(image);
    image_node_set(image, &leaf, "heap_free", 5);
    return leaf.block;
}

static uint64_t free_extent(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = free_leaf(image);
    image_value_set(image, &leaf, 0, "free", "block_count", (uint64_t)1 << 40);
    return leaf.block;
}

static uint64_t free_count(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t block = group_header(image);
    image_set(image, block, "free_block_count", image_get(image, block, "free_block_count") - 7);
    return block;
}

static uint64_t reference_tree(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node root = image_node_of(image, group_header(image), "reference_root");
    image_node_set(image, &root, "level", 200);
    return root.block;
}

static void put_item(struct image *image, const struct image_node *node, uint8_t kind,
                     uint64_t major, const void *value, uint16_t length)
{
    struct tree_slot_disk slot = {
        .key.kind = kind,
        .key.major = le64_make(major),
        .offset = le16_make((uint16_t)(node->area_bytes - length)),
        .length = le16_make(length),
    };
    format_node_init(node->area, node->area_bytes, 0);
    memcpy(node->area + sizeof(struct tree_node_disk), &slot, sizeof(slot));
    memcpy(node->area + node->area_bytes - length, value, length);
    struct tree_node_disk *head = (struct tree_node_disk *)node->area;
    head->item_count = le16_make(1);
    head->heap_start = slot.offset;
    image_seal(image, node->block);
}

static uint64_t reference(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node root = image_node_of(image, group_header(image), "reference_root");
    struct reference_disk value = {.block_count = le64_make(1), .count = le64_make(2)};
    put_item(image, &root, ITEM_REFERENCE, root.block + 100, &value, sizeof(value));
    return root.block;
}

// --- inodes ----------------------------------------------------------------------------------

static uint64_t inode_block(struct image *image, const struct places *places)
{
    return spoil(image, places->small);
}

static uint64_t inode_fields(struct image *image, const struct places *places)
{
    image_set(image, places->small, "mode", 0);
    return places->small;
}

static uint64_t tree_node(struct image *image, const struct places *places)
{
    struct image_node root = root_of(image, places->fragmented);
    struct image_node leaf = child_of(image, &root, 1);
    image_set(image, leaf.block, "owner", places->large);
    return leaf.block;
}

static uint64_t inline_chunk(struct image *image, const struct places *places)
{
    struct image_node root = root_of(image, places->large);
    image_slot_set(image, &root, 0, "kind", ITEM_INLINE);
    return places->large;
}

static uint64_t item_kind(struct image *image, const struct places *places)
{
    struct image_node root = root_of(image, places->fifo);
    struct extent_disk value = {.start_block = le64_make(image->g.root_inode),
                                .block_count = le32_make(1)};
    put_item(image, &root, ITEM_EXTENT, 0, &value, sizeof(value));
    return places->fifo;
}

static uint64_t extent(struct image *image, const struct places *places)
{
    struct image_node root = root_of(image, places->large);
    image_value_set(image, &root, 1, "extent", "start_block", image->g.journal_block);
    return places->large;
}

static uint64_t extent_overlap(struct image *image, const struct places *places)
{
    struct image_node root = root_of(image, places->large);
    image_slot_set(image, &root, 1, "major", 15);
    return places->large;
}

static uint64_t inline_content(struct image *image, const struct places *places)
{
    image_set(image, places->small, "size", 100); // less than its content
    return places->small;
}

static uint64_t xattr(struct image *image, const struct places *places)
{
    struct image_node root = root_of(image, places->attributes);
    unsigned index = first_of(&root, ITEM_XATTR);
    image_value(&root, index)[sizeof(struct xattr_disk)] ^= 1; // its name
    image_seal(image, places->attributes);
    return places->attributes;
}

static uint64_t xattr_count(struct image *image, const struct places *places)
{
    image_set(image, places->attributes, "xattr_count", 9);
    return places->attributes;
}

static uint64_t block_count(struct image *image, const struct places *places)
{
    image_set(image, places->large, "block_count", 1);
    return places->large;
}

static uint64_t root(struct image *image, const struct places *places)
{
    image_set(image, places->root, "mode", S_IFREG | 0644);
    image_set(image, places->root, "parent", 0);
    return places->root;
}

// --- directories -----------------------------------------------------------------------------

static uint64_t dirent(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->sub);
    image_value(&node, 0)[sizeof(struct dirent_disk) + 1] = '/';
    image_seal(image, places->sub);
    return places->sub;
}

static uint64_t dirent_hash(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->sub);
    image_slot_set(image, &node, 0, "major", image_slot_get(&node, 0, "major") ^ 1);
    return places->sub;
}

// The entry of sub a second time, as if its name's hash had met another name.
static uint64_t dirent_double(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->sub);
    uint64_t major = image_slot_get(&node, 0, "major");
    uint16_t length = (uint16_t)image_slot_get(&node, 0, "length");
    uint8_t value[300];
    memcpy(value, image_value(&node, 0), length);
    struct tree_node_disk *head = (struct tree_node_disk *)node.area;
    uint16_t offset = (uint16_t)(le16_get(head->heap_start) - length);
    memcpy(node.area + offset, value, length);
    head->item_count = le16_make(2);
    head->heap_start = le16_make(offset);
    image_slot_set(image, &node, 1, "kind", ITEM_DIRENT);
    image_slot_set(image, &node, 1, "major", major);
    image_slot_set(image, &node, 1, "minor", 1);
    image_slot_set(image, &node, 1, "offset", offset);
    image_slot_set(image, &node, 1, "length", length);
    return places->sub;
}

static uint64_t dirent_target(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->sub);
    image_value_set(image, &node, 0, "dirent", "inode", UINT64_MAX);
    return places->sub;
}

static uint64_t dirent_type(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->root);
    image_value_set(image, &node, entry_of(image, &node, places->fifo), "dirent", "type", 2);
    return places->root;
}

static uint64_t dirent_generation(struct image *image, const struct places *places)
{
    image_set(image, places->fifo, "generation", 999999);
    return places->root;
}

static uint64_t directory_size(struct image *image, const struct places *places)
{
    image_set(image, places->many, "size", 399);
    return places->many;
}

static uint64_t directory_parent(struct image *image, const struct places *places)
{
    image_set(image, places->sub, "parent", places->many);
    return places->sub;
}

// A loop: sub/hard becomes the root's other directory, which stands in the root too.
static uint64_t directory_double(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->sub);
    image_value_set(image, &node, 0, "dirent", "inode", places->root);
    image_value_set(image, &node, 0, "dirent", "generation",
                    image_get(image, places->root, "generation"));
    image_value_set(image, &node, 0, "dirent", "type", 4);
    return places->sub;
}

static uint64_t link_count(struct image *image, const struct places *places)
{
    image_set(image, places->large, "link_count", 1);
    return places->large;
}

// --- orphans ---------------------------------------------------------------------------------

static struct image_node orphan_list(const struct image *image)
{
    return image_node_of(image, geometry_slot_state_block(&image->g, 1), "orphan_root");
}

static void list_orphan(struct image *image, uint64_t inode)
{
    struct image_node list = orphan_list(image);
    struct orphan_disk value = {.generation = le64_make(image_get(image, inode, "generation"))};
    put_item(image, &list, ITEM_ORPHAN, inode, &value, sizeof(value));
}

static uint64_t orphan_tree(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node list = orphan_list(image);
    image_node_set(image, &list, "heap_start", 10);
    return list.block;
}

static uint64_t orphan_item(struct image *image, const struct places *places)
{
    struct image_node list = orphan_list(image);
    list_orphan(image, places->large);
    image_slot_set(image, &list, 0, "major", 5);
    return list.block;
}

static uint64_t orphan_unmarked(struct image *image, const struct places *places)
{
    list_orphan(image, places->large);
    return places->large;
}

static uint64_t orphan_unlisted(struct image *image, const struct places *places)
{
    image_set(image, places->large, "flags", INODE_FLAG_ORPHAN);
    image_set(image, places->large, "orphan_slot", 1);
    return places->large;
}

// What a node leaves that dies while a deleted file is open: several groups' worth of tree.
static uint64_t orphan(struct image *image, const struct places *places)
{
    (void)places;
    uint64_t inode = populate_nameless(image, 0, 400);
    image_set(image, inode, "flags", INODE_FLAG_ORPHAN);
    image_set(image, inode, "orphan_slot", 1);
    list_orphan(image, inode);
    return inode;
}

// ... or in the middle of a truncate.
static uint64_t orphan_cut(struct image *image, const struct places *places)
{
    uint64_t inode = places->fragmented;
    image_set(image, inode, "flags", INODE_FLAG_ORPHAN);
    image_set(image, inode, "orphan_slot", 1);
    image_set(image, inode, "size", 601 * BLOCK_BYTES - 5);
    image_set(image, inode, "truncate_size", 601 * BLOCK_BYTES - 5);
    list_orphan(image, inode);
    return inode;
}

// --- space -----------------------------------------------------------------------------------

static uint64_t used_uninitialised(struct image *image, const struct places *places)
{
    struct image_node root_node = root_of(image, places->large);
    uint64_t block = geometry_ag_first_block(&image->g, 3) + 50;
    image_value_set(image, &root_node, 2, "extent", "start_block", block);
    return block;
}

static uint64_t used_twice(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->large);
    uint64_t start = 0;
    memcpy(&start, image_value(&node, 0), sizeof(start));
    image_value_set(image, &node, 2, "extent", "start_block", le64toh(start) + 3);
    return le64toh(start) + 3;
}

// The last extent of the group's tree is the long one behind all files.
static uint64_t used_and_free(struct image *image, const struct places *places)
{
    struct image_node node = root_of(image, places->large);
    uint64_t block = group_header(image) + geometry_ag_block_count(&image->g, 0) - 20;
    image_value_set(image, &node, 2, "extent", "start_block", block);
    return block;
}

static uint64_t leaked(struct image *image, const struct places *places)
{
    (void)places;
    struct image_node leaf = free_leaf(image);
    struct free_disk value;
    uint64_t block = image_slot_get(&leaf, 0, "major");
    uint64_t header = group_header(image);
    memcpy(&value, image_value(&leaf, 0), sizeof(value));
    image_slot_delete(image, &leaf, 0);
    image_set(image, header, "free_block_count",
              image_get(image, header, "free_block_count") - le64_get(value.block_count));
    return block;
}

static uint64_t inode_lost(struct image *image, const struct places *places)
{
    (void)places;
    return populate_nameless(image, 1, 3);
}

// --- the table -------------------------------------------------------------------------------

static const struct wreck wrecks[] = {
    {"SUPERBLOCK_COPY", superblock_copy},
    {"SUPERBLOCK_DIFFERS", superblock_differs},
    {"NEEDS_FSCK", needs_fsck},
    {"CLAIM", claim},
    {"HEARTBEAT", heartbeat},
    {"MAILBOX", mailbox},
    {"SLOT_STATE", slot_state},
    {"SLOT_NOT_LEFT", slot_not_left},
    {"JOURNAL_DIRTY", journal_dirty},
    {"JOURNAL", journal},
    {"AG_MAP", ag_map},
    {"AG_HEADER", ag_header},
    {"AG_FIELDS", ag_fields},
    {"FREE_TREE", free_tree},
    {"FREE_EXTENT", free_extent},
    {"FREE_COUNT", free_count},
    {"REFERENCE_TREE", reference_tree},
    {"REFERENCE", reference},
    {"INODE_BLOCK", inode_block},
    {"INODE_FIELDS", inode_fields},
    {"TREE_NODE", tree_node},
    {"ITEM_KIND", item_kind},
    {"EXTENT", extent},
    {"EXTENT_OVERLAP", extent_overlap},
    {"INLINE_CONTENT", inline_content},
    {"INLINE_CONTENT", inline_chunk},
    {"XATTR", xattr},
    {"XATTR_COUNT", xattr_count},
    {"BLOCK_COUNT", block_count},
    {"ROOT", root},
    {"DIRENT", dirent},
    {"DIRENT_HASH", dirent_hash},
    {"DIRENT_DOUBLE", dirent_double},
    {"DIRENT_TARGET", dirent_target},
    {"DIRENT_TYPE", dirent_type},
    {"DIRENT_GENERATION", dirent_generation},
    {"DIRECTORY_SIZE", directory_size},
    {"DIRECTORY_PARENT", directory_parent},
    {"DIRECTORY_DOUBLE", directory_double},
    {"LINK_COUNT", link_count},
    {"ORPHAN_TREE", orphan_tree},
    {"ORPHAN_ITEM", orphan_item},
    {"ORPHAN_UNMARKED", orphan_unmarked},
    {"ORPHAN_UNLISTED", orphan_unlisted},
    {"ORPHAN", orphan},
    {"ORPHAN", orphan_cut},
    {"USED_UNINITIALISED", used_uninitialised},
    {"USED_TWICE", used_twice},
    {"USED_AND_FREE", used_and_free},
    {"LEAKED", leaked},
    {"INODE_LOST", inode_lost},
};

const struct wreck *wreck_at(size_t number)
{
    return number < sizeof(wrecks) / sizeof(wrecks[0]) ? &wrecks[number] : NULL;
}
