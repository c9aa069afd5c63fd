// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/expect.h"

#include <stdio.h>
#include <string.h>

int expect_success(long result, const char *call, const char *file, int line)
{
    if (result < 0) {
        print_error("%s: %s\n", call, strerror(errno));
        _fail(file, line);
    }
    return (int)result;
}

void expect_failure(long result, int error, const char *call, const char *file, int line)
{
    if (result >= 0) {
        print_error("%s succeeded, wanted: %s\n", call, strerror(error));
        _fail(file, line);
    }
    if (errno != error) {
        print_error("%s: got '%s', wanted '%s'\n", call, strerror(errno), strerror(error));
        _fail(file, line);
    }
}

void expect_size(long result, long size, const char *call, const char *file, int line)
{
    if (result != size) {
        print_error("%s: got %ld (%s), wanted %ld\n", call, result,
                    result < 0 ? strerror(errno) : "short", size);
        _fail(file, line);
    }
}

const char *expect_environment(const char *name)
{
    const char *value = getenv(name);

    if (!value) {
        print_error("the environment has no %s\n", name);
        fail();
    }
    return value;
}
