// SPDX-License-Identifier: Apache-2.0
// Operations on attributes.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/volume.h"
#include "tests/sim/ring3_client.h"

enum { XATTR_BYTES_MAX = 700 };

void ring3_act_say_object(struct ring3_act *act, const struct ring3_object *object)
{
    snprintf(act->where, sizeof(act->where), "%u (inode %llu)", object->id,
             (unsigned long long)object->inode);
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
    if (object->owner != RING3_NOBODY &&
        !ring3_cell_seen(&ring3->memories, &object->mode, &act->life->memory, act->begin,
                         found->stat.st_mode))
        return ring3->memories.why;
    if (object->owner != RING3_NOBODY &&
        !ring3_cell_seen(&ring3->memories, &object->user, &act->life->memory, act->begin,
                         found->stat.st_uid))
        return ring3->memories.why;
    if (is_own && object->kind != RING3_DIRECTORY && object->owner != RING3_NOBODY &&
        found->stat.st_nlink != links)
        return "another number of links";
    return NULL;
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

// Other operations set them too: nobody knows what they are in the end.
static void set_times(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct attributes wanted = {0}, out;
    unsigned now = ring3_choose(client, 2) == 0 ? SET_ATIME_NOW | SET_MTIME_NOW : 0;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "utimens", true))
        return;
    wanted.stat.st_mtim.tv_sec = (time_t)ring3_choose(client, 1000000);
    int result = operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted,
                                          SET_ATIME | SET_MTIME | now, &out);
    ring3_act_end(&act, result, 0);
}

static void list_xattrs(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    char names[200];
    uint64_t seen = ring3_cell_latest(&object->xattr);
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "listxattr", false))
        return;
    bool is_known = ring3_cell_is_certain(&object->xattr) && !ring3_cell_is_busy(&object->xattr);
    ssize_t result =
        operation_list_xattr(ring3_act_volume(&act), object->inode, false, names, sizeof(names));
    bool is_there = result == (ssize_t)sizeof("user.a") && strcmp(names, "user.a") == 0;
    if (ring3_act_end(&act, result, 0) == RING3_DONE && is_known &&
        act.deaths == client->ring3->deaths && object->owner == client->number &&
        is_there != (seen != 0))
        ring3_act_wrong(&act, "it lists another set of attributes");
}

static void change_mode(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct attributes wanted = {0}, out;
    ring3_act_say_object(&act, object);
    if (object->kind == RING3_SYMLINK || !ring3_act_begin(&act, client, "chmod", true))
        return;
    wanted.stat.st_mode = (mode_t)(0400 | ring3_choose(client, 01000));
    ring3_cell_change(&object->mode, act.change,
                      ring3_kind_mode(object->kind) | wanted.stat.st_mode);
    int result =
        operation_set_attributes(ring3_act_volume(&act), object->inode, &wanted, SET_MODE, &out);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_cell_undo(&object->mode, act.change);
}

// The value says its number, and its length follows from it.
static size_t make_xattr(uint64_t number, uint8_t *value)
{
    size_t length = 8 + number * 37 % (XATTR_BYTES_MAX - 8);
    memset(value, (int)(number & 0xff), length);
    memcpy(value, &number, sizeof(number));
    return length;
}

static void set_xattr(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    uint8_t value[XATTR_BYTES_MAX];
    ring3_act_say_object(&act, object);
    if (object->kind == RING3_SYMLINK || object->kind == RING3_FIFO ||
        !ring3_cell_is_certain(&object->xattr))
        return;
    bool removes = ring3_cell_latest(&object->xattr) != 0 && ring3_choose(client, 4) == 0;
    if (!ring3_act_begin(&act, client, removes ? "removexattr" : "setxattr", true))
        return;
    uint64_t number = removes ? 0 : act.begin;
    ring3_cell_change(&object->xattr, act.change, number);
    int result = removes ? operation_remove_xattr(ring3_act_volume(&act), object->inode, "user.a")
                         : operation_set_xattr(ring3_act_volume(&act), object->inode, "user.a",
                                               value, make_xattr(number, value), 0);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_cell_undo(&object->xattr, act.change);
}

static void get_xattr(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    uint8_t value[XATTR_BYTES_MAX], expected[XATTR_BYTES_MAX];
    uint64_t number = 0;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "getxattr", false))
        return;
    ssize_t result =
        operation_get_xattr(ring3_act_volume(&act), object->inode, "user.a", value, sizeof(value));
    enum ring3_answer answer = ring3_act_end(&act, result, result == -ENODATA ? -ENODATA : 0);
    if (answer == RING3_UNKNOWN || answer == RING3_WRONG)
        return;
    if (answer == RING3_DONE) {
        memcpy(&number, value, sizeof(number));
        if (result < 8 || make_xattr(number, expected) != (size_t)result ||
            memcmp(value, expected, (size_t)result) != 0) {
            ring3_act_wrong(&act, "its value is of two pieces");
            return;
        }
    }
    if (!ring3_cell_seen(&client->ring3->memories, &object->xattr, &act.life->memory, act.begin,
                         number))
        ring3_act_wrong(&act, client->ring3->memories.why);
}

void ring3_attributes_step(struct ring3_client *client)
{
    struct ring3_object *object = ring3_names_choose(client, -1);
    if (object == NULL || object->inode == 0)
        return;
    switch (ring3_choose(client, 8)) {
    case 0:
        ring3_look_attributes(client, object);
        break;
    case 1:
    case 2:
        change_mode(client, object);
        break;
    case 3:
        set_xattr(client, object);
        break;
    case 4:
        change_owner(client, object);
        break;
    case 5:
        set_times(client, object);
        break;
    case 6:
        list_xattrs(client, object);
        break;
    default:
        get_xattr(client, object);
        break;
    }
}
