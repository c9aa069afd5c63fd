// SPDX-License-Identifier: Apache-2.0
// When the time of an access is worth a change of the inode. Pure.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "fs/volume.h"

static inline struct timespec timespec_from_ns(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

static inline bool timespec_is_after(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

// relatime: the first access after a modification or change, and one a day.
static inline bool relatime_is_due(const struct volume_options *options, struct timespec accessed,
                                   struct timespec modified, struct timespec changed,
                                   struct timespec now)
{
    if (options->no_atime || !timespec_is_after(now, accessed))
        return false;
    return options->strict_atime || !timespec_is_after(accessed, modified) ||
           !timespec_is_after(accessed, changed) || now.tv_sec - accessed.tv_sec >= 24 * 60 * 60;
}
