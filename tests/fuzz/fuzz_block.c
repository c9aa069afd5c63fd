// SPDX-License-Identifier: Apache-2.0
// Every type of metadata block: verification, decoding, tree nodes with all kinds of items, edits
// of nodes that were accepted, the printers.
//
//   script: type of block, flags, bytes of the block; what is missing at its end is 0
//
// What must hold beside "no crash": a block that its decoder accepts is accepted again, and but for
// bytes behind the end of a text says the same, when it is encoded again; a superblock that is
// accepted has all its places inside the volume; a node that was accepted can be changed and is
// accepted again.
#include <stdlib.h>
#include <string.h>

#include "dlm/heartbeat_block.h"
#include "fs/base/check.h"
#include "fs/format_decode.h"
#include "fs/format_fields.h"
#include "fs/format_quota.h"
#include "fs/format_text.h"
#include "fs/tree_node.h"
#include "journal/header.h"
#include "mkfs/geometry.h"
#include "tests/fuzz/fuzz.h"

enum block_flags {
    WITH_HEADER = 1, // the script's bytes begin with the block's header
    IS_UNSEALED = 2, // the checksum is the script's too
};

enum { TREE_SEEDS = 4 };
enum { SLOT = 1, TYPE_COUNT = BLOCK_TYPE_QUOTA_LEDGER + 1, TEXT_BYTES = 65536 };
enum { MARK_ITEMS = TYPE_COUNT, ITEM_KIND_COUNT = ITEM_KIND_LAST + 1 };

// By type of block, then by kind of item.
static const char *const marks[] = {
    "a block of unknown type",
    "superblock",
    "claim",
    "group map",
    "heartbeat",
    "mailbox",
    "slot state",
    "journal header",
    "group header",
    "inode",
    "tree node",
    "quota bucket",
    "quota ledger",
    "an inner node",
    "inline content",
    "an extended attribute",
    "an extent",
    "a directory entry",
    "a free extent",
    "an orphan",
    "a reference count",
    "a quota",
    NULL,
};

static uint64_t mark(unsigned number)
{
    return UINT64_C(1) << number;
}

static void make_geometry(struct geometry *g)
{
    static const struct mkfs_request request = {
        .device_bytes = UINT64_C(256) << 20, .slot_count = 4, .journal_bytes = 8 << 20};
    TEXT(why, 256);
    CHECK(mkfs_geometry_plan(&request, g, &why) == 0);
    memcpy(g->format_id, "a volume to fuzz", 16);
    g->root_inode = format_ag_first_data_block(g, 0);
    g->protocol_version = 1;
}

static uint64_t address_of(const struct geometry *g, unsigned type)
{
    switch (type) {
    case BLOCK_TYPE_SUPERBLOCK:
        return FORMAT_SUPERBLOCK_BLOCK;
    case BLOCK_TYPE_HEARTBEAT:
        return geometry_heartbeat_block(g, SLOT);
    case BLOCK_TYPE_MAILBOX:
        return geometry_mailbox_block(g, SLOT);
    case BLOCK_TYPE_SLOT_STATE:
        return geometry_slot_state_block(g, SLOT);
    case BLOCK_TYPE_QUOTA_BUCKET:
        return geometry_quota_bucket_block(g, SLOT);
    case BLOCK_TYPE_QUOTA_LEDGER:
        return geometry_quota_ledger_block(g, SLOT, 0);
    case BLOCK_TYPE_JOURNAL_HEADER:
        return geometry_journal_block(g, SLOT);
    case BLOCK_TYPE_AG_HEADER:
        return geometry_ag_first_block(g, SLOT);
    default:
        return g->root_inode;
    }
}

static struct block_expectation expectation_of(const struct geometry *g, unsigned type)
{
    struct block_expectation is = {.format_id = g->format_id,
                                   .address = address_of(g, type),
                                   .owner = SLOT,
                                   .type = (enum block_type)type};
    if (type == BLOCK_TYPE_INODE)
        is.owner = is.address;
    else if (type <= BLOCK_TYPE_AG_MAP)
        is.owner = 0;
    return is;
}

// --- tree nodes ------------------------------------------------------------------------------

static int decode_quota(const struct format_item *item, const struct geometry *g,
                        const char **reason)
{
    struct format_quota quota;
    struct quota_disk again;
    int result = format_quota_decode(item, g, &quota, reason);
    if (result != 0)
        return result;
    format_quota_encode(&quota, &again);
    CHECK(memcmp(&again, item->value, sizeof(again)) == 0);
    CHECK(quota_key(quota.kind, quota.id) == item->key.major);
    CHECK(geometry_quota_bucket_of(g, quota.kind, quota.id) < g->slot_count);
    return 0;
}

static uint64_t decode_item(const struct format_item *item, const struct geometry *g)
{
    struct format_extent extent;
    struct format_dirent dirent;
    struct format_xattr xattr;
    uint64_t number, count;
    const char *reason = NULL;
    int result = 0;
    switch (item->key.kind) {
    case ITEM_EXTENT:
        result = format_extent_decode(item, g, &extent, &reason);
        break;
    case ITEM_DIRENT:
        result = format_dirent_decode(item, &dirent, &reason);
        break;
    case ITEM_XATTR:
        result = format_xattr_decode(item, &xattr, &reason);
        break;
    case ITEM_FREE:
        result = format_free_decode(item, &number, &reason);
        break;
    case ITEM_ORPHAN:
        result = format_orphan_decode(item, &number, &reason);
        break;
    case ITEM_REFERENCE:
        result = format_reference_decode(item, &number, &count, &reason);
        break;
    case ITEM_QUOTA:
        result = decode_quota(item, g, &reason);
        break;
    default:
        break;
    }
    CHECK((result == 0) == (reason == NULL));
    if (result != 0)
        return 0;
    if (item->key.kind == ITEM_DIRENT)
        CHECK(dirent.name + dirent.name_length <= item->value + item->length);
    if (item->key.kind == ITEM_XATTR)
        CHECK(xattr.value + xattr.part_length <= item->value + item->length);
    return mark(MARK_ITEMS + item->key.kind);
}

static bool is_accepted(struct tree_node node)
{
    struct format_node again;
    return format_node_open(&again, node.area, node.area_bytes, NULL) == 0;
}

// Takes the first item of a leaf out and puts it back; whatever stood there, the rest stays.
static void edit_leaf(const struct format_node *opened)
{
    uint8_t value[TREE_VALUE_BYTES_MAX];
    uint8_t *area = malloc(opened->area_bytes);
    CHECK(area != NULL);
    memcpy(area, opened->area, opened->area_bytes);
    struct tree_node node = {area, opened->area_bytes};
    struct tree_key key = tree_node_key(node, 0);
    unsigned length = tree_node_length(node, 0), count = tree_node_count(node);
    memcpy(value, tree_node_value(node, 0), length);
    tree_node_remove(node, 0);
    CHECK(is_accepted(node) && tree_node_count(node) == count - 1);
    CHECK(tree_node_has_room(node, length));
    tree_node_insert(node, 0, key, value, length);
    CHECK(is_accepted(node) && tree_node_count(node) == count);
    CHECK(memcmp(tree_node_value(node, 0), value, length) == 0);
    tree_node_cut(node, count / 2);
    CHECK(is_accepted(node));
    free(area);
}

static uint64_t decode_node(const void *area, size_t area_bytes, const struct geometry *g)
{
    struct format_node node;
    const char *reason = NULL;
    uint64_t reached = 0;
    if (format_node_open(&node, area, area_bytes, &reason) != 0) {
        CHECK(reason != NULL);
        return 0;
    }
    for (unsigned i = 0; i < node.item_count; i++) {
        struct format_item item = format_node_item(&node, i);
        CHECK(item.value >= node.area && item.value + item.length <= node.area + node.area_bytes);
        if (node.level > 0)
            reached |= format_node_child(&node, i) == 0 ? 0 : mark(MARK_ITEMS);
        else
            reached |= decode_item(&item, g);
    }
    if (node.level == 0 && node.item_count > 0)
        edit_leaf(&node);
    return reached;
}

// --- blocks ----------------------------------------------------------------------------------

static bool superblock(const uint8_t *block)
{
    const struct superblock_disk *disk = (const struct superblock_disk *)block;
    struct geometry g;
    uint8_t again[BLOCK_BYTES];
    uint64_t places[FORMAT_SUPERBLOCK_COUNT];
    if (format_superblock_verify(disk, FORMAT_SUPERBLOCK_BLOCK) != 0 ||
        format_superblock_decode(disk, le64_get(disk->block_count), &g) != 0)
        return false;
    geometry_superblock_blocks(&g, places);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++)
        CHECK(places[i] < g.block_count);
    CHECK(g.slot_count > 0 && g.slot_count <= FORMAT_SLOT_COUNT_MAX);
    CHECK(geometry_slot_state_block(&g, g.slot_count - 1) < g.block_count);
    CHECK(geometry_journal_block(&g, g.slot_count - 1) <= g.block_count - g.journal_block_count);
    for (uint32_t ag = 0; ag<g.ag_count; ag += g.ag_count> 1 ? g.ag_count - 1 : 1) {
        uint32_t found;
        uint64_t first = geometry_ag_first_block(&g, ag), count = geometry_ag_block_count(&g, ag);
        CHECK(count > 0 && count <= g.block_count && first <= g.block_count - count);
        CHECK(geometry_ag_of_block(&g, first + count - 1, &found) && found == ag);
    }
    if ((g.feature_compat | g.feature_ro_compat) == 0) {
        format_superblock_encode((struct superblock_disk *)again, &g, FORMAT_SUPERBLOCK_BLOCK);
        format_block_seal(again, format_block_version(block));
        CHECK(memcmp(again, block, BLOCK_BYTES) == 0);
    }
    return true;
}

static bool heartbeat(const uint8_t *block, const struct geometry *g, struct text *text)
{
    struct format_heartbeat decoded;
    struct heartbeat_content content;
    uint8_t again[BLOCK_BYTES];
    const struct heartbeat_disk *disk = (const struct heartbeat_disk *)block;
    if (heartbeat_decode(block, g, SLOT, &content) != 0 ||
        format_heartbeat_decode(disk, &decoded, NULL) != 0)
        return false;
    format_heartbeat_to_text(&decoded, text);
    heartbeat_encode(again, g, SLOT, &content);
    CHECK(heartbeat_decode(again, g, SLOT, &content) == 0); // bytes behind a text's 0 are lost
    return true;
}

static bool mailbox(const uint8_t *block, const struct geometry *g)
{
    struct format_mailbox decoded;
    struct mailbox_content content;
    uint8_t again[BLOCK_BYTES];
    if (mailbox_decode(block, g, SLOT, &content) != 0 ||
        format_mailbox_decode((const struct mailbox_disk *)block, &decoded, NULL) != 0)
        return false;
    mailbox_encode(again, g, SLOT, &content);
    CHECK(mailbox_decode(again, g, SLOT, &content) == 0); // bytes behind a text's 0 are lost
    return true;
}

static bool claim(const uint8_t *block, struct text *text)
{
    struct format_claim decoded;
    if (format_claim_decode((const struct claim_disk *)block, &decoded, NULL) != 0)
        return false;
    format_claim_to_text(&decoded, text);
    return true;
}

static bool journal_header(const uint8_t *block, const struct geometry *g)
{
    struct journal_header header;
    struct journal_header_disk again;
    const struct journal_header_disk *disk = (const struct journal_header_disk *)block;
    if (!journal_header_decode(disk, g->journal_block_count, &header))
        return false;
    journal_header_encode(&again, &header);
    CHECK(memcmp(&again.magic, &disk->magic,
                 BLOCK_BYTES - offsetof(struct journal_header_disk, magic)) == 0);
    return true;
}

static bool group_header(const uint8_t *block, const struct geometry *g, uint64_t *reached)
{
    const struct ag_header_disk *disk = (const struct ag_header_disk *)block;
    struct format_ag header;
    if (format_ag_decode(disk, g, SLOT, &header, NULL) != 0)
        return false;
    CHECK(header.reserve_count <= AG_RESERVE_MAX);
    *reached |= decode_node(disk->free_root, sizeof(disk->free_root), g);
    *reached |= decode_node(disk->reference_root, sizeof(disk->reference_root), g);
    return true;
}

static bool inode(const uint8_t *block, const struct geometry *g, uint64_t *reached)
{
    const struct inode_disk *disk = (const struct inode_disk *)block;
    struct format_inode decoded;
    if (format_inode_decode(disk, g, &decoded, NULL) != 0)
        return false;
    *reached |= decode_node(disk->root, sizeof(disk->root), g);
    return true;
}

static bool slot_state(const uint8_t *block, const struct geometry *g, uint64_t *reached)
{
    const struct slot_state_disk *disk = (const struct slot_state_disk *)block;
    if (format_slot_state_check(disk, NULL) != 0)
        return false;
    *reached |= decode_node(disk->orphan_root, sizeof(disk->orphan_root), g);
    return true;
}

static bool quota_bucket(const uint8_t *block, const struct geometry *g, uint64_t *reached)
{
    const struct quota_bucket_disk *disk = (const struct quota_bucket_disk *)block;
    if (format_quota_bucket_check(disk, NULL) != 0)
        return false;
    *reached |= decode_node(disk->record_root, sizeof(disk->record_root), g);
    return true;
}

static bool quota_ledger(const uint8_t *block)
{
    const struct quota_ledger_disk *disk = (const struct quota_ledger_disk *)block;
    struct quota_ledger_disk again;
    if (format_quota_ledger_check(disk, NULL) != 0)
        return false;
    memcpy(&again, disk, sizeof(again));
    for (unsigned i = 0; i < QUOTA_LEDGER_ENTRIES; i++) {
        struct format_quota_entry entry;
        format_quota_entry_decode(disk, i, &entry);
        format_quota_entry_encode(&again, i, &entry);
    }
    CHECK(memcmp(&again, disk, sizeof(again)) == 0);
    return true;
}

static uint64_t decode_verified(unsigned type, const uint8_t *block, const struct geometry *g,
                                struct text *text)
{
    uint64_t reached = 0;
    bool is_decoded = false;
    switch (type) {
    case BLOCK_TYPE_CLAIM:
        is_decoded = claim(block, text);
        break;
    case BLOCK_TYPE_AG_MAP:
        is_decoded = format_ag_map_check((const struct ag_map_disk *)block, g, 0, NULL) == 0;
        break;
    case BLOCK_TYPE_HEARTBEAT:
        is_decoded = heartbeat(block, g, text);
        break;
    case BLOCK_TYPE_MAILBOX:
        is_decoded = mailbox(block, g);
        break;
    case BLOCK_TYPE_SLOT_STATE:
        is_decoded = slot_state(block, g, &reached);
        break;
    case BLOCK_TYPE_QUOTA_BUCKET:
        is_decoded = quota_bucket(block, g, &reached);
        break;
    case BLOCK_TYPE_QUOTA_LEDGER:
        is_decoded = quota_ledger(block);
        break;
    case BLOCK_TYPE_JOURNAL_HEADER:
        is_decoded = journal_header(block, g);
        break;
    case BLOCK_TYPE_AG_HEADER:
        is_decoded = group_header(block, g, &reached);
        break;
    case BLOCK_TYPE_INODE:
        is_decoded = inode(block, g, &reached);
        break;
    case BLOCK_TYPE_TREE_NODE:
        reached = decode_node(((const struct tree_block_disk *)block)->area,
                              sizeof(struct tree_block_disk) - sizeof(struct block_header_disk), g);
        is_decoded = reached != 0;
        break;
    default:
        break;
    }
    return is_decoded ? reached | mark(type) : reached;
}

static uint64_t run(const uint8_t *bytes, size_t length)
{
    struct fuzz_script script = {bytes, length};
    struct geometry g = {0};
    make_geometry(&g);
    unsigned type = fuzz_take_byte(&script) % TYPE_COUNT;
    uint8_t flags = fuzz_take_byte(&script);
    struct block_expectation is = expectation_of(&g, type);
    uint8_t *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    char *room = malloc(TEXT_BYTES);
    CHECK(block != NULL && room != NULL);
    struct text text;
    text_init(&text, room, TEXT_BYTES);

    size_t from = (flags & WITH_HEADER) != 0 ? 0 : sizeof(struct block_header_disk);
    memset(block, 0, BLOCK_BYTES);
    format_block_init(block, &is);
    fuzz_take(&script, block + from, BLOCK_BYTES - from);
    uint64_t version = format_block_version(block);
    bool is_ours = le32_get(((const struct block_header_disk *)block)->magic) == BLOCK_MAGIC;
    if ((flags & IS_UNSEALED) == 0 && is_ours)
        format_block_seal(block, version > 0 ? version : 1);

    uint64_t reached = type == 0 ? mark(0) : 0;
    if (type == BLOCK_TYPE_SUPERBLOCK)
        reached = superblock(block) ? mark(type) : 0;
    else if (format_block_verify(block, &is) == 0)
        reached |= decode_verified(type, block, &g, &text);
    format_block_header_to_text(block, &text);
    format_block_to_text(block, &text);
    free(room);
    free(block);
    return reached;
}

// --- seeds -----------------------------------------------------------------------------------

// Adds an item behind the others of the node.
static void add_item(struct tree_node node, uint8_t kind, uint64_t major, const void *value,
                     unsigned length)
{
    tree_node_insert(node, tree_node_count(node), TREE_KEY(kind, major, 0), value, length);
}

static void seed_inode(struct inode_disk *disk, const struct geometry *g)
{
    struct tree_node root = {disk->root, sizeof(disk->root)};
    struct extent_disk extent = {.start_block = le64_make(geometry_ag_first_block(g, 1) + 64),
                                 .block_count = le32_make(4),
                                 .flags = le32_make(EXTENT_UNWRITTEN)};
    uint8_t xattr[] = {3, 0, 0, 0, 6, 0, 0, 0, 'u', 's', 'e', 'r', '.', 'a', 'x', 'y', 'z'};
    disk->generation = le64_make(7);
    disk->size = le64_make(4 * BLOCK_BYTES);
    disk->block_count = le64_make(4);
    disk->mode = le32_make(0100644);
    disk->link_count = le32_make(1);
    disk->xattr_count = le32_make(1);
    format_node_init(root.area, root.area_bytes, 0);
    add_item(root, ITEM_XATTR, 99, xattr, sizeof(xattr));
    add_item(root, ITEM_EXTENT, 0, &extent, sizeof(extent));
}

// Trees as blocks: a directory's leaf, a small file's, an inner node, references.
static void seed_tree(struct tree_block_disk *disk, unsigned which, const struct geometry *g)
{
    static const uint8_t entry[] = {9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 1, 'a'};
    struct tree_node node = {disk->area, sizeof(disk->area)};
    le64_t child = le64_make(geometry_ag_first_block(g, 1) + 65);
    struct reference_disk reference = {le64_make(8), le64_make(2)};
    format_node_init(node.area, node.area_bytes, which == 2);
    if (which == 0)
        add_item(node, ITEM_DIRENT, 5, entry, sizeof(entry));
    else if (which == 1)
        add_item(node, ITEM_INLINE, 0, "content", 7);
    else if (which == 2)
        add_item(node, ITEM_EXTENT, 0, &child, sizeof(child));
    else
        add_item(node, ITEM_REFERENCE, geometry_ag_first_block(g, 1) + 64, &reference,
                 sizeof(reference));
}

static void seed_slot_state(struct slot_state_disk *disk)
{
    struct tree_node root = {disk->orphan_root, sizeof(disk->orphan_root)};
    struct orphan_disk orphan = {le64_make(3)};
    format_node_init(root.area, root.area_bytes, 0);
    add_item(root, ITEM_ORPHAN, 4711, &orphan, sizeof(orphan));
}

static void seed_quota_bucket(struct quota_bucket_disk *disk)
{
    struct tree_node root = {disk->record_root, sizeof(disk->record_root)};
    struct format_quota quota = {
        .kind = QUOTA_PROJECT, .id = 7, .block_hard = 4096, .block_used = -3, .holders = 2};
    struct quota_disk record;
    format_quota_encode(&quota, &record);
    format_node_init(root.area, root.area_bytes, 0);
    add_item(root, ITEM_QUOTA, quota_key(QUOTA_PROJECT, 7), &record, sizeof(record));
}

static void seed_quota_ledger(struct quota_ledger_disk *disk)
{
    struct format_quota_entry entry = {.is_used = true,
                                       .kind = QUOTA_GROUP,
                                       .id = 100,
                                       .block_share = 4096,
                                       .inode_share = QUOTA_SHARE_ENDLESS,
                                       .block_spent = -3};
    format_quota_entry_encode(disk, 1, &entry);
}

static void seed_journal_header(struct journal_header_disk *disk, const struct geometry *g)
{
    struct journal_header header = {.state = JOURNAL_STATE_IN_USE,
                                    .block_count = g->journal_block_count,
                                    .generation = 4,
                                    .tail_position = 10,
                                    .tail_sequence = 3};
    journal_header_encode(disk, &header);
}

static void seed_block(unsigned type, uint8_t *block, struct geometry *g)
{
    struct heartbeat_content beat = {
        .incarnation = 2, .beat = 5, .state = HEARTBEAT_RUNNING, .node_id = 1, .node_name = "n1"};
    struct mailbox_content note = {.victim_incarnation = 2, .reason = "silent"};
    if (type == BLOCK_TYPE_SUPERBLOCK)
        format_superblock_encode((struct superblock_disk *)block, g, FORMAT_SUPERBLOCK_BLOCK);
    else if (type == BLOCK_TYPE_HEARTBEAT)
        heartbeat_encode(block, g, SLOT, &beat);
    else if (type == BLOCK_TYPE_MAILBOX)
        mailbox_encode(block, g, SLOT, &note);
    else if (type == BLOCK_TYPE_SLOT_STATE)
        seed_slot_state((struct slot_state_disk *)block);
    else if (type == BLOCK_TYPE_JOURNAL_HEADER)
        seed_journal_header((struct journal_header_disk *)block, g);
    else if (type == BLOCK_TYPE_AG_HEADER)
        format_ag_header_init((struct ag_header_disk *)block, g, SLOT, 100);
    else if (type == BLOCK_TYPE_INODE)
        seed_inode((struct inode_disk *)block, g);
    else if (type == BLOCK_TYPE_QUOTA_BUCKET)
        seed_quota_bucket((struct quota_bucket_disk *)block);
    else if (type == BLOCK_TYPE_QUOTA_LEDGER)
        seed_quota_ledger((struct quota_ledger_disk *)block);
}

static size_t seed(unsigned number, uint8_t *bytes)
{
    _Alignas(8) uint8_t block[BLOCK_BYTES] = {0};
    struct geometry g = {0};
    make_geometry(&g);
    if (number >= TYPE_COUNT + TREE_SEEDS)
        return 0;
    unsigned type = number < TYPE_COUNT ? number : BLOCK_TYPE_TREE_NODE;
    if (number >= TYPE_COUNT)
        seed_tree((struct tree_block_disk *)block, number - TYPE_COUNT, &g);
    else
        seed_block(type, block, &g);
    bytes[0] = (uint8_t)type;
    size_t length = BLOCK_BYTES;
    while (length > sizeof(struct block_header_disk) && block[length - 1] == 0)
        length--;
    length -= sizeof(struct block_header_disk);
    memcpy(bytes + 2, block + sizeof(struct block_header_disk), length);
    return length + 2;
}

const struct fuzz_target fuzz_target = {"block", run, seed, marks};
