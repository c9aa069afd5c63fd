// SPDX-License-Identifier: Apache-2.0
// How long an I/O that was submitted to a LUN may still be on its way: what a lease must wait out
// before a node that cannot be asked counts as harmless (rule 10). Read from what the kernel says
// of the device's layers: SCSI command timeout, iSCSI replacement_timeout, FC dev_loss_tmo and
// fast_io_fail_tmo, NVMe io_timeout and ctrl_loss_tmo, multipath's queueing.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/base/text.h"

struct device_timeouts {
    bool is_bounded;    // else some layer queues for ever
    uint64_t io_max_ms; // if bounded: what all layers together may take
};

// `descriptor` is open on the device or file. `layers` gets what was found, one phrase a layer, for
// the log: "sda: command timeout 30 s, iSCSI recovery 120 s". Never fails: what cannot be read
// counts with the kernel's defaults.
void device_timeouts_read(int descriptor, struct device_timeouts *timeouts, struct text *layers);

// Whether a multipath device queues for ever: device_multipath_queues, or a test's word.
typedef bool device_queues(dev_t device);
// The same of a block device below another root than /sys, for tests.
void device_timeouts_read_in(const char *sys, dev_t device, device_queues *queues,
                             struct device_timeouts *timeouts, struct text *layers);
