// SPDX-License-Identifier: Apache-2.0
// Failures are negative ints: -errno for what POSIX names, -ERROR_x for a failed check of ours
// (errors.def). A failed check is logged once, where it was born, with the block and the expected
// and found values.
#pragma once

#include <errno.h>

enum error {
#define ERROR(name, number, errno_value, sentence) ERROR_##name = number,
#include "fs/base/errors.def"
#undef ERROR
};

// The errno (positive) for a negative result: the table's for a check of ours, itself otherwise.
int error_to_errno(int result);
// A constant sentence for a negative result; never NULL.
const char *error_text(int result);
// True for a failed check of ours (and so a result with a LUNFS-nnnn code).
int error_is_check(int result);
