// SPDX-License-Identifier: Apache-2.0
// The entries of a directory that is written anew: which of them stay, and as what.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/format_decode.h"

struct check;
struct tree_build_items;

struct rebuild_entry {
    uint64_t hash;
    uint64_t order; // among those of one hash
    uint64_t inode, generation;
    uint8_t type, name_length;
    uint8_t name[FORMAT_NAME_BYTES_MAX];
};

struct rebuild_entries {
    struct check *check;
    uint64_t directory;
    struct rebuild_entry *entries;
    size_t count, capacity;
    size_t new_count; // of the count, at the end
    bool is_changed;  // it will not be as it was
};

void rebuild_entries_deinit(struct rebuild_entries *entries);
// One that stands there, good or bad.
void rebuild_entries_take(struct rebuild_entries *entries, const struct format_item *item);
// A new one, its fields but hash and order set.
void rebuild_entries_add(struct rebuild_entries *entries, const struct rebuild_entry *entry);
// Whether the name stands there already, new ones left aside.
bool rebuild_entries_have(const struct rebuild_entries *entries, const char *name);
// All of them in the order of a tree, behind `items`.
void rebuild_entries_give(struct rebuild_entries *entries, struct tree_build_items *items);
