// SPDX-License-Identifier: Apache-2.0
// sabotage-claim: breaks the rule of the claim block (rule 15) in one way after the other
// (sabotage_hunt.h).
#include "tests/sim/claim_rivals.h"
#include "tests/sim/sabotage_hunt.h"

#include <stddef.h>

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    (void)context;
    return claim_rivals_run(seed, failure);
}
_Static_assert((int)CLAIM_RIVALS_FAILURE_BYTES <= (int)HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"claim_", NULL};
    static const struct hunt hunt = {.subject = "the claim", .prefixes = prefixes, .run = run};
    return hunt_main(&hunt, argc, argv);
}
