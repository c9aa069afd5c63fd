// SPDX-License-Identifier: Apache-2.0
// A bar on the terminal, drawn at most ten times a second, with a rate and, after the first second,
// an estimate of what is left; nothing elsewhere.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct text;

struct progress {
    FILE *out; // NULL: no terminal
    const char *what, *unit;
    uint64_t begun_ns; // 0: not drawn yet
    uint64_t drawn_ns;
    bool is_drawn;
};

// Draws on standard error if it is a terminal.
void progress_init(struct progress *progress);
// Begins a part of the work. Constants; `unit` is what is counted ("blocks"), NULL for no rate.
void progress_begin(struct progress *progress, const char *what, const char *unit);
// `total` 0: how much there is to do is not known.
void progress_update(struct progress *progress, uint64_t now_ns, uint64_t done, uint64_t total);
// Takes the bar away.
void progress_clear(struct progress *progress);

// "[####    ]  12 %  34.5 k blocks/s  1:07 left": what stands behind the name. `done` 0 gives no
// rate; `total` 0 no bar.
void progress_to_text(const struct progress *progress, uint64_t now_ns, uint64_t done,
                      uint64_t total, struct text *text);
