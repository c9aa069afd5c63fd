// SPDX-License-Identifier: Apache-2.0
// The hunt of a sabotage program: breaks one rule after the other and counts the histories until
// one of them fails. Each switch runs in a process of its own, for broken code may well run into a
// CHECK: that counts as found, too. A switch that HUNT_HISTORIES_MAX histories do not find fails.
// What is found quickly is hunted HUNTS_MAX times, from seeds far apart: the median and the most
// are printed, and in the end the median of all switches' medians.
//   PROGRAM [--first S] [SWITCH...]
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { HUNT_HISTORIES_MAX = 2000, HUNT_FAILURE_BYTES = 512, HUNTS_MAX = 5, HUNT_QUICK_MS = 400 };

struct hunt {
    const char *subject;         // "sabotage of SUBJECT: ..." is the last line
    const char *const *prefixes; // of the switches that are hunted here; the last one is NULL
    unsigned seconds_max;        // for one hunt; 0: no limit. A history that hangs finds nothing
    const char *sentence;        // what a failure must say to count; NULL: any does, a crash too
    // Runs one history; true if it failed, with its failure as text. `context` is for what is
    // kept from history to history, NULL at first; the process ends without a word.
    bool (*run)(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES]);
};

// The exit status: 0 if every switch was found that was asked for and is this hunt's.
int hunt_main(const struct hunt *hunt, int argc, char **argv);
