// SPDX-License-Identifier: Apache-2.0
// sabotage-lock: breaks one rule of the lock protocol after the other in ring 1 (sabotage_hunt.h).
#include "tests/sim/lock_world.h"
#include "tests/sim/sabotage_hunt.h"

#include <string.h>

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    struct history_result result;
    (void)context;
    history_run(seed, NULL, &result);
    memcpy(failure, result.failure, sizeof(result.failure));
    return result.is_failed;
}
_Static_assert(sizeof(((struct history_result *)0)->failure) <= HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"mode_", "dlm_", "session_", NULL};
    static const struct hunt hunt = {
        .subject = "the lock protocol", .prefixes = prefixes, .run = run};
    return hunt_main(&hunt, argc, argv);
}
