// SPDX-License-Identifier: Apache-2.0
// journal-sim: runs seeded histories of nodes with journals on a mean disk.
//   journal-sim [--seeds N] [--first S] [--cut PERCENT | --cut-every-write] [--verbose]
//   journal-sim --sabotage NAME|all [--seeds N] [--first S] [--cut PERCENT]
// --cut: after so many percent of all writes a power cut is tried on a clone of the disk (2; with
// --sabotage 10).
// Exits 1 at the first history that breaks an invariant and prints the command that replays it.
// With --sabotage (built with SABOTAGE=1) it is the other way round: a broken rule must be found
// within N histories (2000), or it exits 1.
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "tests/sim/journal_world.h"
#include "tests/sim/sabotage_switch.h"

struct options {
    uint64_t seeds; // 0: the default
    uint64_t first;
    uint32_t shadow_percent;
    bool is_verbose;
    const char *sabotage;
};

struct totals {
    uint64_t histories, operations, writes, crashes, shadows, replays, interrupted, images;
};

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 's'},
                                          {"cut", required_argument, NULL, 'c'},
                                          {"cut-every-write", no_argument, NULL, 'e'},
                                          {"sabotage", required_argument, NULL, 'b'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    int option;
    *options = (struct options){.first = 1, .shadow_percent = UINT32_MAX};
    while ((option = getopt_long(argc, argv, "n:s:c:eb:v", names, NULL)) != -1) {
        if (option == 'n')
            options->seeds = strtoull(optarg, NULL, 0);
        else if (option == 's')
            options->first = strtoull(optarg, NULL, 0);
        else if (option == 'c')
            options->shadow_percent = (uint32_t)strtoul(optarg, NULL, 0);
        else if (option == 'e')
            options->shadow_percent = 100;
        else if (option == 'b')
            options->sabotage = optarg;
        else if (option == 'v')
            options->is_verbose = true;
        else
            return false;
    }
    if (options->shadow_percent == UINT32_MAX)
        options->shadow_percent = options->sabotage == NULL ? 2 : 10;
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

// --- sabotage ------------------------------------------------------------------------------------

// What the child found, in memory that the parent shares: a CHECK that fires ends the child.
struct finding {
    uint64_t seed; // under way, or the one that failed
    char failure[FAILURE_BYTES];
};

static void hunt(const struct options *options, uint64_t seeds, struct finding *finding)
{
    struct sim_options sim_options = make_sim_options(options);
    for (uint64_t seed = options->first; seed < options->first + seeds; seed++) {
        struct sim_result result;
        finding->seed = seed;
        sim_run(seed, &sim_options, &result);
        if (result.failure[0] != '\0') {
            memcpy(finding->failure, result.failure, sizeof(finding->failure));
            return;
        }
    }
}

static bool find_breakage(const struct options *options, enum sabotage sabotage)
{
    struct finding *finding =
        mmap(NULL, sizeof(*finding), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(finding != MAP_FAILED);
    uint64_t seeds = options->seeds > 0 ? options->seeds : 2000;
    struct sabotage_text text = sabotage_describe(sabotage);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        sabotage_set(sabotage);
        hunt(options, seeds, finding);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status))
        snprintf(finding->failure, sizeof(finding->failure), "a CHECK fired");
    bool is_found = finding->failure[0] != '\0';
    printf("%-32s rule %-3s %s after %" PRIu64 ": %s\n", text.name, text.rule,
           is_found ? "found" : "NOT FOUND", finding->seed - options->first + 1, finding->failure);
    munmap(finding, sizeof(*finding));
    return is_found;
}

static int run_sabotage(const struct options *options)
{
#ifndef LUNFS_SABOTAGE
    fprintf(stderr, "--sabotage needs a program built with SABOTAGE=1\n");
    return 2;
#endif
    bool is_all = strcmp(options->sabotage, "all") == 0;
    uint32_t tried = 0, found = 0;
    for (uint32_t i = SABOTAGE_none + 1; i < SABOTAGE_count; i++) {
        const char *name = sabotage_describe((enum sabotage)i).name;
        if (is_all ? strncmp(name, "journal_", 8) != 0 : strcmp(name, options->sabotage) != 0)
            continue;
        tried++;
        found += find_breakage(options, (enum sabotage)i);
    }
    printf("%" PRIu32 " of %" PRIu32 " broken rules of the journal were found\n", found, tried);
    return tried > 0 && found == tried ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse_options(argc, argv, &options)) {
        fprintf(stderr,
                "usage: %s [--seeds N] [--first S] [--cut PERCENT | --cut-every-write]"
                " [--sabotage NAME|all] [--verbose]\n",
                argv[0]);
        return 2;
    }
    // The journals' buffers come and go with each history: keep their memory.
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    return options.sabotage != NULL ? run_sabotage(&options) : run_histories(argv[0], &options);
}
