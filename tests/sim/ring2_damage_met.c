// SPDX-License-Identifier: Apache-2.0
// A block goes bad while the volume is in use (docs/design.md, I7): on a copy of the disk after a
// power cut two nodes mount, one byte of a block is changed behind their backs, and both go on to
// work. What needs the block fails with a check's error; all else is answered; both nodes come to
// know, the superblock says so, and nobody's mount ends.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/damage.h"
#include "fs/format_decode.h"
#include "fs/operation.h"
#include "tests/sim/ring2_history.h"

enum target { TARGET_INODE, TARGET_DIRECTORY, TARGET_LEAF, TARGET_GROUP, TARGET_COUNT };

enum { NODES = 2, NAMES = 120 };

struct met {
    struct ring2_history *history;
    struct ring2_node *nodes;
    uint64_t directory, file, doomed; // in the root
    uint64_t leaf;                    // of the directory's tree; 0: it has none
    bool is_prepared;
};

static const struct credentials root_user = {.uid = 0, .gid = 0};

static int make(struct volume *volume, uint64_t parent, const char *name, struct attributes *out)
{
    return operation_create(volume, parent, name, S_IFREG | 0644, 0, &root_user, -1, out, NULL);
}

// --- what is there to be damaged -----------------------------------------------------------------

static void prepare_body(void *argument)
{
    struct met *met = argument;
    struct volume *volume = met->nodes[0].volume;
    uint64_t root = volume->geometry.root_inode;
    struct attributes made;
    if (operation_make_directory(volume, root, "damaged", 0755, &root_user, &made) != 0)
        return;
    met->directory = made.inode;
    for (int i = 0; i < NAMES; i++) { // enough for a leaf of their own
        char name[64];
        snprintf(name, sizeof(name), "a name long enough to fill a node of the tree %d", i);
        if (make(volume, met->directory, name, &made) != 0)
            return;
    }
    if (make(volume, root, "damaged file", &made) != 0 || make(volume, root, "sound", &made) != 0)
        return;
    if (operation_lookup(volume, root, "damaged file", &made) != 0)
        return;
    met->file = made.inode;
    if (make(volume, root, "doomed", &made) != 0)
        return;
    met->doomed = made.inode;
    met->is_prepared = true;
}

// The first child of the directory's root node, as the disk has it.
static uint64_t first_leaf(const struct sim_disk *disk, uint64_t directory)
{
    struct inode_disk inode;
    struct format_node node;
    sim_disk_peek(disk, directory * BLOCK_BYTES, &inode, sizeof(inode));
    if (format_node_open(&node, inode.root, sizeof(inode.root), NULL) != 0 || node.level == 0)
        return 0;
    return format_node_child(&node, 0);
}

static bool prepare(struct met *met, struct world *world, struct sim_disk *disk)
{
    if (ring2_mount(met->nodes, 1, world, disk, false) != 0)
        return false; // the next cut finds out
    ring2_run(world, prepare_body, met);
    bool is_in_place = ring2_unmount(met->nodes, 1) == 0;
    if (met->is_prepared)
        met->leaf = first_leaf(disk, met->directory);
    return is_in_place && met->is_prepared && met->leaf != 0;
}

static void spoil(struct met *met, const struct geometry *g, struct sim_disk *disk,
                  enum target target)
{
    uint32_t group = 0;
    geometry_ag_of_block(g, met->doomed, &group);
    const uint64_t blocks[TARGET_COUNT] = {
        [TARGET_INODE] = met->file,
        [TARGET_DIRECTORY] = met->directory,
        [TARGET_LEAF] = met->leaf,
        [TARGET_GROUP] = geometry_ag_first_block(g, group),
    };
    uint64_t at =
        blocks[target] * BLOCK_BYTES + random_below(&met->history->cut_random, BLOCK_BYTES);
    uint8_t byte;
    sim_disk_peek(disk, at, &byte, 1);
    byte ^= (uint8_t)(1u << random_below(&met->history->cut_random, 8));
    sim_disk_poke(disk, at, &byte, 1);
}

// --- meeting it ----------------------------------------------------------------------------------

// Every name is asked for, so that every leaf is read.
static int look_at_all(struct volume *volume, uint64_t directory)
{
    int worst = 0;
    for (int i = 0; i < NAMES; i++) {
        char name[64];
        struct attributes found;
        snprintf(name, sizeof(name), "a name long enough to fill a node of the tree %d", i);
        int result = operation_lookup(volume, directory, name, &found);
        worst = result != 0 ? result : worst;
    }
    return worst;
}

static void meet_on(struct met *met, unsigned index, enum target target)
{
    struct volume *volume = met->nodes[index].volume;
    uint64_t root = volume->geometry.root_inode;
    struct attributes found;
    int file = operation_lookup(volume, root, "damaged file", &found);
    int names = look_at_all(volume, met->directory);
    bool as_it_must = (file == 0) == (target != TARGET_INODE) &&
                      (names == 0) == (target != TARGET_DIRECTORY && target != TARGET_LEAF);
    if (!as_it_must || (file != 0 && !error_is_check(file)))
        ring2_fail(met->history, "damage of kind %d: the file answers %d, the directory %d",
                   (int)target, file, names);
    int sound = operation_lookup(volume, root, "sound", &found);
    if (index == 0 && sound == 0) // its space is given back: a group that is damaged is met
        sound = operation_unlink(volume, root, "doomed");
    int made = make(volume, root, index == 0 ? "new" : "newer", &found);
    if (sound != 0 || (made != 0 && made != -ENOSPC))
        ring2_fail(met->history, "damage of kind %d: a sound file answers %d, a new one %d",
                   (int)target, sound, made);
}

static void check_known(struct met *met, unsigned index)
{
    const struct volume *volume = met->nodes[index].volume;
    if (volume_check(volume) != 0)
        ring2_fail(met->history, "the mount of node %u ended over damage: %d", index,
                   volume_check(volume));
    else if (!damage_is_known(volume->damage))
        ring2_fail(met->history, "node %u does not know of damage that was met", index);
}

struct meeting {
    struct met *met;
    enum target target;
};

static void meet_body(void *argument)
{
    const struct meeting *meeting = argument;
    struct met *met = meeting->met;
    for (unsigned i = 0; i < NODES && !met->history->result.is_failed; i++)
        meet_on(met, i, meeting->target);
    environment_sleep(met->nodes[0].volume->environment, 1000000000);
    for (unsigned i = 0; i < NODES && !met->history->result.is_failed; i++)
        check_known(met, i);
}

static void check_mark(struct met *met, const struct sim_disk *disk, const struct geometry *g)
{
    uint64_t blocks[FORMAT_SUPERBLOCK_COUNT];
    geometry_superblock_blocks(g, blocks);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++) {
        struct superblock_disk superblock;
        sim_disk_peek(disk, blocks[i] * BLOCK_BYTES, &superblock, sizeof(superblock));
        if (format_superblock_verify(&superblock, blocks[i]) != 0 ||
            le32_get(superblock.state) != SUPERBLOCK_STATE_DAMAGED)
            ring2_fail(met->history, "superblock at %llu: damage was met, its state is %u",
                       (unsigned long long)blocks[i], le32_get(superblock.state));
    }
}

static void meet(struct met *met, struct world *world, struct sim_disk *disk)
{
    struct meeting meeting = {
        .met = met,
        .target = (enum target)random_below(&met->history->cut_random, TARGET_COUNT),
    };
    if (ring2_mount(met->nodes, NODES, world, disk, false) != 0)
        return;
    struct geometry geometry = met->nodes[0].volume->geometry;
    spoil(met, &geometry, disk, meeting.target);
    ring2_run(world, meet_body, &meeting);
    if (met->history->result.is_failed)
        return; // what goes on is left
    if (ring2_unmount(met->nodes, NODES) != 0)
        ring2_fail(met->history, "a mount that met damage cannot be ended");
    check_mark(met, disk, &geometry);
    ring2_did(met->history, RING2_ROW_damage_met);
}

void ring2_damage_met(struct ring2_history *history, const struct sim_disk *disk)
{
    struct world world;
    struct scheduler *scheduler = scheduler_new();
    struct met met = {.history = history, .nodes = calloc(NODES, sizeof(*met.nodes))};
    CHECK(met.nodes != NULL);
    world_init(&world, random_u64(&history->cut_random), scheduler);
    struct sim_disk *copy = sim_disk_clone(disk, &world, &history->cut_random);
    if (prepare(&met, &world, copy))
        meet(&met, &world, copy);
    if (history->result.is_failed)
        return; // coroutines may be left
    free(met.nodes);
    sim_disk_free(copy);
    world_deinit(&world);
    scheduler_free(scheduler);
}
