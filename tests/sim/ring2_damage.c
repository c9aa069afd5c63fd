// SPDX-License-Identifier: Apache-2.0
// A group header that cannot be read, on a copy of the disk after a power cut and its recovery. The
// map says that the group is in use, so nobody may take it for a new one (rule 16): its files would
// be overwritten. What may be lost is what wants the group: making files, freeing space.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/operation.h"
#include "tests/sim/ring2_history.h"

struct damage {
    struct ring2_history *history;
    struct ring2_node *node;
    uint64_t offset; // of the header
};

// Takes space wherever it is, so that every group is looked at.
static void use_body(void *argument)
{
    const struct damage *damage = argument;
    struct volume *volume = damage->node->volume;
    struct credentials who = {.uid = 0, .gid = 0};
    struct attributes made;
    struct open_file *file;
    if (operation_create(volume, volume->geometry.root_inode, "new", S_IFREG | 0600, 0, &who,
                         O_RDWR, &made, &file) != 0)
        return;
    for (uint64_t mib = 0; mib < 128; mib++) {
        if (operation_allocate(volume, file, 0, mib << 20, 1 << 20) != 0)
            break;
    }
    operation_release(volume, file);
}

static bool is_in_use(const struct volume *volume, const struct sim_disk *disk, uint32_t group)
{
    struct ag_map_disk map;
    sim_disk_peek(disk, FORMAT_AG_MAP_BLOCK * BLOCK_BYTES, &map, sizeof(map));
    return group < volume->geometry.ag_count && (map.bits[group / 8] >> group % 8 & 1) != 0;
}

// A recovery first: the header is damaged where it stands, not in the journal.
static bool choose_header(struct damage *damage, struct world *world, struct sim_disk *disk)
{
    struct ring2_history *history = damage->history;
    if (ring2_mount(damage->node, 1, world, disk, false) != 0)
        return false; // the next cut finds out
    const struct geometry *geometry = &damage->node->volume->geometry;
    uint32_t group = (uint32_t)random_below(&history->cut_random, geometry->ag_count);
    bool is_chosen = is_in_use(damage->node->volume, disk, group);
    damage->offset = geometry_ag_first_block(geometry, group) * BLOCK_BYTES;
    return ring2_unmount(damage->node, 1) == 0 && is_chosen;
}

static void use_damaged(struct damage *damage, struct world *world, struct sim_disk *disk)
{
    static const char bad[] = "this is no header";
    uint8_t found[BLOCK_BYTES];
    sim_disk_poke(disk, damage->offset, bad, sizeof(bad));
    if (ring2_mount(damage->node, 1, world, disk, false) != 0)
        return; // refused: nothing is lost
    ring2_run(world, use_body, damage);
    ring2_unmount(damage->node, 1); // whatever it says: the volume is damaged
    sim_disk_peek(disk, damage->offset, found, sizeof(found));
    if (memcmp(found, bad, sizeof(bad)) != 0)
        ring2_fail(damage->history, "a group with a damaged header was made anew");
    ring2_did(damage->history, RING2_ROW_damaged);
}

void ring2_damage(struct ring2_history *history, const struct sim_disk *disk)
{
    struct world world;
    struct scheduler *scheduler = scheduler_new();
    struct damage damage = {.history = history, .node = calloc(1, sizeof(*damage.node))};
    CHECK(damage.node != NULL);
    world_init(&world, random_u64(&history->cut_random), scheduler);
    struct sim_disk *copy = sim_disk_clone(disk, &world, &history->cut_random);
    if (choose_header(&damage, &world, copy))
        use_damaged(&damage, &world, copy);
    free(damage.node);
    sim_disk_free(copy);
    world_deinit(&world);
    scheduler_free(scheduler);
}
