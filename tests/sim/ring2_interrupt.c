// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring2_interrupt.h"

#include <stddef.h>

#include "fs/base/coroutine.h"

// Of the program, as the switch itself is (sabotage_switch.c).
static struct environment *interrupted_in;

void ring2_interrupt_in(struct environment *environment)
{
    interrupted_in = environment;
}

#ifdef LUNFS_SABOTAGE
void sabotage_interrupt(void);

void sabotage_interrupt(void)
{
    if (interrupted_in != NULL && coroutine_current(interrupted_in->scheduler) != NULL)
        environment_sleep(interrupted_in, environment_random_u64(interrupted_in) % 2000000);
}
#endif
