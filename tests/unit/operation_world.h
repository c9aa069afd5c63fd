// SPDX-License-Identifier: Apache-2.0
// One node with an empty volume for each test of operations (tests/sim/ring2_node.h). The body of a
// test runs as a coroutine of the core.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/open_file.h"
#include "fs/operation.h"
#include "tests/sim/ring2_node.h"

struct operation_world {
    struct scheduler *scheduler;
    struct world world;
    struct sim_disk *disk;
    struct ring2_node node;
    struct volume *volume;
    uint64_t root;
    bool is_in_body; // a failed test leaves it so
};

// For cmocka_unit_test_setup_teardown. The volume is checked by fsck at the end.
int operation_world_setup(void **state);
int operation_world_setup_small(void **state); // a volume of few blocks
int operation_world_teardown(void **state);

void operation_world_run(struct operation_world *world, void (*body)(void *world));
// Unmounts and mounts; or crashes, with no file open, and mounts.
void operation_world_remount(struct operation_world *world);
void operation_world_crash(struct operation_world *world);

// The names of root's entries are used by tests: 0 or the error.
int make_file(struct operation_world *world, const char *name, struct attributes *out);
struct open_file *open_by_number(struct operation_world *world, uint64_t inode);
int look_up(struct operation_world *world, const char *name, struct attributes *out);
// Free blocks by statfs, with everything committed.
uint64_t free_blocks(struct operation_world *world);

extern const struct credentials test_user;

#define OPERATION_TEST(function)                                                                   \
    cmocka_unit_test_setup_teardown(function, operation_world_setup, operation_world_teardown)
