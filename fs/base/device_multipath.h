// SPDX-License-Identifier: Apache-2.0
// Whether a multipath device queues for ever when all of its paths are lost: read from the table
// that is active in the kernel, not from a configuration file that multipathd may have overruled.
//
//   features of the table     multipath.conf            what happens without a path
//   0                         no_path_retry fail        an error at once: bounded
//   1 queue_if_no_path        no_path_retry queue       waits for a path
//   1 queue_if_no_path        no_path_retry N           waits until multipathd ends it: if it lives
//
// The last two look alike, and multipathd may be dead: both count as queueing, unless
// dm_multipath's own parameter queue_if_no_path_timeout_secs bounds them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Whether a line of a multipath table (what stands behind the target's name) says queue_if_no_path.
// True also for what cannot be read: the cautious answer.
bool device_multipath_table_queues(const char *table);

// Whether the device's active table queues. True when it cannot be read.
bool device_multipath_queues(dev_t device);
