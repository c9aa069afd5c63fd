// SPDX-License-Identifier: Apache-2.0
// CHECK states an invariant of our own code. It is always on: a node that finds one broken stops
// before it can write. Data from the disk, the network or a guest is never CHECKed: it gives
// errors.
#pragma once

#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__, __func__))

// Prints the broken invariant to standard error and aborts the process.
_Noreturn void check_failed(const char *condition, const char *file, int line,
                            const char *function);
