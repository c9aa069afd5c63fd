// SPDX-License-Identifier: Apache-2.0
// The disk format, version 1. All integers are little-endian, a block is 4096 bytes, addresses are
// block numbers over the whole volume (the device table says which LUN a range stands on).
//
//   block                                                       written by
//   0        boot area, 16 blocks, never touched                nobody
//   16       superblock                                         mkfs, feature switches
//   17       claim block                                        whoever uses the volume (rule 15)
//   18       initialised-AG map, one bit a group                allocator, journaled (rule 16)
//   ...
//   S        slot table: SLOT_BLOCKS blocks a slot              the slot's node, its fencers
//              +0 heartbeat  +1 mailbox  +2 slot state  +3 quota bucket  +4, +5 quota ledger
//   272      superblock copy (1 MiB + 64 KiB)                   as the superblock
//   J        journals, journal_block_count a slot               the slot's node, its recoverer
//   A        allocation groups, 2^ag_block_shift blocks each    (the last may be shorter)
//              +0 header, then data and trees
//   last     superblock copy in the device's last whole block   as the superblock
//
// S, J, A stand in the superblock. The slot table lies either wholly before or wholly behind the
// copy at 272. Copies stand at places that depend on nothing, so that a lost superblock is found
// without hints.
//
// Each metadata block begins with block_header_disk: it proves what it is, where it belongs, whose
// it is and which version (a Lamport clock) it has. format_id is random, made by mkfs and never
// changed; the UUID, which may change, stands in the superblock only (rule 7).
//
// Objects (inodes, allocation groups, slot states) carry the root node of a B+tree inside their own
// block; a small object is that block alone. See fs/tree.h for the nodes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/block_device.h"
#include "fs/base/endian.h"

enum {
    FORMAT_VERSION = 1,
    FORMAT_BLOCK_SHIFT = 12,
    FORMAT_SUPERBLOCK_BLOCK = 16,
    FORMAT_CLAIM_BLOCK = 17,
    FORMAT_AG_MAP_BLOCK = 18,
    FORMAT_SUPERBLOCK_COPY_BLOCK = 272,
    FORMAT_LABEL_BYTES = 64, // the terminating 0 included
    FORMAT_NODE_NAME_BYTES = 64,
    FORMAT_SLOT_COUNT_MAX = 64,
    FORMAT_SLOT_COUNT_DEFAULT = 32,
    FORMAT_DEVICE_COUNT_MAX = 16,
    FORMAT_SLOT_BLOCKS = 8,
    FORMAT_AG_BLOCK_SHIFT_MIN = 10,      // 4 MiB
    FORMAT_AG_BLOCK_SHIFT_MAX = 28,      // 1 TiB
    FORMAT_AG_BLOCKS_MIN = 64,           // the last group may be short, but not shorter
    FORMAT_JOURNAL_BLOCKS_MIN = 2048,    // 8 MiB: see journal.md, "How small a journal may be"
    FORMAT_JOURNAL_BLOCKS_MAX = 1 << 20, // 4 GiB
    FORMAT_SUPERBLOCK_COUNT = 3,         // the copies included
    FORMAT_NAME_BYTES_MAX = 255,
    FORMAT_SYMLINK_BYTES_MAX = 4095,
};

#define FORMAT_FILE_BYTES_MAX  ((uint64_t)1 << 62)
#define FORMAT_BLOCK_COUNT_MAX ((uint64_t)1 << 48) // 1 EiB

// --- the header of every metadata block ------------------------------------------------------

enum block_type {
    BLOCK_TYPE_SUPERBLOCK = 1,
    BLOCK_TYPE_CLAIM = 2,
    BLOCK_TYPE_AG_MAP = 3,
    BLOCK_TYPE_HEARTBEAT = 4,
    BLOCK_TYPE_MAILBOX = 5,
    BLOCK_TYPE_SLOT_STATE = 6,
    BLOCK_TYPE_JOURNAL_HEADER = 7,
    BLOCK_TYPE_AG_HEADER = 8,
    BLOCK_TYPE_INODE = 9,
    BLOCK_TYPE_TREE_NODE = 10,
    BLOCK_TYPE_QUOTA_BUCKET = 11,
    BLOCK_TYPE_QUOTA_LEDGER = 12,
};

#define BLOCK_MAGIC 0x53464e55u // "UNFS" as bytes 55 4e 46 53

struct block_header_disk {
    le32_t magic;          // 0   BLOCK_MAGIC
    le32_t checksum;       // 4   crc32c of the block with this field 0
    le16_t type;           // 8   enum block_type
    le16_t format_version; // 10  FORMAT_VERSION
    le32_t reserved0;      // 12
    uint8_t format_id[16]; // 16
    le64_t address;        // 32  this block's own number
    le64_t owner;          // 40  inode number, group number, slot number; 0 for the volume's
    le64_t version;        // 48  Lamport clock
    le64_t reserved1;      // 56
};
_Static_assert(sizeof(struct block_header_disk) == 64, "block header");

// --- superblock ------------------------------------------------------------------------------

// Incompatible features: a program that does not know a bit must not touch the volume.
enum {
    FEATURE_INCOMPAT_IN_PROGRESS = 1u << 0, // mkfs or a tool of several steps was cut off
    FEATURE_INCOMPAT_PROTECTION = 1u << 1,  // inodes may have INODE_FLAGS_PROTECTING
    FEATURE_INCOMPAT_PROJECTS = 1u << 2,    // ... and a project, and INODE_FLAG_PROJECT_DOWN
};
#define FEATURE_INCOMPAT_KNOWN                                                                     \
    ((uint64_t)FEATURE_INCOMPAT_PROTECTION | (uint64_t)FEATURE_INCOMPAT_PROJECTS)
// Read-only compatible: a program that does not know a bit may read the volume.
enum {
    FEATURE_RO_COMPAT_QUOTA_BLOCKS = 1u << 0, // every slot has a quota bucket and a ledger
    FEATURE_RO_COMPAT_QUOTAS = 1u << 1,       // ... whose sums are right, and limits are kept
};
#define FEATURE_RO_COMPAT_KNOWN                                                                    \
    ((uint64_t)FEATURE_RO_COMPAT_QUOTA_BLOCKS | (uint64_t)FEATURE_RO_COMPAT_QUOTAS)
#define FEATURE_COMPAT_KNOWN ((uint64_t)0)

enum {
    SUPERBLOCK_STATE_NEEDS_FSCK = 1u << 0, // a repair was cut off: the volume is not mounted
    SUPERBLOCK_STATE_DAMAGED = 1u << 1, // a node has met damage: fsck.lunfs, at the next occasion
    SUPERBLOCK_STATES = SUPERBLOCK_STATE_NEEDS_FSCK | SUPERBLOCK_STATE_DAMAGED,
};

struct device_entry_disk {
    uint8_t device_id[16]; // 0   random, made when the LUN joined the volume
    le64_t start_block;    // 16  first volume address on this LUN
    le64_t block_count;    // 24  0: entry unused
    le64_t reserved;       // 32
};
_Static_assert(sizeof(struct device_entry_disk) == 40, "device entry");

struct superblock_disk {
    struct block_header_disk header;   // 0    owner 0
    uint8_t uuid[16];                  // 64
    uint8_t label[FORMAT_LABEL_BYTES]; // 80   UTF-8, padded with 0
    le64_t feature_compat;             // 144
    le64_t feature_ro_compat;          // 152
    le64_t feature_incompat;           // 160
    le64_t block_count;                // 168  of the volume
    le64_t slot_table_block;           // 176
    le64_t journal_block;              // 184  of slot 0
    le64_t ag_base_block;              // 192
    le64_t root_inode;                 // 200
    le64_t created_ns;                 // 208  wall clock
    le32_t slot_count;                 // 216
    le32_t journal_block_count;        // 220  of each slot
    le32_t ag_block_shift;             // 224
    le32_t ag_count;                   // 228
    le32_t ag_map_block_count;         // 232  blocks of the initialised-AG map
    le32_t device_count;               // 236
    le32_t protocol_version;           // 240  the cluster protocol all mounts speak
    le32_t state;                      // 244  SUPERBLOCK_STATE_*
    uint8_t hash_key[16];              // 248  of the directory hash, random
    struct device_entry_disk devices[FORMAT_DEVICE_COUNT_MAX]; // 264
    uint8_t reserved[4096 - 264 - 40 * FORMAT_DEVICE_COUNT_MAX];
};
_Static_assert(sizeof(struct superblock_disk) == 4096, "superblock");
_Static_assert(offsetof(struct superblock_disk, devices) == 264, "superblock");

// --- claim, heartbeat, mailbox ---------------------------------------------------------------
//
// They are written in place while others read them, and a node may lose power in the middle. All
// that is not zero stands in their first 512 bytes: no sector is smaller, so a torn write leaves
// one whole version.

enum { FORMAT_SECTOR_BYTES_MIN = 512 };

enum claim_purpose {
    CLAIM_IDLE = 0,
    CLAIM_CLUSTER = 1,
    CLAIM_LOCAL = 2,
    CLAIM_FSCK = 3,
    CLAIM_MKFS = 4,
};

struct claim_disk {
    struct block_header_disk header;           // 0    version: counts the beats
    uint8_t holder[16];                        // 64   random, fresh for each try
    uint8_t cluster_id[16];                    // 80   of the corosync cluster; 0 if none
    le32_t purpose;                            // 96   enum claim_purpose
    le32_t beat_ms;                            // 100  how often the holder beats
    le64_t beat;                               // 104
    le64_t wall_ns;                            // 112
    uint8_t host_name[FORMAT_NODE_NAME_BYTES]; // 120
    uint8_t reserved[4096 - 184];
};
_Static_assert(sizeof(struct claim_disk) == 4096, "claim");
_Static_assert(offsetof(struct claim_disk, reserved) <= FORMAT_SECTOR_BYTES_MIN, "claim");

enum heartbeat_state {
    HEARTBEAT_FREE = 0, // never used, left cleanly, or recovered: the slot may be taken
    HEARTBEAT_JOINING = 1,
    HEARTBEAT_RUNNING = 2,
    HEARTBEAT_SUSPENDED = 3, // drained, no quorum; beats on
    HEARTBEAT_STOPPED = 4,   // drained for good, still to be recovered; ends a fencer's wait
};

struct heartbeat_disk {
    struct block_header_disk header; // 0    owner: the slot
    le64_t incarnation;              // 64   raised at each mount in this slot
    le64_t beat;                     // 72   counts up
    le64_t lamport;                  // 80   no version above lamport + slack was given out
    le64_t boot_ns;                  // 88   of the writer, for people
    le64_t wall_ns;                  // 96
    le32_t state;                    // 104  enum heartbeat_state
    le32_t node_id;                  // 108  corosync's; 0: local mount
    le32_t lease_ms;                 // 112
    le32_t beat_ms;                  // 116
    uint8_t node_name[FORMAT_NODE_NAME_BYTES]; // 120
    uint8_t cluster_id[16];                    // 184
    le64_t recovered_incarnation;              // 200  the last one whose journal was replayed clean
    uint8_t reserved[4096 - 208];
};
_Static_assert(sizeof(struct heartbeat_disk) == 4096, "heartbeat");
_Static_assert(offsetof(struct heartbeat_disk, reserved) <= FORMAT_SECTOR_BYTES_MIN, "heartbeat");

struct mailbox_disk {
    struct block_header_disk header; // 0    owner: the slot whose mailbox it is
    le64_t victim_incarnation;       // 64   who must end; 0: no note
    le64_t writer_incarnation;       // 72
    le32_t writer_slot;              // 80
    le32_t writer_node_id;           // 84
    le64_t wall_ns;                  // 88
    uint8_t reason[128];             // 96   for the victim's log
    uint8_t reserved[4096 - 224];
};
_Static_assert(sizeof(struct mailbox_disk) == 4096, "mailbox");
_Static_assert(offsetof(struct mailbox_disk, reserved) <= FORMAT_SECTOR_BYTES_MIN, "mailbox");

// --- trees -----------------------------------------------------------------------------------

// Keys order by kind, then major, then minor.
struct tree_key_disk {
    uint8_t kind; // enum item_kind
    uint8_t reserved[3];
    le32_t minor;
    le64_t major;
};
_Static_assert(sizeof(struct tree_key_disk) == 16, "tree key");

enum item_kind {
    ITEM_INLINE = 1,    // major 0: content of a small file; or a symlink's target
    ITEM_XATTR = 2,     // major: hash of the name; minor: collision << 16 | chunk
    ITEM_EXTENT = 3,    // major: first file block
    ITEM_DIRENT = 4,    // major: 55-bit hash of the name; minor: collision, 0 to 255
    ITEM_FREE = 5,      // major: first free block; in AG headers
    ITEM_ORPHAN = 6,    // major: inode number; in slot states
    ITEM_REFERENCE = 7, // major: first shared block; in AG headers
    ITEM_QUOTA = 8,     // major: quota_key of the owner; in quota buckets (fs/format_quota.h)
    ITEM_KIND_LAST = ITEM_QUOTA,
};

// A node, in a block of its own behind the block header, or embedded in an object's block. Slots
// grow up behind this header, the items' bytes grow down from the end of the node's area.
struct tree_node_disk {
    le16_t item_count; // 0
    le16_t heap_start; // 2  offset in the area of the lowest item byte
    le16_t heap_free;  // 4  bytes inside the heap that belong to no item
    uint8_t level;     // 6  0: leaf; else values are le64 block addresses of children
    uint8_t reserved0; // 7
    le64_t reserved1;  // 8
};
_Static_assert(sizeof(struct tree_node_disk) == 16, "tree node");

struct tree_slot_disk {
    struct tree_key_disk key; // 0
    le16_t offset;            // 16  of the value in the node's area
    le16_t length;            // 18
    le32_t reserved;          // 20
};
_Static_assert(sizeof(struct tree_slot_disk) == 24, "tree slot");

struct tree_block_disk {
    struct block_header_disk header; // 0   owner: the object whose tree it is
    uint8_t area[4096 - 64];         // 64  tree_node_disk, slots, heap
};
_Static_assert(sizeof(struct tree_block_disk) == 4096, "tree block");

enum { TREE_VALUE_BYTES_MAX = 1280 };

// --- values of tree items --------------------------------------------------------------------

enum { EXTENT_UNWRITTEN = 1u << 0 };

struct extent_disk { // ITEM_EXTENT
    le64_t start_block;
    le32_t block_count; // > 0
    le32_t flags;       // EXTENT_*
};
_Static_assert(sizeof(struct extent_disk) == 16, "extent");

struct dirent_disk { // ITEM_DIRENT
    le64_t inode;
    le64_t generation;
    uint8_t type; // DT_*, as readdir(3)
    uint8_t name_length;
    uint8_t name[]; // not terminated
} __attribute__((packed));
_Static_assert(sizeof(struct dirent_disk) == 18, "dirent");

struct xattr_disk { // ITEM_XATTR: chunk 0 has this in front, further chunks are value bytes alone
    le32_t value_length; // of all chunks
    uint8_t name_length;
    uint8_t reserved[3];
    uint8_t name[]; // with its namespace prefix ("user.x"), not terminated; then value bytes
};
_Static_assert(sizeof(struct xattr_disk) == 8, "xattr");

struct free_disk { // ITEM_FREE
    le64_t block_count;
};

struct orphan_disk { // ITEM_ORPHAN
    le64_t generation;
};

struct reference_disk { // ITEM_REFERENCE
    le64_t block_count;
    le64_t count;
};

// --- allocation groups -----------------------------------------------------------------------

enum { AG_RESERVE_MAX = 32 };

struct ag_header_disk {
    struct block_header_disk header; // 0    owner: the group's number
    le64_t block_count;              // 64   the header's own block included
    le64_t free_block_count;         // 72   in the free tree; the reserve is not free
    le32_t reserve_count;            // 80
    le32_t reserved0;                // 84
    le64_t reserved1[5];             // 88
    le64_t reserve[AG_RESERVE_MAX];  // 128  blocks kept for the growth of the group's own trees
    uint8_t free_root[1856];         // 384  embedded root: ITEM_FREE
    uint8_t reference_root[1856];    // 2240 embedded root: ITEM_REFERENCE
};
_Static_assert(sizeof(struct ag_header_disk) == 4096, "group header");
_Static_assert(offsetof(struct ag_header_disk, free_root) == 384, "group header");

// Bit g of the map is set once group g's header was written (rule 16).
struct ag_map_disk {
    struct block_header_disk header; // 0   owner 0
    uint8_t bits[4096 - 64];         // 64
};
_Static_assert(sizeof(struct ag_map_disk) == 4096, "group map");
enum { AG_MAP_BITS_PER_BLOCK = (4096 - 64) * 8 };

// --- inodes ----------------------------------------------------------------------------------

// An inode's number is the address of its block.
struct time_disk {
    le64_t seconds;     // signed, since 1970
    le32_t nanoseconds; // 0 to 999,999,999
} __attribute__((packed));
_Static_assert(sizeof(struct time_disk) == 12, "time");

enum {
    INODE_FLAG_ORPHAN = 1u << 0,    // stands on an orphan list: unlinked, or a truncate under way
    INODE_FLAG_IMMUTABLE = 1u << 1, // chattr +i: nothing of it changes, its names included
    INODE_FLAG_APPEND = 1u << 2,    // chattr +a: files only grow, directories only gain names
    INODE_FLAG_PROJECT_DOWN = 1u << 3, // chattr +P: what is made in the directory is of its project
    INODE_FLAGS_PROTECTING = INODE_FLAG_IMMUTABLE | INODE_FLAG_APPEND,
};

struct inode_disk {
    struct block_header_disk header; // 0    owner: the inode's own number
    le64_t generation;               // 64   never 0; another at each reuse of the number
    le64_t size;                     // 72   bytes; of a directory: its number of entries
    le64_t block_count;              // 80   allocated to data and tree nodes
    le32_t mode;                     // 88   type and permissions, as stat(2)
    le32_t link_count;               // 92
    le32_t uid;                      // 96
    le32_t gid;                      // 100
    le32_t project_id;               // 104
    le32_t flags;                    // 108  INODE_FLAG_*
    le64_t rdev;                     // 112
    le64_t parent;                   // 120  of a directory
    struct time_disk accessed;       // 128
    struct time_disk modified;       // 140
    struct time_disk changed;        // 152
    struct time_disk created;        // 164
    le32_t orphan_slot;              // 176  whose list, if INODE_FLAG_ORPHAN
    le32_t xattr_count;              // 180
    le64_t truncate_size;            // 184  where a truncate under way ends
    uint8_t claim_export[16];        // 192  who runs or exports this disk (rule 12); 0: nobody
    le64_t claim_generation;         // 208
    le32_t claim_node_id;            // 216
    le32_t reserved0;                // 220
    uint8_t reserved1[384 - 224];    // 224
    uint8_t root[3712];              // 384  embedded root of the inode's tree
};
_Static_assert(sizeof(struct inode_disk) == 4096, "inode");
_Static_assert(offsetof(struct inode_disk, root) == 384, "inode");

// --- slot state ------------------------------------------------------------------------------

struct slot_state_disk {
    struct block_header_disk header; // 0    owner: the slot
    le64_t reserved0[8];             // 64
    le64_t reserved1[32];            // 128
    uint8_t orphan_root[3712];       // 384  embedded root: ITEM_ORPHAN
};
_Static_assert(sizeof(struct slot_state_disk) == 4096, "slot state");

// --- decoded geometry ------------------------------------------------------------------------

// The superblock in host form: what all address arithmetic uses. Pure.
struct geometry {
    uint8_t format_id[16];
    uint8_t uuid[16];
    uint8_t hash_key[16];
    uint8_t device_id[16]; // of the volume's one LUN
    char label[FORMAT_LABEL_BYTES];
    uint64_t block_count;
    uint64_t slot_table_block;
    uint64_t journal_block;
    uint64_t ag_base_block;
    uint64_t root_inode;
    uint64_t created_ns;
    uint64_t feature_compat, feature_ro_compat, feature_incompat;
    uint32_t slot_count;
    uint32_t journal_block_count;
    uint32_t ag_block_shift;
    uint32_t ag_count;
    uint32_t ag_map_block_count;
    uint32_t protocol_version;
    uint32_t state;
    uint32_t zero; // fills the struct up: copies are compared as bytes
};

static inline uint64_t geometry_heartbeat_block(const struct geometry *g, uint32_t slot)
{
    return g->slot_table_block + (uint64_t)slot * FORMAT_SLOT_BLOCKS;
}
static inline uint64_t geometry_mailbox_block(const struct geometry *g, uint32_t slot)
{
    return geometry_heartbeat_block(g, slot) + 1;
}
static inline uint64_t geometry_slot_state_block(const struct geometry *g, uint32_t slot)
{
    return geometry_heartbeat_block(g, slot) + 2;
}
static inline uint64_t geometry_journal_block(const struct geometry *g, uint32_t slot)
{
    return g->journal_block + (uint64_t)slot * g->journal_block_count;
}
static inline uint64_t geometry_ag_first_block(const struct geometry *g, uint32_t ag)
{
    return g->ag_base_block + ((uint64_t)ag << g->ag_block_shift);
}
// Blocks of group `ag`, its header included; the last group may be shorter.
uint64_t geometry_ag_block_count(const struct geometry *g, uint32_t ag);
// The group that holds `block`; false if it lies in none.
bool geometry_ag_of_block(const struct geometry *g, uint64_t block, uint32_t *ag);
// Whether [block, block + count) lies inside one group, its header excluded.
bool geometry_is_data_range(const struct geometry *g, uint64_t block, uint64_t count);
// Where the superblock and its copies stand.
void geometry_superblock_blocks(const struct geometry *g, uint64_t blocks[FORMAT_SUPERBLOCK_COUNT]);
// Blocks of the initialised-AG map that `ag_count` groups need.
uint32_t geometry_ag_map_block_count(uint32_t ag_count);
// 0, or -ERROR_SUPERBLOCK_GEOMETRY and, if `reason` is given, a constant sentence saying why.
int geometry_check(const struct geometry *g, const char **reason);

// --- encode, verify --------------------------------------------------------------------------

// What a block must say of itself to be accepted.
struct block_expectation {
    const uint8_t *format_id; // 16 bytes
    uint64_t address;
    uint64_t owner;
    enum block_type type;
};

// Fills the header of `block` (4096 bytes): everything but version and checksum.
void format_block_init(void *block, const struct block_expectation *is);
// Sets version and checksum: the last thing before the block is written.
void format_block_seal(void *block, uint64_t version);
// 0, or -ERROR_BLOCK_*; the first check that failed. Reads 4096 bytes.
int format_block_verify(const void *block, const struct block_expectation *expected);
uint64_t format_block_version(const void *block);

// The same for a superblock at `address`, whatever its format_id: the header says it.
int format_superblock_verify(const struct superblock_disk *disk, uint64_t address);
// Host form of a superblock that was verified; checks its feature words, all of its geometry
// against itself and the device size in blocks. 0, -ERROR_SUPERBLOCK_FEATURE,
// -ERROR_SUPERBLOCK_IN_PROGRESS, -ERROR_SUPERBLOCK_GEOMETRY or -ERROR_VOLUME_SHRUNK. Unknown
// ro_compat features are no error: the caller must not write then. `geometry` is filled in any
// case, for messages.
int format_superblock_decode(const struct superblock_disk *disk, uint64_t device_block_count,
                             struct geometry *geometry);
// Fills all of `disk` but version and checksum.
void format_superblock_encode(struct superblock_disk *disk, const struct geometry *geometry,
                              uint64_t address);

// --- making objects --------------------------------------------------------------------------

// An empty embedded root or the node area of a tree block, all of its bytes set.
void format_node_init(void *area, size_t area_bytes, uint8_t level);
// The header of a group nothing of which was used yet: block 0 is the header, the next
// AG_RESERVE_MAX blocks (half of the group at most) its reserve, then `used_count` blocks given
// out already, the rest free. Not sealed. Whoever initialises a group does it with this.
void format_ag_header_init(struct ag_header_disk *disk, const struct geometry *g, uint32_t ag,
                           uint64_t used_count);
// The first block behind header and reserve in a new group: where mkfs puts the root directory.
uint64_t format_ag_first_data_block(const struct geometry *g, uint32_t ag);
