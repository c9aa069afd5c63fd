// SPDX-License-Identifier: Apache-2.0
// Passes: maps against an array with one entry a block; the word under threads (run it under
// ThreadSanitizer, too: SAN=thread); and the ranges of first writes against a bit for each block.
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/block_device.h"
#include "fs/base/random.h"
#include "fs/pass.h"
#include "fs/written_ranges.h"

enum { FILE_BLOCKS = 6000 };

static void count_drained(struct pass *pass)
{
    atomic_fetch_add((_Atomic int *)pass->context, 1);
}

// --- maps ------------------------------------------------------------------------------------

struct model {
    uint64_t volume_blocks[FILE_BLOCKS]; // 0: not in the map
    uint64_t size;
};

static void check_block(struct pass *pass, const struct model *model, uint64_t block)
{
    uint64_t volume_offset = 0, run = 0, offset = block * BLOCK_BYTES + 512;
    bool is_mapped = model->volume_blocks[block] != 0 && offset < model->size;
    assert_int_equal(pass_translate(pass, offset, &volume_offset, &run), is_mapped);
    if (!is_mapped)
        return;
    assert_int_equal(volume_offset, model->volume_blocks[block] * BLOCK_BYTES + 512);
    assert_true(run > 0 && offset + run <= model->size);
    // Everything in the run continues on the volume.
    uint64_t last = (offset + run - 1) / BLOCK_BYTES;
    assert_int_equal(model->volume_blocks[last] - model->volume_blocks[block], last - block);
}

static void check_all(struct pass *pass, const struct model *model)
{
    for (uint64_t block = 0; block < FILE_BLOCKS; block++)
        check_block(pass, model, block);
    assert_int_equal(pass_size(pass), model->size);
}

static size_t extents_of(const struct model *model, struct pass_extent *extents)
{
    size_t count = 0;
    for (uint64_t block = 0; block < FILE_BLOCKS; block++) {
        uint64_t volume_block = model->volume_blocks[block];
        struct pass_extent *last = count > 0 ? &extents[count - 1] : NULL;
        if (volume_block == 0)
            continue;
        if (last != NULL && last->file_block + last->block_count == block &&
            last->volume_block + last->block_count == volume_block)
            last->block_count++;
        else
            extents[count++] = (struct pass_extent){block, volume_block, 1};
    }
    return count;
}

// Adds a random run of blocks that are not there yet; some continue their neighbours.
static void extend_somewhere(struct pass *pass, struct model *model, struct random *random)
{
    uint64_t block = random_below(random, FILE_BLOCKS), count = 0;
    uint64_t wanted = 1 + random_below(random, 20);
    bool continues = random_one_in(random, 2);
    uint64_t place = continues ? 100000 + block : 1000000 + random_below(random, 1000000);
    while (count < wanted && block + count < FILE_BLOCKS &&
           model->volume_blocks[block + count] == 0) {
        model->volume_blocks[block + count] = place + count;
        count++;
    }
    if (count == 0)
        return;
    struct pass_extent added = {block, place, count};
    uint64_t end = (block + count) * BLOCK_BYTES;
    if (end > model->size)
        model->size = end;
    pass_extend(pass, model->size, &added);
}

static void test_maps_against_an_array(void **state)
{
    (void)state;
    struct random random;
    struct pass pass;
    _Atomic int drained = 0;
    struct model *model = calloc(1, sizeof(*model));
    struct pass_extent *extents = calloc(FILE_BLOCKS, sizeof(*extents));
    random_init(&random, 11);
    pass_init(&pass, count_drained, &drained);
    uint64_t offset, run;
    assert_false(pass_translate(&pass, 0, &offset, &run));
    pass_publish(&pass, PASS_READ, 0, NULL, 0);
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < 10; i++)
            extend_somewhere(&pass, model, &random);
        if (round % 20 == 0)
            check_all(&pass, model);
        if (round % 50 == 49) // as after a hand-over
            pass_publish(&pass, PASS_READ, model->size, extents, extents_of(model, extents));
    }
    check_all(&pass, model);
    pass_grow(&pass, model->size + 5);
    assert_int_equal(pass_size(&pass), model->size + 5);
    pass_deinit(&pass);
    free(extents);
    free(model);
}

static void test_a_run_ends_at_the_size(void **state)
{
    (void)state;
    struct pass pass;
    _Atomic int drained = 0;
    struct pass_extent extent = {0, 50, 4};
    uint64_t offset, run;
    pass_init(&pass, count_drained, &drained);
    pass_publish(&pass, PASS_READ, 2 * BLOCK_BYTES + 100, &extent, 1);
    assert_true(pass_translate(&pass, BLOCK_BYTES, &offset, &run));
    assert_int_equal(run, BLOCK_BYTES + 100);
    assert_false(pass_translate(&pass, 2 * BLOCK_BYTES + 100, &offset, &run));
    assert_false(pass_translate(&pass, 3 * BLOCK_BYTES, &offset, &run));
    pass_deinit(&pass);
}

// --- the word --------------------------------------------------------------------------------

static void test_kinds_and_drain(void **state)
{
    (void)state;
    struct pass pass;
    _Atomic int drained = 0;
    pass_init(&pass, count_drained, &drained);
    assert_false(pass_enter(&pass, PASS_READ));
    pass_publish(&pass, PASS_READ, 0, NULL, 0);
    assert_true(pass_enter(&pass, PASS_READ));
    assert_false(pass_enter(&pass, PASS_WRITE));
    assert_false(pass_is_idle(&pass));
    pass_revoke(&pass, PASS_READ | PASS_WRITE);
    assert_int_equal(pass_kinds(&pass), 0);
    assert_false(pass_enter(&pass, PASS_READ));
    assert_int_equal(drained, 0);
    pass_leave(&pass);
    assert_int_equal(drained, 1);
    assert_true(pass_is_idle(&pass));
    pass_publish(&pass, PASS_READ | PASS_WRITE, 0, NULL, 0);
    assert_int_equal(pass_kinds(&pass), PASS_READ | PASS_WRITE);
    assert_true(pass_enter(&pass, PASS_WRITE));
    pass_leave(&pass);
    assert_int_equal(drained, 1); // nobody waited
    pass_deinit(&pass);
}

static void test_a_rest_keeps_the_map(void **state)
{
    (void)state;
    struct pass pass;
    _Atomic int drained = 0;
    struct pass_extent extent = {0, 50, 1}, more = {1, 51, 1};
    uint64_t offset, run;
    pass_init(&pass, count_drained, &drained);
    assert_false(pass_resume(&pass, PASS_READ));
    pass_publish(&pass, PASS_READ, BLOCK_BYTES, &extent, 1);
    pass_rest(&pass);
    assert_false(pass_enter(&pass, PASS_READ));
    assert_true(pass_is_published(&pass));
    pass_extend(&pass, 2 * BLOCK_BYTES, &more);
    assert_true(pass_resume(&pass, PASS_READ));
    assert_true(pass_enter(&pass, PASS_READ));
    assert_true(pass_translate(&pass, 0, &offset, &run));
    assert_int_equal(run, 2 * BLOCK_BYTES);
    pass_leave(&pass);
    pass_revoke(&pass, PASS_READ);
    assert_false(pass_is_published(&pass));
    assert_false(pass_resume(&pass, PASS_READ));
    pass_deinit(&pass);
}

// While somebody is inside, replaced maps are kept; when they are too many the pass rests.
static void test_busy_lanes_make_it_rest(void **state)
{
    (void)state;
    struct pass pass;
    _Atomic int drained = 0;
    pass_init(&pass, count_drained, &drained);
    pass_publish(&pass, PASS_READ, 0, NULL, 0);
    assert_true(pass_enter(&pass, PASS_READ));
    for (uint64_t i = 1; i <= 200; i++)
        pass_grow(&pass, i * BLOCK_BYTES);
    assert_int_equal(pass_kinds(&pass), 0);
    assert_true(pass_resume(&pass, PASS_READ));
    assert_int_equal(pass_kinds(&pass), 0); // still inside
    pass_leave(&pass);
    assert_int_equal(drained, 1);
    assert_true(pass_resume(&pass, PASS_READ));
    assert_int_equal(pass_kinds(&pass), PASS_READ);
    assert_int_equal(pass_size(&pass), 200 * BLOCK_BYTES);
    pass_deinit(&pass);
}

// --- threads ---------------------------------------------------------------------------------

enum { LANES = 3, ROUNDS = 3000 };

// The core takes the file away, changes it, gives it back; whoever is inside then has broken
// rule 2.
struct race {
    struct pass pass;
    _Atomic int drained;
    _Atomic bool ends;
    _Atomic uint64_t inside_while_closed, transfers;
    _Atomic bool is_closed;
};

static void *run_lane(void *argument)
{
    struct race *race = argument;
    struct random random;
    random_init(&random, (uint64_t)(uintptr_t)&random);
    while (!atomic_load(&race->ends)) {
        uint64_t offset, run;
        if (!pass_enter(&race->pass, PASS_WRITE)) {
            sched_yield();
            continue;
        }
        uint64_t block = random_below(&random, 2000);
        if (pass_translate(&race->pass, block * BLOCK_BYTES, &offset, &run)) {
            atomic_fetch_add(&race->transfers, 1);
            if (offset / BLOCK_BYTES < 100000)
                atomic_fetch_add(&race->inside_while_closed, 1);
        }
        if (atomic_load(&race->is_closed))
            atomic_fetch_add(&race->inside_while_closed, 1);
        pass_leave(&race->pass);
    }
    return NULL;
}

static void race_once(struct race *race, int round)
{
    struct pass_extent extent = {0, 100000 + (uint64_t)round, 1};
    pass_publish(&race->pass, PASS_READ | PASS_WRITE, 2000 * BLOCK_BYTES, &extent, 1);
    for (uint64_t i = 1; i < 30; i++) {
        struct pass_extent more = {i * 60, 200000 + i, 1 + i % 3};
        pass_extend(&race->pass, 0, &more);
        pass_resume(&race->pass, PASS_READ | PASS_WRITE);
    }
    pass_revoke(&race->pass, PASS_READ | PASS_WRITE);
    while (!pass_is_idle(&race->pass))
        sched_yield();
    atomic_store(&race->is_closed, true);
    sched_yield();
    atomic_store(&race->is_closed, false);
}

static void test_nobody_is_inside_a_revoked_pass(void **state)
{
    (void)state;
    pthread_t lanes[LANES];
    struct race *race = calloc(1, sizeof(*race));
    pass_init(&race->pass, count_drained, &race->drained);
    for (int i = 0; i < LANES; i++)
        assert_int_equal(pthread_create(&lanes[i], NULL, run_lane, race), 0);
    for (int round = 0; round < ROUNDS || atomic_load(&race->transfers) == 0; round++)
        race_once(race, round);
    atomic_store(&race->ends, true);
    for (int i = 0; i < LANES; i++)
        pthread_join(lanes[i], NULL);
    assert_int_equal(race->inside_while_closed, 0);
    assert_true(race->transfers > 0);
    pass_deinit(&race->pass);
    free(race);
}

// --- ranges of first writes ------------------------------------------------------------------

enum { RANGE_BLOCKS = 300 };

static void check_ranges(const struct written_ranges *written, const bool model[RANGE_BLOCKS])
{
    struct written_range range;
    uint64_t at = 0;
    for (size_t i = 0; i < written->count; i++) { // ascending, not touching
        assert_true(i == 0 || written->ranges[i].file_block > at);
        at = written->ranges[i].file_block + written->ranges[i].block_count;
    }
    for (uint64_t block = 0; block < RANGE_BLOCKS; block++) {
        bool is_found = written_ranges_find(written, block, &range);
        assert_int_equal(is_found && range.file_block == block, model[block]);
        if (!is_found)
            continue;
        for (uint64_t i = block; i < range.file_block; i++)
            assert_false(model[i]);
        for (uint64_t i = range.file_block; i < range.file_block + range.block_count; i++)
            assert_true(model[i]);
    }
}

static void test_written_ranges_against_bits(void **state)
{
    (void)state;
    struct random random;
    struct written_ranges written;
    bool model[RANGE_BLOCKS] = {false};
    random_init(&random, 3);
    written_ranges_init(&written);
    for (int round = 0; round < 3000; round++) {
        uint64_t first = random_below(&random, RANGE_BLOCKS);
        uint64_t count = 1 + random_below(&random, 12);
        bool adds = random_below(&random, 100) < 55;
        if (count > RANGE_BLOCKS - first)
            count = RANGE_BLOCKS - first;
        if (adds)
            written_ranges_add(&written, first, count);
        else
            written_ranges_remove(&written, first, count);
        for (uint64_t i = first; i < first + count; i++)
            model[i] = adds;
        check_ranges(&written, model);
    }
    written_ranges_remove(&written, 0, RANGE_BLOCKS);
    assert_true(written_ranges_is_empty(&written));
    written_ranges_deinit(&written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps_against_an_array),
        cmocka_unit_test(test_a_run_ends_at_the_size),
        cmocka_unit_test(test_kinds_and_drain),
        cmocka_unit_test(test_a_rest_keeps_the_map),
        cmocka_unit_test(test_busy_lanes_make_it_rest),
        cmocka_unit_test(test_nobody_is_inside_a_revoked_pass),
        cmocka_unit_test(test_written_ranges_against_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
