// SPDX-License-Identifier: Apache-2.0
#include "fs/base/error.h"

#include <stddef.h>
#include <string.h>

struct error_row {
    int number;
    int errno_value;
    const char *sentence;
};

static const struct error_row rows[] = {
#define ERROR(name, number, errno_value, sentence) {number, errno_value, sentence},
#include "fs/base/errors.def"
#undef ERROR
};

static const struct error_row *row_of(int result)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].number == -result)
            return &rows[i];
    }
    return NULL;
}

int error_to_errno(int result)
{
    const struct error_row *row = row_of(result);
    return row ? row->errno_value : -result;
}

const char *error_text(int result)
{
    const struct error_row *row = row_of(result);
    return row ? row->sentence : strerror(-result);
}

int error_is_check(int result)
{
    return row_of(result) != NULL;
}
