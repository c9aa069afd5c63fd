// SPDX-License-Identifier: Apache-2.0
// Freezes, in a third of the histories: somebody has a node freeze the volume, copies the LUN in
// the middle, and has it thawed, while clients work and things go wrong. If the thaw says that the
// freeze held, the copy must be clean for fsck without a replay, and show what the frozen nodes
// show. That nothing but beats lands meanwhile is looked at with each write (ring3_check.c).
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/dlm_service.h"
#include "fs/freeze.h"
#include "fs/operation.h"
#include "fs/solo.h"
#include "fs/volume.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring2_fsck.h"
#include "tests/sim/ring3.h"
#include "tests/sim/ring3_tree.h"

enum { OBJECTS_COMPARED = 8, FILE_BYTES = RING3_FILE_CELLS * RING3_CELL_BYTES };

struct copier {
    struct ring3 *ring3;
    struct random random;
    char difference[200]; // the first that was found between the copy and the volume
};

static uint64_t draw(struct copier *copier, uint64_t low, uint64_t high)
{
    return low + random_below(&copier->random, high - low + 1);
}

static void rest(struct copier *copier, uint64_t ns)
{
    environment_sleep(&copier->ring3->client_node.environment, ns);
}

// --- the copy ------------------------------------------------------------------------------------

// A mount of the copy that only looks and replays nothing.
struct copy {
    struct sim_disk *disk;
    struct block_device *path;
    struct world_node node;
    struct log log;
    struct gate gate;
    struct dlm_service *locks;
    struct volume *volume;
};

static void copy_open(struct copy *copy, struct ring3 *ring3)
{
    struct geometry geometry;
    copy->path = sim_disk_attach(copy->disk, "copy");
    world_node_init(&copy->node, ring3->world);
    log_init_null(&copy->log);
    gate_init(&copy->gate);
    atomic_store(&copy->gate.lease_until_ns, UINT64_MAX);
    atomic_store(&copy->gate.state, GATE_RUNNING);
    CHECK(volume_read_geometry(copy->path, ring3->scheduler, &copy->log, &geometry) == 0);
    copy->volume = volume_new(&(struct volume_config){
        .environment = &copy->node.environment,
        .device = copy->path,
        .log = &copy->log,
        .gate = &copy->gate,
        .options = {.read_only = true, .no_recovery = true, .no_atime = true},
        .geometry = geometry,
    });
    copy->locks = solo_locks_alone(copy->volume);
    CHECK(volume_start(copy->volume, 0, 1, dlm_service_locks(copy->locks)) == 0);
}

static void copy_close(struct copy *copy)
{
    CHECK(volume_stop(copy->volume) == 0);
    dlm_service_free(copy->locks);
    volume_free(copy->volume);
    world_node_stop(&copy->node);
    block_device_close(copy->path);
}

// --- comparing -----------------------------------------------------------------------------------

static void differ(struct copier *copier, const struct ring3_object *object, const char *what)
{
    if (copier->difference[0] == '\0')
        snprintf(copier->difference, sizeof(copier->difference), "object %u (inode %llu): %s",
                 object->id, (unsigned long long)object->inode, what);
}

static long read_all(struct volume *volume, uint64_t inode, uint8_t *bytes)
{
    struct open_file *file;
    long result = operation_open(volume, inode, O_RDONLY, &file);
    if (result != 0)
        return result;
    result = operation_read(volume, file, 0, bytes, FILE_BYTES);
    operation_release(volume, file);
    return result;
}

static void compare_content(struct copier *copier, struct volume *volume, struct volume *copy,
                            const struct ring3_object *object)
{
    uint8_t *here = block_buffer_new(FILE_BYTES + BLOCK_BYTES);
    uint8_t *there = block_buffer_new(FILE_BYTES + BLOCK_BYTES);
    long length = read_all(volume, object->inode, here);
    long copied = length < 0 ? length : read_all(copy, object->inode, there);
    if (length != copied)
        differ(copier, object, "another length can be read");
    else if (length > 0 && memcmp(here, there, (size_t)length) != 0)
        differ(copier, object, "another content");
    free(here);
    free(there);
}

struct listing {
    uint64_t digest, count;
};

// In the order of the directory, which is the same on both sides.
static bool note_entry(void *context, const struct directory_entry *entry)
{
    struct listing *listing = context;
    listing->count++;
    listing->digest = (listing->digest ^ entry->inode) * UINT64_C(0x9e3779b97f4a7c15);
    for (const char *at = entry->name; *at != '\0'; at++)
        listing->digest = (listing->digest ^ (uint8_t)*at) * UINT64_C(0x9e3779b97f4a7c15);
    return true;
}

static void compare_names(struct copier *copier, struct volume *volume, struct volume *copy,
                          const struct ring3_object *object)
{
    struct listing here = {0}, there = {0};
    int listed = operation_read_directory(volume, object->inode, 0, LIST_NAMES, note_entry, &here);
    int copied = listed != 0 ? listed
                             : operation_read_directory(copy, object->inode, 0, LIST_NAMES,
                                                        note_entry, &there);
    if (listed != copied || here.count != there.count || here.digest != there.digest)
        differ(copier, object, "other names");
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct attributes *a, const struct attributes *b)
{
    return a->generation == b->generation && a->stat.st_mode == b->stat.st_mode &&
           a->stat.st_nlink == b->stat.st_nlink && a->stat.st_size == b->stat.st_size &&
           a->stat.st_blocks == b->stat.st_blocks && a->xattr_count == b->xattr_count;
}

// A file that several nodes write together may have times that stay behind (fs/inode_table.c): the
// copy has older ones, each node's clock being what it is.
static bool has_same_times(const struct ring3_object *object, const struct attributes *a,
                           const struct attributes *b)
{
    bool may_be_late = object->kind == RING3_FILE && object->content->is_shared;
    return may_be_late || (is_same_time(a->stat.st_mtim, b->stat.st_mtim) &&
                           is_same_time(a->stat.st_ctim, b->stat.st_ctim));
}

// What has no name any more is there as long as somebody has it open: here, not in the copy.
static void compare_object(struct copier *copier, struct volume *volume, struct volume *copy,
                           const struct ring3_object *object)
{
    struct attributes here, there;
    if (object->inode == 0 || operation_get_attributes(volume, object->inode, &here) != 0 ||
        here.stat.st_nlink == 0)
        return;
    if (operation_get_attributes(copy, object->inode, &there) != 0)
        differ(copier, object, "it is not there");
    else if (!is_same(&here, &there) || !has_same_times(object, &here, &there))
        differ(copier, object, "other attributes");
    else if (S_ISREG(here.stat.st_mode))
        compare_content(copier, volume, copy, object);
    else if (S_ISDIR(here.stat.st_mode))
        compare_names(copier, volume, copy, object);
}

static void compare_some(struct copier *copier, struct volume *volume, struct volume *copy)
{
    const struct ring3_tree *tree = copier->ring3->tree;
    for (unsigned i = 0; i < OBJECTS_COMPARED && volume_check(volume) == 0; i++)
        compare_object(copier, volume, copy,
                       tree->objects[random_below(&copier->random, tree->count)]);
}

// --- a freeze ------------------------------------------------------------------------------------

static enum freeze_state state_of(const struct ring3_life *life)
{
    struct freeze_status status;
    freeze_status_get(life->volume->freeze, &status);
    return status.state;
}

// It is whole. fsck looks at some of them when the history is over.
static void keep_copy(struct copier *copier, struct sim_disk *disk)
{
    struct ring3 *ring3 = copier->ring3;
    if (copier->difference[0] != '\0')
        ring3_fail(ring3, "a copy made while frozen: %s", copier->difference);
    if (ring3->result.copies < RING3_COPIES_MAX)
        ring3->copies[ring3->result.copies] = disk;
    else
        sim_disk_free(disk);
    ring3->result.copies++;
}

void ring3_copies_check(struct ring3 *ring3)
{
    char output[RING3_FAILURE_BYTES - 100];
    for (unsigned i = 0; i < RING3_COPIES_MAX && ring3->copies[i] != NULL; i++) {
        int exit_code = ring2_fsck_run(ring3->world, ring3->copies[i], output, sizeof(output));
        if (exit_code != 0)
            ring3_fail(ring3, "copy %u, made while frozen: fsck exits %d: %s", i, exit_code,
                       output);
        sim_disk_free(ring3->copies[i]);
        ring3->copies[i] = NULL;
    }
}

// The volume is frozen: it is copied at some moment, and the copy looked at while the freeze lasts.
static void copy_frozen(struct copier *copier, struct ring3_life *life)
{
    struct ring3 *ring3 = copier->ring3;
    struct copy copy = {0};
    copier->difference[0] = '\0';
    rest(copier, draw(copier, 0, 300) * RING3_MS);
    copy.disk = sim_disk_clone(ring3->disk, ring3->world, NULL);
    copy_open(&copy, ring3);
    compare_some(copier, life->volume, copy.volume);
    copy_close(&copy);
    if (draw(copier, 0, 3) == 0)
        rest(copier, draw(copier, 0, 2000) * RING3_MS);
    int result = freeze_end(life->volume->freeze);
    ring3_trace(ring3, "life %u: thawed: %s", life->number,
                result == 0 ? "it held" : error_text(result));
    if (result == 0) {
        keep_copy(copier, copy.disk);
    } else {
        ring3->result.broken_freezes++;
        sim_disk_free(copy.disk);
    }
}

static void freeze_on(struct copier *copier, struct ring3_life *life)
{
    struct ring3 *ring3 = copier->ring3;
    uint64_t limit_ns = draw(copier, 50, 4000) * RING3_MS;
    if (freeze_begin(life->volume->freeze, limit_ns) != 0)
        return;
    ring3_trace(ring3, "life %u is to freeze the volume for %llu ms", life->number,
                (unsigned long long)(limit_ns / RING3_MS));
    while (state_of(life) == FREEZE_BEGINS)
        rest(copier, 5 * RING3_MS);
    if (state_of(life) == FREEZE_HOLDS)
        copy_frozen(copier, life);
    else
        ring3->result.broken_freezes++;
}

static void step(struct copier *copier)
{
    struct ring3 *ring3 = copier->ring3;
    struct ring3_machine *machine =
        &ring3->machines[random_below(&copier->random, ring3->machine_count)];
    struct ring3_life *life = machine->life;
    if (life == NULL || life->is_killed || !ring3_life_begin(life))
        return;
    freeze_on(copier, life);
    ring3_life_end(life);
}

static void work(void *argument)
{
    struct copier *copier = argument;
    struct ring3 *ring3 = copier->ring3;
    while (!ring3->result.is_failed && ring3->operations_left > 0) {
        rest(copier, draw(copier, 0, ring3->work_ns / 5));
        step(copier);
    }
    free(copier);
    ring3->clients_at_work--;
}

void ring3_freezes_start(struct ring3 *ring3)
{
    if (ring3->options.seed % 3 != 1)
        return;
    struct copier *copier = calloc(1, sizeof(*copier));
    CHECK(copier != NULL);
    copier->ring3 = ring3;
    random_init(&copier->random, ring3->options.seed);
    ring3->clients_at_work++;
    coroutine_start(ring3->scheduler, "copier", work, copier);
}

bool ring3_freeze_holds(const struct ring3 *ring3)
{
    const struct ring3_life *life;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (life->is_killed || life->volume == NULL || life->volume->freeze == NULL)
            continue;
        uint64_t now_ns = environment_boot_ns(life->volume->environment);
        if (state_of(life) == FREEZE_HOLDS && volume_check(life->volume) == 0 &&
            gate_is_open_to_recovery(life->volume->gate, now_ns))
            return true;
    }
    return false;
}
