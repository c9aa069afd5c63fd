// SPDX-License-Identifier: Apache-2.0
// What a node does with a volume: fills a new one, or uses one that may be damaged.
#pragma once

#include <stdint.h>

#include "tests/sim/ring2_node.h"

// One of everything, durable in the journal and partly in place; all must succeed.
void image_fill(struct ring2_node *node);

// Looks at all that it can reach and changes some of it. Any answer will do.
void image_use(struct ring2_node *node, uint64_t seed);
