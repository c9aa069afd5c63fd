// SPDX-License-Identifier: Apache-2.0
// Directories and orphan lists. The hash is wrapped, so that a test can make names collide at will.
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/base/siphash.h"
#include "fs/directory.h"
#include "fs/lock_types.h"
#include "fs/orphans.h"
#include "tests/lib/structure_world.h"

enum { NAMES = 3000 };

// --- the wrapped hash ------------------------------------------------------------------------

uint64_t __real_siphash24(const uint8_t key[16], const void *bytes, size_t length);
uint64_t __wrap_siphash24(const uint8_t key[16], const void *bytes, size_t length);

static unsigned hash_values; // 0: the real hash

uint64_t __wrap_siphash24(const uint8_t key[16], const void *bytes, size_t length)
{
    uint64_t hash = __real_siphash24(key, bytes, length);
    return hash_values == 0 ? hash : (hash % hash_values) << 60;
}

static void siphash_vectors(void **state)
{
    (void)state;
    uint8_t key[16], text[15];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 15; i++)
        text[i] = i;
    // Appendix A of the paper, and the shortest of the reference vectors.
    assert_true(__real_siphash24(key, text, 15) == UINT64_C(0xa129ca6149be45e5));
    assert_true(__real_siphash24(key, text, 0) == UINT64_C(0x726fdb47dd0e0e31));
    assert_true(__real_siphash24(key, text, 1) == UINT64_C(0x74f839c593dc67fd));
    assert_true(__real_siphash24(key, text, 8) == UINT64_C(0x93f5f5799a932462));
}

// --- the subject -----------------------------------------------------------------------------

struct entry {
    uint64_t inode; // 0: absent
    uint64_t cursor;
    unsigned seen;
    bool is_stable; // there for the whole of a listing
};

struct subject {
    struct structure_world *world;
    struct random random;
    struct inode inode;
    uint64_t number;
    struct entry entries[NAMES];
    unsigned count;
    unsigned name_bytes;
};

static void make_name(const struct subject *subject, unsigned index, char *name)
{
    memset(name, 'x', subject->name_bytes);
    int length = snprintf(name, 16, "%u.", index);
    name[length] = 'x';
    name[subject->name_bytes > (unsigned)length ? subject->name_bytes : (unsigned)length] = 0;
}

struct step {
    struct structure_change change; // first
    struct subject *subject;
    char name[FORMAT_NAME_BYTES_MAX + 1];
    uint64_t inode;
    int (*verb)(struct step *step, struct journal_handle *handle);
    bool is_aborted;
};

static int step_body(struct structure_change *change, struct journal_handle *handle)
{
    struct step *step = (struct step *)change;
    int result = step->verb(step, handle);
    return result == 0 && step->is_aborted ? -ECANCELED : result;
}

static int insert(struct step *step, struct journal_handle *handle)
{
    return directory_insert(&step->subject->inode, handle, step->name, step->inode, 7, DT_REG);
}

static int remove_name(struct step *step, struct journal_handle *handle)
{
    return directory_remove(&step->subject->inode, handle, step->name);
}

static int replace(struct step *step, struct journal_handle *handle)
{
    return directory_replace(&step->subject->inode, handle, step->name, step->inode, 8, DT_DIR);
}

static int change(struct subject *subject, unsigned index, uint64_t inode,
                  int (*verb)(struct step *step, struct journal_handle *handle))
{
    struct step step = {.subject = subject, .inode = inode, .verb = verb};
    structure_change_init(&step.change, subject->world, directory_change_cost(&subject->inode));
    make_name(subject, index, step.name);
    step.change.body = step_body;
    step.is_aborted = random_one_in(&subject->random, 10);
    inode_use_space(&subject->inode, &step.change.space);
    int result = structure_change_run(&step.change, subject->world);
    inode_use_space(&subject->inode, NULL);
    return result;
}

static void change_one(struct subject *subject, unsigned index, bool grows)
{
    struct entry *entry = &subject->entries[index];
    uint64_t inode = 1 + random_below(&subject->random, 1000000);
    if (random_one_in(&subject->random, 50))
        assert_int_equal(journal_sync(subject->world->volume.journal), 0);
    bool was_there = entry->inode != 0;
    int result;
    if (random_one_in(&subject->random, 5)) {
        result = change(subject, index, inode, replace);
        assert_true(result == -ECANCELED || result == (was_there ? 0 : -ENOENT));
        if (result == 0)
            entry->inode = inode;
        return;
    }
    if (grows) {
        result = change(subject, index, inode, insert);
        assert_true(result == -ECANCELED || result == (was_there ? -EEXIST : 0));
        if (result != 0)
            return;
        *entry = (struct entry){.inode = inode};
        subject->count++;
        return;
    }
    result = change(subject, index, 0, remove_name);
    assert_true(result == -ECANCELED || result == (was_there ? 0 : -ENOENT));
    if (result != 0)
        return;
    *entry = (struct entry){0};
    subject->count--;
}

// --- checks ----------------------------------------------------------------------------------

static void check_lookups(struct subject *subject)
{
    for (unsigned i = 0; i < NAMES; i++) {
        char name[FORMAT_NAME_BYTES_MAX + 1];
        struct directory_item item;
        make_name(subject, i, name);
        int result = directory_lookup(&subject->inode, name, &item);
        assert_int_equal(result, subject->entries[i].inode != 0 ? 0 : -ENOENT);
        if (result != 0)
            continue;
        assert_int_equal(item.inode, subject->entries[i].inode);
        assert_string_equal(item.name, name);
        // An entry's cursor is its own for as long as it exists.
        uint64_t known = subject->entries[i].cursor;
        assert_true(known == 0 || known == item.cursor);
        subject->entries[i].cursor = item.cursor;
    }
    assert_int_equal(inode_size(&subject->inode), subject->count);
    assert_int_equal(directory_is_empty(&subject->inode), subject->count == 0);
}

static void note_seen(struct subject *subject, const struct directory_item *item)
{
    char name[FORMAT_NAME_BYTES_MAX + 1];
    unsigned index = (unsigned)strtoul(item->name, NULL, 10);
    assert_true(index < NAMES);
    make_name(subject, index, name);
    assert_string_equal(item->name, name);
    subject->entries[index].seen++;
}

// A listing in pieces, with changes in between.
static void check_listing(struct subject *subject)
{
    struct directory_item item;
    uint64_t cursor = DIRECTORY_CURSOR_START;
    for (unsigned i = 0; i < NAMES; i++) {
        subject->entries[i].seen = 0;
        subject->entries[i].is_stable = subject->entries[i].inode != 0;
    }
    unsigned dots = 0;
    while (directory_next(&subject->inode, cursor, &item) == 0) {
        assert_true(item.cursor > cursor || item.cursor == INT64_MAX);
        cursor = item.cursor;
        if (item.name[0] == '.')
            dots++;
        else
            note_seen(subject, &item);
        if (random_one_in(&subject->random, 20)) {
            unsigned index = (unsigned)random_below(&subject->random, NAMES);
            subject->entries[index].is_stable = false;
            bool grows = subject->entries[index].inode == 0;
            change_one(subject, index, grows);
            subject->entries[index].is_stable = false;
        }
    }
    assert_int_equal(dots, 2);
    for (unsigned i = 0; i < NAMES; i++) {
        if (subject->entries[i].is_stable)
            assert_int_equal(subject->entries[i].seen, 1);
    }
}

static bool count_some(void *context, const struct directory_item *item)
{
    uint64_t *last = context;
    if (last[1] == 0)
        return false;
    last[1]--;
    last[0] = item->cursor;
    last[2]++;
    return true;
}

// The same in batches: an entry that was refused comes again.
static void check_batches(struct subject *subject)
{
    uint64_t state[3] = {0, 0, 0}; // cursor, room, count
    uint64_t before;
    do {
        before = state[2];
        state[1] = 1 + random_below(&subject->random, 50);
        assert_int_equal(directory_iterate(&subject->inode, state[0], count_some, state), 0);
    } while (state[2] > before);
    assert_int_equal(state[2], subject->count + 2);
}

// --- histories -------------------------------------------------------------------------------

static void run_history(void *argument)
{
    struct subject *subject = argument;
    structure_world_create(subject->world, S_IFDIR | 0755, &subject->inode);
    subject->number = subject->inode.number;
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < 2500; i++)
            change_one(subject, (unsigned)random_below(&subject->random, NAMES),
                       random_below(&subject->random, 6) >= round);
        check_lookups(subject);
        check_listing(subject);
        check_lookups(subject);
        check_batches(subject);
    }
    inode_unload(&subject->inode);
}

static void run_check(void *argument)
{
    struct subject *subject = argument;
    assert_int_equal(inode_load(&subject->inode, &subject->world->volume, subject->number), 0);
    check_lookups(subject);
    check_listing(subject);
    for (unsigned i = 0; i < NAMES; i++) {
        while (subject->entries[i].inode != 0)
            change_one(subject, i, false);
    }
    assert_int_equal(directory_is_empty(&subject->inode), 1);
    assert_true(inode_is_bare(&subject->inode));
    assert_int_equal(inode_block_count(&subject->inode), 0);
    inode_unload(&subject->inode);
}

static void random_history(uint64_t seed, unsigned name_bytes)
{
    static struct structure_world world;
    static struct subject subject;
    structure_world_open(&world, &(struct structure_options){.seed = seed});
    memset(&subject, 0, sizeof(subject));
    subject.world = &world;
    subject.name_bytes = name_bytes;
    random_init(&subject.random, seed);
    structure_world_run(&world, run_history, &subject);
    structure_world_remount(&world);
    structure_world_run(&world, run_check, &subject);
    structure_world_close(&world);
}

static void random_histories(void **state)
{
    (void)state;
    hash_values = 0;
    random_history(1, 0);
    random_history(2, FORMAT_NAME_BYTES_MAX);
}

static void colliding_names(void **state)
{
    (void)state;
    hash_values = 16; // 3000 names: 187 to a hash, below the 256 that fit
    random_history(3, 0);
    hash_values = 0;
}

static void run_too_many(void *argument)
{
    struct subject *subject = argument;
    structure_world_create(subject->world, S_IFDIR | 0755, &subject->inode);
    unsigned inserted = 0;
    for (unsigned i = 0; i < 400 && inserted < 256; i++) {
        int result = change(subject, i, 5, insert);
        assert_true(result == 0 || result == -ECANCELED);
        inserted += result == 0;
    }
    int result = change(subject, 1000, 5, insert);
    assert_true(result == -ENOSPC);
    inode_unload(&subject->inode);
}

static void too_many_collisions(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct subject subject;
    hash_values = 1;
    structure_world_open(&world, &(struct structure_options){.seed = 4});
    memset(&subject, 0, sizeof(subject));
    subject.world = &world;
    random_init(&subject.random, 4);
    structure_world_run(&world, run_too_many, &subject);
    structure_world_close(&world);
    hash_values = 0;
}

// The first names of all: bad ones are refused.
static void run_bad_names(void *argument)
{
    struct subject *subject = argument;
    static const struct {
        const char *name;
        int result;
    } names[] = {{"", -EINVAL}, {".", -EINVAL}, {"..", -EINVAL}, {"a/b", -EINVAL}, {"...", 0}};
    structure_world_create(subject->world, S_IFDIR | 0755, &subject->inode);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct step step = {.subject = subject, .inode = 9, .verb = insert};
        structure_change_init(&step.change, subject->world, directory_change_cost(&subject->inode));
        snprintf(step.name, sizeof(step.name), "%s", names[i].name);
        step.change.body = step_body;
        assert_int_equal(structure_change_run(&step.change, subject->world), names[i].result);
    }
    struct directory_item item;
    char name[300];
    memset(name, 'n', sizeof(name));
    name[256] = 0;
    assert_int_equal(directory_lookup(&subject->inode, name, &item), -ENAMETOOLONG);
    inode_unload(&subject->inode);
}

static void bad_names(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct subject subject;
    structure_world_open(&world, &(struct structure_options){.seed = 5});
    memset(&subject, 0, sizeof(subject));
    subject.world = &world;
    random_init(&subject.random, 4);
    structure_world_run(&world, run_bad_names, &subject);
    structure_world_close(&world);
}

// --- orphans ---------------------------------------------------------------------------------

struct orphan_step {
    struct structure_change change; // first
    struct orphan_list *list;
    uint64_t inode;
    bool inserts;
};

static int orphan_body(struct structure_change *change_, struct journal_handle *handle)
{
    struct orphan_step *step = (struct orphan_step *)change_;
    if (step->inserts)
        return orphan_list_insert(step->list, handle, step->inode, step->inode * 3);
    return orphan_list_remove(step->list, handle, step->inode);
}

static int change_orphans(struct structure_world *world, struct orphan_list *list, uint64_t inode,
                          bool inserts)
{
    struct orphan_step step = {.list = list, .inode = inode, .inserts = inserts};
    structure_change_init(&step.change, world, orphan_list_cost(list));
    step.change.body = orphan_body;
    list->space = &step.change.space;
    int result = structure_change_run(&step.change, world);
    list->space = NULL;
    return result;
}

static void check_orphans(struct orphan_list *list, uint64_t step, uint64_t end)
{
    uint64_t inode = 0, generation;
    for (uint64_t i = step; i < end; i += step) {
        assert_int_equal(orphan_list_next(list, inode, &inode, &generation), 0);
        assert_int_equal(inode, i);
        assert_int_equal(generation, i * 3);
    }
    assert_int_equal(orphan_list_next(list, inode, &inode, &generation), -ENOENT);
}

static void run_orphans(void *argument)
{
    struct structure_world *world = argument;
    struct orphan_list list;
    assert_int_equal(orphan_list_load(&list, &world->volume, 1), 0);
    for (uint64_t i = 1; i < 1000; i++)
        assert_int_equal(change_orphans(world, &list, i, true), 0);
    assert_int_equal(change_orphans(world, &list, 5, true), -EEXIST);
    check_orphans(&list, 1, 1000);
    for (uint64_t i = 1; i < 1000; i += 2)
        assert_int_equal(change_orphans(world, &list, i, false), 0);
    assert_int_equal(change_orphans(world, &list, 5, false), -ERROR_CORRUPT_ORPHANS);
    check_orphans(&list, 2, 1000);
    for (uint64_t i = 2; i < 1000; i += 2)
        assert_int_equal(change_orphans(world, &list, i, false), 0);
    check_orphans(&list, 1000, 1000);
    orphan_list_unload(&list);
}

static void orphan_lists(void **state)
{
    (void)state;
    static struct structure_world world;
    structure_world_open(&world, &(struct structure_options){.seed = 6});
    structure_world_run(&world, run_orphans, &world);
    structure_world_close(&world);
}

// --- hostile ---------------------------------------------------------------------------------

static bool count_any(void *context, const struct directory_item *item)
{
    unsigned *count = context;
    assert_true(strlen(item->name) == item->name_length);
    return ++*count < 100000;
}

static void run_hostile(void *argument)
{
    struct subject *subject = argument;
    if (inode_load(&subject->inode, &subject->world->volume, subject->number) != 0)
        return;
    unsigned count = 0;
    directory_iterate(&subject->inode, 0, count_any, &count);
    assert_true(count < 100000);
    for (unsigned i = 0; i < 60; i++)
        change(subject, (unsigned)random_below(&subject->random, NAMES), 3,
               i % 3 == 0   ? insert
               : i % 3 == 1 ? remove_name
                            : replace);
    inode_unload(&subject->inode);
}

static void run_few(void *argument)
{
    struct subject *subject = argument;
    structure_world_create(subject->world, S_IFDIR | 0755, &subject->inode);
    subject->number = subject->inode.number;
    for (unsigned i = 0; i < 900; i++)
        change_one(subject, i, true);
    inode_unload(&subject->inode);
}

static void hostile_directories(void **state)
{
    (void)state;
    uint64_t seeds = getenv("STRUCTURES_LONG") != NULL ? 2000 : 200;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        static struct structure_world world;
        static struct subject subject;
        structure_world_open(&world, &(struct structure_options){.seed = seed});
        memset(&subject, 0, sizeof(subject));
        subject.world = &world;
        random_init(&subject.random, seed);
        structure_world_run(&world, run_few, &subject);
        structure_world_remount(&world);
        // The inode or one of the blocks near it, which are its nodes.
        uint64_t address = subject.number + random_below(&subject.random, 6);
        uint8_t *block = structure_world_block(&world, address);
        for (int i = 0; i < 3; i++)
            block[64 + random_below(&subject.random, 4032)] =
                (uint8_t)random_below(&subject.random, 256);
        if (le32_get(((struct block_header_disk *)block)->magic) == BLOCK_MAGIC)
            format_block_seal(block, 100);
        structure_world_run(&world, run_hostile, &subject);
        structure_world_close(&world);
    }
}

// --- speed -----------------------------------------------------------------------------------

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_speed(void *argument)
{
    struct subject *subject = argument;
    structure_world_create(subject->world, S_IFDIR | 0755, &subject->inode);
    double start = now_s();
    for (unsigned i = 0; i < NAMES; i++)
        change(subject, i, 5, insert);
    double inserting = (now_s() - start) / NAMES;
    start = now_s();
    for (unsigned i = 0; i < NAMES; i++) {
        char name[FORMAT_NAME_BYTES_MAX + 1];
        struct directory_item item;
        make_name(subject, i, name);
        directory_lookup(&subject->inode, name, &item);
    }
    print_message("insert with its transaction %.2f us, lookup %.2f us\n", inserting * 1e6,
                  (now_s() - start) / NAMES * 1e6);
    inode_unload(&subject->inode);
}

static void speed(void **state)
{
    (void)state;
    static struct structure_world world;
    static struct subject subject;
    structure_world_open(&world, &(struct structure_options){.seed = 8});
    memset(&subject, 0, sizeof(subject));
    subject.world = &world;
    random_init(&subject.random, 4);
    structure_world_run(&world, run_speed, &subject);
    structure_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_vectors),     cmocka_unit_test(random_histories),
        cmocka_unit_test(colliding_names),     cmocka_unit_test(too_many_collisions),
        cmocka_unit_test(bad_names),           cmocka_unit_test(orphan_lists),
        cmocka_unit_test(hostile_directories), cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}
