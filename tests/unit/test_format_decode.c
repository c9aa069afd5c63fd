// SPDX-License-Identifier: Apache-2.0
// The decoders: what is sound is decoded, each rule is broken once and named, and no bytes make
// them read outside of their block (run under the sanitisers as well).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/base/random.h"
#include "fs/format_decode.h"
#include "fs/format_fields.h"

static struct geometry small_geometry(void)
{
    struct geometry g = {
        .block_count = 16384,
        .slot_table_block = 19,
        .journal_block = 273,
        .ag_base_block = 2560,
        .slot_count = 1,
        .journal_block_count = 2048,
        .ag_block_shift = 10,
        .ag_count = 14,
        .ag_map_block_count = 1,
    };
    g.root_inode = format_ag_first_data_block(&g, 0);
    return g;
}

// --- nodes -----------------------------------------------------------------------------------

enum { AREA_BYTES = 3712 };

struct area {
    uint8_t bytes[AREA_BYTES];
} __attribute__((aligned(8)));

static void put(struct area *area, uint8_t kind, uint64_t major, uint32_t minor, const void *value,
                uint16_t length)
{
    struct tree_node_disk *head = (struct tree_node_disk *)area->bytes;
    uint16_t count = le16_get(head->item_count);
    uint16_t offset = (uint16_t)(le16_get(head->heap_start) - length);
    struct tree_slot_disk slot = {
        .key = {.kind = kind, .minor = le32_make(minor), .major = le64_make(major)},
        .offset = le16_make(offset),
        .length = le16_make(length),
    };
    memcpy(area->bytes + sizeof(*head) + count * sizeof(slot), &slot, sizeof(slot));
    memcpy(area->bytes + offset, value, length);
    head->item_count = le16_make((uint16_t)(count + 1));
    head->heap_start = le16_make(offset);
}

static struct area some_node(void)
{
    struct area area;
    format_node_init(area.bytes, sizeof(area.bytes), 0);
    put(&area, ITEM_XATTR, 5, 0, "first value", 11);
    put(&area, ITEM_EXTENT, 0, 0, "0123456789abcdef", 16);
    put(&area, ITEM_EXTENT, 10, 0, "0123456789abcdef", 16);
    put(&area, ITEM_EXTENT, 10, 1, "0123456789abcdef", 16);
    return area;
}

static void test_node_reads_what_was_put(void **state)
{
    (void)state;
    struct area area = some_node();
    struct format_node node;
    assert_int_equal(format_node_open(&node, area.bytes, sizeof(area.bytes), NULL), 0);
    assert_int_equal(node.item_count, 4);
    struct format_item item = format_node_item(&node, 0);
    assert_int_equal(item.key.kind, ITEM_XATTR);
    assert_int_equal(item.key.major, 5);
    assert_int_equal(item.length, 11);
    assert_memory_equal(item.value, "first value", 11);
    assert_int_equal(format_node_item(&node, 3).key.minor, 1);
}

static void expect_bad_node(const struct area *area, const char *what)
{
    struct format_node node;
    const char *reason = NULL;
    int result = format_node_open(&node, area->bytes, sizeof(area->bytes), &reason);
    if (result != -ERROR_CORRUPT_TREE || reason == NULL)
        fail_msg("%s gave %d", what, result);
}

struct node_damage {
    const char *structure; // "tree_node", or "tree_slot" of slot 1
    const char *field;
    uint64_t value;
};

static void test_node_refuses_each_damage(void **state)
{
    (void)state;
    static const struct node_damage damages[] = {
        {"tree_node", "item_count", 3},     {"tree_node", "item_count", 5},
        {"tree_node", "item_count", 65535}, {"tree_node", "heap_start", 0},
        {"tree_node", "heap_start", 20},    {"tree_node", "heap_start", 65535},
        {"tree_node", "heap_free", 1},      {"tree_node", "level", 1},
        {"tree_node", "level", 255},        {"tree_slot", "kind", 0},
        {"tree_slot", "kind", 8},           {"tree_slot", "kind", ITEM_INLINE},
        {"tree_slot", "major", 11},         {"tree_slot", "offset", 0},
        {"tree_slot", "offset", 3711},      {"tree_slot", "offset", 3701},
        {"tree_slot", "offset", 65535},     {"tree_slot", "length", 17},
        {"tree_slot", "length", 65535},
    };
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct area area = some_node();
        bool is_head = strcmp(damages[i].structure, "tree_node") == 0;
        uint8_t *place =
            area.bytes +
            (is_head ? 0 : sizeof(struct tree_node_disk) + sizeof(struct tree_slot_disk));
        const struct format_field *field =
            format_field_find(format_structure_by_name(damages[i].structure), damages[i].field);
        format_field_set(field, place, 0, damages[i].value);
        expect_bad_node(&area, damages[i].field);
    }
    struct area area = some_node();
    area.bytes[7] = 1; // reserved
    expect_bad_node(&area, "reserved0");
    area = some_node();
    area.bytes[sizeof(struct tree_node_disk) + 1] = 1;
    expect_bad_node(&area, "key reserved");
}

static void test_node_survives_mutation(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 77);
    unsigned accepted = 0;
    for (int round = 0; round < 100000; round++) {
        struct area area = some_node();
        struct format_node node;
        uint64_t sum = 0;
        for (uint64_t i = random_below(&random, 4); i > 0; i--)
            area.bytes[random_below(&random, 120)] = (uint8_t)random_u64(&random);
        if (format_node_open(&node, area.bytes, sizeof(area.bytes), NULL) != 0)
            continue;
        accepted++;
        for (unsigned i = 0; i < node.item_count; i++) {
            struct format_item item = format_node_item(&node, i);
            for (unsigned k = 0; k < item.length; k++)
                sum += item.value[k];
        }
        assert_true(sum < UINT64_MAX);
    }
    assert_true(accepted > 0);
}

static void test_key_order(void **state)
{
    (void)state;
    static const struct format_key keys[] = {{1, 0, 0}, {1, 7, 0}, {1, 0, 3}, {2, 0, 1}, {2, 5, 1}};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < 5; k++) {
            int order = format_key_compare(&keys[i], &keys[k]);
            assert_true(i < k ? order < 0 : i > k ? order > 0 : order == 0);
        }
    }
}

// --- values ----------------------------------------------------------------------------------

static struct format_item item_of(uint8_t kind, const void *value, size_t length)
{
    return (struct format_item){.key = {.kind = kind}, .value = value, .length = (uint16_t)length};
}

static void test_extent_rules(void **state)
{
    (void)state;
    struct geometry g = small_geometry();
    struct extent_disk disk = {.start_block = le64_make(2600), .block_count = le32_make(10)};
    struct format_item item = item_of(ITEM_EXTENT, &disk, sizeof(disk));
    struct format_extent extent;
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), 0);
    assert_int_equal(extent.start_block, 2600);
    item.key.major = FORMAT_FILE_BYTES_MAX / BLOCK_BYTES - 9;
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
    item.key.major = UINT64_MAX;
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
    item.key.major = 0;
    disk.flags = le32_make(2);
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
    disk.flags = le32_make(0);
    disk.block_count = le32_make(0);
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
    disk.block_count = le32_make(1024);
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
    disk.block_count = le32_make(1);
    disk.start_block = le64_make(UINT64_MAX);
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
    item.length--;
    assert_int_equal(format_extent_decode(&item, &g, &extent, NULL), -ERROR_CORRUPT_TREE);
}

static int decode_name(const char *name, size_t length, size_t said)
{
    uint8_t value[sizeof(struct dirent_disk) + 256] = {0};
    struct dirent_disk disk = {.inode = le64_make(1), .name_length = (uint8_t)said};
    struct format_dirent entry;
    memcpy(value, &disk, sizeof(disk));
    memcpy(value + sizeof(disk), name, length);
    struct format_item item = item_of(ITEM_DIRENT, value, sizeof(disk) + length);
    return format_dirent_decode(&item, &entry, NULL);
}

static void test_dirent_rules(void **state)
{
    (void)state;
    assert_int_equal(decode_name("a", 1, 1), 0);
    assert_int_equal(decode_name("...", 3, 3), 0);
    assert_int_equal(decode_name("", 0, 0), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(decode_name(".", 1, 1), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(decode_name("..", 2, 2), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(decode_name("a/b", 3, 3), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(decode_name("a\0b", 3, 3), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(decode_name("abc", 3, 2), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(decode_name("abc", 3, 4), -ERROR_CORRUPT_DIRECTORY);
}

static void test_values_of_any_bytes_end_inside(void **state)
{
    (void)state;
    struct random random;
    struct geometry g = small_geometry();
    random_init(&random, 5);
    for (int round = 0; round < 100000; round++) {
        size_t length = random_below(&random, 40);
        uint8_t *value =
            malloc(length + 1); // exact, so that the sanitiser sees each byte behind it
        struct format_item item = item_of(0, value, length);
        struct format_extent extent;
        struct format_dirent entry;
        struct format_xattr xattr;
        uint64_t a, b;
        for (size_t i = 0; i < length; i++)
            value[i] = (uint8_t)(random_u64(&random) >> random_below(&random, 60));
        format_extent_decode(&item, &g, &extent, NULL);
        format_free_decode(&item, &a, NULL);
        format_orphan_decode(&item, &a, NULL);
        format_reference_decode(&item, &a, &b, NULL);
        if (format_dirent_decode(&item, &entry, NULL) == 0)
            assert_true(entry.name + entry.name_length == value + length);
        if (format_xattr_decode(&item, &xattr, NULL) == 0)
            assert_true(xattr.value + xattr.part_length == value + length);
        free(value);
    }
}

// --- inodes, groups, slots -------------------------------------------------------------------

static void make_inode(struct inode_disk *disk, const struct geometry *g)
{
    memset(disk, 0, sizeof(*disk));
    disk->header.owner = le64_make(g->root_inode + 5);
    disk->generation = le64_make(9);
    disk->mode = le32_make(S_IFREG | 0644);
    disk->link_count = le32_make(1);
}

struct inode_damage {
    const char *field;
    uint64_t value;
};

static void test_inode_rules(void **state)
{
    (void)state;
    static const struct inode_damage damages[] = {
        {"generation", 0},
        {"mode", 0},
        {"mode", S_IFREG | 0200000},
        {"mode", S_IFDIR | 0755}, // without a parent
        {"size", UINT64_MAX},
        {"truncate_size", FORMAT_FILE_BYTES_MAX + 1},
        {"flags", 2},
        {"link_count", 0}, // and no orphan
        {"parent", 2600},  // only directories have one
        {"modified_nanoseconds", 1000000000},
        {"created_nanoseconds", UINT32_MAX},
    };
    struct geometry g = small_geometry();
    struct inode_disk disk;
    struct format_inode inode;
    make_inode(&disk, &g);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), 0);
    assert_int_equal(inode.number, g.root_inode + 5);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const char *reason = NULL;
        make_inode(&disk, &g);
        format_field_set(format_field_find(format_structure_of(BLOCK_TYPE_INODE), damages[i].field),
                         &disk, 0, damages[i].value);
        if (format_inode_decode(&disk, &g, &inode, &reason) != -ERROR_CORRUPT_INODE ||
            reason == NULL)
            fail_msg("%s was accepted", damages[i].field);
    }
    make_inode(&disk, &g);
    disk.reserved1[100] = 1;
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), -ERROR_CORRUPT_INODE);
    make_inode(&disk, &g);
    disk.mode = le32_make(S_IFLNK | 0777);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), -ERROR_CORRUPT_INODE);
    disk.size = le64_make(7);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), 0);
    disk.link_count = le32_make(0);
    disk.flags = le32_make(INODE_FLAG_ORPHAN);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), 0);
    disk.orphan_slot = le32_make(g.slot_count);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), -ERROR_CORRUPT_INODE);
}

// The flags of chattr: unknown on a volume whose superblock does not have their feature.
static void test_inode_protection(void **state)
{
    (void)state;
    struct geometry old = small_geometry(), g = small_geometry();
    struct inode_disk disk;
    struct format_inode inode;
    g.feature_incompat = FEATURE_INCOMPAT_PROTECTION;
    make_inode(&disk, &g);
    disk.flags = le32_make(INODE_FLAG_IMMUTABLE | INODE_FLAG_APPEND);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), 0);
    assert_int_equal(format_inode_decode(&disk, &old, &inode, NULL), -ERROR_CORRUPT_INODE);
    disk.flags = le32_make(1u << 3);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), -ERROR_CORRUPT_INODE);
    make_inode(&disk, &g);
    disk.mode = le32_make(S_IFIFO | 0600);
    disk.flags = le32_make(INODE_FLAG_APPEND);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), -ERROR_CORRUPT_INODE);
}

static void test_inode_projects(void **state)
{
    (void)state;
    struct geometry old = small_geometry(), g = small_geometry();
    struct inode_disk disk;
    struct format_inode inode;
    old.feature_incompat = FEATURE_INCOMPAT_PROTECTION;
    g.feature_incompat = FEATURE_INCOMPAT_PROTECTION | FEATURE_INCOMPAT_PROJECTS;
    make_inode(&disk, &g);
    disk.project_id = le32_make(7);
    disk.flags = le32_make(INODE_FLAG_PROJECT_DOWN);
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), -ERROR_CORRUPT_INODE); // a file
    disk.mode = le32_make(S_IFDIR | 0755);
    disk.parent = le64_make(le64_get(disk.header.owner));
    assert_int_equal(format_inode_decode(&disk, &g, &inode, NULL), 0);
    assert_int_equal(inode.project_id, 7);
    assert_int_equal(format_inode_decode(&disk, &old, &inode, NULL), -ERROR_CORRUPT_INODE);
}

static void test_group_rules(void **state)
{
    (void)state;
    struct geometry g = small_geometry();
    struct ag_header_disk disk;
    struct format_ag ag;
    format_ag_header_init(&disk, &g, 3, 0);
    assert_int_equal(format_ag_decode(&disk, &g, 3, &ag, NULL), 0);
    assert_int_equal(ag.reserve_count, AG_RESERVE_MAX);
    assert_int_equal(format_ag_decode(&disk, &g, 13, &ag, NULL), -ERROR_BLOCK_CONTENT);
    disk.free_block_count = disk.block_count;
    assert_int_equal(format_ag_decode(&disk, &g, 3, &ag, NULL), -ERROR_BLOCK_CONTENT);
    format_ag_header_init(&disk, &g, 3, 0);
    disk.reserve[5] = le64_make(geometry_ag_first_block(&g, 3)); // the header itself
    assert_int_equal(format_ag_decode(&disk, &g, 3, &ag, NULL), -ERROR_BLOCK_CONTENT);
    format_ag_header_init(&disk, &g, 3, 0);
    disk.reserve_count = le32_make(31); // the last entry is not 0 then
    assert_int_equal(format_ag_decode(&disk, &g, 3, &ag, NULL), -ERROR_BLOCK_CONTENT);
}

static void test_slot_blocks_and_claim_rules(void **state)
{
    (void)state;
    struct heartbeat_disk heartbeat = {.state = le32_make(HEARTBEAT_STOPPED)};
    struct mailbox_disk mailbox = {.writer_slot = le32_make(3)};
    struct claim_disk claim = {.purpose = le32_make(CLAIM_MKFS)};
    struct format_heartbeat host_heartbeat;
    struct format_mailbox host_mailbox;
    struct format_claim host_claim;
    assert_int_equal(format_heartbeat_decode(&heartbeat, &host_heartbeat, NULL), 0);
    assert_int_equal(format_mailbox_decode(&mailbox, &host_mailbox, NULL), 0);
    assert_int_equal(format_claim_decode(&claim, &host_claim, NULL), 0);
    heartbeat.state = le32_make(5);
    assert_int_equal(format_heartbeat_decode(&heartbeat, &host_heartbeat, NULL),
                     -ERROR_BLOCK_CONTENT);
    memset(mailbox.reason, 'x', sizeof(mailbox.reason));
    assert_int_equal(format_mailbox_decode(&mailbox, &host_mailbox, NULL), -ERROR_BLOCK_CONTENT);
    claim.reserved[0] = 1;
    assert_int_equal(format_claim_decode(&claim, &host_claim, NULL), -ERROR_BLOCK_CONTENT);
}

static void test_map_has_no_bits_behind_the_last_group(void **state)
{
    (void)state;
    struct geometry g = small_geometry();
    struct ag_map_disk map = {.bits = {0xff, 0x3f}}; // 14 groups
    assert_int_equal(format_ag_map_check(&map, &g, 0, NULL), 0);
    map.bits[1] = 0x7f;
    assert_int_equal(format_ag_map_check(&map, &g, 0, NULL), -ERROR_BLOCK_CONTENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_reads_what_was_put),
        cmocka_unit_test(test_node_refuses_each_damage),
        cmocka_unit_test(test_node_survives_mutation),
        cmocka_unit_test(test_key_order),
        cmocka_unit_test(test_extent_rules),
        cmocka_unit_test(test_dirent_rules),
        cmocka_unit_test(test_values_of_any_bytes_end_inside),
        cmocka_unit_test(test_inode_rules),
        cmocka_unit_test(test_inode_protection),
        cmocka_unit_test(test_inode_projects),
        cmocka_unit_test(test_group_rules),
        cmocka_unit_test(test_slot_blocks_and_claim_rules),
        cmocka_unit_test(test_map_has_no_bits_behind_the_last_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
