// SPDX-License-Identifier: Apache-2.0
// Inodes, their trees, directories, orphans.
#include <string.h>
#include <sys/stat.h>

#include "fs/format_decode.h"
#include "tests/wreck/wreck_parts.h"
#include "tests/wreck/wrecks.h"

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

// --- inodes ----------------------------------------------------------------------------------

static uint64_t inode_block(struct image *image, const struct places *places)
{
    return wreck_spoil(image, places->small);
}

static uint64_t inode_fields(struct image *image, const struct places *places)
{
    image_set(image, places->small, "mode", 0);
    return places->small;
}

static uint64_t tree_node(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->fragmented);
    struct image_node leaf = wreck_child_of(image, &root, 1);
    image_set(image, leaf.block, "owner", places->large);
    return leaf.block;
}

// The root itself: no way leads to any leaf.
static uint64_t tree_root(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->fragmented);
    image_node_set(image, &root, "heap_free", 3000);
    return root.block;
}

static uint64_t directory_root(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->many);
    image_node_set(image, &root, "heap_free", 4000);
    return root.block;
}

static uint64_t inline_chunk(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->large);
    image_slot_set(image, &root, 0, "kind", ITEM_INLINE);
    return places->large;
}

static uint64_t item_kind(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->fifo);
    struct extent_disk value = {.start_block = le64_make(image->g.root_inode),
                                .block_count = le32_make(1)};
    wreck_put_item(image, &root, ITEM_EXTENT, 0, &value, sizeof(value));
    return places->fifo;
}

static uint64_t extent(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->large);
    image_value_set(image, &root, 1, "extent", "start_block", image->g.journal_block);
    return places->large;
}

static uint64_t extent_overlap(struct image *image, const struct places *places)
{
    struct image_node root = wreck_root_of(image, places->large);
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
    struct image_node root = wreck_root_of(image, places->attributes);
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
    struct image_node node = wreck_root_of(image, places->sub);
    image_value(&node, 0)[sizeof(struct dirent_disk) + 1] = '/';
    image_seal(image, places->sub);
    return places->sub;
}

static uint64_t dirent_hash(struct image *image, const struct places *places)
{
    struct image_node node = wreck_root_of(image, places->sub);
    image_slot_set(image, &node, 0, "major", image_slot_get(&node, 0, "major") ^ 1);
    return places->sub;
}

// The entry of sub a second time, as if its name's hash had met another name.
static uint64_t dirent_double(struct image *image, const struct places *places)
{
    struct image_node node = wreck_root_of(image, places->sub);
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
    struct image_node node = wreck_root_of(image, places->sub);
    image_value_set(image, &node, 0, "dirent", "inode", UINT64_MAX);
    return places->sub;
}

static uint64_t dirent_type(struct image *image, const struct places *places)
{
    struct image_node node = wreck_root_of(image, places->root);
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
    struct image_node node = wreck_root_of(image, places->sub);
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
    wreck_put_item(image, &list, ITEM_ORPHAN, inode, &value, sizeof(value));
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

// --- the table -------------------------------------------------------------------------------

const struct wreck wrecks_files[] = {
    {"INODE_BLOCK", inode_block},
    {"INODE_FIELDS", inode_fields},
    {"TREE_NODE", tree_node},
    {"TREE_NODE", tree_root},
    {"TREE_NODE", directory_root},
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
    {NULL, NULL},
};
