// SPDX-License-Identifier: Apache-2.0
// The disk format: what is encoded is decoded, what is damaged is refused with the check that it
// fails, the arithmetic of groups holds at its edges, and the field tables cover every byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/base/random.h"
#include "fs/format.h"
#include "fs/format_decode.h"
#include "fs/format_fields.h"
#include "fs/format_text.h"

static struct geometry small_geometry(void)
{
    struct geometry g = {
        .label = "images",
        .block_count = 16384, // 64 MiB
        .slot_table_block = 19,
        .journal_block = 273,
        .ag_base_block = 2560,
        .slot_count = 1,
        .journal_block_count = 2048,
        .ag_block_shift = 10,
        .ag_count = 14,
        .ag_map_block_count = 1,
        .protocol_version = 1,
        .created_ns = 1,
    };
    for (uint8_t i = 0; i < 16; i++) {
        g.format_id[i] = i;
        g.uuid[i] = (uint8_t)(16 + i);
        g.hash_key[i] = (uint8_t)(32 + i);
        g.device_id[i] = (uint8_t)(48 + i);
    }
    g.root_inode = format_ag_first_data_block(&g, 0);
    return g;
}

// --- headers ---------------------------------------------------------------------------------

static const uint8_t some_id[16] = {1, 2, 3, 4};

static struct block_expectation some_expectation(void)
{
    return (struct block_expectation){
        .format_id = some_id, .address = 77, .owner = 5, .type = BLOCK_TYPE_INODE};
}

static void test_block_seal_verifies(void **state)
{
    (void)state;
    uint8_t block[BLOCK_BYTES];
    memset(block, 0xa5, sizeof(block));
    struct block_expectation is = some_expectation();
    format_block_init(block, &is);
    format_block_seal(block, 42);
    assert_int_equal(format_block_verify(block, &is), 0);
    assert_int_equal(format_block_version(block), 42);
}

static void test_block_verify_names_the_check(void **state)
{
    (void)state;
    uint8_t block[BLOCK_BYTES] = {0};
    struct block_expectation is = some_expectation(), other = is;
    assert_int_equal(format_block_verify(block, &is), -ERROR_BLOCK_MAGIC);
    format_block_init(block, &is);
    format_block_seal(block, 1);
    other.type = BLOCK_TYPE_TREE_NODE;
    assert_int_equal(format_block_verify(block, &other), -ERROR_BLOCK_TYPE);
    other = is;
    other.address = 78;
    assert_int_equal(format_block_verify(block, &other), -ERROR_BLOCK_ADDRESS);
    other = is;
    other.owner = 6;
    assert_int_equal(format_block_verify(block, &other), -ERROR_BLOCK_OWNER);
    other = is;
    uint8_t another_id[16] = {1, 2, 3, 5};
    other.format_id = another_id;
    assert_int_equal(format_block_verify(block, &other), -ERROR_BLOCK_FORMAT_ID);

    struct block_header_disk *header = (struct block_header_disk *)block;
    header->format_version = le16_make(2);
    format_block_seal(block, 1);
    assert_int_equal(format_block_verify(block, &is), -ERROR_BLOCK_FORMAT_VERSION);
    header->format_version = le16_make(FORMAT_VERSION);
    header->reserved1 = le64_make(1);
    format_block_seal(block, 1);
    assert_int_equal(format_block_verify(block, &is), -ERROR_BLOCK_CONTENT);
}

static void test_block_verify_finds_every_flipped_bit(void **state)
{
    (void)state;
    uint8_t block[BLOCK_BYTES] = {0};
    struct block_expectation is = some_expectation();
    format_block_init(block, &is);
    format_block_seal(block, 1);
    for (size_t bit = 0; bit < 8 * sizeof(block); bit += bit < 1024 ? 1 : 61) {
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int result = format_block_verify(block, &is);
        assert_true(result == -ERROR_BLOCK_CHECKSUM || (bit < 32 && result == -ERROR_BLOCK_MAGIC));
        block[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(format_block_verify(block, &is), 0);
}

// --- superblock ------------------------------------------------------------------------------

static void test_superblock_round_trip(void **state)
{
    (void)state;
    struct geometry g = small_geometry(), back;
    struct superblock_disk disk;
    format_superblock_encode(&disk, &g, 272);
    format_block_seal(&disk, 9);
    assert_int_equal(format_superblock_verify(&disk, 272), 0);
    assert_int_equal(format_superblock_verify(&disk, 16), -ERROR_BLOCK_ADDRESS);
    assert_int_equal(format_superblock_decode(&disk, g.block_count, &back), 0);
    assert_memory_equal(&back, &g, sizeof(g));
    assert_int_equal(format_superblock_decode(&disk, g.block_count - 1, &back),
                     -ERROR_VOLUME_SHRUNK);
}

static void test_superblock_features_are_refused(void **state)
{
    (void)state;
    struct geometry g = small_geometry(), back;
    struct superblock_disk disk;
    g.feature_incompat = FEATURE_INCOMPAT_IN_PROGRESS;
    format_superblock_encode(&disk, &g, 16);
    assert_int_equal(format_superblock_decode(&disk, g.block_count, &back),
                     -ERROR_SUPERBLOCK_IN_PROGRESS);
    g.feature_incompat = 1u << 5;
    format_superblock_encode(&disk, &g, 16);
    assert_int_equal(format_superblock_decode(&disk, g.block_count, &back),
                     -ERROR_SUPERBLOCK_FEATURE);
    g.feature_incompat = 0;
    g.feature_ro_compat = 1u << 5;
    format_superblock_encode(&disk, &g, 16);
    assert_int_equal(format_superblock_decode(&disk, g.block_count, &back), 0);
    assert_int_equal(back.feature_ro_compat, 1u << 5);
}

struct geometry_damage {
    const char *field;
    uint64_t value;
};

static void test_superblock_geometry_is_checked(void **state)
{
    (void)state;
    static const struct geometry_damage damages[] = {
        {"block_count", 0},
        {"block_count", 200},
        {"block_count", UINT64_MAX},
        {"slot_table_block", 18},  // over the map
        {"slot_table_block", 265}, // over the copy at 272
        {"slot_table_block", 272},
        {"slot_table_block", UINT64_MAX},
        {"journal_block", 272},
        {"journal_block", 600}, // the last journal runs into group 0
        {"journal_block", UINT64_MAX},
        {"ag_base_block", 2320}, // inside the journal
        {"ag_base_block", UINT64_MAX},
        {"ag_base_block", 3072}, // the last group runs over the end
        {"root_inode", 0},
        {"root_inode", 2560}, // a group's header
        {"root_inode", 16383},
        {"slot_count", 0},
        {"slot_count", 65},
        {"journal_block_count", 2047},
        {"journal_block_count", UINT32_MAX},
        {"ag_block_shift", 9},
        {"ag_block_shift", 29},
        {"ag_block_shift", 200},
        {"ag_count", 0},
        {"ag_count", 15},
        {"ag_count", UINT32_MAX},
        {"ag_map_block_count", 0},
        {"ag_map_block_count", 2},
        {"device_count", 0},
        {"device_count", 2},
        {"state", 1u << 7},
    };
    const struct format_structure *structure = format_structure_of(BLOCK_TYPE_SUPERBLOCK);
    struct geometry g = small_geometry(), back;
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        struct superblock_disk disk;
        format_superblock_encode(&disk, &g, 16);
        const struct format_field *field = format_field_find(structure, damages[i].field);
        assert_non_null(field);
        format_field_set(field, &disk, 0, damages[i].value);
        int result = format_superblock_decode(&disk, UINT64_MAX, &back);
        if (result != -ERROR_SUPERBLOCK_GEOMETRY)
            fail_msg("%s = %llu gave %d", damages[i].field, (unsigned long long)damages[i].value,
                     result);
    }
}

static void test_superblock_decode_survives_mutation(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 20250101);
    struct geometry g = small_geometry(), back;
    const struct format_structure *structure = format_structure_of(BLOCK_TYPE_SUPERBLOCK);
    for (int round = 0; round < 200000; round++) {
        struct superblock_disk disk;
        format_superblock_encode(&disk, &g, 16);
        for (int change = 0; change < 3; change++) {
            const struct format_field *field =
                &structure->fields[random_below(&random, structure->field_count)];
            if (format_field_is_number(field))
                format_field_set(field, &disk, 0, random_u64(&random) >> random_below(&random, 64));
        }
        if (format_superblock_decode(&disk, UINT64_MAX, &back) != 0)
            continue;
        // What was accepted can be used: every group lies inside the volume.
        for (uint32_t ag = 0; ag < back.ag_count; ag += 1 + back.ag_count / 8) {
            uint64_t end = geometry_ag_first_block(&back, ag) + geometry_ag_block_count(&back, ag);
            assert_true(end <= back.block_count - 1);
        }
    }
}

// --- groups ----------------------------------------------------------------------------------

static void test_geometry_groups(void **state)
{
    (void)state;
    struct geometry g = small_geometry();
    uint32_t ag = 99;
    assert_int_equal(geometry_ag_block_count(&g, 0), 1024);
    assert_int_equal(geometry_ag_block_count(&g, 13), 16383 - 2560 - 13 * 1024);
    assert_false(geometry_ag_of_block(&g, 2559, &ag));
    assert_true(geometry_ag_of_block(&g, 2560, &ag));
    assert_int_equal(ag, 0);
    assert_true(geometry_ag_of_block(&g, 16382, &ag));
    assert_int_equal(ag, 13);
    assert_false(geometry_ag_of_block(&g, 16383, &ag)); // the superblock copy
    assert_false(geometry_ag_of_block(&g, UINT64_MAX, &ag));
    assert_false(geometry_is_data_range(&g, 2560, 1)); // a header
    assert_true(geometry_is_data_range(&g, 2561, 1023));
    assert_false(geometry_is_data_range(&g, 2561, 1024)); // into the next group
    assert_false(geometry_is_data_range(&g, 2561, 0));
    assert_false(geometry_is_data_range(&g, 2561, UINT64_MAX));
    assert_true(geometry_is_data_range(&g, 16382, 1));
    assert_false(geometry_is_data_range(&g, 16382, 2));
}

static void test_geometry_unused_tail_belongs_to_nobody(void **state)
{
    (void)state;
    struct geometry g = small_geometry();
    uint32_t ag;
    g.ag_count = 13; // blocks behind group 12 are too few for a group of their own
    assert_int_equal(geometry_check(&g, NULL), 0);
    assert_int_equal(geometry_ag_block_count(&g, 12), 1024);
    assert_true(geometry_ag_of_block(&g, 2560 + 13 * 1024 - 1, &ag));
    assert_false(geometry_ag_of_block(&g, 2560 + 13 * 1024, &ag));
}

static void test_ag_header_init_is_sound(void **state)
{
    (void)state;
    struct geometry g = small_geometry();
    for (uint32_t number = 0; number < g.ag_count; number++) {
        struct ag_header_disk disk;
        struct format_ag ag;
        struct format_node node;
        uint64_t free_count;
        format_ag_header_init(&disk, &g, number, number == 0 ? 1 : 0);
        assert_int_equal(format_ag_decode(&disk, &g, number, &ag, NULL), 0);
        assert_int_equal(format_node_open(&node, disk.free_root, sizeof(disk.free_root), NULL), 0);
        assert_int_equal(node.item_count, 1);
        struct format_item item = format_node_item(&node, 0);
        assert_int_equal(format_free_decode(&item, &free_count, NULL), 0);
        assert_int_equal(free_count, ag.free_block_count);
        assert_true(geometry_is_data_range(&g, item.key.major, free_count));
        assert_int_equal(item.key.major,
                         format_ag_first_data_block(&g, number) + (number == 0 ? 1 : 0));
        assert_int_equal(
            format_node_open(&node, disk.reference_root, sizeof(disk.reference_root), NULL), 0);
        assert_int_equal(node.item_count, 0);
    }
}

// --- field tables ----------------------------------------------------------------------------

static void cover(uint8_t *covered, const struct format_structure *structure)
{
    for (size_t i = 0; i < structure->field_count; i++) {
        const struct format_field *field = &structure->fields[i];
        for (unsigned k = 0; k < field->count; k++) {
            for (unsigned byte = 0; byte < field->width; byte++)
                covered[field->offset + k * field->stride + byte]++;
        }
    }
}

static void test_fields_cover_every_byte_once(void **state)
{
    (void)state;
    const struct format_structure *structure;
    for (size_t i = 0; (structure = format_structure_at(i)) != NULL; i++) {
        uint8_t covered[2 * BLOCK_BYTES] = {0};
        if (structure->type != 0)
            cover(covered, format_structure_header());
        cover(covered, structure);
        for (size_t byte = 0; byte < structure->bytes; byte++) {
            if (covered[byte] != 1)
                fail_msg("%s: byte %zu is covered %u times", structure->name, byte, covered[byte]);
        }
        assert_int_equal(covered[structure->bytes], 0);
    }
}

static void test_fields_set_and_get(void **state)
{
    (void)state;
    struct inode_disk disk = {0};
    const struct format_structure *inode = format_structure_of(BLOCK_TYPE_INODE);
    format_field_set(format_field_find(inode, "size"), &disk, 0, 0x1122334455667788u);
    assert_int_equal(le64_get(disk.size), 0x1122334455667788u);
    format_field_set(format_field_find(inode, "owner"), &disk, 0, 7);
    assert_int_equal(le64_get(disk.header.owner), 7);
    assert_int_equal(format_field_get(format_field_find(inode, "size"), &disk, 0),
                     0x1122334455667788u);
    assert_null(format_field_find(inode, "no such field"));
    assert_true(format_reserved_is_zero(inode, &disk));
    disk.reserved1[3] = 1;
    assert_false(format_reserved_is_zero(inode, &disk));
}

// --- printers --------------------------------------------------------------------------------

static void test_text_prints_every_block(void **state)
{
    (void)state;
    const struct format_structure *structure;
    for (size_t i = 0; (structure = format_structure_at(i)) != NULL; i++) {
        if (structure->type == 0)
            continue;
        uint8_t block[BLOCK_BYTES] = {0};
        struct block_expectation is = {.format_id = some_id,
                                       .type = (enum block_type)structure->type};
        format_block_init(block, &is);
        TEXT(text, 16384);
        format_block_to_text(block, &text);
        for (size_t k = 0; k < structure->field_count; k++) {
            const struct format_field *field = &structure->fields[k];
            if (field->kind != FIELD_RESERVED && field->count == 1)
                assert_non_null(strstr(text.bytes, field->name));
        }
    }
}

static void test_text_survives_any_bytes(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3);
    uint8_t block[BLOCK_BYTES];
    char bytes[512];
    for (int round = 0; round < 5000; round++) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (uint8_t)(random_u64(&random) >> random_below(&random, 64));
        struct block_expectation is = {.format_id = some_id,
                                       .type = (enum block_type)random_below(&random, 12)};
        format_block_init(block, &is);
        struct text text;
        text_init(&text, bytes, 1 + random_below(&random, sizeof(bytes)));
        format_block_to_text(block, &text);
        for (size_t i = 0; i < text.length; i++)
            assert_true(bytes[i] == '\n' || (bytes[i] >= ' ' && bytes[i] < 127));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block_seal_verifies),
        cmocka_unit_test(test_block_verify_names_the_check),
        cmocka_unit_test(test_block_verify_finds_every_flipped_bit),
        cmocka_unit_test(test_superblock_round_trip),
        cmocka_unit_test(test_superblock_features_are_refused),
        cmocka_unit_test(test_superblock_geometry_is_checked),
        cmocka_unit_test(test_superblock_decode_survives_mutation),
        cmocka_unit_test(test_geometry_groups),
        cmocka_unit_test(test_geometry_unused_tail_belongs_to_nobody),
        cmocka_unit_test(test_ag_header_init_is_sound),
        cmocka_unit_test(test_fields_cover_every_byte_once),
        cmocka_unit_test(test_fields_set_and_get),
        cmocka_unit_test(test_text_prints_every_block),
        cmocka_unit_test(test_text_survives_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
