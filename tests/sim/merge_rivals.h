// SPDX-License-Identifier: Apache-2.0
// Rule 27 in small: rings of three members that break in the middle of what they hear, joiners that
// ask in them, and the production merge (dlm/membership_merge.c) of what the members of the next
// ring know. Who may beat in a slot must still have it, alone; nobody who was heard is forgotten.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { MERGE_RIVALS_FAILURE_BYTES = 200 };

// One history of that seed; true if it failed, with why.
bool merge_rivals_run(uint64_t seed, char failure[MERGE_RIVALS_FAILURE_BYTES]);
