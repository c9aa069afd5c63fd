// SPDX-License-Identifier: Apache-2.0
// membership-sim: seeded histories of membership, leases and fencing under faults.
//   membership-sim [--corpus FILE] [--seeds N] [--first S] [--verbose]
//                  [--sabotage SWITCH (built with SABOTAGE=1)]
// FILE: seeds to run first, one a line, with what it showed behind it; lines with # are comments.
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
    const char *sabotage, *corpus;
};

struct totals {
    uint64_t histories, steps, views, lives;
};

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'},  {"first", required_argument, NULL, 's'},
        {"verbose", no_argument, NULL, 'v'},      {"sabotage", required_argument, NULL, 'b'},
        {"corpus", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    int option;
    *options = (struct options){.seeds = 1000, .first = 1};
    while ((option = getopt_long(argc, argv, "n:s:vb:c:", names, NULL)) != -1) {
        if (option == 'n')
            options->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            options->first = strtoull(optarg, NULL, 0);
        else if (option == 'v')
            options->is_verbose = true;
        else if (option == 'b')
            options->sabotage = optarg;
        else if (option == 'c')
            options->corpus = optarg;
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

static bool run_one(const struct options *options, const char *program, uint64_t seed,
                    struct scheduler *scheduler, struct totals *totals)
{
    struct sim_result result;
    sim_run(seed, scheduler, options->is_verbose ? stdout : NULL, &result);
    totals->histories++;
    totals->steps += result.steps;
    totals->views += result.views;
    totals->lives += result.lives;
    if (!result.is_failed)
        return true;
    printf("seed %" PRIu64 " failed: %s\n", seed, result.failure);
    printf("replay: %s --seeds 1 --first %" PRIu64 " --verbose\n", program, seed);
    return false;
}

static bool run_corpus(const struct options *options, const char *program,
                       struct scheduler *scheduler, struct totals *totals)
{
    char line[200];
    bool holds = true;
    FILE *corpus = fopen(options->corpus, "r");
    if (corpus == NULL) {
        perror(options->corpus);
        return false;
    }
    while (holds && fgets(line, sizeof(line), corpus) != NULL) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line)
            holds = run_one(options, program, seed, scheduler, totals);
    }
    fclose(corpus);
    if (holds)
        printf("the corpus holds: %" PRIu64 " histories\n", totals->histories);
    return holds && totals->histories > 0;
}

int main(int argc, char **argv)
{
    struct options options;
    struct totals totals = {0};
    double start = seconds_now();
    if (!parse_options(argc, argv, &options) ||
        (options.sabotage != NULL && !switch_on(options.sabotage))) {
        fprintf(stderr,
                "usage: %s [--corpus FILE] [--seeds N] [--first S] [--verbose] "
                "[--sabotage SWITCH]\n",
                argv[0]);
        return 2;
    }
    struct scheduler *scheduler = scheduler_new();
    bool holds = options.corpus == NULL || run_corpus(&options, argv[0], scheduler, &totals);
    for (uint64_t i = 0; holds && i < options.seeds; i++)
        holds = run_one(&options, argv[0], options.first + i, scheduler, &totals);
    scheduler_free(scheduler);
    if (!holds)
        return 1;
    double seconds = seconds_now() - start;
    printf("%" PRIu64 " histories of membership hold (first seed %" PRIu64 "): %" PRIu64
           " lives, %" PRIu64 " views, %" PRIu64 " steps, %.1f s, %.0f histories/s\n",
           totals.histories, options.first, totals.lives, totals.views, totals.steps, seconds,
           (double)totals.histories / seconds);
    return 0;
}
