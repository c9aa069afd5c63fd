// SPDX-License-Identifier: Apache-2.0
// Masters of locks that do not answer, as those of the dead: a service between the real lock core
// and the lock table keeps requests for chosen names back, until they are cancelled or answered.
//
//   node 1 of 3 dies ── nobody answers for the names that it mastered ── recovered: all answered
#pragma once

#include "fs/lock_service.h"
#include "tests/unit/operation_world.h"

enum { SILENT_MASTERS_KEPT_MAX = 8192 };

struct silent_request {
    uint64_t cookie;
    struct lock_name name;
    enum lock_right right;
    bool no_wait;
};

struct silent_masters {
    const struct lock_service_operations *real;
    struct lock_service *service;
    unsigned
        silent_of_3; // 0: all answer for inode numbers; 1: those of a third do not; 3: none does
    bool are_groups_silent;
    struct silent_request kept[SILENT_MASTERS_KEPT_MAX];
    size_t kept_count;
    size_t kept_ever;
    uint64_t silent_from, silent_until; // if set, only numbers in between are silent
};

// Stands in for the real operations: the service is the one of the only test that runs.
extern struct silent_masters silent_masters;

// From now on the masters of so many of three inode numbers do not answer, all others do.
void silent_masters_set(struct operation_world *world, unsigned silent_of_3);
// All answer, also what they were asked before.
void silent_masters_answer(struct operation_world *world);
