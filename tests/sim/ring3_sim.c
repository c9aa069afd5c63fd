// SPDX-License-Identifier: Apache-2.0
// ring3-sim: seeded histories of whole nodes on one LUN.
//   ring3-sim [--seeds N] [--first S] [--short] [--machines N] [--operations N] [--faults N]
//             [--only FAULT,...] [--table] [--verbose] [--corpus FILE]
// Exits 1 at the first history that finds something and prints the command that replays it.
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/ring3.h"

struct settings {
    struct ring3_options options;
    uint64_t seeds, first;
    bool prints_table;
    const char *corpus, *program;
};

struct sum {
    struct ring3_result result;
    uint64_t histories;
};

static const struct {
    const char *name, *sentence;
} fault_texts[] = {
#define RING3_FAULT(name, share, sentence) {#name, sentence},
#include "tests/sim/ring3_faults.def"
#undef RING3_FAULT
};

static bool parse_faults(char *text, uint64_t *mask)
{
    *mask = 0;
    for (char *name = strtok(text, ","); name != NULL; name = strtok(NULL, ",")) {
        uint64_t before = *mask;
        for (unsigned i = 0; i < RING3_FAULT_COUNT; i++)
            *mask |= strcmp(fault_texts[i].name, name) == 0 ? (uint64_t)1 << i : 0;
        if (*mask == before)
            return false;
    }
    return *mask != 0;
}

static bool parse_settings(int argc, char **argv, struct settings *settings)
{
    static const struct option names[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 's'},
                                          {"short", no_argument, NULL, 'b'},
                                          {"machines", required_argument, NULL, 'm'},
                                          {"operations", required_argument, NULL, 'o'},
                                          {"faults", required_argument, NULL, 'f'},
                                          {"only", required_argument, NULL, 'y'},
                                          {"table", no_argument, NULL, 't'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"corpus", required_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
    struct ring3_options *options = &settings->options;
    int option;
    *settings = (struct settings){.seeds = 20, .first = 1, .program = argv[0]};
    options->fault_count = UINT_MAX;
    options->faults = ((uint64_t)1 << RING3_FAULT_COUNT) - 1;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'n')
            settings->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            settings->first = strtoull(optarg, NULL, 0);
        else if (option == 'b')
            options->is_short = true;
        else if (option == 'm')
            options->machine_count = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'o')
            options->operation_count = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'f')
            options->fault_count = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'y' && !parse_faults(optarg, &options->faults))
            return false;
        else if (option == 't')
            settings->prints_table = true;
        else if (option == 'v')
            options->trace = stdout;
        else if (option == 'c')
            settings->corpus = optarg;
        else if (option == '?')
            return false;
    }
    return optind == argc && options->machine_count <= RING3_MACHINES_MAX;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add(struct sum *sum, const struct ring3_result *result)
{
    struct ring3_result *total = &sum->result;
    sum->histories++;
    total->operations += result->operations;
    total->unknown += result->unknown;
    total->transfers += result->transfers;
    total->lives += result->lives;
    total->virtual_ns += result->virtual_ns;
    total->writes += result->writes;
    total->late_writes += result->late_writes;
    total->steps += result->steps;
    total->copies += result->copies;
    total->broken_freezes += result->broken_freezes;
    for (unsigned i = 0; i < RING3_FAULT_COUNT; i++) {
        for (unsigned j = 0; j < RING3_PHASE_COUNT; j++)
            total->faults[i][j] += result->faults[i][j];
    }
}

static bool run_one(const struct settings *settings, uint64_t seed, bool is_short, struct sum *sum)
{
    struct ring3_options options = settings->options;
    struct ring3_result result;
    options.seed = seed;
    options.is_short |= is_short;
    ring3_run(&options, &result);
    if (result.is_failed) {
        printf("seed %" PRIu64 " failed: %s\n", seed, result.failure);
        printf("replay: %s --seeds 1 --first %" PRIu64 "%s --verbose\n", settings->program, seed,
               options.is_short ? " --short" : "");
        return false;
    }
    add(sum, &result);
    return true;
}

static bool run_range(const struct settings *settings, struct sum *sum)
{
    for (uint64_t i = 0; i < settings->seeds; i++) {
        if (!run_one(settings, settings->first + i, false, sum))
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
            holds = run_one(settings, seed, strstr(rest, "short") != NULL, sum);
    }
    if (file != NULL)
        fclose(file);
    return holds;
}

static void print_table(const struct ring3_result *result)
{
    printf("%-10s %10s %10s %10s\n", "fault", "quiet", "fencing", "replaying");
    for (unsigned i = 0; i < RING3_FAULT_COUNT; i++)
        printf("%-10s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "   %s\n", fault_texts[i].name,
               result->faults[i][0], result->faults[i][1], result->faults[i][2],
               fault_texts[i].sentence);
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct sum sum = {0};
    double start = seconds_now();
    if (!parse_settings(argc, argv, &settings)) {
        fprintf(stderr,
                "usage: %s [--seeds N] [--first S] [--short] [--machines N] [--operations N]\n"
                "       [--faults N] [--only FAULT,...] [--table] [--verbose] [--corpus FILE]\n",
                argv[0]);
        return 2;
    }
    setlinebuf(stdout);                 // what it had said is there when a CHECK ends it
    mallopt(M_MMAP_THRESHOLD, 1 << 28); // the same memory serves all histories
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    bool holds = settings.corpus == NULL || run_corpus(&settings, &sum);
    holds = holds && run_range(&settings, &sum);
    if (settings.prints_table)
        print_table(&sum.result);
    if (!holds)
        return 1;
    double seconds = seconds_now() - start;
    const struct ring3_result *result = &sum.result;
    printf("%" PRIu64 " histories of whole nodes hold (first seed %" PRIu64 "): %" PRIu64
           " operations, %" PRIu64 " without an answer, %" PRIu64 " transfers of lanes, %" PRIu64
           " lives, %" PRIu64 " writes, %" PRIu64 " of them late, %" PRIu64
           " copies while frozen, %" PRIu64 " freezes that did not hold, %.0f s of virtual time, "
           "%.1f s, %.1f histories/s\n",
           sum.histories, settings.first, result->operations, result->unknown, result->transfers,
           result->lives, result->writes, result->late_writes, result->copies,
           result->broken_freezes, (double)result->virtual_ns / 1e9, seconds,
           (double)sum.histories / seconds);
    return 0;
}
