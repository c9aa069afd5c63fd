// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sabotage_switch.h"

#include <string.h>

#include "fs/base/check.h"

// Of the program, not of a node: a history is sabotaged as a whole.
static enum sabotage switched_on = SABOTAGE_none;

void sabotage_set(enum sabotage sabotage)
{
    switched_on = sabotage;
}

#ifdef LUNFS_SABOTAGE
int sabotage_is_on(enum sabotage sabotage)
{
    return sabotage == switched_on;
}
#endif

bool sabotage_is_built_in(void)
{
#ifdef LUNFS_SABOTAGE
    return true;
#else
    return false;
#endif
}

struct sabotage_text sabotage_describe(enum sabotage sabotage)
{
    static const struct sabotage_text texts[SABOTAGE_count] = {
        [SABOTAGE_none] = {"none", "", "nothing is broken"},
#define SABOTAGE_SWITCH(name, rule, sentence) [SABOTAGE_##name] = {#name, rule, sentence},
#include "fs/base/sabotage.def"
#undef SABOTAGE_SWITCH
    };

    CHECK(sabotage < SABOTAGE_count && switched_on < SABOTAGE_count);
    return texts[sabotage];
}

enum sabotage sabotage_find(const char *name)
{
    for (int i = SABOTAGE_none + 1; i < SABOTAGE_count; i++) {
        if (strcmp(sabotage_describe((enum sabotage)i).name, name) == 0)
            return (enum sabotage)i;
    }
    return SABOTAGE_none;
}
