// SPDX-License-Identifier: Apache-2.0
//
// What programs share that work on one directory from two nodes: expectations that are counted and
// do not end the program, calls that must succeed, and a fight of threads for so many seconds, in
// which no operation may take longer than FIGHT_LONGEST_MS.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { FIGHT_LONGEST_MS = 2000 };

// Says `what`, and errno's text, if the condition does not hold: has_failed from then on.
void expect(bool condition, const char *what, long round);
bool has_failed(void);
// Ends the program with errno's text if `result` is negative.
void must(long result, const char *what);
int64_t clock_ms(void);

void fight_begin(long seconds);
// Until the time is over, or something has failed.
bool fight_goes_on(void);
// An operation of any thread, that began at `begin_ms`, is over.
void fight_done(int64_t begin_ms);
long fight_operations(void);
// The longest operation, milliseconds; that it was not too long is expected.
long fight_longest_ms(void);
