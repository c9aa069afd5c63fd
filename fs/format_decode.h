// SPDX-License-Identifier: Apache-2.0
// Host forms of the disk's objects, and a reader for tree nodes. Pure, and proof against any bytes:
// the block's header was verified by the caller (format_block_verify), all else is checked here.
// Nothing here follows a pointer to another block: walking is the caller's.
//
// Decoders return 0 or the named error and then set `*reason` (if not NULL) to a constant sentence.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/format.h"

// --- heartbeat, mailbox, claim, group map ----------------------------------------------------

struct format_heartbeat {
    uint64_t incarnation, beat, lamport, recovered_incarnation;
    uint64_t boot_ns, wall_ns;
    enum heartbeat_state state;
    uint32_t slot, node_id, lease_ms, beat_ms;
    char node_name[FORMAT_NODE_NAME_BYTES];
    uint8_t cluster_id[16];
};

struct format_mailbox {
    uint64_t victim_incarnation, writer_incarnation, wall_ns;
    uint32_t slot, writer_slot, writer_node_id;
    char reason[128];
};

struct format_claim {
    uint8_t holder[16], cluster_id[16];
    enum claim_purpose purpose;
    uint32_t beat_ms;
    uint64_t beat, wall_ns;
    char host_name[FORMAT_NODE_NAME_BYTES];
};

// -ERROR_BLOCK_CONTENT.
int format_heartbeat_decode(const struct heartbeat_disk *disk, struct format_heartbeat *heartbeat,
                            const char **reason);
int format_mailbox_decode(const struct mailbox_disk *disk, struct format_mailbox *mailbox,
                          const char **reason);
int format_claim_decode(const struct claim_disk *disk, struct format_claim *claim,
                        const char **reason);
// `block_index` counts the blocks of the map; bits behind the last group must be 0.
int format_ag_map_check(const struct ag_map_disk *disk, const struct geometry *g,
                        uint32_t block_index, const char **reason);

// --- allocation group ------------------------------------------------------------------------

struct format_ag {
    uint64_t block_count, free_block_count;
    uint32_t reserve_count;
    uint64_t reserve[AG_RESERVE_MAX];
};

// -ERROR_BLOCK_CONTENT. The two roots are read with format_node_open.
int format_ag_decode(const struct ag_header_disk *disk, const struct geometry *g, uint32_t ag,
                     struct format_ag *header, const char **reason);

// --- inode -----------------------------------------------------------------------------------

struct format_time {
    int64_t seconds;
    uint32_t nanoseconds;
};

struct format_inode {
    uint64_t number, generation, size, block_count, rdev, parent, truncate_size;
    uint32_t mode, link_count, uid, gid, project_id, flags, orphan_slot, xattr_count;
    struct format_time accessed, modified, changed, created;
    uint8_t claim_export[16];
    uint64_t claim_generation;
    uint32_t claim_node_id;
};

// -ERROR_CORRUPT_INODE.
int format_inode_decode(const struct inode_disk *disk, const struct geometry *g,
                        struct format_inode *inode, const char **reason);

// -ERROR_BLOCK_CONTENT. The list itself is read with format_node_open.
int format_slot_state_check(const struct slot_state_disk *disk, const char **reason);

// --- tree nodes ------------------------------------------------------------------------------

struct format_key {
    uint8_t kind; // enum item_kind
    uint32_t minor;
    uint64_t major;
};

struct format_node {
    const uint8_t *area; // of the block that the node was opened in
    uint16_t area_bytes;
    uint16_t item_count;
    uint8_t level;
};

struct format_item {
    struct format_key key;
    const uint8_t *value; // not aligned; read with memcpy
    uint16_t length;
};

enum { FORMAT_TREE_LEVEL_MAX = 15 };

// Negative, 0 or positive, as memcmp.
int format_key_compare(const struct format_key *a, const struct format_key *b);

// Checks the node whole: slots and values inside the area, no two values overlapping, keys strictly
// ascending and of known kinds, values no longer than TREE_VALUE_BYTES_MAX, children's values eight
// bytes long, an inner node not empty, reserved bytes 0. -ERROR_CORRUPT_TREE.
int format_node_open(struct format_node *node, const void *area, size_t area_bytes,
                     const char **reason);
// `index` < item_count.
struct format_item format_node_item(const struct format_node *node, unsigned index);
// The child's block that item `index` of an inner node points to.
uint64_t format_node_child(const struct format_node *node, unsigned index);

// --- values of tree items --------------------------------------------------------------------

struct format_extent {
    uint64_t file_block, start_block;
    uint32_t block_count, flags;
};

struct format_dirent {
    uint64_t inode, generation;
    uint8_t type; // DT_*
    uint8_t name_length;
    const uint8_t *name; // not terminated
};

struct format_xattr {      // chunk 0
    uint32_t value_length; // of all chunks
    uint8_t name_length;
    const uint8_t *name;
    const uint8_t *value; // the part in this chunk
    uint16_t part_length;
};

// The length and the reserved bits of a value, and what can be known without other blocks: an
// extent lies inside one group, a name has 1 to 255 bytes without '/' and 0 and is not "." or
// "..", an attribute's name is not empty. -ERROR_CORRUPT_TREE, for names -ERROR_CORRUPT_DIRECTORY.
int format_extent_decode(const struct format_item *item, const struct geometry *g,
                         struct format_extent *extent, const char **reason);
int format_dirent_decode(const struct format_item *item, struct format_dirent *dirent,
                         const char **reason);
int format_xattr_decode(const struct format_item *item, struct format_xattr *xattr,
                        const char **reason);
int format_free_decode(const struct format_item *item, uint64_t *block_count, const char **reason);
int format_orphan_decode(const struct format_item *item, uint64_t *generation, const char **reason);
int format_reference_decode(const struct format_item *item, uint64_t *block_count, uint64_t *count,
                            const char **reason);
