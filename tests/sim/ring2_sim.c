// SPDX-License-Identifier: Apache-2.0
// ring2-sim: runs seeded histories of one node on a disk that is cut off.
//   ring2-sim [--seeds N] [--first S] [--nodes N] [--every] [--verbose]
// --every cuts after each write, --nodes has several nodes share the work. Exits 1 at the first
// history that finds something and prints the command that replays it.
#include "tests/sim/ring2_history.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

struct settings {
    uint64_t seeds, first;
    unsigned nodes;
    bool cuts_everywhere, is_verbose;
};

static bool parse_settings(int argc, char **argv, struct settings *settings)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 's'},
        {"nodes", required_argument, NULL, 'c'}, {"every", no_argument, NULL, 'e'},
        {"verbose", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0}};
    int option;
    *settings = (struct settings){.seeds = 100, .first = 1, .nodes = 1};
    while ((option = getopt_long(argc, argv, "n:s:c:ev", names, NULL)) != -1) {
        if (option == 'n')
            settings->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            settings->first = strtoull(optarg, NULL, 0);
        else if (option == 'c')
            settings->nodes = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'e')
            settings->cuts_everywhere = true;
        else if (option == 'v')
            settings->is_verbose = true;
        else
            return false;
    }
    return optind == argc && settings->nodes >= 1 && settings->nodes <= RING2_NODES_AT_ONCE;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add(struct ring2_result *sum, const struct ring2_result *result)
{
    sum->operations += result->operations;
    sum->lane_transfers += result->lane_transfers;
    sum->writes += result->writes;
    sum->cuts += result->cuts;
    sum->crashes += result->crashes;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct ring2_result sum = {0};
    double start = seconds_now();
    if (!parse_settings(argc, argv, &settings)) {
        fprintf(stderr, "usage: %s [--seeds N] [--first S] [--nodes N] [--every] [--verbose]\n",
                argv[0]);
        return 2;
    }
    for (uint64_t i = 0; i < settings.seeds; i++) {
        struct ring2_options options = {
            .seed = settings.first + i,
            .node_count = settings.nodes,
            .cuts_everywhere = settings.cuts_everywhere,
            .trace = settings.is_verbose ? stdout : NULL,
        };
        struct ring2_result result;
        ring2_history_run(&options, &result);
        if (result.is_failed) {
            printf("seed %" PRIu64 " failed: %s\n", options.seed, result.failure);
            printf("replay: %s --seeds 1 --first %" PRIu64 " --nodes %u%s --verbose\n", argv[0],
                   options.seed, settings.nodes, settings.cuts_everywhere ? " --every" : "");
            return 1;
        }
        add(&sum, &result);
    }
    printf("%" PRIu64 " histories of %u nodes hold (first seed %" PRIu64 "): %" PRIu64
           " operations, %" PRIu64 " transfers of lanes, %" PRIu64 " writes, %" PRIu64
           " crashes, %" PRIu64 " cuts mounted and checked, %.1f s\n",
           settings.seeds, settings.nodes, settings.first, sum.operations, sum.lane_transfers,
           sum.writes, sum.crashes, sum.cuts, seconds_now() - start);
    return 0;
}
