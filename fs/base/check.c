// SPDX-License-Identifier: Apache-2.0
#include "fs/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr, "lunfs: broken invariant: %s, %s:%d in %s()\n", condition, file, line,
            function);
    abort();
}
