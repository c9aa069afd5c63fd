// SPDX-License-Identifier: Apache-2.0
// Access control lists. In the model a list is a number: five sets of three bits, and a bit above.
// An access list and the mode of its inode say the same; a default list goes over to what is made
// in its directory.
#include <errno.h>
#include <string.h>

#include "fs/acl.h"
#include "fs/volume.h"
#include "tests/sim/ring2_tree.h"
#include "tests/sim/ring3_attributes.h"

enum { IS_THERE = 1 << 15 };

static struct ring2_acl unpack(uint64_t list)
{
    return (struct ring2_acl){
        .is_there = list != 0,
        .owner = list & 7,
        .named = list >> 3 & 7,
        .group = list >> 6 & 7,
        .mask = list >> 9 & 7,
        .others = list >> 12 & 7,
    };
}

mode_t ring3_acl_mode(uint64_t list)
{
    return (mode_t)((list & 7) << 6 | (list >> 9 & 7) << 3 | (list >> 12 & 7));
}

uint64_t ring3_acl_with_mode(uint64_t list, mode_t mode)
{
    uint64_t kept = list & (IS_THERE | 07 << 3 | 07 << 6);
    return kept | (mode >> 6 & 7) | (uint64_t)(mode >> 3 & 7) << 9 | (uint64_t)(mode & 7) << 12;
}

// The number of a list that ring3_acl_step may have set; UINT64_MAX: it is none.
static uint64_t pack(const uint8_t *value, size_t size)
{
    static const unsigned shifts[] = {0, 3, 6, 9, 12};
    uint8_t expected[RING2_ACL_BYTES_MAX];
    uint64_t list = IS_THERE;
    if (size != sizeof(expected))
        return UINT64_MAX;
    for (unsigned i = 0; i < 5; i++)
        list |= (uint64_t)(value[4 + 8 * i + 2] & 7) << shifts[i];
    struct ring2_acl acl = unpack(list);
    ring2_acl_value(&acl, true, expected);
    return memcmp(value, expected, size) == 0 ? list : UINT64_MAX;
}

static bool look(struct ring3_client *client, struct ring3_object *object, struct ring3_cell *cell)
{
    struct ring3_memories *memories = &client->ring3->memories;
    bool is_default = cell == &object->defaults;
    uint8_t value[2 * RING2_ACL_BYTES_MAX];
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, is_default ? "get a default list" : "get an access list",
                         false))
        return false;
    ssize_t result =
        operation_get_xattr(ring3_act_volume(&act), object->inode,
                            is_default ? ACL_DEFAULT_NAME : ACL_ACCESS_NAME, value, sizeof(value));
    enum ring3_answer answer = ring3_act_end(&act, result, result == -ENODATA ? -ENODATA : 0);
    if (answer == RING3_UNKNOWN || answer == RING3_WRONG)
        return false;
    uint64_t list = answer == RING3_DONE ? pack(value, (size_t)result) : 0;
    if (list == UINT64_MAX) {
        ring3_act_wrong(&act, "it is a list that nobody set");
        return false;
    }
    if (ring3_cell_judge(memories, cell, &act.life->memory, act.begin, list))
        return true;
    ring3_act_wrong(&act, memories->why);
    return false;
}

bool ring3_acl_settle(struct ring3_client *client, struct ring3_object *object,
                      struct ring3_cell *list)
{
    return ring3_cell_is_certain(list) ||
           (look(client, object, list) && ring3_cell_is_certain(list));
}

bool ring3_look_acls(struct ring3_client *client, struct ring3_object *object)
{
    if (object->access.count + object->defaults.count == 0 && !object->access.is_blind &&
        !object->defaults.is_blind)
        return true;
    return look(client, object, &object->access) &&
           (object->kind != RING3_DIRECTORY || look(client, object, &object->defaults));
}

// --- changes -------------------------------------------------------------------------------------

static uint64_t draw_list(struct ring3_client *client)
{
    return IS_THERE | ring3_choose(client, IS_THERE);
}

// Only what a mode says: that is no list, and the mode is that.
static void set_access(struct ring3_client *client, struct ring3_object *object)
{
    uint64_t list = draw_list(client);
    bool is_whole = ring3_choose(client, 4) != 0;
    struct ring2_acl acl = unpack(list);
    uint8_t value[RING2_ACL_BYTES_MAX];
    size_t size = ring2_acl_value(&acl, is_whole, value);
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "set an access list", true))
        return;
    ring3_cell_change(&object->access, act.change, is_whole ? list : 0);
    ring3_cell_change(&object->mode, act.change,
                      ring3_kind_mode(object->kind) | ring3_acl_mode(list));
    int result =
        operation_set_xattr(ring3_act_volume(&act), object->inode, ACL_ACCESS_NAME, value, size, 0);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED) {
        ring3_cell_undo(&object->access, act.change);
        ring3_cell_undo(&object->mode, act.change);
    }
}

static void set_defaults(struct ring3_client *client, struct ring3_object *object)
{
    uint64_t list = draw_list(client);
    struct ring2_acl acl = unpack(list);
    uint8_t value[RING2_ACL_BYTES_MAX];
    size_t size = ring2_acl_value(&acl, true, value);
    bool is_directory = object->kind == RING3_DIRECTORY;
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "set a default list", is_directory))
        return;
    if (is_directory)
        ring3_cell_change(&object->defaults, act.change, list);
    int result = operation_set_xattr(ring3_act_volume(&act), object->inode, ACL_DEFAULT_NAME, value,
                                     size, 0);
    enum ring3_answer answer = ring3_act_end(&act, result, is_directory ? 0 : -EACCES);
    if (answer == RING3_REFUSED && is_directory)
        ring3_cell_undo(&object->defaults, act.change);
    if (answer == RING3_DONE && !is_directory)
        ring3_act_wrong(&act, "only directories have default lists");
}

// The mode stays as the list said last.
static void take_away(struct ring3_client *client, struct ring3_object *object)
{
    bool is_default = object->kind == RING3_DIRECTORY && ring3_choose(client, 2) == 0;
    struct ring3_cell *cell = is_default ? &object->defaults : &object->access;
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "take a list away", true))
        return;
    ring3_cell_change(cell, act.change, 0);
    int result = operation_remove_xattr(ring3_act_volume(&act), object->inode,
                                        is_default ? ACL_DEFAULT_NAME : ACL_ACCESS_NAME);
    if (ring3_act_end(&act, result, 0) == RING3_REFUSED)
        ring3_cell_undo(cell, act.change);
}

static void set_nonsense(struct ring3_client *client, struct ring3_object *object)
{
    struct ring2_acl acl = unpack(draw_list(client));
    uint8_t value[RING2_ACL_BYTES_MAX];
    size_t size = ring2_acl_value(&acl, true, value);
    struct ring3_act act;
    ring3_act_say_object(&act, object);
    value[4 + 8 * ring3_choose(client, 5)] ^= 0x40; // a tag that there is not
    if (!ring3_act_begin(&act, client, "set what is no list", false))
        return;
    int result =
        operation_set_xattr(ring3_act_volume(&act), object->inode, ACL_ACCESS_NAME, value, size, 0);
    if (ring3_act_end(&act, result, -EINVAL) == RING3_DONE)
        ring3_act_wrong(&act, "it was taken for a list");
}

void ring3_acl_step(struct ring3_client *client, struct ring3_object *object)
{
    uint64_t dice = ring3_choose(client, 16);
    if (object->kind == RING3_SYMLINK)
        return;
    if (dice < 4)
        set_access(client, object);
    else if (dice < 8)
        set_defaults(client, object);
    else if (dice < 10)
        take_away(client, object);
    else if (dice < 11)
        set_nonsense(client, object);
    else
        look(client, object, dice < 14 ? &object->access : &object->defaults);
}
