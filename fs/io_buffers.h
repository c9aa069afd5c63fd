// SPDX-License-Identifier: Apache-2.0
// Aligned buffers for data on its way through the core, kept for the next user: a buffer is not
// allocated anew for each request while memory is short (rule P35). Any thread.
#pragma once

#include <stddef.h>

struct io_buffers;

// NULL when memory is out.
struct io_buffers *io_buffers_new(void);
// All buffers must have come back.
void io_buffers_free(struct io_buffers *buffers);

// A buffer for `bytes` (at most 1 MiB) of data and a block on each side of it, aligned to 4096, its
// content undefined; NULL when memory is out.
void *io_buffers_take(struct io_buffers *buffers, size_t bytes);
// `bytes` as it was taken with; NULL is ignored.
void io_buffers_give(struct io_buffers *buffers, void *buffer, size_t bytes);
