// SPDX-License-Identifier: Apache-2.0
// Finding a volume before it is mounted: whether a device holds one, and which device holds the one
// that UUID= or LABEL= names.
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs/format.h"

struct text;

// Reads the superblock of a device or file. 0 with *geometry; a negative error, the first of the
// copies' if none is good.
int volume_probe(const char *path, struct geometry *geometry);

// The device that `what` names: a path as it is, UUID=... or LABEL=... looked up among the links of
// udev and then among all block devices. False with a sentence in `why`: none, or two with one
// label.
bool volume_find(const char *what, char path[PATH_MAX], struct text *why);

// How volume_find goes through devices; for tests: `directory` in place of /dev.
bool volume_find_in(const char *directory, const char *partitions, const char *what,
                    char path[PATH_MAX], struct text *why);
