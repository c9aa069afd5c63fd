// SPDX-License-Identifier: Apache-2.0
// Switches that each break one rule of the protocols on purpose, so that the simulator can show
// that it would find the breakage. In a normal build every switch is the constant 0.
#pragma once

enum sabotage {
    SABOTAGE_none,
#define SABOTAGE_SWITCH(name, rule, sentence) SABOTAGE_##name,
#include "fs/base/sabotage.def"
#undef SABOTAGE_SWITCH
    SABOTAGE_count,
};

#ifdef LUNFS_SABOTAGE
// Provided by the simulator program, which turns on one switch at a time.
int sabotage_is_on(enum sabotage sabotage);
#define SABOTAGE(name) sabotage_is_on(SABOTAGE_##name)
#else
#define SABOTAGE(name) 0
#endif
