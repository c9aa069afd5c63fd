// SPDX-License-Identifier: Apache-2.0
// loan-sim --seeds N [--first S]: histories of nodes that lend to their kernels (loan_history.h).
#include "tests/sim/loan_history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    uint64_t count = 0, first = 1;
    struct loan_result total = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0)
            count = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--first") == 0)
            first = strtoull(argv[i + 1], NULL, 0);
    }
    if (count == 0) {
        fprintf(stderr, "usage: loan-sim --seeds N [--first S]\n");
        return 2;
    }
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct loan_result result;
        loan_history_run(seed, &result);
        if (result.is_failed) {
            printf("seed %" PRIu64 ": %s\n", seed, result.failure);
            return 1;
        }
        total.operations += result.operations;
        total.answered_by_kernel += result.answered_by_kernel;
        total.recalls += result.recalls;
        total.recalls_behind_reads += result.recalls_behind_reads;
        total.pages_kept += result.pages_kept;
        total.page_recalls += result.page_recalls;
        total.page_recalls_behind_reads += result.page_recalls_behind_reads;
        total.page_recalls_dirty += result.page_recalls_dirty;
        total.writes_together += result.writes_together;
    }
    printf("%" PRIu64 " histories, %" PRIu64 " operations: %" PRIu64 " questions answered by the "
           "kernel, %" PRIu64 " recalls, %" PRIu64 " of them behind reads\n",
           count, total.operations, total.answered_by_kernel, total.recalls,
           total.recalls_behind_reads);
    printf("%" PRIu64 " reads of pages that were kept, %" PRIu64 " recalls of pages, %" PRIu64
           " of them behind reads, %" PRIu64 " of changed ones, %" PRIu64 " writes together\n",
           total.pages_kept, total.page_recalls, total.page_recalls_behind_reads,
           total.page_recalls_dirty, total.writes_together);
    bool is_everything_seen = total.answered_by_kernel > 0 && total.recalls > 0 &&
                              total.recalls_behind_reads > 0 && total.pages_kept > 0 &&
                              total.page_recalls_behind_reads > 0 && total.page_recalls_dirty > 0 &&
                              total.writes_together > 0;
    return is_everything_seen ? 0 : 1;
}
