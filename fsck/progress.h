// SPDX-License-Identifier: Apache-2.0
// A bar on the terminal, drawn at most ten times a second; nothing elsewhere.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out; // NULL: no terminal
    const char *what;
    uint64_t drawn_ns;
    bool is_drawn;
};

// Draws on standard error if it is a terminal.
void progress_init(struct progress *progress);
// Begins a part of the work; `what` is a constant.
void progress_begin(struct progress *progress, const char *what);
// `total` 0: how much there is to do is not known.
void progress_update(struct progress *progress, uint64_t now_ns, uint64_t done, uint64_t total);
// Takes the bar away.
void progress_clear(struct progress *progress);
