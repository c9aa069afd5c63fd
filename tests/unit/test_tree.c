// SPDX-License-Identifier: Apache-2.0
// The tree against a model: random inserts, replaces, deletes, moves and walks, in handles of which
// some are aborted, in roots from tiny to large. And hostile nodes, which must give errors.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/format_decode.h"
#include "fs/lock_types.h"
#include "fs/tree.h"
#include "fs/tree_node.h"
#include "tests/lib/structure_world.h"

enum { KEYS = 4096, VALUE_MAX = TREE_VALUE_BYTES_MAX, NODES_MAX = 8192 };

// The object whose block embeds the root: an inode's block, but with an area of the test's size.
struct subject {
    struct structure_world *world;
    struct cache_block *block;
    struct tree tree;
    struct tree_nodes nodes;
    uint64_t next_block;             // node blocks are given out in order, and again once durable
    uint64_t free_blocks[NODES_MAX]; // released, their release perhaps not durable
    unsigned free_count;
    unsigned live_nodes;
    int fail_after; // allocations until one fails; -1: never
};

// --- the model -------------------------------------------------------------------------------

struct model_item {
    bool is_present;
    uint16_t length;
    uint8_t seed;
};

struct model {
    struct model_item items[KEYS];
};

static void make_value(uint8_t *value, unsigned length, uint8_t seed)
{
    for (unsigned i = 0; i < length; i++)
        value[i] = (uint8_t)(seed + i * 7);
}

static struct tree_key key_of(unsigned index)
{
    // Three kinds, so that neighbours differ in each part of the key.
    uint8_t kind = (uint8_t)(ITEM_XATTR + index / (KEYS / 3 + 1));
    return TREE_KEY(kind, index / 3 * (uint64_t)1000003, index % 3);
}

static void check_value(const struct model_item *item, const void *value, unsigned length)
{
    uint8_t expected[VALUE_MAX];
    assert_int_equal(length, item->length);
    make_value(expected, item->length, item->seed);
    assert_memory_equal(value, expected, length);
}

// --- the subject -----------------------------------------------------------------------------

static struct subject *subject_of(struct tree_nodes *nodes)
{
    return (struct subject *)((char *)nodes - offsetof(struct subject, nodes));
}

static int node_allocate(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t *block)
{
    (void)handle;
    struct subject *subject = subject_of(nodes);
    if (subject->fail_after == 0)
        return -ENOSPC;
    if (subject->fail_after > 0)
        subject->fail_after--;
    *block = subject->next_block++;
    subject->live_nodes++;
    return 0;
}

static int node_release(struct tree_nodes *nodes, struct journal_handle *handle, uint64_t block)
{
    struct subject *subject = subject_of(nodes);
    assert_true(subject->free_count < NODES_MAX);
    subject->free_blocks[subject->free_count++] = block;
    subject->live_nodes--;
    return cache_revoke(subject->world->volume.cache, handle, block);
}

static const uint64_t OBJECT_BLOCK = 20000;

static void subject_init(struct subject *subject, struct structure_world *world,
                         uint16_t area_bytes)
{
    memset(subject, 0, sizeof(*subject));
    subject->world = world;
    subject->fail_after = -1;
    subject->next_block = OBJECT_BLOCK + 1;
    subject->nodes = (struct tree_nodes){.allocate = node_allocate, .release = node_release};
    struct cache_identity identity = {OBJECT_BLOCK, OBJECT_BLOCK, BLOCK_TYPE_INODE,
                                      lock_name_inode(OBJECT_BLOCK)};
    struct journal_handle *handle = structure_world_begin(world, 1);
    int result = cache_create(world->volume.cache, handle, &identity, &subject->block);
    assert_int_equal(result, 0);
    subject->tree = (struct tree){
        .cache = world->volume.cache,
        .root = subject->block,
        .area_offset = 384,
        .area_bytes = area_bytes,
        .owner = OBJECT_BLOCK,
        .lock = lock_name_inode(OBJECT_BLOCK),
        .nodes = &subject->nodes,
        .log = &world->log,
    };
    format_node_init(subject->block->bytes + 384, area_bytes, 0);
    journal_transaction_end(handle);
}

// --- checks ----------------------------------------------------------------------------------

static unsigned check_node(struct subject *subject, const uint8_t *area, size_t area_bytes)
{
    struct format_node node;
    const char *reason = NULL;
    int result = format_node_open(&node, area, area_bytes, &reason);
    if (result != 0)
        fail_msg("bad node: %s", reason);
    unsigned nodes = 0;
    for (unsigned i = 0; node.level > 0 && i < node.item_count; i++) {
        struct cache_identity identity = {format_node_child(&node, i), OBJECT_BLOCK,
                                          BLOCK_TYPE_TREE_NODE, subject->tree.lock};
        struct cache_block *block;
        assert_int_equal(cache_read(subject->tree.cache, &identity, &block), 0);
        nodes += 1 + check_node(subject, block->bytes + 64, BLOCK_BYTES - 64);
        cache_put(block);
    }
    return nodes;
}

static void check_whole(struct subject *subject, const struct model *model)
{
    unsigned nodes = check_node(subject, subject->block->bytes + 384, subject->tree.area_bytes);
    assert_int_equal(nodes, subject->live_nodes);
    TREE_CURSOR(cursor, &subject->tree);
    int result = tree_cursor_seek(&cursor, TREE_KEY(0, 0, 0), TREE_CEILING);
    for (unsigned i = 0; i < KEYS; i++) {
        if (!model->items[i].is_present)
            continue;
        assert_int_equal(result, 0);
        assert_int_equal(tree_key_compare(cursor.key, key_of(i)), 0);
        check_value(&model->items[i], cursor.value, cursor.length);
        result = tree_cursor_next(&cursor);
    }
    assert_int_equal(result, -ENOENT);
}

static int model_floor(const struct model *model, int index)
{
    while (index >= 0 && !model->items[index].is_present)
        index--;
    return index;
}

static int model_ceiling(const struct model *model, int index)
{
    while (index < KEYS && !model->items[index].is_present)
        index++;
    return index;
}

static void check_seek(struct subject *subject, const struct model *model, int index)
{
    TREE_CURSOR(cursor, &subject->tree);
    int floor = model_floor(model, index);
    int result = tree_cursor_seek(&cursor, key_of((unsigned)index), TREE_FLOOR);
    assert_int_equal(result, floor < 0 ? -ENOENT : 0);
    if (floor >= 0) {
        assert_int_equal(tree_key_compare(cursor.key, key_of((unsigned)floor)), 0);
        int before = model_floor(model, floor - 1);
        assert_int_equal(tree_cursor_previous(&cursor), before < 0 ? -ENOENT : 0);
        if (before >= 0)
            assert_int_equal(tree_key_compare(cursor.key, key_of((unsigned)before)), 0);
    }
    int ceiling = model_ceiling(model, index);
    result = tree_cursor_seek(&cursor, key_of((unsigned)index), TREE_CEILING);
    assert_int_equal(result, ceiling == KEYS ? -ENOENT : 0);
    if (ceiling < KEYS)
        assert_int_equal(tree_key_compare(cursor.key, key_of((unsigned)ceiling)), 0);
    result = tree_cursor_seek(&cursor, key_of((unsigned)index), TREE_EXACT);
    assert_int_equal(result, model->items[index].is_present ? 0 : -ENOENT);
}

// --- random changes --------------------------------------------------------------------------

struct mix {
    unsigned value_max;    // bytes
    unsigned grow_percent; // of changes that insert
};

static int change_one(struct subject *subject, struct model *model, struct journal_handle *handle,
                      struct random *random, const struct mix *mix)
{
    unsigned index = (unsigned)random_below(random, KEYS);
    struct model_item *item = &model->items[index];
    struct model_item changed = {true, (uint16_t)random_below(random, mix->value_max + 1),
                                 (uint8_t)random_below(random, 256)};
    uint8_t value[VALUE_MAX];
    make_value(value, changed.length, changed.seed);
    struct tree_key key = key_of(index);
    int result;
    if (random_below(random, 100) < mix->grow_percent) {
        bool was_present = item->is_present;
        result = was_present ? tree_replace(&subject->tree, handle, key, value, changed.length)
                             : tree_insert(&subject->tree, handle, key, value, changed.length);
        if (was_present && result == 0)
            assert_int_equal(tree_insert(&subject->tree, handle, key, value, changed.length),
                             -EEXIST);
        *item = changed;
    } else {
        result = tree_delete(&subject->tree, handle, key);
        if (!item->is_present) {
            assert_int_equal(result, -ENOENT);
            result = 0;
        }
        *item = (struct model_item){0};
    }
    return result;
}

// An item moves to a free key between its neighbours.
static int move_one(struct subject *subject, struct model *model, struct journal_handle *handle,
                    struct random *random)
{
    int from = model_ceiling(model, (int)random_below(random, KEYS));
    if (from == KEYS)
        return 0;
    int low = model_floor(model, from - 1) + 1;
    int high = model_ceiling(model, from + 1) - 1;
    int to = low + (int)random_below(random, (uint64_t)(high - low + 1));
    if (to == from)
        return 0;
    uint8_t value[VALUE_MAX];
    struct model_item item = model->items[from];
    item.seed++;
    make_value(value, item.length, item.seed);
    model->items[from] = (struct model_item){0};
    model->items[to] = item;
    return tree_move(&subject->tree, handle, key_of((unsigned)from), key_of((unsigned)to), value,
                     item.length);
}

struct history {
    struct structure_world *world;
    uint16_t area_bytes;
    unsigned value_max;
    unsigned handles;
    uint64_t seed;
    unsigned deepest;
};

static void one_handle(struct subject *subject, struct model *model, struct random *random,
                       const struct mix *mix)
{
    static struct model saved;
    uint32_t changes = 1 + (uint32_t)random_below(random, 6);
    bool is_aborted = random_one_in(random, 8);
    unsigned nodes_before = subject->live_nodes;
    saved = *model;
    // Two changes for each move that does not find room in place.
    struct tree_cost cost = tree_change_cost(&subject->tree, 2 * changes);
    uint64_t first_new = subject->next_block;
    struct journal_handle *handle = structure_world_begin(subject->world, cost.credits);
    if (random_one_in(random, 20))
        subject->fail_after = (int)random_below(random, 2);
    int result = 0;
    for (uint32_t i = 0; i < changes && result == 0; i++)
        result = random_one_in(random, 5) ? move_one(subject, model, handle, random)
                                          : change_one(subject, model, handle, random, mix);
    subject->fail_after = -1;
    assert_true(result == 0 || result == -ENOSPC);
    assert_true(subject->next_block - first_new <= cost.node_blocks);
    if (result == 0 && !is_aborted) {
        journal_transaction_end(handle);
        return;
    }
    journal_transaction_abort(handle);
    *model = saved;
    subject->live_nodes = nodes_before;
}

// Released blocks are not used again: a history has more room than it needs.
static void run_history(void *argument)
{
    static struct subject subject;
    static struct model model;
    struct history *history = argument;
    struct random random;
    random_init(&random, history->seed);
    memset(&model, 0, sizeof(model));
    subject_init(&subject, history->world, history->area_bytes);
    for (unsigned i = 0; i < history->handles; i++) {
        // The tree grows, stays, shrinks, and is emptied, in turns.
        static const unsigned grow[] = {90, 60, 50, 30, 5, 0};
        struct mix mix = {history->value_max, grow[i * 12 / history->handles % 6]};
        one_handle(&subject, &model, &random, &mix);
        check_seek(&subject, &model, (int)random_below(&random, KEYS));
        if (i % 512 == 0)
            check_whole(&subject, &model);
        unsigned level = tree_level(&subject.tree);
        history->deepest = level > history->deepest ? level : history->deepest;
        subject.free_count = 0;
    }
    check_whole(&subject, &model);
    cache_put(subject.block);
}

static void random_histories(void **state)
{
    (void)state;
    static const struct {
        uint16_t area_bytes;
        unsigned value_max;
        unsigned levels_expected;
    } shapes[] = {{3712, 40, 1},   {1856, 16, 1},  {1856, 1280, 2},
                  {1400, 1280, 2}, {3712, 300, 2}, {1856, 3, 1}};
    unsigned scale = getenv("TREE_SCALE") != NULL ? (unsigned)atoi(getenv("TREE_SCALE")) : 4;
    for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        static struct structure_world world;
        uint64_t seed = 1000 + i;
        structure_world_open(&world, &(struct structure_options){.block_count = 1 << 22,
                                                                 .seed = seed,
                                                                 .cache_bytes = 8 << 20});
        struct history history = {
            &world, shapes[i].area_bytes, shapes[i].value_max, 12000 * scale, seed, 0};
        print_message("area %u, values to %u, seed %llu\n", shapes[i].area_bytes,
                      shapes[i].value_max, (unsigned long long)seed);
        structure_world_run(&world, run_history, &history);
        assert_true(history.deepest >= shapes[i].levels_expected);
        structure_world_close(&world);
    }
}

// --- one node --------------------------------------------------------------------------------

// An empty value must not be left below the heap's start when its neighbours move.
static void empty_values_stay_inside(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t area[200];
    uint8_t value[60] = {0};
    struct tree_node node = {area, sizeof(area)};
    struct format_node checked;
    tree_node_clear(node, 0);
    tree_node_insert(node, 0, TREE_KEY(ITEM_EXTENT, 1, 0), value, 40);
    tree_node_insert(node, 1, TREE_KEY(ITEM_EXTENT, 2, 0), value, 0);
    tree_node_insert(node, 2, TREE_KEY(ITEM_EXTENT, 3, 0), value, 40);
    tree_node_set_value(node, 0, value, 20);
    tree_node_insert(node, 3, TREE_KEY(ITEM_EXTENT, 4, 0), value, 20); // not without compaction
    tree_node_remove(node, 3);
    tree_node_remove(node, 2);
    tree_node_remove(node, 0);
    assert_int_equal(format_node_open(&checked, area, sizeof(area), NULL), 0);
}

// --- sequential inserts fill nodes -------------------------------------------------------------

static void run_sequential(void *argument)
{
    static struct subject subject;
    subject_init(&subject, argument, 3712);
    uint8_t value[16] = {0};
    for (unsigned i = 0; i < 10000; i++) {
        struct tree_cost cost = tree_change_cost(&subject.tree, 1);
        struct journal_handle *handle = structure_world_begin(argument, cost.credits);
        int result =
            tree_insert(&subject.tree, handle, TREE_KEY(ITEM_EXTENT, i, 0), value, sizeof(value));
        assert_int_equal(result, 0);
        journal_transaction_end(handle);
    }
    // 100 items of 40 bytes fill a node of 4016 bytes; a few nodes more for the levels above.
    assert_true(subject.live_nodes <= 10000 / 100 + 4);
    cache_put(subject.block);
}

static void sequential_inserts_fill_nodes(void **state)
{
    (void)state;
    static struct structure_world world;
    structure_world_open(&world, &(struct structure_options){0});
    structure_world_run(&world, run_sequential, &world);
    structure_world_close(&world);
}

// --- deletes merge nodes -----------------------------------------------------------------------

static void run_thinning(void *argument)
{
    static struct subject subject;
    enum { COUNT = 10000, KEPT = 10 };
    subject_init(&subject, argument, 3712);
    uint8_t value[16] = {0};
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < COUNT; i++) {
            if (pass == 1 && i % KEPT == 0)
                continue;
            struct tree_key key = TREE_KEY(ITEM_EXTENT, (uint64_t)i * 7919 % COUNT, 0);
            struct tree_cost cost = tree_change_cost(&subject.tree, 1);
            struct journal_handle *handle = structure_world_begin(argument, cost.credits);
            int result = pass == 0 ? tree_insert(&subject.tree, handle, key, value, sizeof(value))
                                   : tree_delete(&subject.tree, handle, key);
            assert_int_equal(result, 0);
            journal_transaction_end(handle);
        }
    }
    // What is left would fill 10 nodes; two neighbours together are never below three quarters.
    assert_true(subject.live_nodes <= 10 * 4);
    cache_put(subject.block);
}

static void deletes_merge_nodes(void **state)
{
    (void)state;
    static struct structure_world world;
    structure_world_open(&world, &(struct structure_options){0});
    structure_world_run(&world, run_thinning, &world);
    structure_world_close(&world);
}

// --- hostile nodes ---------------------------------------------------------------------------

static void grow(struct subject *subject, unsigned count)
{
    uint8_t value[64] = {0};
    for (unsigned i = 0; i < count; i++) {
        struct tree_cost cost = tree_change_cost(&subject->tree, 1);
        struct journal_handle *handle = structure_world_begin(subject->world, cost.credits);
        int result = tree_insert(&subject->tree, handle, TREE_KEY(ITEM_EXTENT, i * 5, 0), value,
                                 sizeof(value));
        assert_int_equal(result, 0);
        journal_transaction_end(handle);
    }
}

// Walks, seeks and changes; whatever the nodes say, it ends and nothing breaks.
static bool exercise(struct subject *subject, struct random *random)
{
    bool failed = false;
    uint8_t value[200] = {1};
    TREE_CURSOR(cursor, &subject->tree);
    struct tree_key before = TREE_KEY(0, 0, 0);
    int result = tree_cursor_seek(&cursor, before, TREE_CEILING);
    for (; result == 0; result = tree_cursor_next(&cursor)) {
        assert_true(tree_key_compare(before, cursor.key) < 0);
        before = cursor.key;
    }
    failed |= result != -ENOENT;
    for (int i = 0; i < 40; i++) {
        struct tree_key key = TREE_KEY(ITEM_EXTENT, random_below(random, 12000), 0);
        struct tree_cost cost = tree_change_cost(&subject->tree, 2);
        struct journal_handle *handle = structure_world_begin(subject->world, cost.credits);
        if (i % 2 == 0)
            result = tree_insert(&subject->tree, handle, key, value, random_below(random, 200));
        else
            result = tree_delete(&subject->tree, handle, key);
        if (result == 0) {
            journal_transaction_end(handle);
            continue;
        }
        failed |= result != -ENOENT && result != -EEXIST;
        journal_transaction_abort(handle);
    }
    return failed;
}

static void corrupt_area(uint8_t *area, size_t bytes, struct random *random)
{
    unsigned count = 1 + (unsigned)random_below(random, 3);
    for (unsigned i = 0; i < count; i++) {
        // The node's header and first slots are where it hurts most.
        size_t at =
            random_one_in(random, 2) ? random_below(random, 64) : random_below(random, bytes);
        area[at] = (uint8_t)(random_one_in(random, 3) ? 0xff : random_below(random, 256));
    }
}

// Blocks of the tree on the LUN are changed and sealed again, as an attacker would.
static void run_hostile(void *argument)
{
    static struct subject subject;
    struct structure_world *world = argument;
    struct random random;
    random_init(&random, 77);
    subject_init(&subject, world, 3712);
    grow(&subject, 2400);
    assert_int_equal(journal_checkpoint(world->volume.journal), 0);
    unsigned nodes = (unsigned)(subject.next_block - OBJECT_BLOCK);
    uint64_t good_next = subject.next_block;
    size_t bytes = nodes * (size_t)BLOCK_BYTES;
    uint8_t *good = malloc(bytes);
    memcpy(good, structure_world_block(world, OBJECT_BLOCK), bytes);
    unsigned failures = 0;
    for (int round = 0; round < 1500; round++) {
        cache_put(subject.block);
        assert_int_equal(journal_checkpoint(world->volume.journal), 0);
        cache_drop_lock(world->volume.cache, subject.tree.lock);
        memcpy(structure_world_block(world, OBJECT_BLOCK), good, bytes);
        unsigned victim = (unsigned)random_below(&random, random_one_in(&random, 3) ? 2 : nodes);
        uint8_t *block = structure_world_block(world, OBJECT_BLOCK + victim);
        size_t offset = victim == 0 ? 384 : 64;
        if (random_one_in(&random, 8)) // a whole node in another's place
            memcpy(
                block + 64,
                structure_world_block(world, OBJECT_BLOCK + 1 + random_below(&random, nodes - 1)) +
                    64,
                BLOCK_BYTES - 64);
        else
            corrupt_area(block + offset, BLOCK_BYTES - offset, &random);
        format_block_seal(block, 1);
        struct cache_identity identity = {OBJECT_BLOCK, OBJECT_BLOCK, BLOCK_TYPE_INODE,
                                          subject.tree.lock};
        assert_int_equal(cache_read(world->volume.cache, &identity, &subject.block), 0);
        subject.tree.root = subject.block;
        subject.next_block = good_next + 1000u * (unsigned)round;
        subject.free_count = 0;
        failures += exercise(&subject, &random);
    }
    print_message("%u of 1500 damaged trees gave an error\n", failures);
    assert_true(failures > 500);
    cache_put(subject.block);
    assert_int_equal(journal_checkpoint(world->volume.journal), 0);
    free(good);
}

static void hostile_nodes_give_errors(void **state)
{
    (void)state;
    static struct structure_world world;
    structure_world_open(&world, &(struct structure_options){.block_count = 1 << 21});
    structure_world_run(&world, run_hostile, &world);
    structure_world_close(&world);
}

// A node that is its own child would be walked for ever; levels must fall.
static void run_own_child(void *argument)
{
    static struct subject subject;
    struct structure_world *world = argument;
    subject_init(&subject, world, 3712);
    grow(&subject, 200);
    uint64_t victim = OBJECT_BLOCK + 1;
    cache_put(subject.block);
    assert_int_equal(journal_checkpoint(world->volume.journal), 0);
    cache_drop_lock(world->volume.cache, subject.tree.lock);
    uint8_t *block = structure_world_block(world, victim);
    struct tree_node_disk *node = (struct tree_node_disk *)(block + 64);
    struct tree_slot_disk *slot = (struct tree_slot_disk *)(node + 1);
    le64_t itself = le64_make(victim);
    format_node_init(node, BLOCK_BYTES - 64, 1);
    node->item_count = le16_make(1);
    node->heap_start = le16_make(BLOCK_BYTES - 64 - 8);
    slot->key.kind = ITEM_INLINE;
    slot->offset = node->heap_start;
    slot->length = le16_make(8);
    memcpy(block + BLOCK_BYTES - 8, &itself, sizeof(itself));
    format_block_seal(block, 1);
    struct cache_identity identity = {OBJECT_BLOCK, OBJECT_BLOCK, BLOCK_TYPE_INODE,
                                      subject.tree.lock};
    assert_int_equal(cache_read(world->volume.cache, &identity, &subject.block), 0);
    subject.tree.root = subject.block;
    uint8_t value[64];
    int result = tree_get(&subject.tree, TREE_KEY(ITEM_EXTENT, 0, 0), value, sizeof(value));
    assert_int_equal(result, -ERROR_CORRUPT_TREE);
    assert_int_equal(world->log_last_code, ERROR_CORRUPT_TREE);
    cache_put(subject.block);
}

static void a_node_is_not_its_own_child(void **state)
{
    (void)state;
    static struct structure_world world;
    structure_world_open(&world, &(struct structure_options){0});
    structure_world_run(&world, run_own_child, &world);
    structure_world_close(&world);
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
    static struct subject subject;
    enum { COUNT = 100000 };
    struct random random;
    random_init(&random, 5);
    subject_init(&subject, argument, 3712);
    uint8_t value[16] = {0};
    double inserting = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        struct tree_key key = TREE_KEY(ITEM_EXTENT, random_u64(&random) >> 20, 0);
        double start = now_s();
        struct tree_cost cost = tree_change_cost(&subject.tree, 1);
        struct journal_handle *handle = structure_world_begin(argument, cost.credits);
        tree_insert(&subject.tree, handle, key, value, sizeof(value));
        journal_transaction_end(handle);
        inserting += now_s() - start;
        if (i % 1000 == 0)
            assert_int_equal(journal_checkpoint(subject.world->volume.journal), 0);
    }
    double start = now_s();
    for (unsigned i = 0; i < COUNT; i++)
        tree_get(&subject.tree, TREE_KEY(ITEM_EXTENT, random_u64(&random) >> 20, 0), value, 16);
    double looking = now_s() - start;
    print_message("%d items, level %u: insert with its handle %.2f us, lookup %.2f us\n", COUNT,
                  tree_level(&subject.tree), inserting / COUNT * 1e6, looking / COUNT * 1e6);
    cache_put(subject.block);
}

static void speed(void **state)
{
    (void)state;
    static struct structure_world world;
    structure_world_open(&world, &(struct structure_options){.journal_block_count = 16384});
    structure_world_run(&world, run_speed, &world);
    structure_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories),
        cmocka_unit_test(empty_values_stay_inside),
        cmocka_unit_test(sequential_inserts_fill_nodes),
        cmocka_unit_test(deletes_merge_nodes),
        cmocka_unit_test(hostile_nodes_give_errors),
        cmocka_unit_test(a_node_is_not_its_own_child),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
