// SPDX-License-Identifier: Apache-2.0
// Scoped release, so that every way out of a function frees what it took.
#pragma once

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_pointer(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close_descriptor(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

// `CLEANUP_FREE char *s = strdup(...)`; `CLEANUP_CLOSE int fd = open(...)`.
#define CLEANUP_FREE  __attribute__((cleanup(cleanup_free_pointer)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close_descriptor)))
