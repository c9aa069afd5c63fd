// SPDX-License-Identifier: Apache-2.0
// Immutable and append-only files and directories: one is made so and synced, so that no death
// takes that back; what both kinds refuse is refused on any node; then it is made as before and
// synced. Until that is done the client does nothing else.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/format.h"
#include "fs/volume.h"
#include "tests/sim/ring3_attributes.h"
#include "tests/sim/ring3_part.h"
#include "tests/sim/ring3_place.h"

static bool sync_all(struct ring3_client *client)
{
    struct ring3_act act = {.where = "what is protected"};
    if (!ring3_act_begin(&act, client, "syncfs", false))
        return false;
    int result = operation_sync_volume(ring3_act_volume(&act));
    if (ring3_act_end(&act, result, 0) != RING3_DONE)
        return false;
    if (act.begin > act.life->memory.durable)
        act.life->memory.durable = act.begin;
    return true;
}

static bool set(struct ring3_client *client, struct ring3_object *object, uint32_t protection)
{
    struct attributes wanted = {.protection = protection}, out = {0};
    const struct ring3_life *life = client->life;
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, protection == 0 ? "unprotect" : "protect", true))
        return false;
    ring3_cell_change(&object->protection, act.change, protection);
    int result = operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted,
                                          SET_PROTECTION, &out);
    enum ring3_answer answer = ring3_act_end(&act, result, 0);
    if (answer == RING3_REFUSED)
        ring3_cell_undo(&object->protection, act.change);
    if (answer == RING3_DONE && out.protection != protection)
        ring3_act_wrong(&act, "it answers another protection than was set");
    return answer == RING3_DONE && client->life == life && sync_all(client);
}

// --- what is refused -----------------------------------------------------------------------------

static int try_unlink(struct ring3_act *act, const struct ring3_place *place,
                      const struct ring3_object *object)
{
    struct volume *volume = ring3_act_volume(act);
    if (object->kind == RING3_DIRECTORY)
        return operation_remove_directory(volume, place->directory->inode, place->text);
    return operation_unlink(volume, place->directory->inode, place->text);
}

static int try_rename(struct ring3_act *act, const struct ring3_place *place,
                      const struct ring3_object *object)
{
    (void)object;
    return operation_rename(ring3_act_volume(act), place->directory->inode, place->text,
                            place->directory->inode, "elsewhere", 0);
}

static int try_chmod(struct ring3_act *act, const struct ring3_place *place,
                     const struct ring3_object *object)
{
    struct attributes wanted = {.stat = {.st_mode = 0111}}, out;
    (void)place;
    return operation_set_attributes(ring3_act_volume(act), object->inode, &wanted, SET_MODE, &out);
}

static int try_xattr(struct ring3_act *act, const struct ring3_place *place,
                     const struct ring3_object *object)
{
    (void)place;
    return operation_set_xattr(ring3_act_volume(act), object->inode, "user.other", "x", 1, 0);
}

static int try_link(struct ring3_act *act, const struct ring3_place *place,
                    const struct ring3_object *object)
{
    struct attributes out;
    return operation_link(ring3_act_volume(act), object->inode, place->directory->inode,
                          "elsewhere", &out);
}

static int try_open(struct ring3_act *act, const struct ring3_place *place,
                    const struct ring3_object *object)
{
    struct open_file *open;
    (void)place;
    if (object->kind != RING3_FILE)
        return -EPERM;
    int result = operation_open(ring3_act_volume(act), object->inode, O_RDWR, &open);
    if (result == 0)
        operation_release(ring3_act_volume(act), open);
    return result;
}

// Below a directory that is immutable nothing is made; of a file that only grows nothing is cut.
static int try_below(struct ring3_act *act, const struct ring3_place *place,
                     const struct ring3_object *object)
{
    struct credentials who = {0, 0, 0};
    struct attributes wanted = {0}, out;
    (void)place;
    if (object->kind == RING3_FILE)
        return operation_set_attributes(ring3_act_volume(act), object->inode, &wanted, SET_SIZE,
                                        &out);
    if (ring3_cell_latest(&object->protection) != INODE_FLAG_IMMUTABLE)
        return -EPERM;
    return operation_make_directory(ring3_act_volume(act), object->inode, "not there", 0700, &who,
                                    &out);
}

static void be_refused(struct ring3_client *client, const struct ring3_place *place,
                       struct ring3_object *object)
{
    static const struct {
        const char *what;
        int (*run)(struct ring3_act *act, const struct ring3_place *place,
                   const struct ring3_object *object);
    } tries[] = {
        {"unlink what is protected", try_unlink},    {"rename what is protected", try_rename},
        {"chmod what is protected", try_chmod},      {"setxattr of what is protected", try_xattr},
        {"link what is protected", try_link},        {"open what is protected", try_open},
        {"make below what is protected", try_below},
    };
    unsigned index = (unsigned)ring3_choose(client, sizeof(tries) / sizeof(tries[0]));
    struct ring3_act act;
    ring3_place_say(&act, place);
    if (!ring3_act_begin(&act, client, tries[index].what, false))
        return;
    if (ring3_act_end(&act, tries[index].run(&act, place, object), -EPERM) == RING3_DONE)
        ring3_act_wrong(&act, "it was done");
}

// Through a handle that was open before, and may write anywhere.
static void write_to(struct ring3_client *client, struct ring3_object *object)
{
    for (unsigned i = 0; i < RING3_HANDLES; i++) {
        struct ring3_handle *handle = client->handles[i];
        struct ring3_act act;
        long result;
        if (handle == NULL || handle->open == NULL || handle->object != object ||
            handle->life != client->life || !handle->life->is_mounted ||
            (handle->flags & O_APPEND) != 0)
            continue;
        ring3_act_say_object(&act, object);
        if (!ring3_act_begin(&act, client, "write to what is protected", false))
            return;
        uint8_t *buffer = block_buffer_new(3 * BLOCK_BYTES);
        if (!ring3_lane_serves(act.life, handle->open, true, 0, buffer, BLOCK_BYTES, &result))
            result = operation_write(ring3_act_volume(&act), handle->open, 0, buffer, BLOCK_BYTES);
        free(buffer);
        if (ring3_act_end(&act, result, -EPERM) == RING3_DONE)
            ring3_act_wrong(&act, "it was done");
        return;
    }
}

// --- steps ---------------------------------------------------------------------------------------

bool ring3_protection_undo(struct ring3_client *client)
{
    struct ring3_object *object = client->protected;
    if (object == NULL)
        return true;
    // A death took back that it was ever made.
    if (ring3_object_links(client->ring3->tree, object) > 0 && !set(client, object, 0))
        return false;
    client->protected = NULL;
    return true;
}

// Not of what is neither file nor directory.
static void protect_other(struct ring3_client *client, const struct ring3_object *object)
{
    struct attributes wanted = {.protection = INODE_FLAG_IMMUTABLE}, out;
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "protect", false))
        return;
    int result = operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted,
                                          SET_PROTECTION, &out);
    if (ring3_act_end(&act, result, -EOPNOTSUPP) == RING3_DONE)
        ring3_act_wrong(&act, "it was done");
}

// One that is open here, so that lanes may be let in.
static struct ring3_object *choose_open(struct ring3_client *client)
{
    const struct ring3_handle *handle = client->handles[ring3_choose(client, RING3_HANDLES)];
    bool is_own = handle != NULL && handle->open != NULL && handle->life == client->life &&
                  handle->object->owner == client->number && !handle->object->is_gone;
    return is_own ? handle->object : NULL;
}

void ring3_protection_step(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_object *open = choose_open(client);
    if (open != NULL)
        object = open;
    uint32_t protection = ring3_choose(client, 2) == 0 ? INODE_FLAG_IMMUTABLE : INODE_FLAG_APPEND;
    struct ring3_place place;
    if (object->kind != RING3_FILE && object->kind != RING3_DIRECTORY) {
        protect_other(client, object);
        return;
    }
    if (!ring3_names_find(client, object, &place))
        return;
    client->protected = object;
    if (!set(client, object, protection))
        return;
    if (object->kind == RING3_FILE)
        write_to(client, object);
    for (unsigned i = 0; i < 3 && ring3_client_move(client); i++)
        be_refused(client, &place, object);
    if (ring3_client_move(client))
        ring3_protection_undo(client);
}
