// SPDX-License-Identifier: Apache-2.0
// Rule 15 in small: hosts that know nothing of one another want one volume, all at the same time,
// over paths that are slow now and then. Some leave cleanly, some vanish, some stand still for so
// long that another one may take what they had. No two may rely on the claim at once, and in the
// end everybody had it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { CLAIM_RIVALS_FAILURE_BYTES = 512 };

// One history of that seed; true if it failed, with why.
bool claim_rivals_run(uint64_t seed, char failure[CLAIM_RIVALS_FAILURE_BYTES]);
