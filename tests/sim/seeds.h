// SPDX-License-Identifier: Apache-2.0
// What programs that run seeded histories share: which seeds, in how many processes, and how a run
// that was interrupted goes on.
//   PROGRAM [--seeds N] [--first S] [--corpus FILE] [--verbose]
//           [--jobs N] [--keep-going] [--state FILE] and options of its own
// --corpus runs the seeds of a file first: a line has a seed and what the program makes of the
// rest; # begins a comment. --jobs has several processes take one seed after the other: one that
// crashes or hangs in a history has failed it. --state saves what was counted every so many
// histories; the same command goes on from there. Without --keep-going the first history that fails
// is the last one. Failures are printed with the command that replays them; then the exit status
// is 1.
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { SEEDS_FAILURE_BYTES = 512, SEEDS_OPTIONS_BYTES = 256 };

struct seeds_history {
    uint64_t seed;
    const char *line; // what stands behind the seed in the corpus; "": it is from a range
    FILE *trace;      // NULL: none
    char failure[SEEDS_FAILURE_BYTES];
};

struct seeds_program {
    const char *name, *usage; // usage: of its own options
    const struct option *options;
    void *context;
    uint64_t count_default; // of seeds
    unsigned seconds_max;   // of one history, where it is one of several jobs
    size_t tally_bytes;     // a struct of uint64_t
    // False: the usage is printed.
    bool (*take)(void *context, int option, char *argument);
    // Adds to the tally what it did; false: it failed, and the tally is as it was. What it leaves
    // behind then may cost memory, and nothing else.
    bool (*run)(void *context, struct seeds_history *history, void *tally);
    void (*add)(void *sum, const void *tally);
    // The options that make a history what it is, apart from the seed.
    void (*describe)(const void *context, const char *line, char text[SEEDS_OPTIONS_BYTES]);
    // Prints the sum; false: it lacks something.
    bool (*report)(const void *context, const void *sum, uint64_t first, uint64_t histories,
                   double seconds);
};

// The exit status of the program: 0, 1 if something failed, 2 for bad options.
int seeds_main(const struct seeds_program *program, int argc, char **argv);
