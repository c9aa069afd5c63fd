// SPDX-License-Identifier: Apache-2.0
// sabotage-merge: breaks what becomes of joiners when rings break (rule 27; sabotage_hunt.h).
#include <stddef.h>

#include "tests/sim/merge_rivals.h"
#include "tests/sim/sabotage_hunt.h"

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    (void)context;
    return merge_rivals_run(seed, failure);
}
_Static_assert((int)MERGE_RIVALS_FAILURE_BYTES <= (int)HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"merge_", NULL};
    static const struct hunt hunt = {.subject = "merged joiners", .prefixes = prefixes, .run = run};
    return hunt_main(&hunt, argc, argv);
}
