// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "tests/crashlog/look.h"

struct history_view *history_view_new(void)
{
    struct history_view *view = calloc(1, sizeof(*view));
    CHECK(view != NULL);
    for (unsigned i = 0; i < HISTORY_NAMES; i++)
        view->found[i].content =
            block_buffer_new((size_t)HISTORY_SECTORS_MAX * HISTORY_SECTOR_BYTES);
    return view;
}

void history_view_free(struct history_view *view)
{
    for (unsigned i = 0; i < HISTORY_NAMES; i++)
        free(view->found[i].content);
    free(view);
}
