// SPDX-License-Identifier: Apache-2.0
// The FUSE front end over a fake volume: a real mount in a mount namespace of its own. Each test
// runs its client in a child process, so that a hanging request hangs the child and not the core.
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/environment_event.h"
#include "fs/fuse_server.h"
#include "tests/unit/fake_volume.h"

enum { LUN_BYTES = 4 << 20 };

struct fuse_world {
    char directory[32], mount[64], lun[64];
    int backing;
    struct environment *environment;
    struct fake_volume fake;
    struct fake_locks locks;
    struct fuse_server *server;
    struct fuse_server_counters counters; // as they stood at the end
    // On the core, again and again while the client runs; NULL: nothing.
    void (*beside)(struct fuse_world *world);
    struct environment_timer timer;
    bool is_live;
    pid_t client; // 0: it has ended
    int client_status;
};

extern struct fuse_world world;

int fuse_world_setup(void **state);
int fuse_world_teardown(void **state);

// Runs the client to its end against a fresh mount, in whose root it stands.
void fuse_world_run(void (*client)(void), void (*beside)(struct fuse_world *world));

#define FUSE_TEST(name) cmocka_unit_test_setup_teardown(name, fuse_world_setup, fuse_world_teardown)

// Runs the tests, or says why not: cmocka's result, or 77.
#define fuse_world_run_tests(name, tests)                                                          \
    (fuse_world_is_possible(name) ? cmocka_run_group_tests(tests, NULL, NULL) : 77)
bool fuse_world_is_possible(const char *name);

// --- for clients -------------------------------------------------------------------------------

// A client's failed expectation: says where and ends the child.
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
                    errno);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

// What stands there in the LUN at first, all of which is the mount's file "lun".
uint8_t fuse_client_lun_byte(uint64_t offset);
// The file holds that there.
void fuse_client_check_lun(int fd, uint64_t offset, size_t length);
// Writes twice to "lun", which has set-user-id, as nobody; the bit is gone after the first time.
void fuse_client_write_as_nobody(void);
