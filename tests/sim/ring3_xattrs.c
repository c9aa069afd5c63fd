// SPDX-License-Identifier: Apache-2.0
// Extended attributes, one of each prefix that users and administrators set.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/acl.h"
#include "fs/volume.h"
#include "tests/sim/ring3_attributes.h"

enum { SHORT_BYTES_MAX = 700, BYTES_MAX = 9000 };

static const char *const names[RING3_XATTRS] = {"user.a", "trusted.b", "security.c"};
enum { USER, TRUSTED };

// The value says its number, and its length follows from it.
static size_t make_value(uint64_t number, uint8_t *value)
{
    size_t most = number % 8 == 0 ? BYTES_MAX : SHORT_BYTES_MAX;
    size_t length = 8 + number * 37 % (most - 8);
    memset(value, (int)(number & 0xff), length);
    memcpy(value, &number, sizeof(number));
    return length;
}

struct wish {
    bool removes;
    int flags;    // of setxattr(2)
    int expected; // answer
};

static struct wish draw_wish(struct ring3_client *client, bool is_there)
{
    struct wish wish = {.removes = ring3_choose(client, 4) == 0};
    if (wish.removes) {
        wish.expected = is_there ? 0 : -ENODATA;
        return wish;
    }
    switch (ring3_choose(client, 6)) {
    case 0:
        wish.flags = XATTR_CREATE;
        wish.expected = is_there ? -EEXIST : 0;
        break;
    case 1:
        wish.flags = XATTR_REPLACE;
        wish.expected = is_there ? 0 : -ENODATA;
        break;
    default:
        break;
    }
    return wish;
}

static int call(struct ring3_act *act, const struct ring3_object *object, const char *name,
                const struct wish *wish, uint64_t number)
{
    struct volume *volume = ring3_act_volume(act);
    uint8_t value[BYTES_MAX];
    if (wish->removes)
        return operation_remove_xattr(volume, object->inode, name);
    return operation_set_xattr(volume, object->inode, name, value, make_value(number, value),
                               wish->flags);
}

static void change_one(struct ring3_client *client, struct ring3_object *object, unsigned index)
{
    struct ring3_cell *cell = &object->xattrs[index];
    struct ring3_act act;
    if (!ring3_cell_is_certain(cell))
        return;
    struct wish wish = draw_wish(client, ring3_cell_latest(cell) != 0);
    unsigned deaths = client->ring3->deaths;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, wish.removes ? "removexattr" : "setxattr", true))
        return;
    uint64_t number = wish.removes ? 0 : act.begin;
    if (wish.expected == 0)
        ring3_cell_change(cell, act.change, number);
    int result = call(&act, object, names[index], &wish, number);
    enum ring3_answer answer = ring3_act_end(&act, result, wish.expected);
    if (answer == RING3_DONE && wish.expected != 0)
        ring3_cell_change(cell, act.change, number);
    if (answer == RING3_REFUSED && wish.expected == 0)
        ring3_cell_undo(cell, act.change);
    if (client->ring3->deaths != deaths && (wish.removes || wish.flags != 0))
        cell->is_blind = true; // what it met is open
}

static bool get_one(struct ring3_client *client, struct ring3_object *object, unsigned index)
{
    struct ring3_act act;
    uint8_t value[BYTES_MAX], expected[BYTES_MAX];
    uint64_t number = 0;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "getxattr", false))
        return false;
    ssize_t result = operation_get_xattr(ring3_act_volume(&act), object->inode, names[index], value,
                                         sizeof(value));
    enum ring3_answer answer = ring3_act_end(&act, result, result == -ENODATA ? -ENODATA : 0);
    if (answer == RING3_UNKNOWN || answer == RING3_WRONG)
        return false;
    if (answer == RING3_DONE) {
        memcpy(&number, value, sizeof(number));
        if (result < 8 || make_value(number, expected) != (size_t)result ||
            memcmp(value, expected, (size_t)result) != 0) {
            ring3_act_wrong(&act, "its value is of two pieces");
            return false;
        }
    }
    if (ring3_cell_judge(&client->ring3->memories, &object->xattrs[index], &act.life->memory,
                         act.begin, number))
        return true;
    ring3_act_wrong(&act, client->ring3->memories.why);
    return false;
}

// --- listing -------------------------------------------------------------------------------------

enum { LISTED_MAX = RING3_XATTRS + 2 };

static unsigned name_index(const char *name)
{
    if (strcmp(name, ACL_ACCESS_NAME) == 0)
        return RING3_XATTRS;
    if (strcmp(name, ACL_DEFAULT_NAME) == 0)
        return RING3_XATTRS + 1;
    for (unsigned i = 0; i < RING3_XATTRS; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return LISTED_MAX;
}

static const struct ring3_cell *cell_of(const struct ring3_object *object, unsigned index)
{
    if (index < RING3_XATTRS)
        return &object->xattrs[index];
    return index == RING3_XATTRS ? &object->access : &object->defaults;
}

static const char *check_list(const struct ring3_object *object, const char *text, size_t length,
                              bool with_trusted)
{
    bool is_listed[LISTED_MAX] = {false};
    for (const char *name = text; name < text + length; name += strlen(name) + 1) {
        unsigned index = name_index(name);
        if (index == LISTED_MAX || is_listed[index])
            return "it lists an attribute that nobody set, or one twice";
        is_listed[index] = true;
    }
    for (unsigned i = 0; i < LISTED_MAX; i++) {
        const struct ring3_cell *cell = cell_of(object, i);
        bool is_there = ring3_cell_latest(cell) != 0 && (i != TRUSTED || with_trusted);
        if (ring3_cell_is_certain(cell) && is_there != is_listed[i])
            return "it lists another set of attributes";
    }
    return NULL;
}

static void list(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    char text[300];
    bool with_trusted = ring3_choose(client, 2) == 0;
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "listxattr", false))
        return;
    ssize_t result = operation_list_xattr(ring3_act_volume(&act), object->inode, with_trusted, text,
                                          sizeof(text));
    if (ring3_act_end(&act, result, 0) != RING3_DONE || act.deaths != client->ring3->deaths)
        return;
    const char *why = check_list(object, text, (size_t)result, with_trusted);
    if (why != NULL)
        ring3_act_wrong(&act, why);
}

bool ring3_look_xattrs(struct ring3_client *client, struct ring3_object *object)
{
    for (unsigned i = 0; i < RING3_XATTRS; i++) {
        if ((object->xattrs[i].count > 0 || object->xattrs[i].is_blind) &&
            !get_one(client, object, i))
            return false;
    }
    return true;
}

void ring3_xattrs_step(struct ring3_client *client, struct ring3_object *object)
{
    // Of what is neither file nor directory the kernel lets nobody set those of users.
    bool has_user = object->kind == RING3_FILE || object->kind == RING3_DIRECTORY;
    unsigned least = has_user ? USER : USER + 1;
    unsigned index = least + (unsigned)ring3_choose(client, RING3_XATTRS - least);
    uint64_t dice = ring3_choose(client, 8);
    if (dice < 4)
        change_one(client, object, index);
    else if (dice < 7)
        get_one(client, object, index);
    else
        list(client, object);
}
