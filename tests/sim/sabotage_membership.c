// SPDX-License-Identifier: Apache-2.0
// sabotage-membership: breaks one rule of leases, fencing or membership after the other
// (sabotage_hunt.h).
#include "tests/sim/membership_world.h"
#include "tests/sim/sabotage_hunt.h"

#include <string.h>

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    struct sim_result result;
    if (*context == NULL)
        *context = scheduler_new();
    sim_run(seed, *context, NULL, &result);
    memcpy(failure, result.failure, sizeof(result.failure));
    return result.is_failed;
}
_Static_assert(sizeof(((struct sim_result *)0)->failure) <= HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"lease_", "fence_", "heartbeat_", "membership_", NULL};
    static const struct hunt hunt = {.subject = "membership", .prefixes = prefixes, .run = run};
    return hunt_main(&hunt, argc, argv);
}
