// SPDX-License-Identifier: Apache-2.0
// membership-sim: seeded histories of membership, leases and fencing under faults.
//   membership-sim [--seeds N] [--first S] [--verbose] [--sabotage SWITCH (built with SABOTAGE=1)]
// Exits 1 at the first history that breaks an invariant and prints the command that replays it.
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/membership_world.h"
#include "tests/sim/sabotage_switch.h"

struct options {
    uint64_t seeds, first;
    bool is_verbose;
    const char *sabotage;
};

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 's'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"sabotage", required_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    int option;
    *options = (struct options){.seeds = 1000, .first = 1};
    while ((option = getopt_long(argc, argv, "n:s:vb:", names, NULL)) != -1) {
        if (option == 'n')
            options->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            options->first = strtoull(optarg, NULL, 0);
        else if (option == 'v')
            options->is_verbose = true;
        else if (option == 'b')
            options->sabotage = optarg;
        else
            return false;
    }
    return optind == argc;
}

static bool switch_on(const char *name)
{
    for (int i = SABOTAGE_none + 1; i < SABOTAGE_count; i++) {
        if (strcmp(sabotage_describe((enum sabotage)i).name, name) != 0)
            continue;
        sabotage_set((enum sabotage)i);
        return true;
    }
    return false;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct options options;
    struct sim_result result;
    uint64_t steps = 0, views = 0, lives = 0;
    double start = seconds_now();
    if (!parse_options(argc, argv, &options) ||
        (options.sabotage != NULL && !switch_on(options.sabotage))) {
        fprintf(stderr, "usage: %s [--seeds N] [--first S] [--verbose] [--sabotage SWITCH]\n",
                argv[0]);
        return 2;
    }
    struct scheduler *scheduler = scheduler_new();
    for (uint64_t i = 0; i < options.seeds; i++) {
        uint64_t seed = options.first + i;
        sim_run(seed, scheduler, options.is_verbose ? stdout : NULL, &result);
        if (result.is_failed) {
            printf("seed %" PRIu64 " failed: %s\n", seed, result.failure);
            printf("replay: %s --seeds 1 --first %" PRIu64 " --verbose\n", argv[0], seed);
            return 1;
        }
        steps += result.steps;
        views += result.views;
        lives += result.lives;
    }
    double seconds = seconds_now() - start;
    scheduler_free(scheduler);
    printf("%" PRIu64 " histories of membership hold (first seed %" PRIu64 "): %" PRIu64
           " lives, %" PRIu64 " views, %" PRIu64 " steps, %.1f s, %.0f histories/s\n",
           options.seeds, options.first, lives, views, steps, seconds,
           (double)options.seeds / seconds);
    return 0;
}
