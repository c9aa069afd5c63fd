// SPDX-License-Identifier: Apache-2.0
// What the two groups of one volume share: their names, and the one message of the guards' group.
#pragma once

#include <corosync/cpg.h>

#include "dlm/membership.h"
#include "fs/base/endian.h"

struct guard_drained_wire {
    le32_t magic;         // 0   GUARD_DRAINED_MAGIC
    le32_t version;       // 4   1
    le32_t slot;          // 8
    le32_t ring_node_id;  // 12  the ring that the guard is in
    le64_t ring_sequence; // 16
    le64_t incarnation;   // 24
};
_Static_assert(sizeof(struct guard_drained_wire) == 32, "drained message");
#define GUARD_DRAINED_MAGIC 0x44474e55u

// "lunfs-" and 32 hex digits, and for the guards "-guards".
void corosync_group_name(struct cpg_name *name, const uint8_t format_id[16], bool is_guards);
