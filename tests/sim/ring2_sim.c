// SPDX-License-Identifier: Apache-2.0
// ring2-sim: runs seeded histories of one node on a disk that is cut off.
//   ring2-sim [--seeds N] [--first S] [--nodes N] [--every] [--rows] [--verbose] [--corpus FILE]
// --every cuts after each write, --nodes has several nodes share the work. --rows prints what was
// done how often and fails if something never was. --corpus runs the seeds of a file instead: a
// line has a seed, and "every" behind it for a cut after each write; # begins a comment. Exits 1 at
// the first history that finds something and prints the command that replays it.
#include "tests/sim/ring2_history.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct settings {
    uint64_t seeds, first;
    unsigned nodes;
    bool cuts_everywhere, is_verbose, prints_rows;
    const char *corpus, *program;
};

struct sum {
    struct ring2_result result;
    uint64_t histories;
};

static bool parse_settings(int argc, char **argv, struct settings *settings)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'}, {"first", required_argument, NULL, 's'},
        {"nodes", required_argument, NULL, 'c'}, {"every", no_argument, NULL, 'e'},
        {"rows", no_argument, NULL, 'r'},        {"corpus", required_argument, NULL, 'f'},
        {"verbose", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0}};
    int option;
    *settings = (struct settings){.seeds = 100, .first = 1, .nodes = 1, .program = argv[0]};
    while ((option = getopt_long(argc, argv, "n:s:c:erf:v", names, NULL)) != -1) {
        if (option == 'n')
            settings->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            settings->first = strtoull(optarg, NULL, 0);
        else if (option == 'c')
            settings->nodes = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'e')
            settings->cuts_everywhere = true;
        else if (option == 'r')
            settings->prints_rows = true;
        else if (option == 'f')
            settings->corpus = optarg;
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

static void add(struct sum *sum, const struct ring2_result *result)
{
    sum->histories++;
    sum->result.operations += result->operations;
    sum->result.lane_transfers += result->lane_transfers;
    sum->result.writes += result->writes;
    sum->result.cuts += result->cuts;
    sum->result.crashes += result->crashes;
    if (result->handle_credits_most > sum->result.handle_credits_most)
        sum->result.handle_credits_most = result->handle_credits_most;
    ring2_rows_add(&sum->result.rows, &result->rows);
}

static bool run_one(const struct settings *settings, uint64_t seed, bool cuts_everywhere,
                    struct sum *sum)
{
    struct ring2_options options = {
        .seed = seed,
        .node_count = settings->nodes,
        .cuts_everywhere = cuts_everywhere,
        .trace = settings->is_verbose ? stdout : NULL,
    };
    struct ring2_result result;
    ring2_history_run(&options, &result);
    if (result.is_failed) {
        printf("seed %" PRIu64 " failed: %s\n", seed, result.failure);
        printf("replay: %s --seeds 1 --first %" PRIu64 " --nodes %u%s --verbose\n",
               settings->program, seed, settings->nodes, cuts_everywhere ? " --every" : "");
        return false;
    }
    add(sum, &result);
    return true;
}

static bool run_range(const struct settings *settings, struct sum *sum)
{
    for (uint64_t i = 0; i < settings->seeds; i++) {
        if (!run_one(settings, settings->first + i, settings->cuts_everywhere, sum))
            return false;
    }
    return true;
}

static bool run_corpus(const struct settings *settings, struct sum *sum)
{
    FILE *file = fopen(settings->corpus, "r");
    char line[256];
    bool holds = file != NULL;
    if (file == NULL)
        perror(settings->corpus);
    while (holds && fgets(line, sizeof(line), file) != NULL) {
        char *rest;
        line[strcspn(line, "#\n")] = '\0';
        uint64_t seed = strtoull(line, &rest, 0);
        if (rest != line)
            holds = run_one(settings, seed, strstr(rest, "every") != NULL, sum);
    }
    if (file != NULL)
        fclose(file);
    return holds;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct sum sum = {0};
    double start = seconds_now();
    if (!parse_settings(argc, argv, &settings)) {
        fprintf(stderr,
                "usage: %s [--seeds N] [--first S] [--nodes N] [--every] [--rows] [--verbose]"
                " [--corpus FILE]\n",
                argv[0]);
        return 2;
    }
    mallopt(M_MMAP_THRESHOLD, 1 << 28); // the same memory serves all histories
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    bool holds = settings.corpus != NULL ? run_corpus(&settings, &sum) : run_range(&settings, &sum);
    if (settings.prints_rows)
        ring2_rows_print(&sum.result.rows, stdout);
    if (!holds || (settings.prints_rows && !ring2_rows_are_all_there(&sum.result.rows, stdout)))
        return 1;
    printf("%" PRIu64 " histories of %u nodes hold (first seed %" PRIu64 "): %" PRIu64
           " operations, %" PRIu64 " transfers of lanes, %" PRIu64 " writes, %" PRIu64
           " crashes, %" PRIu64 " cuts mounted and checked, largest handle %" PRIu32
           " blocks, %.1f s\n",
           sum.histories, settings.nodes, settings.first, sum.result.operations,
           sum.result.lane_transfers, sum.result.writes, sum.result.crashes, sum.result.cuts,
           sum.result.handle_credits_most, seconds_now() - start);
    return 0;
}
