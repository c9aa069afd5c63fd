// SPDX-License-Identifier: Apache-2.0
// utimensat: times far from now, and what is seen of them on other nodes. A time of change that was
// set is a number in the model; 0 is one that nobody set, or that some other change set anew.
#include <limits.h>

#include "fs/volume.h"
#include "tests/sim/ring3_attributes.h"

static const struct timespec corners[] = {
    {0, 0},
    {0, 1},
    {-1, 999999999},
    {-2147483648, 0},
    {-2147483649, 999999999},
    {2147483647, 0},
    {2147483648, 1},
    {4294967296, 999999999},
    {1, 123456789},
    {LONG_MAX / 2, 5},
};

static uint64_t draw_time(struct ring3_client *client)
{
    return 1 + ring3_choose(client, sizeof(corners) / sizeof(corners[0])) +
           (ring3_choose(client, 1000) << 8);
}

static struct timespec time_of(uint64_t number)
{
    struct timespec time = corners[(number & 0xff) - 1];
    time.tv_sec += (time_t)(number >> 8);
    return time;
}

static bool is_same(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

const char *ring3_times_check(struct ring3_act *act, struct ring3_object *object,
                              const struct timespec *modified)
{
    struct ring3_memories *memories = &act->client->ring3->memories;
    uint64_t number;
    for (unsigned i = 0; ring3_cell_candidate(&object->modified, act->begin, i, &number); i++) {
        if (number == 0)
            return NULL;
        struct timespec time = time_of(number);
        if (is_same(&time, modified))
            return ring3_cell_seen(memories, &object->modified, &act->life->memory, act->begin,
                                   number)
                       ? NULL
                       : memories->why;
    }
    return "another time of its last change";
}

void ring3_times_step(struct ring3_client *client, struct ring3_object *object)
{
    struct ring3_act act;
    struct attributes wanted = {0}, out = {0};
    bool is_now = ring3_choose(client, 4) == 0;
    uint64_t number = draw_time(client), accessed = draw_time(client);
    bool is_kept = object->kind != RING3_DIRECTORY; // names in one change it, too
    ring3_act_say_object(&act, object);
    if (!ring3_act_begin(&act, client, "utimens", true))
        return;
    wanted.stat.st_mtim = time_of(number);
    wanted.stat.st_atim = time_of(accessed);
    if (is_kept)
        ring3_cell_change(&object->modified, act.change, is_now ? 0 : number);
    int result = operation_set_attributes(
        ring3_act_volume(&act), object->inode, &wanted,
        SET_ATIME | (is_now ? SET_MTIME | SET_MTIME_NOW : SET_MTIME), &out);
    enum ring3_answer answer = ring3_act_end(&act, result, 0);
    if (answer == RING3_REFUSED)
        ring3_cell_undo(&object->modified, act.change);
    if (answer == RING3_DONE && (!is_same(&out.stat.st_atim, &wanted.stat.st_atim) ||
                                 (!is_now && !is_same(&out.stat.st_mtim, &wanted.stat.st_mtim))))
        ring3_act_wrong(&act, "it answers other times than were set");
}
