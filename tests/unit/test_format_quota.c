// SPDX-License-Identifier: Apache-2.0
// Quota records, buckets and ledgers: what is written is read back, each rule is broken once and
// named, and a superblock without the feature bits is read as before.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/format_quota.h"

static const struct geometry geometry = {.slot_table_block = 19, .slot_count = 8};

static const struct format_quota sample = {
    .kind = QUOTA_PROJECT,
    .id = 4294967295u,
    .block_hard = 4096,
    .block_soft = 2048,
    .inode_hard = 100,
    .inode_soft = 90,
    .block_used = -7,
    .inode_used = 3,
    .block_lent = 512,
    .inode_lent = 16,
    .block_since_s = 1700000000,
    .inode_since_s = 1700000001,
    .block_grace_s = 60,
    .inode_grace_s = 61,
    .holders = 0x81,
};

static struct format_item item_of(const struct format_quota *quota, struct quota_disk *disk)
{
    format_quota_encode(quota, disk);
    return (struct format_item){
        .key = {.kind = ITEM_QUOTA, .major = quota_key(quota->kind, quota->id)},
        .value = (const uint8_t *)disk,
        .length = sizeof(*disk),
    };
}

static void test_record_is_read_back(void **state)
{
    (void)state;
    struct quota_disk disk;
    struct format_quota back = {0};
    struct format_item item = item_of(&sample, &disk);
    assert_int_equal(format_quota_decode(&item, &geometry, &back, NULL), 0);
    assert_memory_equal(&back, &sample, sizeof(back));
}

static void expect_broken(const struct format_item *item)
{
    struct format_quota back = {0};
    const char *reason = NULL;
    assert_int_equal(format_quota_decode(item, &geometry, &back, &reason), -ERROR_CORRUPT_TREE);
    assert_non_null(reason);
}

static void test_broken_record_is_refused(void **state)
{
    (void)state;
    struct quota_disk disk;
    struct format_quota quota = sample;
    struct format_item item = item_of(&quota, &disk);
    item.length--;
    expect_broken(&item);
    item = item_of(&quota, &disk);
    item.key.minor = 1;
    expect_broken(&item);
    item = item_of(&quota, &disk);
    item.key.major = (uint64_t)QUOTA_KIND_COUNT << 32;
    expect_broken(&item);
    uint64_t *numbers[] = {&quota.block_hard,    &quota.block_soft,   &quota.inode_hard,
                           &quota.inode_soft,    &quota.block_lent,   &quota.inode_lent,
                           &quota.block_since_s, &quota.inode_since_s};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t before = *numbers[i];
        *numbers[i] = FORMAT_QUOTA_MAX;
        item = item_of(&quota, &disk);
        expect_broken(&item);
        *numbers[i] = before;
    }
    quota.inode_used = INT64_MIN;
    item = item_of(&quota, &disk);
    expect_broken(&item);
    quota = sample;
    quota.holders = 1u << 8;
    item = item_of(&quota, &disk);
    expect_broken(&item);
}

static void make_ledger(struct quota_ledger_disk *ledger)
{
    struct format_quota_entry user = {.is_used = true,
                                      .kind = QUOTA_USER,
                                      .id = 1000,
                                      .block_share = 4096,
                                      .inode_share = QUOTA_SHARE_ENDLESS,
                                      .block_spent = -12,
                                      .inode_spent = 5};
    struct format_quota_entry group = {.is_used = true, .kind = QUOTA_GROUP, .id = 1000};
    format_quota_ledger_init(ledger, &geometry, 3, 1);
    format_quota_entry_encode(ledger, 7, &user);
    format_quota_entry_encode(ledger, 99, &group);
}

static void test_ledger_is_read_back(void **state)
{
    (void)state;
    struct quota_ledger_disk ledger;
    struct format_quota_entry entry;
    struct block_expectation is = {.format_id = geometry.format_id,
                                   .address = 19 + 3 * FORMAT_SLOT_BLOCKS + 5,
                                   .owner = 3,
                                   .type = BLOCK_TYPE_QUOTA_LEDGER};
    make_ledger(&ledger);
    format_block_seal(&ledger, 1);
    assert_int_equal(format_block_verify(&ledger, &is), 0);
    assert_int_equal(format_quota_ledger_check(&ledger, NULL), 0);
    format_quota_entry_decode(&ledger, 7, &entry);
    assert_true(entry.is_used && entry.kind == QUOTA_USER && entry.id == 1000);
    assert_int_equal(entry.block_spent, -12);
    assert_true(entry.inode_share == QUOTA_SHARE_ENDLESS);
    entry.is_used = false;
    format_quota_entry_encode(&ledger, 7, &entry);
    format_quota_entry_encode(&ledger, 99, &entry);
    struct quota_ledger_disk empty;
    format_quota_ledger_init(&empty, &geometry, 3, 1);
    assert_memory_equal(ledger.entries, empty.entries, sizeof(empty.entries));
}

static void expect_broken_ledger(const struct quota_ledger_disk *ledger)
{
    const char *reason = NULL;
    assert_int_equal(format_quota_ledger_check(ledger, &reason), -ERROR_BLOCK_CONTENT);
    assert_non_null(reason);
}

static void test_broken_ledger_is_refused(void **state)
{
    (void)state;
    struct quota_ledger_disk ledger;
    make_ledger(&ledger);
    ledger.reserved[31] = 1;
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[0].block_share = le64_make(1);
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[7].is_used = 2;
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[7].kind = QUOTA_KIND_COUNT;
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[99].kind = QUOTA_USER;
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[7].inode_spent = le64_make(FORMAT_QUOTA_MAX);
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[7].inode_share = le64_make(UINT64_MAX - 1);
    expect_broken_ledger(&ledger);
    make_ledger(&ledger);
    ledger.entries[7].reserved[1] = 1;
    expect_broken_ledger(&ledger);
}

static void test_bucket(void **state)
{
    (void)state;
    struct quota_bucket_disk bucket;
    struct format_node node;
    format_quota_bucket_init(&bucket, &geometry, 7);
    assert_int_equal(le64_get(bucket.header.address), 19 + 7 * FORMAT_SLOT_BLOCKS + 3);
    assert_int_equal(format_quota_bucket_check(&bucket, NULL), 0);
    assert_int_equal(format_node_open(&node, bucket.record_root, sizeof(bucket.record_root), NULL),
                     0);
    assert_int_equal(node.item_count, 0);
    bucket.reserved0[7] = le64_make(1);
    assert_int_equal(format_quota_bucket_check(&bucket, NULL), -ERROR_BLOCK_CONTENT);
    for (uint32_t id = 0; id < 100; id++)
        assert_true(geometry_quota_bucket_of(&geometry, QUOTA_PROJECT, id) < geometry.slot_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_is_read_back),
        cmocka_unit_test(test_broken_record_is_refused),
        cmocka_unit_test(test_ledger_is_read_back),
        cmocka_unit_test(test_broken_ledger_is_refused),
        cmocka_unit_test(test_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
