// SPDX-License-Identifier: Apache-2.0
// A client: operations one after the other, each on the node that it is at just then. Between
// ring3_act_begin and _end an operation runs as a front end runs it; its answer counts only if the
// node may still say it.
#pragma once

#include "fs/operation.h"
#include "fs/range_locks.h"
#include "tests/sim/ring3.h"
#include "tests/sim/ring3_tree.h"

enum { RING3_HANDLES = 4 };

// A byte range that a client was told is its own.
struct ring3_range {
    struct ring3_life *life; // through which; NULL: it has none
    struct range_lock lock;
    ring3_tick since;
};

struct ring3_client {
    struct ring3 *ring3;
    unsigned number;
    struct ring3_life *life;  // in which it works now
    struct ring3_machine *at; // that it likes
    unsigned settled_deaths;  // ring3->deaths when all its names were certain
    struct ring3_handle *handles[RING3_HANDLES];
    struct ring3_range range;
    struct ring3_object *protected; // NULL: none; until that is undone for good
};

// One operation. It begins with ring3_act_begin, which may wait; false: try elsewhere.
struct ring3_act {
    struct ring3_client *client;
    struct ring3_life *life;
    const char *what;
    struct ring3_change *change; // NULL: it only looks
    ring3_tick begin;
    uint64_t began_ns;                 // of the world, before it waited for the life
    unsigned deaths;                   // when it began
    char where[RING3_NAME_BYTES + 40]; // for messages
};

bool ring3_act_begin(struct ring3_act *act, struct ring3_client *client, const char *what,
                     bool changes);
enum ring3_answer {
    RING3_UNKNOWN, // its node died over it
    RING3_DONE,    // as expected, with success
    RING3_REFUSED, // as expected, with an error
    RING3_WRONG,   // the history has failed
};
// `result`: of the operation; `expected`: 0 for any success. The change has ended if DONE, and is
// void if REFUSED: its cells are the caller's to undo.
enum ring3_answer ring3_act_end(struct ring3_act *act, long result, int expected);
// What the operation showed is not allowed.
void ring3_act_wrong(struct ring3_act *act, const char *why);

uint64_t ring3_choose(struct ring3_client *client, uint64_t bound);
struct volume *ring3_act_volume(const struct ring3_act *act);

// Makes all names of the client certain. False: not now.
bool ring3_names_settle(struct ring3_client *client);
// To any node that is mounted, as likely as not another one. False: none is.
bool ring3_client_move(struct ring3_client *client);
void ring3_names_step(struct ring3_client *client);
// A certain object of the client with a name, of this kind or (negative) any; NULL: found none.
struct ring3_object *ring3_names_choose(struct ring3_client *client, int kind);
void ring3_attributes_step(struct ring3_client *client);
// What the client protected is as before. False: not yet.
bool ring3_protection_undo(struct ring3_client *client);
void ring3_files_step(struct ring3_client *client);
void ring3_act_say_object(struct ring3_act *act, const struct ring3_object *object);
// One transfer past the core, as fs/lane.c does it. False: it is the core's.
bool ring3_lane_serves(struct ring3_life *life, struct open_file *open, bool is_write,
                       uint64_t offset, uint8_t *buffer, size_t length, long *result);
void ring3_sync_step(struct ring3_client *client);
void ring3_ranges_step(struct ring3_client *client);
// The client has done its work: nobody is to wait for its range.
void ring3_ranges_end(struct ring3_client *client);

// The same looks for the final check, from any life. False: the history has failed, or the life
// has.
bool ring3_look_name(struct ring3_client *client, struct ring3_object *directory, unsigned index);
bool ring3_look_directory(struct ring3_client *client, struct ring3_object *directory);
bool ring3_look_attributes(struct ring3_client *client, struct ring3_object *object);
bool ring3_look_content(struct ring3_client *client, struct ring3_object *object);
