// SPDX-License-Identifier: Apache-2.0
// sabotage-loan: breaks one rule of lending to the kernel after the other (sabotage_hunt.h).
#include "tests/sim/loan_history.h"
#include "tests/sim/sabotage_hunt.h"

#include <string.h>

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    struct loan_result result;
    (void)context;
    loan_history_run(seed, &result);
    memcpy(failure, result.failure, sizeof(result.failure));
    return result.is_failed;
}
_Static_assert(sizeof(((struct loan_result *)0)->failure) <= HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"lend_", "recall_", "pages_", "together_", NULL};
    static const struct hunt hunt = {
        .subject = "lending to the kernel", .prefixes = prefixes, .seconds_max = 60, .run = run};
    return hunt_main(&hunt, argc, argv);
}
