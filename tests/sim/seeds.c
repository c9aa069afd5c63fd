// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/seeds.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/check.h"
#include "tests/sim/seeds_run.h"

enum { OWN_OPTIONS_MAX = 24 };

enum {
    OPTION_SEEDS = 256,
    OPTION_FIRST,
    OPTION_CORPUS,
    OPTION_VERBOSE,
    OPTION_JOBS,
    OPTION_KEEP,
    OPTION_STATE
};

static const struct option shared_options[] = {
    {"seeds", required_argument, NULL, OPTION_SEEDS},
    {"first", required_argument, NULL, OPTION_FIRST},
    {"corpus", required_argument, NULL, OPTION_CORPUS},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"keep-going", no_argument, NULL, OPTION_KEEP},
    {"state", required_argument, NULL, OPTION_STATE},
};

enum { SHARED_OPTIONS = sizeof(shared_options) / sizeof(shared_options[0]) };

static bool take_shared(struct seeds_settings *settings, int option, char *argument)
{
    switch (option) {
    case OPTION_SEEDS:
        settings->count = strtoull(argument, NULL, 0);
        return true;
    case OPTION_FIRST:
        settings->first = strtoull(argument, NULL, 0);
        return true;
    case OPTION_CORPUS:
        settings->corpus = argument;
        return true;
    case OPTION_VERBOSE:
        settings->is_verbose = true;
        return true;
    case OPTION_JOBS:
        settings->job_count = (unsigned)strtoul(argument, NULL, 0);
        return settings->job_count >= 1 && settings->job_count <= SEEDS_JOBS_MAX;
    case OPTION_KEEP:
        settings->keeps_going = true;
        return true;
    case OPTION_STATE:
        settings->state = argument;
        return true;
    default:
        return false;
    }
}

static bool parse(struct seeds_settings *settings, int argc, char **argv)
{
    const struct seeds_program *program = settings->program;
    struct option options[SHARED_OPTIONS + OWN_OPTIONS_MAX + 1] = {{0}};
    size_t own = 0;
    int option;
    while (program->options[own].name != NULL)
        own++;
    CHECK(own <= OWN_OPTIONS_MAX);
    memcpy(options, shared_options, sizeof(shared_options));
    memcpy(options + SHARED_OPTIONS, program->options, own * sizeof(*options));
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool is_taken = option >= OPTION_SEEDS ? take_shared(settings, option, optarg)
                                               : program->take(program->context, option, optarg);
        if (!is_taken)
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

void seeds_print_failure(const struct seeds_settings *settings, uint64_t seed, const char *line,
                         const char *failure)
{
    char options[SEEDS_OPTIONS_BYTES] = "";
    settings->program->describe(settings->program->context, line, options);
    printf("seed %" PRIu64 " failed: %s\n", seed, failure);
    printf("replay: %s --seeds 1 --first %" PRIu64 "%s --verbose\n", settings->path, seed, options);
}

static bool run_here(const struct seeds_settings *settings, uint64_t seed, const char *line,
                     struct seeds_sum *sum)
{
    struct seeds_history history = {
        .seed = seed, .line = line, .trace = settings->is_verbose ? stdout : NULL};
    bool holds = settings->program->run(settings->program->context, &history, sum->tally);
    if (!holds)
        seeds_print_failure(settings, seed, line, history.failure);
    sum->histories += holds;
    sum->failures += !holds;
    return holds || settings->keeps_going;
}

static bool run_corpus(const struct seeds_settings *settings, struct seeds_sum *sum)
{
    FILE *file = fopen(settings->corpus, "r");
    char line[256];
    bool goes_on = file != NULL;
    if (file == NULL)
        perror(settings->corpus);
    while (goes_on && fgets(line, sizeof(line), file) != NULL) {
        char *rest;
        line[strcspn(line, "#\n")] = '\0';
        uint64_t seed = strtoull(line, &rest, 0);
        if (rest != line)
            goes_on = run_here(settings, seed, rest, sum);
    }
    if (file != NULL)
        fclose(file);
    return goes_on;
}

// In rounds, so that what was counted is saved from time to time.
static bool run_rounds(const struct seeds_settings *settings, struct seeds_sum *sum)
{
    uint64_t end = settings->first + settings->count;
    bool goes_on = settings->state == NULL || seeds_state_load(settings, sum);
    while (goes_on && sum->next < end) {
        double start = seconds_now();
        uint64_t left = end - sum->next;
        goes_on =
            seeds_jobs_run(settings, sum, sum->next + (left < SEEDS_ROUND ? left : SEEDS_ROUND));
        sum->seconds += seconds_now() - start;
        if (goes_on && settings->state != NULL && !seeds_state_save(settings, sum))
            return false;
    }
    return goes_on;
}

static bool run_range(const struct seeds_settings *settings, struct seeds_sum *sum)
{
    bool goes_on = true;
    double start = seconds_now();
    if (settings->job_count > 1 || settings->state != NULL)
        return run_rounds(settings, sum);
    for (; goes_on && sum->next < settings->first + settings->count; sum->next++)
        goes_on = run_here(settings, sum->next, "", sum);
    sum->seconds += seconds_now() - start;
    return goes_on;
}

int seeds_main(const struct seeds_program *program, int argc, char **argv)
{
    struct seeds_settings settings = {.program = program,
                                      .path = argv[0],
                                      .first = 1,
                                      .count = program->count_default,
                                      .job_count = 1};
    if (!parse(&settings, argc, argv)) {
        fprintf(stderr,
                "usage: %s [--seeds N] [--first S] [--corpus FILE] [--verbose] [--jobs N]\n"
                "       [--keep-going] [--state FILE] %s\n",
                argv[0], program->usage);
        return 2;
    }
    setlinebuf(stdout);                 // what it had said is there when a CHECK ends it
    mallopt(M_MMAP_THRESHOLD, 1 << 28); // the same memory serves all histories
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    struct seeds_sum sum = {.next = settings.first, .tally = calloc(1, program->tally_bytes)};
    CHECK(sum.tally != NULL && program->tally_bytes % sizeof(uint64_t) == 0);
    bool goes_on = settings.corpus == NULL || run_corpus(&settings, &sum);
    goes_on = goes_on && run_range(&settings, &sum);
    bool is_whole = goes_on && program->report(program->context, sum.tally, settings.first,
                                               sum.histories, sum.seconds);
    if (sum.failures > 0)
        printf("%" PRIu64 " histories FAILED\n", sum.failures);
    free(sum.tally);
    return goes_on && is_whole && sum.failures == 0 ? 0 : 1;
}
