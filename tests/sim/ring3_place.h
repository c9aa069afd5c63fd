// SPDX-License-Identifier: Apache-2.0
// Inside ring3_looks.c and ring3_names.c.
#pragma once

#include "tests/sim/ring3_client.h"

// A place for a name.
struct ring3_place {
    struct ring3_object *directory;
    unsigned index;
    struct ring3_cell *cell;
    char text[RING3_NAME_BYTES];
};

struct ring3_place ring3_place_at(struct ring3_object *directory, unsigned index);
void ring3_place_say(struct ring3_act *act, const struct ring3_place *place);
// Where the object of the client's own is; false: nowhere.
bool ring3_names_find(struct ring3_client *client, const struct ring3_object *object,
                      struct ring3_place *place);
bool ring3_is_open(const struct ring3_client *client, const struct ring3_object *object);
