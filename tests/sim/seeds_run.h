// SPDX-License-Identifier: Apache-2.0
// Inside tests/sim/seeds*.c.
#pragma once

#include "tests/sim/seeds.h"

enum { SEEDS_JOBS_MAX = 64, SEEDS_ROUND = 1000 };

struct seeds_settings {
    const struct seeds_program *program;
    const char *path; // of the program
    uint64_t first, count;
    unsigned job_count;
    bool is_verbose, keeps_going;
    const char *corpus, *state;
};

struct seeds_sum {
    uint64_t next; // the first seed that was not run
    uint64_t histories, failures;
    double seconds;
    void *tally;
};

void seeds_print_failure(const struct seeds_settings *settings, uint64_t seed, const char *line,
                         const char *failure);

// seeds_jobs.c: the seeds [sum->next, end), in processes of their own. False: one failed, and it is
// not to go on.
bool seeds_jobs_run(const struct seeds_settings *settings, struct seeds_sum *sum, uint64_t end);

// seeds_state.c: the file of --state. A load of none that is there leaves the sum as it is. False:
// it cannot be read or written, or is of another run or program; that was printed.
bool seeds_state_load(const struct seeds_settings *settings, struct seeds_sum *sum);
bool seeds_state_save(const struct seeds_settings *settings, const struct seeds_sum *sum);
