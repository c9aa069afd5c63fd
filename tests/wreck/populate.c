// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/populate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/siphash.h"
#include "fs/format_decode.h"
#include "fs/format_quota.h"
#include "fsck/tree_build.h"
#include "tests/wreck/populate_quotas.h"

enum { MANY_ENTRIES = 400, FRAGMENTS = 300, HASH_SHIFT = 9, ENTRIES_MAX = 1024 };

struct populator {
    struct image *image;
    uint8_t *is_used; // per block of group 0
    uint64_t first, block_count;
    uint64_t next; // where to look for a free block
    uint64_t inode_generation;
    uint64_t node_owner; // of the tree being built
    uint64_t node_count;
};

// --- space -----------------------------------------------------------------------------------

static uint64_t take_blocks(struct populator *p, uint64_t count)
{
    for (uint64_t i = p->next; i + count <= p->block_count; i++) {
        uint64_t run = 0;
        while (run < count && !p->is_used[i + run])
            run++;
        if (run < count)
            continue;
        memset(p->is_used + i, 1, count);
        p->next = i + count;
        return p->first + i;
    }
    image_die("group 0 is full");
}

// A gap that stays free, so that free space and files are fragmented.
static void leave_gap(struct populator *p)
{
    p->next++;
}

static void mark_runs_of_free_tree(struct populator *p, const void *area, size_t area_bytes)
{
    struct format_node node;
    if (format_node_open(&node, area, area_bytes, NULL) != 0)
        image_die("the free tree of group 0 is damaged");
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        uint64_t count = 0;
        if (node.level > 0) {
            const struct tree_block_disk *child =
                image_block(p->image, format_node_child(&node, i));
            mark_runs_of_free_tree(p, child->area, sizeof(child->area));
        } else if (format_free_decode(&item, &count, NULL) == 0) {
            memset(p->is_used + (item.key.major - p->first), 0, count);
        }
    }
}

// The nodes of the group's old tree come free too: a new one is written.
static void free_old_nodes(struct populator *p, const void *area, size_t area_bytes)
{
    struct format_node node;
    if (format_node_open(&node, area, area_bytes, NULL) != 0 || node.level == 0)
        return;
    for (unsigned i = 0; i < node.item_count; i++) {
        uint64_t block = format_node_child(&node, i);
        const struct tree_block_disk *child = image_block(p->image, block);
        p->is_used[block - p->first] = 0;
        free_old_nodes(p, child->area, sizeof(child->area));
    }
}

static void open_group(struct populator *p, struct image *image)
{
    const struct ag_header_disk *header = image_block(image, geometry_ag_first_block(&image->g, 0));
    *p = (struct populator){
        .image = image,
        .first = geometry_ag_first_block(&image->g, 0),
        .block_count = geometry_ag_block_count(&image->g, 0),
        .inode_generation = 1000,
    };
    p->is_used = malloc(p->block_count);
    if (p->is_used == NULL)
        image_die("out of memory");
    memset(p->is_used, 1, p->block_count);
    mark_runs_of_free_tree(p, header->free_root, sizeof(header->free_root));
    free_old_nodes(p, header->free_root, sizeof(header->free_root));
}

// --- trees -----------------------------------------------------------------------------------

static int write_node(struct tree_build *build, struct tree_block_disk *disk, uint64_t *block)
{
    struct populator *p = build->context;
    *block = take_blocks(p, 1);
    struct tree_block_disk *node =
        image_block_new(p->image, BLOCK_TYPE_TREE_NODE, *block, p->node_owner);
    memcpy(node->area, disk->area, sizeof(node->area));
    image_seal(p->image, *block);
    p->node_count++;
    return 0;
}

static void build_tree(struct populator *p, uint64_t owner, void *root, size_t root_bytes,
                       const struct tree_build_items *items)
{
    struct tree_build build = {
        .root = root, .root_bytes = root_bytes, .write_node = write_node, .context = p};
    p->node_owner = owner;
    p->node_count = 0;
    tree_build_run(&build, items);
}

static uint64_t list_free(const struct populator *p, struct tree_build_items *items)
{
    uint64_t total = 0;
    tree_build_items_init(items);
    for (uint64_t i = 0; i < p->block_count; i++) {
        uint64_t start = i;
        while (i < p->block_count && !p->is_used[i])
            i++;
        if (i == start)
            continue;
        struct format_key key = {.kind = ITEM_FREE, .major = p->first + start};
        struct free_disk value = {.block_count = le64_make(i - start)};
        tree_build_items_add(items, &key, &value, sizeof(value));
        total += i - start;
    }
    return total;
}

// Takes the blocks of the tree's own nodes, as many as what is then left needs; returns the first.
static uint64_t take_node_blocks(struct populator *p, size_t root_bytes)
{
    struct tree_build_items items;
    uint64_t last_free = p->next; // behind all that was taken: a long run
    for (size_t count = 0;;) {
        p->next = last_free;
        uint64_t block = count > 0 ? take_blocks(p, count) : 0;
        list_free(p, &items);
        size_t needed = tree_build_node_count(&items, root_bytes);
        tree_build_items_deinit(&items);
        if (needed == count)
            return block;
        if (count > 0)
            memset(p->is_used + (block - p->first), 0, count);
        count = needed;
    }
}

static void close_group(struct populator *p)
{
    struct ag_header_disk *header = image_block(p->image, p->first);
    struct tree_build_items items;
    uint64_t nodes = take_node_blocks(p, sizeof(header->free_root));
    uint64_t free_count = list_free(p, &items);
    // The nodes were taken in one run: now each is taken again, in the same order.
    uint8_t *is_used = p->is_used;
    uint8_t *only_nodes = malloc(p->block_count);
    if (only_nodes == NULL)
        image_die("out of memory");
    memset(only_nodes, 0, p->block_count);
    p->is_used = only_nodes;
    p->next = nodes == 0 ? 0 : nodes - p->first;
    build_tree(p, 0, header->free_root, sizeof(header->free_root), &items);
    tree_build_items_deinit(&items);
    header->free_block_count = le64_make(free_count);
    image_seal(p->image, p->first);
    free(only_nodes);
    free(is_used);
}

// --- inodes ----------------------------------------------------------------------------------

struct content {
    struct tree_build_items items; // ascending
    uint64_t data_blocks;
    uint32_t xattr_count;
};

static uint64_t make_inode(struct populator *p, uint64_t number, uint32_t mode, uint64_t size,
                           uint32_t link_count, uint64_t parent, struct content *content)
{
    struct inode_disk *disk = image_block_new(p->image, BLOCK_TYPE_INODE, number, number);
    struct time_disk now = {.seconds = le64_make(1700000000)};
    disk->generation = le64_make(++p->inode_generation);
    disk->size = le64_make(size);
    disk->mode = le32_make(mode);
    disk->link_count = le32_make(link_count);
    disk->parent = le64_make(parent);
    disk->xattr_count = le32_make(content->xattr_count);
    disk->accessed = disk->modified = disk->changed = disk->created = now;
    build_tree(p, number, disk->root, sizeof(disk->root), &content->items);
    disk->block_count = le64_make(content->data_blocks + p->node_count);
    image_seal(p->image, number);
    tree_build_items_deinit(&content->items);
    *content = (struct content){.data_blocks = 0};
    return number;
}

static uint64_t make_file(struct populator *p, uint32_t mode, uint64_t size, uint32_t link_count,
                          struct content *content)
{
    return make_inode(p, take_blocks(p, 1), mode, size, link_count, 0, content);
}

static void add_inline(struct content *content, const char *bytes, size_t size)
{
    for (uint32_t chunk = 0; size > 0; chunk++) {
        size_t part = size < TREE_VALUE_BYTES_MAX ? size : TREE_VALUE_BYTES_MAX;
        struct format_key key = {.kind = ITEM_INLINE, .minor = chunk};
        tree_build_items_add(&content->items, &key, bytes, (uint16_t)part);
        bytes += part;
        size -= part;
    }
}

static void add_extent(struct populator *p, struct content *content, uint64_t file_block,
                       uint32_t count, uint32_t flags)
{
    struct format_key key = {.kind = ITEM_EXTENT, .major = file_block};
    uint64_t start = take_blocks(p, count);
    memset(image_block(p->image, start), 'x', (size_t)count * BLOCK_BYTES);
    struct extent_disk value = {
        .start_block = le64_make(start),
        .block_count = le32_make(count),
        .flags = le32_make(flags),
    };
    tree_build_items_add(&content->items, &key, &value, sizeof(value));
    content->data_blocks += count;
}

static uint64_t hash_of(const struct populator *p, const char *name)
{
    return siphash24(p->image->g.hash_key, name, strlen(name)) >> HASH_SHIFT;
}

static void add_xattr(struct populator *p, struct content *content, const char *name,
                      uint32_t value_length)
{
    uint8_t value[TREE_VALUE_BYTES_MAX] = {0};
    struct xattr_disk head = {.value_length = le32_make(value_length),
                              .name_length = (uint8_t)strlen(name)};
    size_t prefix = sizeof(head) + strlen(name), at = prefix;
    struct format_key key = {.kind = ITEM_XATTR, .major = hash_of(p, name)};
    memcpy(value, &head, sizeof(head));
    memcpy(value + sizeof(head), name, strlen(name));
    for (uint32_t left = value_length; left > 0 || key.minor == 0; key.minor++) {
        size_t part = left < sizeof(value) - at ? left : sizeof(value) - at;
        memset(value + at, 'v', part);
        tree_build_items_add(&content->items, &key, value, (uint16_t)(at + part));
        left -= (uint32_t)part;
        at = 0;
    }
    content->xattr_count++;
}

// --- directories -----------------------------------------------------------------------------

struct entry {
    uint64_t hash;
    char name[32];
    uint64_t inode;
};

struct entries {
    struct entry entries[ENTRIES_MAX];
    size_t count;
};

static void add_entry(const struct populator *p, struct entries *entries, const char *name,
                      uint64_t inode)
{
    struct entry *entry = &entries->entries[entries->count++];
    *entry = (struct entry){.hash = hash_of(p, name), .inode = inode};
    snprintf(entry->name, sizeof(entry->name), "%s", name);
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static uint64_t make_directory(struct populator *p, uint64_t number, uint64_t parent,
                               uint32_t link_count, struct entries *entries)
{
    struct content content = {.data_blocks = 0};
    qsort(entries->entries, entries->count, sizeof(entries->entries[0]), compare_entries);
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->entries[i];
        struct format_key key = {.kind = ITEM_DIRENT, .major = entry->hash};
        uint8_t value[sizeof(struct dirent_disk) + sizeof(entry->name)];
        struct dirent_disk head = {
            .inode = le64_make(entry->inode),
            .generation = le64_make(image_get(p->image, entry->inode, "generation")),
            .type = IFTODT(image_get(p->image, entry->inode, "mode")),
            .name_length = (uint8_t)strlen(entry->name),
        };
        memcpy(value, &head, sizeof(head));
        memcpy(value + sizeof(head), entry->name, strlen(entry->name));
        tree_build_items_add(&content.items, &key, value,
                             (uint16_t)(sizeof(head) + strlen(entry->name)));
    }
    make_inode(p, number, S_IFDIR | 0755, entries->count, link_count, parent, &content);
    entries->count = 0;
    return number;
}

// --- one of everything -------------------------------------------------------------------------

static uint64_t make_large(struct populator *p)
{
    struct content content = {.data_blocks = 0};
    add_extent(p, &content, 0, 16, 0);
    leave_gap(p);
    add_extent(p, &content, 16, 8, EXTENT_UNWRITTEN);
    leave_gap(p);
    add_extent(p, &content, 100, 4, 0);
    return make_file(p, S_IFREG | 0644, 104 * BLOCK_BYTES, 2, &content);
}

static uint64_t make_fragmented(struct populator *p, uint32_t link_count, unsigned extent_count)
{
    struct content content = {.data_blocks = 0};
    for (unsigned i = 0; i < extent_count; i++) {
        add_extent(p, &content, (uint64_t)i * 3, 2, 0);
        leave_gap(p);
    }
    return make_file(p, S_IFREG | 0600, (uint64_t)extent_count * 3 * BLOCK_BYTES, link_count,
                     &content);
}

static uint64_t make_many(struct populator *p, struct entries *entries, uint64_t parent)
{
    struct content content = {.data_blocks = 0};
    for (int i = 0; i < MANY_ENTRIES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "file-number-%d", i);
        add_entry(p, entries, name, make_file(p, S_IFREG | 0644, 0, 1, &content));
    }
    return make_directory(p, take_blocks(p, 1), parent, 2, entries);
}

static uint64_t make_sub(struct populator *p, struct entries *entries, uint64_t parent,
                         uint64_t large)
{
    add_entry(p, entries, "hard", large);
    return make_directory(p, take_blocks(p, 1), parent, 2, entries);
}

static uint64_t make_attributes(struct populator *p)
{
    struct content content = {.data_blocks = 0};
    bool is_first = hash_of(p, "user.long") < hash_of(p, "user.short");
    add_xattr(p, &content, is_first ? "user.long" : "user.short", is_first ? 3000 : 10);
    add_xattr(p, &content, is_first ? "user.short" : "user.long", is_first ? 10 : 3000);
    return make_file(p, S_IFREG | 0644, 0, 1, &content);
}

static uint64_t make_small(struct populator *p, uint32_t mode, size_t size)
{
    struct content content = {.data_blocks = 0};
    char bytes[FORMAT_SYMLINK_BYTES_MAX];
    memset(bytes, S_ISLNK(mode) ? 'l' : 'x', sizeof(bytes));
    add_inline(&content, bytes, size);
    return make_file(p, mode, size, 1, &content);
}

static void make_buckets(struct populator *p)
{
    for (uint32_t slot = 0; slot < p->image->g.slot_count; slot++) {
        struct tree_build_items items;
        uint64_t block = geometry_quota_bucket_block(&p->image->g, slot);
        struct quota_bucket_disk *disk =
            image_block_new(p->image, BLOCK_TYPE_QUOTA_BUCKET, block, slot);
        populate_records(p->image, slot, &items);
        build_tree(p, slot, disk->record_root, sizeof(disk->record_root), &items);
        tree_build_items_deinit(&items);
        image_seal(p->image, block);
    }
}

void populate(struct image *image)
{
    struct populator p;
    struct content nothing = {.data_blocks = 0};
    struct entries *entries = calloc(2, sizeof(*entries));
    if (entries == NULL)
        image_die("out of memory");
    uint64_t root = image->g.root_inode;
    open_group(&p, image);
    uint64_t large = make_large(&p);
    image_set(image, large, "uid", POPULATE_USER);
    image_set(image, large, "gid", POPULATE_GROUP);
    image_set(image, large, "project_id", POPULATE_PROJECT);
    add_entry(&p, entries, "large", large);
    add_entry(&p, entries, "small", make_small(&p, S_IFREG | 0644, 2000));
    add_entry(&p, entries, "link", make_small(&p, S_IFLNK | 0777, 1500));
    add_entry(&p, entries, "fragmented", make_fragmented(&p, 1, FRAGMENTS));
    add_entry(&p, entries, "attributes", make_attributes(&p));
    add_entry(&p, entries, "fifo", make_file(&p, S_IFIFO | 0644, 0, 1, &nothing));
    add_entry(&p, entries, "sub", make_sub(&p, &entries[1], root, large));
    add_entry(&p, entries, "many", make_many(&p, &entries[1], root));
    add_entry(&p, entries, "empty", make_directory(&p, take_blocks(&p, 1), root, 2, &entries[1]));
    make_directory(&p, root, root, 2 + 3, entries);
    make_buckets(&p);
    populate_ledgers(image);
    close_group(&p);
    free(entries);
}

uint64_t populate_nameless(struct image *image, uint32_t link_count, unsigned extent_count)
{
    struct populator p;
    open_group(&p, image);
    uint64_t number = make_fragmented(&p, link_count, extent_count);
    close_group(&p);
    populate_charge(image, number);
    return number;
}

// --- finding them again ------------------------------------------------------------------------

static uint64_t find_name(const struct image *image, uint64_t directory, const char *name)
{
    struct image_node area = image_node_of(image, directory, "root");
    struct format_node node;
    if (format_node_open(&node, area.area, area.area_bytes, NULL) != 0 || node.level != 0)
        image_die("directory %llu is not as expected", (unsigned long long)directory);
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        struct format_dirent entry;
        if (format_dirent_decode(&item, &entry, NULL) == 0 && entry.name_length == strlen(name) &&
            memcmp(entry.name, name, strlen(name)) == 0)
            return entry.inode;
    }
    image_die("there is no /%s: 'populate' makes it", name);
}

void places_find(const struct image *image, struct places *places)
{
    uint64_t root = image->g.root_inode;
    *places = (struct places){
        .root = root,
        .small = find_name(image, root, "small"),
        .large = find_name(image, root, "large"),
        .fragmented = find_name(image, root, "fragmented"),
        .link = find_name(image, root, "link"),
        .attributes = find_name(image, root, "attributes"),
        .fifo = find_name(image, root, "fifo"),
        .sub = find_name(image, root, "sub"),
        .many = find_name(image, root, "many"),
        .empty = find_name(image, root, "empty"),
    };
}
