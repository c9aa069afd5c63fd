// SPDX-License-Identifier: Apache-2.0
// Operations on attributes: modes and owners; the others have files of their own.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/volume.h"
#include "tests/sim/ring3_attributes.h"

void ring3_act_say_object(struct ring3_act *act, const struct ring3_object *object)
{
    snprintf(act->where, sizeof(act->where), "%u (inode %llu)", object->id,
             (unsigned long long)object->inode);
}

// What only its owner changes.
static const char *check_own_attributes(struct ring3_act *act, struct ring3_object *object,
                                        const struct attributes *found)
{
    struct ring3_memories *memories = &act->client->ring3->memories;
    struct ring3_memory *reader = &act->life->memory;
    if (!ring3_cell_judge(memories, &object->mode, reader, act->begin, found->stat.st_mode) ||
        !ring3_cell_judge(memories, &object->user, reader, act->begin, found->stat.st_uid) ||
        !ring3_cell_judge(memories, &object->protection, reader, act->begin, found->protection))
        return memories->why;
    return ring3_times_check(act, object, &found->stat.st_mtim);
}

static const char *check_attributes(struct ring3_act *act, struct ring3_object *object,
                                    const struct attributes *found)
{
    struct ring3 *ring3 = act->client->ring3;
    unsigned links = ring3_object_links(ring3->tree, object);
    bool is_own =
        act->client->number == RING3_NOBODY ||
        (object->owner == act->client->number && act->client->settled_deaths == ring3->deaths);
    if (found->generation != object->generation)
        return "another generation";
    if (object->owner == RING3_NOBODY)
        return NULL;
    if (is_own && object->kind != RING3_DIRECTORY && found->stat.st_nlink != links)
        return "another number of links";
    return check_own_attributes(act, object, found);
}

bool ring3_look_attributes(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct attributes found;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "getattr", false))
        return false;
    int result = operation_get_attributes(ring3_act_volume(&act), object->inode, &found);
    if (ring3_act_end(&act, result, 0) != RING3_DONE)
        return false;
    const char *why = check_attributes(&act, object, &found);
    if (why != NULL)
        ring3_act_wrong(&act, why);
    return why == NULL;
}

static void change_owner(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct attributes wanted = {0}, out;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "chown", true))
        return;
    wanted.stat.st_uid = (uid_t)(2000 + ring3_choose(client, 1000));
    ring3_cell_change(&object->user, act.change, wanted.stat.st_uid);
    int result =
        operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted, SET_UID, &out);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_cell_undo(&object->user, act.change);
}

// The access list follows.
static void change_mode(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct attributes wanted = {0}, out;
    if (object->kind == RING3_SYMLINK || !ring3_acl_settle(client, object, &object->access))
        return;
    unsigned deaths = client->ring3->deaths;
    uint64_t list = ring3_cell_latest(&object->access);
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "chmod", true))
        return;
    wanted.stat.st_mode = (mode_t)(0400 | ring3_choose(client, 01000));
    ring3_cell_change(&object->mode, act.change,
                      ring3_kind_mode(object->kind) | wanted.stat.st_mode);
    if (list != 0)
        ring3_cell_change(&object->access, act.change,
                          ring3_acl_with_mode(list, wanted.stat.st_mode));
    int result =
        operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted, SET_MODE, &out);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED) {
        ring3_cell_undo(&object->mode, act.change);
        ring3_cell_undo(&object->access, act.change);
    }
    if (list != 0 && client->ring3->deaths != deaths)
        object->access.is_blind = true;
}

void ring3_attributes_step(struct ring3_client *client)
{
    static const struct {
        unsigned share; // of 100
        void (*step)(struct ring3_client *client, struct ring3_object *object);
    } steps[] = {{18, change_mode},    {10, change_owner},      {12, ring3_times_step},
                 {24, ring3_acl_step}, {22, ring3_xattrs_step}, {4, ring3_protection_step}};
    struct ring3_object *object = ring3_names_choose(client, -1);
    if (object == NULL || object->inode == 0)
        return;
    uint64_t dice = ring3_choose(client, 100);
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (dice < steps[i].share) {
            steps[i].step(client, object);
            return;
        }
        dice -= steps[i].share;
    }
    ring3_look_attributes(client, object);
}
