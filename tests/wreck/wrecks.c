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
    static const struct wreck *const tables[] = {wrecks_volume, wrecks_files, wrecks_quotas};
    const struct wreck *wreck = NULL;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && wreck == NULL; i++)
        wreck = at(tables[i], &number);
    return wreck;
}
