// SPDX-License-Identifier: Apache-2.0
// The switch of a real lunfsd that is built with -DLUNFS_SABOTAGE: LUNFS_SABOTAGE=NAME in its
// environment. It breaks the daemon under a disk whose writes are logged.
#include <stdlib.h>
#include <string.h>

#include "fs/base/sabotage.h"

static const char *const names[SABOTAGE_count] = {
#define SABOTAGE_SWITCH(name, rule, sentence) [SABOTAGE_##name] = #name,
#include "fs/base/sabotage.def"
#undef SABOTAGE_SWITCH
};

int sabotage_is_on(enum sabotage sabotage)
{
    const char *wanted = getenv("LUNFS_SABOTAGE");
    return wanted != NULL && strcmp(wanted, names[sabotage]) == 0;
}

// Where the simulator puts another coroutine between two steps (fs/pass.c); lanes here are threads,
// and need no help.
void sabotage_interrupt(void);

void sabotage_interrupt(void)
{
}
