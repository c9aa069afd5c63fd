// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/wrecks.h"

#include <stddef.h>

static const struct wreck *at(const struct wreck *wrecks, size_t *number)
{
    for (; wrecks->problem != NULL; wrecks++) {
        if ((*number)-- == 0)
            return wrecks;
    }
    return NULL;
}

const struct wreck *wreck_at(size_t number)
{
    const struct wreck *wreck = at(wrecks_volume, &number);
    return wreck != NULL ? wreck : at(wrecks_files, &number);
}
