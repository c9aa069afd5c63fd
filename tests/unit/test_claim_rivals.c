// SPDX-License-Identifier: Apache-2.0
// Several hosts after one claim (tests/sim/claim_rivals.h); what each sees is in test_claim.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/claim_rivals.h"

enum { SEEDS = 500 };

static void test_one_has_it_and_everybody_gets_it(void **state)
{
    char failure[CLAIM_RIVALS_FAILURE_BYTES];
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        if (claim_rivals_run(seed, failure))
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_has_it_and_everybody_gets_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
