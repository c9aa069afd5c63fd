// SPDX-License-Identifier: Apache-2.0
// ring2-sim: seeded histories of one node on a disk that is cut off (tests/sim/seeds.h).
//   ring2-sim [--nodes N] [--every] [--rows]
// --every cuts after each write, --nodes has several nodes share the work. --rows prints what was
// done how often and fails if something never was. A line of the corpus may say "every" behind its
// seed, for a cut after each write.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/ring2_history.h"
#include "tests/sim/seeds.h"

struct program {
    unsigned nodes;
    bool cuts_everywhere, prints_rows;
};

// uint64_t all over.
struct tally {
    uint64_t operations, lane_transfers, writes, cuts, crashes, handle_credits_most;
    struct ring2_rows rows;
};
_Static_assert(sizeof(struct tally) % sizeof(uint64_t) == 0, "numbers only");

static bool take(void *context, int option, char *argument)
{
    struct program *program = context;
    switch (option) {
    case 'c':
        program->nodes = (unsigned)strtoul(argument, NULL, 0);
        return program->nodes >= 1 && program->nodes <= RING2_NODES_AT_ONCE;
    case 'e':
        program->cuts_everywhere = true;
        return true;
    case 'r':
        program->prints_rows = true;
        return true;
    default:
        return false;
    }
}

static void add(void *sum_, const void *tally_)
{
    struct tally *sum = sum_;
    const struct tally *tally = tally_;
    sum->operations += tally->operations;
    sum->lane_transfers += tally->lane_transfers;
    sum->writes += tally->writes;
    sum->cuts += tally->cuts;
    sum->crashes += tally->crashes;
    if (tally->handle_credits_most > sum->handle_credits_most)
        sum->handle_credits_most = tally->handle_credits_most;
    ring2_rows_add(&sum->rows, &tally->rows);
}

static bool cuts_everywhere(const struct program *program, const char *line)
{
    return program->cuts_everywhere || strstr(line, "every") != NULL;
}

static bool run(void *context, struct seeds_history *history, void *tally)
{
    const struct program *program = context;
    struct ring2_options options = {
        .seed = history->seed,
        .node_count = program->nodes,
        .cuts_everywhere = cuts_everywhere(program, history->line),
        .trace = history->trace,
    };
    struct ring2_result result;
    ring2_history_run(&options, &result);
    if (result.is_failed) {
        snprintf(history->failure, sizeof(history->failure), "%s", result.failure);
        return false;
    }
    const struct tally one = {result.operations, result.lane_transfers, result.writes,
                              result.cuts,       result.crashes,        result.handle_credits_most,
                              result.rows};
    add(tally, &one);
    return true;
}

static void describe(const void *context, const char *line, char text[SEEDS_OPTIONS_BYTES])
{
    const struct program *program = context;
    snprintf(text, SEEDS_OPTIONS_BYTES, " --nodes %u%s", program->nodes,
             cuts_everywhere(program, line) ? " --every" : "");
}

static bool report(const void *context, const void *sum_, uint64_t first, uint64_t histories,
                   double seconds)
{
    const struct program *program = context;
    const struct tally *sum = sum_;
    if (program->prints_rows)
        ring2_rows_print(&sum->rows, stdout);
    if (program->prints_rows && !ring2_rows_are_all_there(&sum->rows, stdout))
        return false;
    printf("%" PRIu64 " histories of %u nodes hold (first seed %" PRIu64 "): %" PRIu64
           " operations, %" PRIu64 " transfers of lanes, %" PRIu64 " writes, %" PRIu64
           " crashes, %" PRIu64 " cuts mounted and checked, largest handle %" PRIu64
           " blocks, %.1f s\n",
           histories, program->nodes, first, sum->operations, sum->lane_transfers, sum->writes,
           sum->crashes, sum->cuts, sum->handle_credits_most, seconds);
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"nodes", required_argument, NULL, 'c'},
                                            {"every", no_argument, NULL, 'e'},
                                            {"rows", no_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    struct program context = {.nodes = 1};
    const struct seeds_program program = {
        .name = "ring2-sim",
        .usage = "[--nodes N] [--every] [--rows]",
        .options = options,
        .context = &context,
        .count_default = 100,
        .seconds_max = 300,
        .tally_bytes = sizeof(struct tally),
        .take = take,
        .run = run,
        .add = add,
        .describe = describe,
        .report = report,
    };
    return seeds_main(&program, argc, argv);
}
