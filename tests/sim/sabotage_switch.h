// SPDX-License-Identifier: Apache-2.0
// The one switch of a simulator program that is built with -DLUNFS_SABOTAGE.
#pragma once

#include <stdbool.h>

#include "fs/base/sabotage.h"

// SABOTAGE_none turns everything back to normal.
void sabotage_set(enum sabotage sabotage);

// False: switches have no effect in this build.
bool sabotage_is_built_in(void);
// SABOTAGE_none: there is none of this name.
enum sabotage sabotage_find(const char *name);

// The switch's own name, rule and sentence.
struct sabotage_text {
    const char *name;
    const char *rule;
    const char *sentence;
};

struct sabotage_text sabotage_describe(enum sabotage sabotage);
