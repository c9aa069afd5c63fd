// SPDX-License-Identifier: Apache-2.0
#include "fs/block_ranges.h"

#include <stdbool.h>

void block_ranges_init(struct block_ranges *ranges, struct scheduler *scheduler)
{
    LIST_INIT(&ranges->held);
    wait_queue_init(&ranges->released);
    ranges->scheduler = scheduler;
}

static bool is_free(const struct block_ranges *ranges, uint64_t first_block, uint64_t last_block)
{
    const struct block_range *held;
    LIST_FOREACH (held, &ranges->held, link) {
        if (held->first_block <= last_block && first_block <= held->last_block)
            return false;
    }
    return true;
}

void block_range_acquire(struct block_ranges *ranges, struct block_range *range,
                         uint64_t first_block, uint64_t last_block)
{
    while (!is_free(ranges, first_block, last_block))
        wait_queue_wait(ranges->scheduler, &ranges->released);
    *range = (struct block_range){.first_block = first_block, .last_block = last_block};
    LIST_INSERT_HEAD(&ranges->held, range, link);
}

void block_range_release(struct block_ranges *ranges, struct block_range *range)
{
    LIST_REMOVE(range, link);
    wait_queue_wake_all(ranges->scheduler, &ranges->released);
}
