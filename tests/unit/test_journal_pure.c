// SPDX-License-Identifier: Apache-2.0
// The journal's pure parts: ring arithmetic, the header, records and their bounds, the plan.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/crc32c.h"
#include "fs/base/random.h"
#include "journal/header.h"
#include "journal/plan.h"
#include "journal/record.h"
#include "journal/ring.h"

enum { BLOCK = 4096 };

// --- ring ----------------------------------------------------------------------------------------

static void ring_counts_and_wraps(void **state)
{
    (void)state;
    struct journal_ring ring = {.start_block = 100, .block_count = 8, .tail = 13, .head = 13};
    assert_int_equal(journal_ring_used(&ring), 0);
    assert_int_equal(journal_ring_append(&ring, 5), 13);
    assert_int_equal(journal_ring_used(&ring), 5);
    assert_int_equal(journal_ring_free(&ring), 3);
    assert_int_equal(journal_ring_block(&ring, 13), 105);
    assert_int_equal(journal_ring_block(&ring, 16), 100);
    journal_ring_move_tail(&ring, 16);
    assert_int_equal(journal_ring_used(&ring), 2);
}

static void ring_spans_cover_all_blocks_once(void **state)
{
    (void)state;
    struct journal_ring ring = {.start_block = 100, .block_count = 8};
    for (uint64_t position = 0; position < 24; position++) {
        for (uint32_t count = 1; count <= 8; count++) {
            struct journal_span spans[2];
            uint32_t span_count = journal_ring_spans(&ring, position, count, spans);
            uint64_t at = position;
            for (uint32_t i = 0; i < span_count; i++) {
                for (uint32_t k = 0; k < spans[i].block_count; k++)
                    assert_int_equal(spans[i].block + k, journal_ring_block(&ring, at++));
            }
            assert_int_equal(at, position + count);
        }
    }
}

// --- header --------------------------------------------------------------------------------------

static void header_comes_back(void **state)
{
    (void)state;
    struct journal_header_disk disk;
    struct journal_header header = {
        .state = JOURNAL_STATE_IN_USE,
        .block_count = 256,
        .generation = 7,
        .salt = "salt of a life",
        .tail_position = 1000,
        .tail_sequence = 12,
        .tail_chain = 0xdeadbeef,
        .version_max = 99,
    };
    struct journal_header back;
    journal_header_encode(&disk, &header);
    assert_true(journal_header_decode(&disk, 256, &back));
    assert_memory_equal(&header, &back, sizeof(header));
    assert_false(journal_header_decode(&disk, 257, &back));
    disk.reserved1[100] = 1;
    assert_false(journal_header_decode(&disk, 256, &back));
}

static void header_refuses_unknown_states(void **state)
{
    (void)state;
    struct journal_header_disk disk;
    struct journal_header header = {.state = JOURNAL_STATE_CLEAN, .block_count = 256}, back;
    journal_header_encode(&disk, &header);
    for (uint32_t value = 0; value < 10; value++) {
        disk.state = le32_make(value);
        assert_int_equal(journal_header_decode(&disk, 256, &back), value == 1 || value == 2);
    }
}

// --- records -------------------------------------------------------------------------------------

static const struct journal_identity identity = {.format_id = "format", .salt = "salt", .slot = 3};

static struct journal_tag tag_of(uint32_t index)
{
    return (struct journal_tag){
        .address = 1000 + index,
        .version = 77 + index,
        .lock = {.type = 2, .id = 500 + index},
        .checksum = index * 3,
    };
}

// A sealed record of the given counts; the caller frees it.
static uint8_t *make_record(struct journal_record *record, uint32_t chain_before, uint32_t *chain)
{
    uint64_t blocks =
        journal_record_blocks(record->image_count, record->retire_count, record->revoke_count);
    uint8_t *bytes = malloc((size_t)(blocks - record->image_count) * BLOCK);
    assert_non_null(bytes);
    journal_record_begin(bytes, record, &identity);
    for (uint32_t i = 0; i < record->image_count; i++) {
        struct journal_tag tag = tag_of(i);
        journal_record_set_tag(bytes, record, i, &tag);
    }
    for (uint32_t i = 0; i < record->retire_count; i++)
        journal_record_set_retire(bytes, record, i, (struct lock_name){.type = 1, .id = i});
    for (uint32_t i = 0; i < record->revoke_count; i++)
        journal_record_set_revoke(bytes, record, i, 9000 + i);
    journal_record_set_version_max(bytes, 4711);
    *chain = journal_record_seal(bytes, record, &identity, chain_before);
    return bytes;
}

static void check_entries(const uint8_t *bytes, const struct journal_record *record)
{
    for (uint32_t i = 0; i < record->image_count; i++) {
        struct journal_tag tag = journal_record_tag(bytes, record, i);
        assert_int_equal(tag.address, 1000 + i);
        assert_int_equal(tag.version, 77 + i);
        assert_int_equal(tag.lock.type, 2);
        assert_int_equal(tag.lock.id, 500 + i);
        assert_int_equal(tag.checksum, i * 3);
    }
    for (uint32_t i = 0; i < record->retire_count; i++)
        assert_int_equal(journal_record_retire(bytes, record, i).id, i);
    for (uint32_t i = 0; i < record->revoke_count; i++)
        assert_int_equal(journal_record_revoke(bytes, record, i), 9000 + i);
}

static void record_comes_back(void **state)
{
    (void)state;
    static const uint32_t counts[] = {0, 1, 5, 124, 125, 1000};
    for (size_t a = 0; a < 6; a++) {
        for (size_t b = 0; b < 6; b++) {
            struct journal_record record = {.sequence = 5,
                                            .position = 123,
                                            .image_count = counts[a],
                                            .retire_count = counts[b],
                                            .revoke_count = counts[(a + b) % 6]};
            struct journal_record back;
            uint32_t chain, chain_back;
            uint8_t *bytes = make_record(&record, 42, &chain);
            assert_true(journal_record_decode(bytes, &identity, 5, 123, 4096, &back));
            assert_true(journal_record_verify(bytes, &back, &identity, 42, &chain_back));
            assert_int_equal(chain, chain_back);
            assert_int_equal(back.version_max, 4711);
            check_entries(bytes, &back);
            free(bytes);
        }
    }
}

static void record_is_bound_to_its_place(void **state)
{
    (void)state;
    struct journal_record record = {.sequence = 5, .position = 123, .image_count = 3}, back;
    struct journal_identity other = identity;
    uint32_t chain, ignored;
    uint8_t *bytes = make_record(&record, 42, &chain);
    assert_false(journal_record_decode(bytes, &identity, 6, 123, 4096, &back));
    assert_false(journal_record_decode(bytes, &identity, 5, 124, 4096, &back));
    assert_false(journal_record_decode(bytes, &identity, 5, 123, 3, &back)); // longer than the ring
    other.slot = 4;
    assert_false(journal_record_decode(bytes, &other, 5, 123, 4096, &back));
    other = identity;
    other.format_id[0] ^= 1;
    assert_false(journal_record_decode(bytes, &other, 5, 123, 4096, &back));
    other = identity;
    other.salt[0] ^= 1; // another life
    assert_true(journal_record_decode(bytes, &other, 5, 123, 4096, &back));
    assert_false(journal_record_verify(bytes, &back, &other, 42, &ignored));
    assert_false(journal_record_verify(bytes, &back, &identity, 43, &ignored)); // another chain
    free(bytes);
}

// Whatever stands in the header blocks, decoding stays inside of them and finds every flipped bit.
static void mutated_records_are_refused(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1);
    for (uint32_t round = 0; round < 20000; round++) {
        struct journal_record record = {.sequence = 5,
                                        .position = 123,
                                        .image_count = (uint32_t)random_below(&random, 200),
                                        .retire_count = (uint32_t)random_below(&random, 50),
                                        .revoke_count = (uint32_t)random_below(&random, 50)};
        struct journal_record back;
        uint32_t chain, ignored;
        uint8_t *bytes = make_record(&record, 42, &chain);
        uint32_t header_block_count = record.header_block_count;
        // Mostly in the head, where the counts are.
        size_t where = random_one_in(&random, 2)
                           ? random_below(&random, 128)
                           : random_below(&random, (uint64_t)header_block_count * BLOCK);
        bytes[where] ^= (uint8_t)(1 + random_below(&random, 255));
        if (journal_record_decode(bytes, &identity, 5, 123, 4096, &back) &&
            back.header_block_count <= header_block_count)
            assert_false(journal_record_verify(bytes, &back, &identity, 42, &ignored));
        free(bytes);
    }
}

static void random_bytes_are_refused(void **state)
{
    (void)state;
    struct random random;
    struct journal_record back;
    uint64_t bytes[BLOCK / 8];
    random_init(&random, 2);
    for (uint32_t round = 0; round < 2000; round++) {
        for (size_t i = 0; i < BLOCK / 8; i++)
            bytes[i] = random_u64(&random);
        assert_false(journal_record_decode((uint8_t *)bytes, &identity, 5, 123, UINT32_MAX, &back));
    }
}

// Huge counts whose sums do not fit in 32 bits.
static void huge_counts_do_not_overflow(void **state)
{
    (void)state;
    struct journal_record record = {.sequence = 5, .position = 123}, back;
    uint32_t chain;
    uint8_t *bytes = make_record(&record, 42, &chain);
    struct journal_record_disk *disk = (struct journal_record_disk *)bytes;
    for (uint32_t bit = 0; bit < 8; bit++) {
        disk->image_count = le32_make(bit & 1 ? UINT32_MAX : 0);
        disk->retire_count = le32_make(bit & 2 ? UINT32_MAX : 0);
        disk->revoke_count = le32_make(bit & 4 ? UINT32_MAX : 0);
        bool is_accepted = journal_record_decode(bytes, &identity, 5, 123, 65536, &back);
        assert_int_equal(is_accepted, bit == 0);
    }
    free(bytes);
}

// --- plan ----------------------------------------------------------------------------------------

static void add(struct journal_plan *plan, uint32_t journal, uint64_t sequence, uint64_t address,
                uint64_t lock, uint64_t version)
{
    struct journal_image image = {.address = address,
                                  .version = version,
                                  .lock = {.type = 1, .id = lock},
                                  .journal = journal,
                                  .block = sequence};
    journal_plan_add_image(plan, &image, sequence);
}

static size_t take_all(struct journal_plan *plan, struct journal_image *images)
{
    size_t count = 0;
    while (journal_plan_size(plan) > 0)
        count += journal_plan_take(plan, images + count, 2);
    journal_plan_free(plan);
    return count;
}

static const struct lock_name lock_a = {.type = 1, .id = 10};

static void plan_keeps_the_newest(void **state)
{
    (void)state;
    struct journal_image images[8];
    struct journal_plan *plan = journal_plan_new();
    add(plan, 0, 1, 300, 10, 5);
    add(plan, 0, 2, 200, 10, 6);
    add(plan, 0, 3, 300, 10, 7);
    assert_int_equal(take_all(plan, images), 2);
    assert_int_equal(images[0].address, 200);
    assert_int_equal(images[1].address, 300);
    assert_int_equal(images[1].version, 7);
}

static void plan_ends_images_by_retire(void **state)
{
    (void)state;
    struct journal_image images[8];
    struct journal_plan *plan = journal_plan_new();
    add(plan, 0, 1, 300, 10, 5);
    add(plan, 0, 1, 400, 11, 5);
    journal_plan_add_retire(plan, 0, lock_a, 2);
    add(plan, 0, 2, 500, 10, 6); // newer than the retire in its own record
    assert_int_equal(take_all(plan, images), 2);
    assert_int_equal(images[0].address, 400);
    assert_int_equal(images[1].address, 500);
}

static void plan_ends_images_by_revoke(void **state)
{
    (void)state;
    struct journal_image images[8];
    struct journal_plan *plan = journal_plan_new();
    add(plan, 0, 1, 300, 10, 5);
    add(plan, 0, 2, 400, 10, 6);
    journal_plan_add_revoke(plan, 0, 300);
    journal_plan_add_revoke(plan, 0, 12345); // not in the log
    add(plan, 0, 4, 400, 10, 7);
    assert_int_equal(take_all(plan, images), 1);
    assert_int_equal(images[0].version, 7);
}

static void plan_brings_a_reused_block_back(void **state)
{
    (void)state;
    struct journal_image images[8];
    struct journal_plan *plan = journal_plan_new();
    add(plan, 0, 1, 300, 10, 5);
    journal_plan_add_revoke(plan, 0, 300);
    add(plan, 0, 3, 300, 99, 8); // allocated again, under another lock
    journal_plan_add_retire(plan, 0, lock_a, 4);
    assert_int_equal(take_all(plan, images), 1);
    assert_int_equal(images[0].version, 8);
}

static void plan_never_falls_back_to_an_older_image(void **state)
{
    (void)state;
    struct journal_image images[8];
    struct journal_plan *plan = journal_plan_new();
    add(plan, 0, 1, 300, 10, 5);
    add(plan, 0, 2, 300, 10, 6);
    journal_plan_add_retire(plan, 0, lock_a, 3);
    assert_int_equal(take_all(plan, images), 0);
}

static void plan_joins_journals_newest_version_wins(void **state)
{
    (void)state;
    struct journal_image images[8];
    struct journal_plan *plan = journal_plan_new();
    add(plan, 0, 1, 300, 10, 9);
    add(plan, 1, 8, 300, 10, 7);
    add(plan, 1, 8, 301, 10, 7);
    add(plan, 2, 2, 301, 10, 8);
    journal_plan_add_retire(plan, 1, lock_a, 9); // ends journal 1's images only
    assert_int_equal(take_all(plan, images), 2);
    assert_int_equal(images[0].version, 9);
    assert_int_equal(images[0].journal, 0);
    assert_int_equal(images[1].version, 8);
    assert_int_equal(images[1].journal, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_counts_and_wraps),
        cmocka_unit_test(ring_spans_cover_all_blocks_once),
        cmocka_unit_test(header_comes_back),
        cmocka_unit_test(header_refuses_unknown_states),
        cmocka_unit_test(record_comes_back),
        cmocka_unit_test(record_is_bound_to_its_place),
        cmocka_unit_test(mutated_records_are_refused),
        cmocka_unit_test(random_bytes_are_refused),
        cmocka_unit_test(huge_counts_do_not_overflow),
        cmocka_unit_test(plan_keeps_the_newest),
        cmocka_unit_test(plan_ends_images_by_retire),
        cmocka_unit_test(plan_ends_images_by_revoke),
        cmocka_unit_test(plan_brings_a_reused_block_back),
        cmocka_unit_test(plan_never_falls_back_to_an_older_image),
        cmocka_unit_test(plan_joins_journals_newest_version_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
