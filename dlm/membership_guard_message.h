// SPDX-License-Identifier: Apache-2.0
// What guards say, and the names of the groups: shared by the guard's side and the worker's.
#pragma once

#include <corosync/cpg.h>

#include "dlm/membership.h"
#include "fs/base/endian.h"

struct guard_drained_wire {
    le32_t magic;         // 0
    le32_t slot;          // 4
    le64_t incarnation;   // 8
    le32_t ring_node_id;  // 16
    le32_t reserved;      // 20
    le64_t ring_sequence; // 24
};
_Static_assert(sizeof(struct guard_drained_wire) == 32, "wire size");

struct guard_drained_wire guard_drained_make(uint32_t slot, uint64_t incarnation,
                                             struct membership_ring ring);
// 0 or -ERROR_MESSAGE_FIELD; node_id stays 0.
int guard_drained_decode(const void *bytes, size_t length, struct membership_node *node,
                         struct membership_ring *ring);

struct cpg_name corosync_group_name(const uint8_t format_id[16], bool is_guards);
