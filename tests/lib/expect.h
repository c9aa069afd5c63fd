// SPDX-License-Identifier: Apache-2.0
//
// System calls in cmocka tests: a call that must succeed, or must fail with one errno, or the test
// fails with the call's text and what errno said.
//
//     int file = MUST(open(path, O_RDWR));
//     MUST_FAIL(mkdir(path, 0700), EEXIST);
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

// Each evaluates the call once. MUST yields its result.
#define MUST(call) expect_success((long)(call), #call, __FILE__, __LINE__)
#define MUST_FAIL(call, error)                                                                     \
    (errno = 0, expect_failure((long)(call), error, #call, __FILE__, __LINE__))
// A transfer of exactly `size` bytes.
#define MUST_MOVE(call, size) expect_size((long)(call), (long)(size), #call, __FILE__, __LINE__)

int expect_success(long result, const char *call, const char *file, int line);
void expect_failure(long result, int error, const char *call, const char *file, int line);
void expect_size(long result, long size, const char *call, const char *file, int line);

// The value of an environment variable that the harness must have set.
const char *expect_environment(const char *name);
