// SPDX-License-Identifier: Apache-2.0
// Counts of what a workload has touched: proof that no operation is left out.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum ring2_row {
#define RING2_ROW(name, sentence) RING2_ROW_##name,
#include "tests/sim/ring2_rows.def"
#undef RING2_ROW
    RING2_ROW_count
};

struct ring2_rows {
    uint64_t counts[RING2_ROW_count];
};

void ring2_rows_add(struct ring2_rows *sum, const struct ring2_rows *rows);
void ring2_rows_print(const struct ring2_rows *rows, FILE *out);
// Whether no row is zero; says on `out` which are.
bool ring2_rows_are_all_there(const struct ring2_rows *rows, FILE *out);
