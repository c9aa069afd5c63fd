// SPDX-License-Identifier: Apache-2.0
// Fills a new volume with many files, written as structures, without the file system: what
// fsck.lunfs needs for a volume in use can then be measured in minutes.
//
//   lunfs-fill FILE FILES BLOCKS      FILES files of BLOCKS blocks each (no data is written), 1000
//   a
//                                     directory, directories in the root; groups one after another
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/siphash.h"
#include "fs/format_decode.h"
#include "fsck/tree_build.h"
#include "tests/wreck/image.h"

enum { FILES_A_DIRECTORY = 1000, HASH_SHIFT = 9 };

struct filler {
    struct image *image;
    uint32_t ag;
    uint64_t next, end; // in group `ag`
    uint64_t generation;
    uint64_t owner, node_count; // of the tree being built
};

// --- space -----------------------------------------------------------------------------------

static void open_group(struct filler *filler, uint32_t ag)
{
    const struct geometry *g = &filler->image->g;
    if (ag >= g->ag_count)
        image_die("the volume is too small");
    filler->ag = ag;
    filler->next = geometry_ag_first_block(g, ag) + 1 + AG_RESERVE_MAX;
    filler->end = geometry_ag_first_block(g, ag) + geometry_ag_block_count(g, ag);
    if (ag == 0) // the root directory stands there already
        filler->next = g->root_inode + 1;
}

static void close_group(const struct filler *filler)
{
    const struct geometry *g = &filler->image->g;
    uint64_t first = geometry_ag_first_block(g, filler->ag);
    struct ag_map_disk *map = image_block(filler->image, FORMAT_AG_MAP_BLOCK);
    format_ag_header_init(image_block(filler->image, first), g, filler->ag,
                          filler->next - first - 1 - AG_RESERVE_MAX);
    image_seal(filler->image, first);
    map->bits[filler->ag / 8] |= (uint8_t)(1u << (filler->ag % 8));
    image_seal(filler->image, FORMAT_AG_MAP_BLOCK);
}

static uint64_t take(struct filler *filler, uint64_t count)
{
    if (filler->end - filler->next < count) {
        close_group(filler);
        open_group(filler, filler->ag + 1);
    }
    filler->next += count;
    return filler->next - count;
}

// --- inodes ----------------------------------------------------------------------------------

static int write_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    struct filler *filler = build->context;
    *block = take(filler, 1);
    struct tree_block_disk *node =
        image_block_new(filler->image, BLOCK_TYPE_TREE_NODE, *block, filler->owner);
    memcpy(node->area, disk->area, sizeof(node->area));
    image_seal(filler->image, *block);
    filler->node_count++;
    return 0;
}

static struct inode_disk *make_inode(struct filler *filler, uint64_t number, uint32_t mode)
{
    struct inode_disk *disk = image_block_new(filler->image, BLOCK_TYPE_INODE, number, number);
    disk->generation = le64_make(++filler->generation);
    disk->mode = le32_make(mode);
    disk->link_count = le32_make(1);
    return disk;
}

static void put_items(struct filler *filler, uint64_t number, struct inode_disk *disk,
                      struct tree_build_items *items, uint64_t data_blocks)
{
    struct tree_build build = {
        .root = disk->root,
        .root_bytes = sizeof(disk->root),
        .write_node = write_node,
        .context = filler,
    };
    filler->owner = number;
    filler->node_count = 0;
    tree_build_run(&build, items);
    disk->block_count = le64_make(data_blocks + filler->node_count);
    image_seal(filler->image, number);
    tree_build_items_deinit(items);
}

static void make_file(struct filler *filler, uint64_t number, uint32_t block_count)
{
    struct tree_build_items items;
    struct format_key key = {.kind = ITEM_EXTENT};
    struct extent_disk extent = {.start_block = le64_make(take(filler, block_count)),
                                 .block_count = le32_make(block_count)};
    struct inode_disk *disk = make_inode(filler, number, S_IFREG | 0644);
    disk->size = le64_make((uint64_t)block_count * BLOCK_BYTES);
    tree_build_items_init(&items);
    tree_build_items_add(&items, &key, &extent, sizeof(extent));
    put_items(filler, number, disk, &items, block_count);
}

// --- directories -----------------------------------------------------------------------------

struct entry {
    uint64_t hash, inode;
    char name[32];
};

struct entries {
    struct entry entries[8 * FILES_A_DIRECTORY];
    size_t count;
};

static void add_entry(const struct filler *filler, struct entries *entries, const char *kind,
                      uint64_t inode)
{
    struct entry *entry = &entries->entries[entries->count++];
    snprintf(entry->name, sizeof(entry->name), "%s-%zu", kind, entries->count);
    entry->inode = inode;
    entry->hash =
        siphash24(filler->image->g.hash_key, entry->name, strlen(entry->name)) >> HASH_SHIFT;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void make_directory(struct filler *filler, uint64_t number, uint64_t parent,
                           struct entries *entries, uint8_t type)
{
    struct tree_build_items items;
    struct inode_disk *disk = make_inode(filler, number, S_IFDIR | 0755);
    qsort(entries->entries, entries->count, sizeof(entries->entries[0]), compare_entries);
    tree_build_items_init(&items);
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->entries[i];
        struct format_key key = {.kind = ITEM_DIRENT, .major = entry->hash};
        uint8_t value[sizeof(struct dirent_disk) + sizeof(entry->name)];
        struct dirent_disk head = {
            .inode = le64_make(entry->inode),
            .generation = le64_make(image_get(filler->image, entry->inode, "generation")),
            .type = type,
            .name_length = (uint8_t)strlen(entry->name),
        };
        memcpy(value, &head, sizeof(head));
        memcpy(value + sizeof(head), entry->name, strlen(entry->name));
        tree_build_items_add(&items, &key, value, (uint16_t)(sizeof(head) + strlen(entry->name)));
    }
    disk->size = le64_make(entries->count);
    disk->parent = le64_make(parent);
    disk->link_count = le32_make(type == DT_DIR ? 2 + (uint32_t)entries->count : 2);
    put_items(filler, number, disk, &items, 0);
    entries->count = 0;
}

static uint64_t fill_directory(struct filler *filler, struct entries *entries, uint64_t file_count,
                               uint32_t block_count)
{
    uint64_t inodes = take(filler, file_count), number = take(filler, 1);
    for (uint64_t i = 0; i < file_count; i++) {
        make_file(filler, inodes + i, block_count);
        add_entry(filler, entries, "file", inodes + i);
    }
    make_directory(filler, number, filler->image->g.root_inode, entries, DT_REG);
    return number;
}

int main(int argc, char **argv)
{
    struct image image;
    struct filler filler = {.image = &image};
    struct entries *entries = calloc(2, sizeof(*entries));
    if (argc != 4 || entries == NULL)
        image_die("usage: lunfs-fill FILE FILES BLOCKS");
    uint64_t left = strtoull(argv[2], NULL, 10);
    uint32_t block_count = (uint32_t)strtoul(argv[3], NULL, 10);
    if (left > 8ull * FILES_A_DIRECTORY * FILES_A_DIRECTORY)
        image_die("that is more files than it makes directories for");
    image_open(&image, argv[1]);
    open_group(&filler, 0);
    while (left > 0) {
        uint64_t count = left < FILES_A_DIRECTORY ? left : FILES_A_DIRECTORY;
        add_entry(&filler, &entries[1], "directory",
                  fill_directory(&filler, &entries[0], count, block_count));
        left -= count;
    }
    make_directory(&filler, image.g.root_inode, image.g.root_inode, &entries[1], DT_DIR);
    close_group(&filler);
    image_close(&image);
    free(entries);
    return 0;
}
