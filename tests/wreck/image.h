// SPDX-License-Identifier: Apache-2.0
// A volume as a mapped file, for tests that write what no program should: blocks are changed in
// place, by field name, and sealed again, so that only the check in question can find them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/format.h"

struct image {
    uint8_t *bytes;
    uint64_t size_bytes;
    struct geometry g;
};

// Ends the program with a message if the file holds no volume.
void image_open(struct image *image, const char *path);
void image_close(struct image *image);

// The bytes of `block`.
void *image_block(const struct image *image, uint64_t block);
// A new header and zeros behind it; `type`, `owner` as in its header.
void *image_block_new(struct image *image, enum block_type type, uint64_t block, uint64_t owner);
// Fixes the checksum; the version stays, and is 1 at least.
void image_seal(struct image *image, uint64_t block);

// Fields of a block by name, with the type that its header says; sealed again. Ends the program if
// there is no such field.
uint64_t image_get(const struct image *image, uint64_t block, const char *field);
void image_set(struct image *image, uint64_t block, const char *field, uint64_t value);
// One element of an array field.
void image_set_at(struct image *image, uint64_t block, const char *field, unsigned index,
                  uint64_t value);

// The area of a tree node: of a tree block, or a named root inside of an object.
struct image_node {
    uint64_t block;
    uint8_t *area;
    size_t area_bytes;
};
struct image_node image_node_of(const struct image *image, uint64_t block, const char *field);
// Fields of a node's head ("level"), of its slots ("major"), and of the value behind a slot, as the
// structure `type` names it ("extent", "start_block"); sealed again.
void image_node_set(struct image *image, const struct image_node *node, const char *field,
                    uint64_t value);
void image_slot_set(struct image *image, const struct image_node *node, unsigned index,
                    const char *field, uint64_t value);
uint64_t image_slot_get(const struct image_node *node, unsigned index, const char *field);
uint8_t *image_value(const struct image_node *node, unsigned index);
void image_value_set(struct image *image, const struct image_node *node, unsigned index,
                     const char *structure, const char *field, uint64_t value);
// Takes an item out of a leaf.
void image_slot_delete(struct image *image, const struct image_node *node, unsigned index);

_Noreturn void image_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
