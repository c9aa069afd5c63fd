// SPDX-License-Identifier: Apache-2.0
// lock-sim: runs seeded histories of lock cores under faults.
//   lock-sim [--seeds N] [--first S] [--verbose]
// Exits 1 at the first history that breaks an invariant and prints the command that replays it.
#include "tests/sim/lock_world.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

struct options {
    uint64_t seeds;
    uint64_t first;
    bool is_verbose;
};

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 's'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    int option;

    *options = (struct options){.seeds = 10000, .first = 1};
    while ((option = getopt_long(argc, argv, "n:s:v", names, NULL)) != -1) {
        if (option == 'n')
            options->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            options->first = strtoull(optarg, NULL, 0);
        else if (option == 'v')
            options->is_verbose = true;
        else
            return false;
    }
    return optind == argc;
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
    uint64_t steps = 0, grants = 0, views = 0;
    double start = seconds_now();

    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr, "usage: %s [--seeds N] [--first S] [--verbose]\n", argv[0]);
        return 2;
    }
    for (uint64_t i = 0; i < options.seeds; i++) {
        struct history_result result;
        uint64_t seed = options.first + i;
        history_run(seed, options.is_verbose ? stdout : NULL, &result);
        if (result.is_failed) {
            printf("seed %" PRIu64 " failed %s\n", seed, result.failure);
            printf("replay: %s --seeds 1 --first %" PRIu64 " --verbose\n", argv[0], seed);
            return 1;
        }
        steps += result.steps;
        grants += result.grants;
        views += result.views;
    }
    double seconds = seconds_now() - start;
    printf("%" PRIu64 " histories of lock cores hold (first seed %" PRIu64 "): %" PRIu64
           " steps, %" PRIu64 " grants, %" PRIu64 " epochs, %.1f s, %.0f histories/s\n",
           options.seeds, options.first, steps, grants, views, seconds,
           (double)options.seeds / seconds);
    return 0;
}
