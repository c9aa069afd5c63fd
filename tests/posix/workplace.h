// SPDX-License-Identifier: Apache-2.0
//
// Where a POSIX test works: a fresh folder under TEST_DIRECTORY, which is the current directory
// while the test runs and is removed with all in it afterwards. So tests use plain relative names.
//
// TEST_LUNFS=1 says that the directory is on lunfs: then what only lunfs promises is tested, too
// (no shared writable mmap, data never cached).
#pragma once

#include "tests/lib/expect.h"

// cmocka's setup and teardown of each test.
int workplace_setup(void **state);
int workplace_teardown(void **state);

bool workplace_is_lunfs(void);

// Creates or truncates a file with this content; returns it open for reading and writing.
int workplace_file(const char *name, const char *content);

#define WORKPLACE_TEST(function)                                                                   \
    cmocka_unit_test_setup_teardown(function, workplace_setup, workplace_teardown)
