// SPDX-License-Identifier: Apache-2.0
// What a mounted volume shows of a client's folder, in the form that history.h judges.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/crashlog/history.h"

struct ring2_node;

// A view for any number of looks; freed with history_view_free().
struct history_view *history_view_new(void);
void history_view_free(struct history_view *view);

// Through the core of a node that runs in this process. 0 or a negative error.
int look_at_node(struct ring2_node *node, uint32_t client, struct history_view *view);
// Through a mount. 0 or -errno.
int look_at_mount(const char *mount, uint32_t client, struct history_view *view);
