// SPDX-License-Identifier: Apache-2.0
// Three nodes that lend to their kernels: the production lock table over real lock cores, and a
// model of what a kernel keeps. One seed is one history.
//
// The model has what docs/caching.md says of the kernel and no more: attributes and names that were
// lent are used without a question; an answer is dated by its question (attribute versions, epochs)
// and may arrive long after the recall that it crossed; dropping what is kept of an inode may have
// to wait for that inode's reads, which need the right. Pages are in loan_pages.c. Checked:
//
//   no process is told less than what was complete when it asked, by whichever node
//   no page is older than what was complete when it was read or changed, no older one is written
//   over a newer one
//   every process comes to its end
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loan_result {
    bool is_failed;
    char failure[200];
    uint64_t operations, answered_by_kernel, recalls, recalls_behind_reads;
    uint64_t pages_kept, page_recalls, page_recalls_behind_reads, page_recalls_dirty;
    uint64_t writes_together;
};

void loan_history_run(uint64_t seed, struct loan_result *result);
