// SPDX-License-Identifier: Apache-2.0
// The floor: checksums against their definition, text that never overflows, coroutines.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/coroutine.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"
#include "fs/base/random.h"
#include "fs/base/text.h"

static void test_crc32c_known_values(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof(bytes)); // RFC 3720, appendix B.4
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794eu);
}

static void test_crc32c_instruction_is_table(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1);
    uint8_t bytes[5000];
    for (int round = 0; round < 500; round++) {
        size_t bound = round % 2 == 0 ? 300 : sizeof(bytes);
        for (size_t i = 0; i < bound; i++)
            bytes[i] = (uint8_t)random_u64(&random);
        size_t size = random_below(&random, bound);
        size_t cut = random_below(&random, size + 1);
        uint32_t whole = crc32c(0, bytes, size);
        assert_int_equal(whole, crc32c_table(0, bytes, size));
        assert_int_equal(whole, crc32c(crc32c(0, bytes, cut), bytes + cut, size - cut));
    }
}

static void test_random_is_its_seed(void **state)
{
    (void)state;
    struct random a, b, c;
    random_init(&a, 7);
    random_init(&b, 7);
    random_init(&c, 8);
    int differences = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t value = random_u64(&a);
        assert_int_equal(value, random_u64(&b));
        differences += value != random_u64(&c);
        assert_true(random_below(&a, 10) == random_below(&b, 10));
    }
    assert_true(differences > 95);
}

static void test_text_cuts(void **state)
{
    (void)state;
    TEXT(text, 8);
    text_add(&text, "12345");
    assert_false(text.truncated);
    text_add(&text, "6789");
    assert_true(text.truncated);
    assert_string_equal(text.bytes, "1234567");
}

static void test_text_sizes(void **state)
{
    (void)state;
    TEXT(text, 100);
    text_add_size(&text, 512);
    text_add(&text, " ");
    text_add_size(&text, (uint64_t)8 << 30);
    text_add(&text, " ");
    text_add_size(&text, (uint64_t)150 << 20);
    assert_string_equal(text.bytes, "512 B 8.00 GiB 150 MiB");
}

static void test_text_reads_sizes(void **state)
{
    static const struct {
        const char *string;
        uint64_t bytes;
    } rows[] = {
        {"0", 0},
        {"512", 512},
        {"3K", 3 << 10},
        {"96m", 96 << 20},
        {"8GiB", (uint64_t)8 << 30},
        {"16777215T", (uint64_t)16777215 << 40},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const refused[] = {"",   "K",   "-1",        " 1",
                                          "1B", "1KB", "1 K",       "18446744073709551616",
                                          "1P", "0x8", "16777216T", "18446744073709551615K"};
    uint64_t bytes;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(text_parse_size(rows[i].string, &bytes));
        assert_int_equal(bytes, rows[i].bytes);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_false(text_parse_size(refused[i], &bytes));
}

static void test_error_table(void **state)
{
    (void)state;
    assert_int_equal(error_to_errno(-ERROR_BLOCK_CHECKSUM), EIO);
    assert_int_equal(error_to_errno(-ENOENT), ENOENT);
    assert_true(error_is_check(-ERROR_LEASE_LOST));
    assert_false(error_is_check(-EIO));
}

// --- coroutines ------------------------------------------------------------------------------

struct stage {
    struct scheduler *scheduler;
    struct wait_queue queue;
    char order[64];
    size_t length;
};

struct actor {
    struct stage *stage;
    char name;
};

static void say(struct stage *stage, char what)
{
    stage->order[stage->length++] = what;
}

static void wait_once(void *argument)
{
    struct actor *actor = argument;
    say(actor->stage, actor->name);
    wait_queue_wait(actor->stage->scheduler, &actor->stage->queue);
    say(actor->stage, (char)(actor->name - 'a' + 'A'));
}

static void wake_all(void *argument)
{
    struct stage *stage = argument;
    say(stage, '!');
    wait_queue_wake_all(stage->scheduler, &stage->queue);
    say(stage, '.');
}

static void test_coroutines_run_in_order(void **state)
{
    (void)state;
    struct stage stage = {.scheduler = scheduler_new()};
    wait_queue_init(&stage.queue);
    struct actor actors[] = {{&stage, 'a'}, {&stage, 'b'}, {&stage, 'c'}};
    for (int i = 0; i < 3; i++)
        coroutine_start(stage.scheduler, "actor", wait_once, &actors[i]);
    scheduler_run(stage.scheduler);
    assert_int_equal(scheduler_alive(stage.scheduler), 3);
    coroutine_start(stage.scheduler, "waker", wake_all, &stage);
    scheduler_run(stage.scheduler);
    assert_string_equal(stage.order, "abc!.ABC");
    assert_int_equal(scheduler_alive(stage.scheduler), 0);
    scheduler_free(stage.scheduler);
}

// Deep stacks, floating point and many lives: what a wrong switch would spoil.
static double burn(struct scheduler *scheduler, int depth, double value)
{
    volatile char frame[500];
    frame[depth % 500] = (char)depth;
    if (depth % 16 == 0)
        coroutine_pause(scheduler);
    if (depth == 0)
        return value;
    return burn(scheduler, depth - 1, value * 1.0000001) + frame[depth % 500] * 0.0;
}

static void burner(void *argument)
{
    struct actor *actor = argument;
    double value = burn(actor->stage->scheduler, 200, (double)actor->name);
    if (value > actor->name)
        actor->stage->length++;
}

static void test_coroutines_keep_their_stacks(void **state)
{
    (void)state;
    struct stage stage = {.scheduler = scheduler_new()};
    struct actor actors[100];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 100; i++) {
            actors[i] = (struct actor){&stage, (char)(i + 1)};
            coroutine_start(stage.scheduler, "burner", burner, &actors[i]);
        }
        scheduler_run(stage.scheduler);
        scheduler_keep(stage.scheduler, round < 10 ? 200 : 10);
    }
    assert_int_equal(stage.length, 2000);
    scheduler_free(stage.scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_known_values),
        cmocka_unit_test(test_crc32c_instruction_is_table),
        cmocka_unit_test(test_random_is_its_seed),
        cmocka_unit_test(test_text_cuts),
        cmocka_unit_test(test_text_sizes),
        cmocka_unit_test(test_text_reads_sizes),
        cmocka_unit_test(test_error_table),
        cmocka_unit_test(test_coroutines_run_in_order),
        cmocka_unit_test(test_coroutines_keep_their_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
