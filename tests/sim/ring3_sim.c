// SPDX-License-Identifier: Apache-2.0
// ring3-sim: seeded histories of whole nodes on one LUN (tests/sim/seeds.h).
//   ring3-sim [--short] [--machines N] [--operations N] [--faults N] [--only FAULT,...]
//             [--table] [--no-empty-cell] [--sabotage SWITCH]
// A line of the corpus may say "short" behind its seed. --table prints how the histories are spread
// and which fault came in which phase of a recovery; --no-empty-cell fails if one never did. With
// --sabotage, in a build with SABOTAGE=1, a rule is broken: what shrinking is tried with.
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/ring3.h"
#include "tests/sim/ring3_tally.h"
#include "tests/sim/sabotage_switch.h"
#include "tests/sim/seeds.h"

struct program {
    struct ring3_options options;
    bool prints_table, wants_all_cells;
    enum sabotage sabotage;
};

static bool parse_faults(char *text, uint64_t *mask)
{
    *mask = 0;
    for (char *name = strtok(text, ","); name != NULL; name = strtok(NULL, ",")) {
        uint64_t before = *mask;
        for (unsigned i = 0; i < RING3_FAULT_COUNT; i++)
            *mask |=
                strcmp(ring3_fault_name((enum ring3_fault)i), name) == 0 ? (uint64_t)1 << i : 0;
        if (*mask == before)
            return false;
    }
    return *mask != 0;
}

static bool take(void *context, int option, char *argument)
{
    struct program *program = context;
    struct ring3_options *options = &program->options;
    switch (option) {
    case 'b':
        options->is_short = true;
        return true;
    case 'm':
        options->machine_count = (unsigned)strtoul(argument, NULL, 0);
        return options->machine_count >= 2 && options->machine_count <= RING3_MACHINES_MAX;
    case 'o':
        options->operation_count = (unsigned)strtoul(argument, NULL, 0);
        return true;
    case 'f':
        options->fault_count = (unsigned)strtoul(argument, NULL, 0);
        return true;
    case 'y':
        return parse_faults(argument, &options->faults);
    case 'x':
        program->sabotage = sabotage_find(argument);
        sabotage_set(program->sabotage);
        return program->sabotage != SABOTAGE_none && sabotage_is_built_in();
    case 't':
        program->prints_table = true;
        return true;
    case 'e':
        program->prints_table = program->wants_all_cells = true;
        return true;
    default:
        return false;
    }
}

static bool is_short(const struct program *program, const char *line)
{
    return program->options.is_short || strstr(line, "short") != NULL;
}

static bool run(void *context, struct seeds_history *history, void *tally)
{
    struct program *program = context;
    struct ring3_options options = program->options;
    struct ring3_result result;
    options.seed = history->seed;
    options.is_short = is_short(program, history->line);
    options.trace = history->trace;
    ring3_run(&options, &result);
    if (!result.is_failed) {
        ring3_tally_add(tally, &result);
        return true;
    }
    memcpy(history->failure, result.failure, sizeof(result.failure));
    program->options.scheduler = ring3_scheduler_new(); // the old one has coroutines left
    return false;
}
_Static_assert(sizeof(((struct ring3_result *)0)->failure) <= SEEDS_FAILURE_BYTES, "failure");

static void describe(const void *context, const char *line, char text[SEEDS_OPTIONS_BYTES])
{
    const struct program *program = context;
    const struct ring3_options *options = &program->options;
    char machines[32] = "", operations[32] = "", faults[32] = "";
    const char *separator = " --only ";
    if (options->machine_count != 0)
        snprintf(machines, sizeof(machines), " --machines %u", options->machine_count);
    if (options->operation_count != 0)
        snprintf(operations, sizeof(operations), " --operations %u", options->operation_count);
    if (options->fault_count != UINT_MAX)
        snprintf(faults, sizeof(faults), " --faults %u", options->fault_count);
    snprintf(text, SEEDS_OPTIONS_BYTES, "%s%s%s%s", is_short(program, line) ? " --short" : "",
             machines, operations, faults);
    if (program->sabotage != SABOTAGE_none)
        snprintf(text + strlen(text), SEEDS_OPTIONS_BYTES - strlen(text), " --sabotage %s",
                 sabotage_describe(program->sabotage).name);
    if (options->faults == RING3_FAULTS_ALL)
        return;
    for (unsigned i = 0; i < RING3_FAULT_COUNT; i++) {
        size_t length = strlen(text);
        if (!(options->faults >> i & 1))
            continue;
        snprintf(text + length, SEEDS_OPTIONS_BYTES - length, "%s%s", separator,
                 ring3_fault_name((enum ring3_fault)i));
        separator = ",";
    }
}

static bool report(const void *context, const void *sum, uint64_t first, uint64_t histories,
                   double seconds)
{
    const struct program *program = context;
    bool is_full = true;
    (void)histories;
    if (program->prints_table)
        is_full = ring3_tally_print_table(sum, program->options.faults);
    ring3_tally_print(sum, first, seconds);
    if (program->wants_all_cells && !is_full)
        printf("a fault never came in one of the phases\n");
    return is_full || !program->wants_all_cells;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"short", no_argument, NULL, 'b'},
                                            {"machines", required_argument, NULL, 'm'},
                                            {"operations", required_argument, NULL, 'o'},
                                            {"faults", required_argument, NULL, 'f'},
                                            {"only", required_argument, NULL, 'y'},
                                            {"sabotage", required_argument, NULL, 'x'},
                                            {"table", no_argument, NULL, 't'},
                                            {"no-empty-cell", no_argument, NULL, 'e'},
                                            {NULL, 0, NULL, 0}};
    struct program context = {.options = {.fault_count = UINT_MAX,
                                          .faults = RING3_FAULTS_ALL,
                                          .scheduler = ring3_scheduler_new()}};
    const struct seeds_program program = {
        .name = "ring3-sim",
        .usage = "[--short] [--machines N] [--operations N]\n"
                 "       [--faults N] [--only FAULT,...] [--table] [--no-empty-cell] [--sabotage "
                 "SWITCH]",
        .options = options,
        .context = &context,
        .count_default = 20,
        .seconds_max = 120,
        .tally_bytes = sizeof(struct ring3_tally),
        .take = take,
        .run = run,
        .add = ring3_tally_merge,
        .describe = describe,
        .report = report,
    };
    return seeds_main(&program, argc, argv);
}
