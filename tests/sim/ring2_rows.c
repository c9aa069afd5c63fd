// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring2_rows.h"

#include <inttypes.h>

static const char *const sentences[RING2_ROW_count] = {
#define RING2_ROW(name, sentence) [RING2_ROW_##name] = sentence,
#include "tests/sim/ring2_rows.def"
#undef RING2_ROW
};

void ring2_rows_add(struct ring2_rows *sum, const struct ring2_rows *rows)
{
    for (int i = 0; i < RING2_ROW_count; i++)
        sum->counts[i] += rows->counts[i];
}

void ring2_rows_print(const struct ring2_rows *rows, FILE *out)
{
    for (int i = 0; i < RING2_ROW_count; i++)
        fprintf(out, "%9" PRIu64 "  %s\n", rows->counts[i], sentences[i]);
}

bool ring2_rows_are_all_there(const struct ring2_rows *rows, FILE *out)
{
    bool are_all_there = true;
    for (int i = 0; i < RING2_ROW_count; i++) {
        if (rows->counts[i] > 0)
            continue;
        fprintf(out, "never done: %s\n", sentences[i]);
        are_all_there = false;
    }
    return are_all_there;
}
