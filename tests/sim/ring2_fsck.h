// SPDX-License-Identifier: Apache-2.0
// The check of structures over a simulated disk. A file of its own, because fsck and the core each
// have an inode table.
#pragma once

#include <stddef.h>

#include "tests/sim/disk.h"
#include "tests/sim/world.h"

void ring2_run(struct world *world, void (*body)(void *argument), void *argument);

// `fsck.lunfs -n -f` of a disk that nobody has mounted: its exit code, and what it printed, cut to
// fit.
int ring2_fsck_run(struct world *world, struct sim_disk *disk, char *output, size_t output_bytes);

// The same with -y for -n: it puts right what it can.
int ring2_fsck_repair(struct world *world, struct sim_disk *disk, char *output,
                      size_t output_bytes);
