// SPDX-License-Identifier: Apache-2.0
// Inside ring3_files.c, ring3_space.c and ring3_protection.c.
#pragma once

#include "tests/sim/ring3_client.h"

// Cells of a file.
struct ring3_part {
    unsigned first, count;
};

struct ring3_part ring3_part_draw(struct ring3_client *client);
uint64_t ring3_size_of(const struct ring3_content *content);
// After a change of content and size: a death meanwhile leaves open what it met.
void ring3_size_end(struct ring3_act *act, struct ring3_content *content);
// Notes that the file is changed now, and takes all of the change back.
void ring3_file_modified(struct ring3_act *act, struct ring3_object *object);
void ring3_file_undo(struct ring3_act *act, struct ring3_object *object);
// The size of what only this client writes is known. False: not now.
bool ring3_size_settle(struct ring3_client *client, struct ring3_object *object);
struct ring3_handle *ring3_file_open(struct ring3_client *client, struct ring3_object *object,
                                     int flags);
void ring3_file_close(struct ring3_client *client, struct ring3_handle *handle);

// ring3_space.c
void ring3_space_allocate(struct ring3_client *client, struct ring3_handle *handle);
void ring3_space_seek(struct ring3_client *client, struct ring3_handle *handle);
// Into the handle's file, from it or from another one of the client's own.
void ring3_space_copy(struct ring3_client *client, struct ring3_handle *to);
// statfs
void ring3_space_look(struct ring3_client *client);
