// SPDX-License-Identifier: Apache-2.0
// Every inode that something points to, in order of discovery: so the table is also the list of
// what is still to be looked at.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    INODE_SEEN_LINKED = 1u << 0,  // a directory entry points to it
    INODE_SEEN_LISTED = 1u << 1,  // it stands on an orphan list
    INODE_SEEN_CHECKED = 1u << 2, // its block was read
    INODE_SEEN_VALID = 1u << 3,   // ... and decoded: the fields below are from the disk
    INODE_SEEN_DIRECTORY = 1u << 4,
    INODE_SEEN_ORPHAN = 1u << 5, // its own flag says orphan
    INODE_SEEN_ROOT = 1u << 6,
    INODE_SEEN_BAD_FIELDS = 1u << 7,
    INODE_SEEN_BAD_TREE = 1u << 8, // something of its items, or of what they add up to
    INODE_SEEN_FOUND = 1u << 9,    // in space that belongs to nobody
    INODE_SEEN_LOST = 1u << 10,    // it has no way from the root, and no directory that has none
    INODE_SEEN_ON_WAY = 1u << 11,  // while the way to the root is looked for
    INODE_SEEN_HAS_WAY = 1u << 12, // ... and was found, or will be once lost ones are named
    INODE_SEEN_KEPT = 1u << 13,    // a directory that has its one entry (repair)
};

struct inode_record {
    uint64_t number;
    uint64_t generation;  // first as the one that points says, then as the disk says
    uint64_t linked_from; // the directory that pointed to it first
    uint64_t linked_hash; // by which name
    uint64_t parent;      // as its own block says
    uint32_t links_found;
    uint32_t subdirectories_found;
    uint32_t link_count;
    uint16_t slot;      // whose orphan list it names
    uint16_t listed_by; // whose orphan list it stands on
    uint16_t seen;      // INODE_SEEN_*
    uint8_t type;       // DT_*, first as the entry says
};

struct inode_table {
    struct inode_record *records;
    size_t count;
    size_t capacity;
    uint32_t *buckets; // index + 1 of a record; 0: empty
    size_t bucket_count;
};

void inode_table_init(struct inode_table *table);
void inode_table_deinit(struct inode_table *table);
// Valid until the next inode_table_add. NULL if unknown.
struct inode_record *inode_table_find(const struct inode_table *table, uint64_t number);
// The record of `number`, new and zeroed if it was unknown.
struct inode_record *inode_table_add(struct inode_table *table, uint64_t number);
// What the number of links and the parent should be, after what was found to point to it.
uint32_t inode_record_links_wanted(const struct inode_record *record);
uint64_t inode_record_parent_wanted(const struct inode_record *record);
