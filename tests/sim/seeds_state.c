// SPDX-License-Identifier: Apache-2.0
// The file of --state, as text: of which run it is, how far that came, and the tally.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/seeds_run.h"

// What must be the same for a run to go on.
static void describe_run(const struct seeds_settings *settings, char *text, size_t bytes)
{
    const struct seeds_program *program = settings->program;
    char options[SEEDS_OPTIONS_BYTES] = "";
    program->describe(program->context, "", options);
    snprintf(text, bytes, "%s%s --first %" PRIu64 ", %zu numbers", program->name, options,
             settings->first, program->tally_bytes / sizeof(uint64_t));
}

static bool read_tally(FILE *file, uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fscanf(file, "%" SCNu64, &numbers[i]) != 1)
            return false;
    }
    return true;
}

bool seeds_state_load(const struct seeds_settings *settings, struct seeds_sum *sum)
{
    char wanted[400], found[400] = "";
    FILE *file = fopen(settings->state, "r");
    if (file == NULL)
        return true;
    describe_run(settings, wanted, sizeof(wanted));
    bool is_ours = fgets(found, sizeof(found), file) != NULL;
    found[strcspn(found, "\n")] = '\0';
    is_ours = is_ours && strcmp(wanted, found) == 0 &&
              fscanf(file, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %lf", &sum->next, &sum->histories,
                     &sum->failures, &sum->seconds) == 4 &&
              read_tally(file, sum->tally, settings->program->tally_bytes / sizeof(uint64_t));
    fclose(file);
    if (!is_ours)
        fprintf(stderr, "%s: not of this run (%s), but of: %s\n", settings->state, wanted, found);
    return is_ours;
}

bool seeds_state_save(const struct seeds_settings *settings, const struct seeds_sum *sum)
{
    char path[4096], text[400];
    const uint64_t *numbers = sum->tally;
    snprintf(path, sizeof(path), "%s.new", settings->state);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        return false;
    }
    describe_run(settings, text, sizeof(text));
    fprintf(file, "%s\n%" PRIu64 " %" PRIu64 " %" PRIu64 " %.1f\n", text, sum->next, sum->histories,
            sum->failures, sum->seconds);
    for (size_t i = 0; i < settings->program->tally_bytes / sizeof(uint64_t); i++)
        fprintf(file, "%" PRIu64 "\n", numbers[i]);
    bool is_written = fflush(file) == 0 && ferror(file) == 0;
    is_written = fclose(file) == 0 && is_written && rename(path, settings->state) == 0;
    if (!is_written)
        perror(path);
    return is_written;
}
