// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/image.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/format_decode.h"
#include "fs/format_fields.h"

void image_die(const char *format, ...)
{
    va_list arguments;
    fputs("lunfs-wreck: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

void image_open(struct image *image, const char *path)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        image_die("%s cannot be opened", path);
    image->size_bytes = (uint64_t)status.st_size;
    image->bytes = mmap(NULL, image->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (image->bytes == MAP_FAILED)
        image_die("%s cannot be mapped", path);
    const struct superblock_disk *disk = image_block(image, FORMAT_SUPERBLOCK_BLOCK);
    if (format_superblock_verify(disk, FORMAT_SUPERBLOCK_BLOCK) != 0 ||
        format_superblock_decode(disk, image->size_bytes / BLOCK_BYTES, &image->g) != 0)
        image_die("%s holds no volume", path);
}

void image_close(struct image *image)
{
    munmap(image->bytes, image->size_bytes);
}

// --- blocks ----------------------------------------------------------------------------------

void *image_block(const struct image *image, uint64_t block)
{
    if (block >= image->size_bytes / BLOCK_BYTES)
        image_die("block %llu is behind the end", (unsigned long long)block);
    return image->bytes + block * BLOCK_BYTES;
}

void *image_block_new(struct image *image, enum block_type type, uint64_t block, uint64_t owner)
{
    struct block_expectation is = {
        .format_id = image->g.format_id, .address = block, .owner = owner, .type = type};
    void *bytes = image_block(image, block);
    memset(bytes, 0, BLOCK_BYTES);
    format_block_init(bytes, &is);
    return bytes;
}

void image_seal(struct image *image, uint64_t block)
{
    void *bytes = image_block(image, block);
    uint64_t version = format_block_version(bytes);
    format_block_seal(bytes, version > 0 ? version : 1);
}

// --- fields ----------------------------------------------------------------------------------

static const struct format_field *field_of(const struct format_structure *structure,
                                           const char *name)
{
    const struct format_field *field =
        structure == NULL ? NULL : format_field_find(structure, name);
    if (field == NULL)
        image_die("there is no field %s", name);
    return field;
}

static const struct format_field *field_in_block(const void *bytes, const char *name)
{
    const struct block_header_disk *header = bytes;
    return field_of(format_structure_of((enum block_type)le16_get(header->type)), name);
}

uint64_t image_get(const struct image *image, uint64_t block, const char *field)
{
    const void *bytes = image_block(image, block);
    return format_field_get(field_in_block(bytes, field), bytes, 0);
}

void image_set_at(struct image *image, uint64_t block, const char *field, unsigned index,
                  uint64_t value)
{
    void *bytes = image_block(image, block);
    format_field_set(field_in_block(bytes, field), bytes, index, value);
    image_seal(image, block);
}

void image_set(struct image *image, uint64_t block, const char *field, uint64_t value)
{
    image_set_at(image, block, field, 0, value);
}

// --- tree nodes ------------------------------------------------------------------------------

struct image_node image_node_of(const struct image *image, uint64_t block, const char *field)
{
    uint8_t *bytes = image_block(image, block);
    const struct format_field *area = field_in_block(bytes, field);
    return (struct image_node){
        .block = block, .area = bytes + area->offset, .area_bytes = area->width};
}

void image_node_set(struct image *image, const struct image_node *node, const char *field,
                    uint64_t value)
{
    format_field_set(field_of(format_structure_by_name("tree_node"), field), node->area, 0, value);
    image_seal(image, node->block);
}

static uint8_t *slot_of(const struct image_node *node, unsigned index)
{
    return node->area + sizeof(struct tree_node_disk) + index * sizeof(struct tree_slot_disk);
}

void image_slot_set(struct image *image, const struct image_node *node, unsigned index,
                    const char *field, uint64_t value)
{
    format_field_set(field_of(format_structure_by_name("tree_slot"), field), slot_of(node, index),
                     0, value);
    image_seal(image, node->block);
}

uint64_t image_slot_get(const struct image_node *node, unsigned index, const char *field)
{
    return format_field_get(field_of(format_structure_by_name("tree_slot"), field),
                            slot_of(node, index), 0);
}

uint8_t *image_value(const struct image_node *node, unsigned index)
{
    return node->area + image_slot_get(node, index, "offset");
}

void image_value_set(struct image *image, const struct image_node *node, unsigned index,
                     const char *structure, const char *field, uint64_t value)
{
    format_field_set(field_of(format_structure_by_name(structure), field), image_value(node, index),
                     0, value);
    image_seal(image, node->block);
}

void image_slot_delete(struct image *image, const struct image_node *node, unsigned index)
{
    struct tree_node_disk *head = (struct tree_node_disk *)node->area;
    unsigned count = le16_get(head->item_count);
    uint64_t length = image_slot_get(node, index, "length");
    memmove(slot_of(node, index), slot_of(node, index + 1),
            (count - index - 1) * sizeof(struct tree_slot_disk));
    image_node_set(image, node, "item_count", count - 1);
    image_node_set(image, node, "heap_free", le16_get(head->heap_free) + length);
}
