// SPDX-License-Identifier: Apache-2.0
// The scrub of a mounted volume: fsck.lunfs's checks (fsck/scrub.h) under this node's locks. One at
// a time, in the background; what it finds marks the volume (fs/damage.h), is logged, and is kept
// for whoever asks. All on the core.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fsck/scrub.h"

struct scrubber;
struct volume;

enum { SCRUBBER_LINES_MAX = 1000 }; // kept; more are counted and logged

struct scrubber_status {
    struct scrub_status scrub;
    bool is_running;
    int result; // of the last run: 0, -ECANCELED or an error; if it does not run
    uint64_t elapsed_ns;
    uint64_t line_count; // that were kept
};

// For a volume that has started.
struct scrubber *scrubber_new(struct volume *volume);
// After scrubber_stop.
void scrubber_free(struct scrubber *scrubber);

// A new run; what the last one found is forgotten. -EALREADY if one is under way.
int scrubber_start(struct scrubber *scrubber, uint64_t blocks_per_second);
// The run ends soon. Does not wait.
void scrubber_cancel(struct scrubber *scrubber);
// No run is under way when it returns, and none begins. Waits.
void scrubber_stop(struct scrubber *scrubber);

void scrubber_status_get(const struct scrubber *scrubber, struct scrubber_status *status);
// The line of a number below line_count.
const char *scrubber_line(const struct scrubber *scrubber, uint64_t number);
