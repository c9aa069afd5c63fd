// SPDX-License-Identifier: Apache-2.0
// Extended attributes, inline content and the fields of inodes.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "fs/base/error.h"
#include "fs/base/siphash.h"
#include "fs/operation.h"
#include "fs/xattr.h"
#include "tests/lib/structure_world.h"

enum { NAMES = 40 };

// --- the wrapped hash ------------------------------------------------------------------------

uint64_t __real_siphash24(const uint8_t key[16], const void *bytes, size_t length);
uint64_t __wrap_siphash24(const uint8_t key[16], const void *bytes, size_t length);

static unsigned hash_values; // 0: the real hash

uint64_t __wrap_siphash24(const uint8_t key[16], const void *bytes, size_t length)
{
    uint64_t hash = __real_siphash24(key, bytes, length);
    return hash_values == 0 ? hash : (hash % hash_values) << 60;
}

// --- the subject -----------------------------------------------------------------------------

struct value {
    bool is_present;
    size_t length;
    uint8_t seed;
};

struct subject {
    struct structure_world *world;
    struct random random;
    struct inode inode;
    uint64_t number;
    struct value values[NAMES];
    uint8_t buffer[XATTR_VALUE_BYTES_MAX + 1];
    uint8_t expected[XATTR_VALUE_BYTES_MAX + 1];
};

static void make_name(unsigned index, char name[XATTR_NAME_BYTES_MAX + 1])
{
    static const char *const prefixes[] = {"user.", "trusted.", "security.", "system."};
    snprintf(name, XATTR_NAME_BYTES_MAX + 1, "%s%u", prefixes[index % 4], index);
    if (index % 5 == 0) { // the longest name there is
        size_t length = strlen(name);
        memset(name + length, 'n', XATTR_NAME_BYTES_MAX - length);
        name[XATTR_NAME_BYTES_MAX] = 0;
    }
}

static void fill(uint8_t *bytes, size_t length, uint8_t seed)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(seed + i * 13 + i / 256);
}

struct step {
    struct structure_change change; // first
    struct subject *subject;
    char name[XATTR_NAME_BYTES_MAX + 1];
    size_t length;
    int flags;
    bool removes, removes_some, has_more;
    bool is_aborted;
};

static int step_body(struct structure_change *change, struct journal_handle *handle)
{
    struct step *step = (struct step *)change;
    struct inode *inode = &step->subject->inode;
    int result;
    if (step->removes_some)
        result = xattr_remove_some(inode, handle, &step->has_more);
    else if (step->removes)
        result = xattr_remove(inode, handle, step->name);
    else
        result = xattr_set(inode, handle, step->name, step->subject->expected, step->length,
                           step->flags);
    return result == 0 && step->is_aborted ? -ECANCELED : result;
}

static int step_run(struct step *step)
{
    struct subject *subject = step->subject;
    struct tree_cost cost = xattr_step_cost(&subject->inode);
    int result = step->removes_some
                     ? 0
                     : xattr_change_cost(&subject->inode, step->name, step->length, &cost);
    if (result != 0)
        return result;
    structure_change_init(&step->change, subject->world, cost);
    step->change.body = step_body;
    inode_use_space(&subject->inode, &step->change.space);
    result = structure_change_run(&step->change, subject->world);
    inode_use_space(&subject->inode, NULL);
    return result;
}

// --- checks ----------------------------------------------------------------------------------

static void check_value(struct subject *subject, unsigned index)
{
    const struct value *value = &subject->values[index];
    char name[XATTR_NAME_BYTES_MAX + 1];
    make_name(index, name);
    ssize_t length = xattr_get(&subject->inode, name, NULL, 0);
    assert_int_equal(length, value->is_present ? (ssize_t)value->length : -ENODATA);
    if (!value->is_present)
        return;
    if (value->length > 1)
        assert_int_equal(xattr_get(&subject->inode, name, subject->buffer, value->length - 1),
                         -ERANGE);
    length = xattr_get(&subject->inode, name, subject->buffer, sizeof(subject->buffer));
    assert_int_equal(length, (ssize_t)value->length);
    fill(subject->expected, value->length, value->seed);
    assert_memory_equal(subject->buffer, subject->expected, value->length);
}

static void check_list(struct subject *subject)
{
    char names[NAMES * (XATTR_NAME_BYTES_MAX + 1)];
    ssize_t length = xattr_list(&subject->inode, true, names, sizeof(names));
    assert_true(length >= 0);
    assert_int_equal(xattr_list(&subject->inode, true, NULL, 0), length);
    if (length > 1)
        assert_int_equal(xattr_list(&subject->inode, true, names, (size_t)length - 1), -ERANGE);
    assert_int_equal(xattr_list(&subject->inode, true, names, sizeof(names)), length);
    unsigned count = 0;
    for (char *name = names; name < names + length; name += strlen(name) + 1) {
        assert_true(xattr_get(&subject->inode, name, NULL, 0) >= 0);
        count++;
    }
    assert_int_equal(count, inode_xattr_count(&subject->inode));
}

static void check_all(struct subject *subject)
{
    unsigned count = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        check_value(subject, i);
        count += subject->values[i].is_present;
    }
    assert_int_equal(count, inode_xattr_count(&subject->inode));
    check_list(subject);
}

// --- histories -------------------------------------------------------------------------------

static void change_one(struct subject *subject)
{
    struct random *random = &subject->random;
    unsigned index = (unsigned)random_below(random, NAMES);
    struct value *value = &subject->values[index];
    struct step step = {.subject = subject, .is_aborted = random_one_in(random, 8)};
    static const size_t sizes[] = {0, 20, 300, 2000, 20000, XATTR_VALUE_BYTES_MAX};
    struct value changed = {true, random_below(random, sizes[random_below(random, 6)] + 1),
                            (uint8_t)random_below(random, 256)};
    make_name(index, step.name);
    step.removes = random_one_in(random, 3);
    step.length = step.removes ? 0 : changed.length;
    step.flags = random_one_in(random, 3)   ? XATTR_CREATE
                 : random_one_in(random, 3) ? XATTR_REPLACE
                                            : 0;
    fill(subject->expected, changed.length, changed.seed);
    int expected = 0;
    if (step.removes || step.flags == XATTR_REPLACE)
        expected = value->is_present ? 0 : -ENODATA;
    else if (step.flags == XATTR_CREATE)
        expected = value->is_present ? -EEXIST : 0;
    int result = step_run(&step);
    assert_true(result == expected || (expected == 0 && result == -ECANCELED));
    if (result == 0)
        *value = step.removes ? (struct value){0} : changed;
}

static void run_create(void *argument)
{
    struct subject *subject = argument;
    structure_world_create(subject->world, S_IFREG | 0600, &subject->inode);
    subject->number = subject->inode.number;
    inode_unload(&subject->inode);
}

static void load(struct subject *subject)
{
    assert_int_equal(inode_load(&subject->inode, &subject->world->volume, subject->number), 0);
}

static void run_history(void *argument)
{
    struct subject *subject = argument;
    load(subject);
    for (int i = 0; i < 1500; i++) {
        change_one(subject);
        if (i % 10 == 0)
            assert_int_equal(journal_sync(subject->world->volume.journal), 0);
        if (i % 100 == 0)
            check_all(subject);
    }
    check_all(subject);
    inode_unload(&subject->inode);
}

static void run_end(void *argument)
{
    struct subject *subject = argument;
    load(subject);
    check_all(subject);
    struct step step;
    do {
        step = (struct step){.subject = subject, .removes_some = true};
        assert_int_equal(step_run(&step), 0);
    } while (step.has_more);
    assert_int_equal(inode_xattr_count(&subject->inode), 0);
    assert_true(inode_is_bare(&subject->inode));
    assert_int_equal(inode_block_count(&subject->inode), 0);
    inode_unload(&subject->inode);
}

static struct structure_world world;
static struct subject subject_;

static void open_subject(uint64_t seed)
{
    structure_world_open(&world, &(struct structure_options){.seed = seed});
    memset(&subject_, 0, sizeof(subject_));
    subject_.world = &world;
    random_init(&subject_.random, seed);
    structure_world_run(&world, run_create, &subject_);
}

static void random_histories(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        hash_values = seed == 3 ? 2 : 0;
        open_subject(seed);
        structure_world_run(&world, run_history, &subject_);
        structure_world_remount(&world);
        structure_world_run(&world, run_end, &subject_);
        structure_world_close(&world);
        hash_values = 0;
    }
}

static void run_limits(void *argument)
{
    struct subject *subject = argument;
    struct inode *inode = &subject->inode;
    load(subject);
    struct step step = {.subject = subject, .length = XATTR_VALUE_BYTES_MAX + 1};
    make_name(0, step.name);
    assert_int_equal(step_run(&step), -E2BIG);
    assert_int_equal(xattr_get(inode, "other.name", NULL, 0), -EOPNOTSUPP);
    assert_int_equal(xattr_get(inode, "user.", NULL, 0), -EOPNOTSUPP);
    char name[400];
    memset(name, 'x', sizeof(name));
    memcpy(name, "user.", 5);
    name[256] = 0;
    assert_int_equal(xattr_get(inode, name, NULL, 0), -ERANGE);
    inode_unload(inode);
}

static void limits(void **state)
{
    (void)state;
    open_subject(4);
    structure_world_run(&world, run_limits, &subject_);
    structure_world_close(&world);
}

// --- inline content --------------------------------------------------------------------------

struct inline_step {
    struct structure_change change; // first
    struct subject *subject;
    size_t length;
};

static int inline_body(struct structure_change *change, struct journal_handle *handle)
{
    struct inline_step *step = (struct inline_step *)change;
    return inode_set_inline(&step->subject->inode, handle, step->subject->expected, step->length);
}

static void run_inline(void *argument)
{
    struct subject *subject = argument;
    load(subject);
    for (int i = 0; i < 300; i++) {
        struct inline_step step = {.subject = subject};
        step.length = random_below(&subject->random, INODE_INLINE_BYTES_MAX + 1);
        if (i % 10 == 0)
            step.length = i % 20 == 0 ? 0 : (size_t)TREE_VALUE_BYTES_MAX * (1 + (size_t)i / 10 % 3);
        fill(subject->expected, step.length, (uint8_t)i);
        structure_change_init(&step.change, subject->world,
                              inode_inline_cost(&subject->inode, step.length));
        step.change.body = inline_body;
        inode_use_space(&subject->inode, &step.change.space);
        assert_int_equal(structure_change_run(&step.change, subject->world), 0);
        memset(subject->buffer, 0xee, sizeof(subject->buffer));
        int length = inode_get_inline(&subject->inode, subject->buffer, sizeof(subject->buffer));
        assert_int_equal(length, (int)step.length);
        assert_memory_equal(subject->buffer, subject->expected, step.length);
        memset(subject->buffer, 0xee, sizeof(subject->buffer));
        length = inode_get_inline(&subject->inode, subject->buffer, step.length / 2);
        assert_int_equal(length, (int)step.length);
        assert_memory_equal(subject->buffer, subject->expected, step.length / 2);
        assert_int_equal(subject->buffer[step.length / 2], 0xee);
    }
    inode_unload(&subject->inode);
}

static void inline_content(void **state)
{
    (void)state;
    open_subject(5);
    structure_world_run(&world, run_inline, &subject_);
    structure_world_close(&world);
}

// --- fields ----------------------------------------------------------------------------------

static void set_all(struct inode *inode)
{
    inode_set_size(inode, 12345);
    inode_set_mode(inode, S_IFREG | 04711);
    inode_set_link_count(inode, 3);
    inode_set_owner(inode, 1000, 2000);
    inode_set_time(inode, INODE_ACCESSED, (struct timespec){-5, 999999999});
    inode_set_time(inode, INODE_MODIFIED, (struct timespec){7, 1});
    inode_set_time(inode, INODE_CHANGED, (struct timespec){8, 2});
    inode_set_orphan(inode, true, 1);
    inode_set_truncate_size(inode, 99);
    inode_add_blocks(inode, 10);
    inode_add_blocks(inode, -4);
}

static void check_fields(const struct inode *inode)
{
    struct attributes attributes;
    inode_get_attributes(inode, &attributes);
    assert_int_equal(attributes.stat.st_size, 12345);
    assert_int_equal(attributes.stat.st_mode, S_IFREG | 04711);
    assert_int_equal(attributes.stat.st_nlink, 3);
    assert_int_equal(attributes.stat.st_uid, 1000);
    assert_int_equal(attributes.stat.st_gid, 2000);
    assert_int_equal(attributes.stat.st_blocks, 6 * 8);
    assert_int_equal(attributes.stat.st_atim.tv_sec, -5);
    assert_int_equal(attributes.stat.st_atim.tv_nsec, 999999999);
    assert_int_equal(attributes.stat.st_mtim.tv_sec, 7);
    assert_int_equal(attributes.stat.st_ctim.tv_nsec, 2);
    assert_int_equal(inode_flags(inode), INODE_FLAG_ORPHAN);
    assert_int_equal(inode_orphan_slot(inode), 1);
    assert_int_equal(inode_truncate_size(inode), 99);
}

static void run_set_fields(void *argument)
{
    struct subject *subject = argument;
    load(subject);
    struct journal_handle *handle = structure_world_begin(subject->world, 1);
    inode_change(&subject->inode, handle);
    set_all(&subject->inode);
    check_fields(&subject->inode);
    journal_transaction_abort(handle);
    assert_int_equal(inode_size(&subject->inode), 0);
    assert_int_equal(inode_link_count(&subject->inode), 1);
    handle = structure_world_begin(subject->world, 1);
    inode_change(&subject->inode, handle);
    set_all(&subject->inode);
    journal_transaction_end(handle);
    inode_unload(&subject->inode);
}

static void run_check_fields(void *argument)
{
    struct subject *subject = argument;
    load(subject);
    check_fields(&subject->inode);
    inode_unload(&subject->inode);
}

static void run_load_bad(void *argument)
{
    struct subject *subject = argument;
    int result = inode_load(&subject->inode, &subject->world->volume, subject->number);
    assert_int_equal(result, -ERROR_CORRUPT_INODE);
    assert_int_equal(subject->world->log_last_code, ERROR_CORRUPT_INODE);
    result = inode_load(&subject->inode, &subject->world->volume, 5);
    assert_int_equal(result, -ERROR_BLOCK_RANGE);
    result = inode_load(&subject->inode, &subject->world->volume, UINT64_MAX);
    assert_int_equal(result, -ERROR_BLOCK_RANGE);
}

static void fields(void **state)
{
    (void)state;
    open_subject(6);
    structure_world_run(&world, run_set_fields, &subject_);
    structure_world_remount(&world);
    structure_world_run(&world, run_check_fields, &subject_);
    structure_world_remount(&world);
    struct inode_disk *disk = (struct inode_disk *)structure_world_block(&world, subject_.number);
    disk->generation = le64_make(0);
    format_block_seal(disk, 100);
    structure_world_run(&world, run_load_bad, &subject_);
    structure_world_close(&world);
}

// --- hostile ---------------------------------------------------------------------------------

static void run_hostile(void *argument)
{
    struct subject *subject = argument;
    if (inode_load(&subject->inode, &subject->world->volume, subject->number) != 0)
        return;
    char names[4096];
    xattr_list(&subject->inode, true, names, sizeof(names));
    for (unsigned i = 0; i < NAMES; i++) {
        char name[XATTR_NAME_BYTES_MAX + 1];
        make_name(i, name);
        xattr_get(&subject->inode, name, subject->buffer, sizeof(subject->buffer));
        struct step step = {.subject = subject, .removes = i % 2 == 0, .length = i % 2 * 3000};
        memcpy(step.name, name, sizeof(name));
        step_run(&step);
    }
    for (int i = 0; i < 10; i++) {
        struct step step = {.subject = subject, .removes_some = true};
        step_run(&step);
    }
    inode_get_inline(&subject->inode, subject->buffer, 5000);
    inode_unload(&subject->inode);
}

static void run_some(void *argument)
{
    struct subject *subject = argument;
    load(subject);
    for (int i = 0; i < 60; i++)
        change_one(subject);
    inode_unload(&subject->inode);
}

static void hostile_attributes(void **state)
{
    (void)state;
    uint64_t seeds = getenv("STRUCTURES_LONG") != NULL ? 3000 : 300;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        open_subject(seed);
        structure_world_run(&world, run_some, &subject_);
        structure_world_remount(&world);
        uint64_t address = subject_.number + random_below(&subject_.random, 4);
        uint8_t *block = structure_world_block(&world, address);
        for (int i = 0; i < 3; i++)
            block[64 + random_below(&subject_.random, 4032)] =
                (uint8_t)random_below(&subject_.random, 256);
        if (le32_get(((struct block_header_disk *)block)->magic) == BLOCK_MAGIC)
            format_block_seal(block, 100);
        structure_world_run(&world, run_hostile, &subject_);
        structure_world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories),   cmocka_unit_test(limits),
        cmocka_unit_test(inline_content),     cmocka_unit_test(fields),
        cmocka_unit_test(hostile_attributes),
    };
    return cmocka_run_group_tests_name("xattr", tests, NULL, NULL);
}
