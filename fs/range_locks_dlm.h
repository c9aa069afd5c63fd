// SPDX-License-Identifier: Apache-2.0
// Byte-range locks kept by the lock manager: the one implementation of fs/range_locks.h.
#pragma once

#include "fs/range_locks.h"

struct dlm_service;

// `self_node_id` tells which conflicts are with this node (their pid means something here).
struct range_locks *range_locks_dlm_new(struct dlm_service *service, uint32_t self_node_id);
void range_locks_dlm_free(struct range_locks *locks);
