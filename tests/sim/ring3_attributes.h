// SPDX-License-Identifier: Apache-2.0
// What is done to an object of the client's own, by kinds of attributes.
#pragma once

#include "tests/sim/ring3_client.h"

// ring3_acl.c. A list is a number: 0 is none.
void ring3_acl_step(struct ring3_client *client, struct ring3_object *object);
// `list` (one of the object's two) is certain afterwards. False: not now.
bool ring3_acl_settle(struct ring3_client *client, struct ring3_object *object,
                      struct ring3_cell *list);
// What the list is after a chmod, and the mode's last nine bits with a list.
uint64_t ring3_acl_with_mode(uint64_t list, mode_t mode);
mode_t ring3_acl_mode(uint64_t list);
// Both lists of the object are as the model says. False: not, or not now.
bool ring3_look_acls(struct ring3_client *client, struct ring3_object *object);

// ring3_times.c
void ring3_times_step(struct ring3_client *client, struct ring3_object *object);
// NULL: the object may have been changed last then; else what is wrong.
const char *ring3_times_check(struct ring3_act *act, struct ring3_object *object,
                              const struct timespec *modified);

// ring3_xattrs.c
void ring3_xattrs_step(struct ring3_client *client, struct ring3_object *object);
bool ring3_look_xattrs(struct ring3_client *client, struct ring3_object *object);

// ring3_protection.c
void ring3_protection_step(struct ring3_client *client, struct ring3_object *object);
