// SPDX-License-Identifier: Apache-2.0
// sabotage-journal: breaks one rule of the journal after the other on a mean disk
// (sabotage_hunt.h). After one write in ten a power cut is tried on a clone of the disk.
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "tests/sim/journal_world.h"
#include "tests/sim/sabotage_hunt.h"

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    struct sim_options *options = *context;
    struct sim_result result;
    if (options == NULL) {
        options = calloc(1, sizeof(*options));
        CHECK(options != NULL);
        *options = (struct sim_options){.scheduler = scheduler_new(),
                                        .shadow_scheduler = scheduler_new(),
                                        .shadow_percent = 10};
        *context = options;
    }
    sim_run(seed, options, &result);
    memcpy(failure, result.failure, sizeof(result.failure));
    return result.failure[0] != '\0';
}
_Static_assert(sizeof(((struct sim_result *)0)->failure) <= HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"journal_", NULL};
    static const struct hunt hunt = {
        .subject = "the journal", .prefixes = prefixes, .seconds_max = 60, .run = run};
    mallopt(M_MMAP_THRESHOLD, 64 << 20); // as journal_sim.c
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    return hunt_main(&hunt, argc, argv);
}
