// SPDX-License-Identifier: Apache-2.0
// journal-sim: runs seeded histories of nodes with journals on a mean disk.
//   journal-sim [--seeds N] [--first S] [--cut PERCENT | --cut-every-write] [--verbose]
// --cut: after so many percent of all writes a power cut is tried on a clone of the disk (2).
// Exits 1 at the first history that breaks an invariant and prints the command that replays it.
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/check.h"
#include "tests/sim/journal_world.h"

struct options {
    uint64_t seeds; // 0: the default
    uint64_t first;
    uint32_t shadow_percent;
    bool is_verbose;
};

struct totals {
    uint64_t histories, operations, writes, crashes, shadows, replays, interrupted, images;
};

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 's'},
        {"cut", required_argument, NULL, 'c'},   {"cut-every-write", no_argument, NULL, 'e'},
        {"verbose", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0}};
    int option;
    *options = (struct options){.first = 1, .shadow_percent = 2};
    while ((option = getopt_long(argc, argv, "n:s:c:ev", names, NULL)) != -1) {
        if (option == 'n')
            options->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            options->first = strtoull(optarg, NULL, 0);
        else if (option == 'c')
            options->shadow_percent = (uint32_t)strtoul(optarg, NULL, 0);
        else if (option == 'e')
            options->shadow_percent = 100;
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

static void add_to_totals(struct totals *totals, const struct sim_result *result)
{
    totals->histories++;
    totals->operations += result->operation_count;
    totals->writes += result->write_count;
    totals->crashes += result->crash_count;
    totals->shadows += result->shadow_count;
    totals->replays += result->replay_count;
    totals->interrupted += result->interrupted_count;
    totals->images += result->image_count;
}

// --- histories -----------------------------------------------------------------------------------

static struct sim_options make_sim_options(const struct options *options)
{
    return (struct sim_options){
        .scheduler = scheduler_new(),
        .shadow_scheduler = scheduler_new(),
        .shadow_percent = options->shadow_percent,
        .trace = options->is_verbose ? stdout : NULL,
    };
}

static void print_totals(const struct totals *totals, uint64_t first, double seconds)
{
    printf("%" PRIu64 " histories of journals hold (first seed %" PRIu64 "): %" PRIu64
           " operations, %" PRIu64 " writes, %" PRIu64 " crashes, %" PRIu64 " replays (%" PRIu64
           " cut off) of %" PRIu64 " images, %" PRIu64 " power cuts on clones, %.1f s, %.0f"
           " histories/s\n",
           totals->histories, first, totals->operations, totals->writes, totals->crashes,
           totals->replays, totals->interrupted, totals->images, totals->shadows, seconds,
           (double)totals->histories / seconds);
}

static int run_histories(const char *program, const struct options *options)
{
    struct totals totals = {0};
    struct sim_options sim_options = make_sim_options(options);
    uint64_t seeds = options->seeds > 0 ? options->seeds : 10000;
    double start = seconds_now();
    for (uint64_t seed = options->first; seed < options->first + seeds; seed++) {
        struct sim_result result;
        sim_run(seed, &sim_options, &result);
        if (result.failure[0] != '\0') {
            printf("seed %" PRIu64 ": %s\n", seed, result.failure);
            printf("replay: %s --seeds 1 --first %" PRIu64 " --cut %" PRIu32 " --verbose\n",
                   program, seed, options->shadow_percent);
            return 1;
        }
        add_to_totals(&totals, &result);
    }
    scheduler_free(sim_options.scheduler);
    scheduler_free(sim_options.shadow_scheduler);
    print_totals(&totals, options->first, seconds_now() - start);
    return 0;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr,
                "usage: %s [--seeds N] [--first S] [--cut PERCENT | --cut-every-write]"
                " [--verbose]\n",
                argv[0]);
        return 2;
    }
    // The journals' buffers come and go with each history: keep their memory.
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    return run_histories(argv[0], &options);
}
