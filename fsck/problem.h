// SPDX-License-Identifier: Apache-2.0
// The problems that a check has found: printed as they are found, counted for the end.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum problem {
#define PROBLEM(name, number, severity, repair, sentence) PROBLEM_##name,
#include "fsck/problems.def"
#undef PROBLEM
    PROBLEM_COUNT,
};

enum problem_severity { PROBLEM_SEVERITY_NOTE, PROBLEM_SEVERITY_ERROR };
enum problem_repair { PROBLEM_REPAIR_NOW, PROBLEM_REPAIR_CUT_OFF, PROBLEM_REPAIR_NEVER };

const char *problem_name(enum problem problem); // "LINK_COUNT"
const char *problem_sentence(enum problem problem);
enum problem_severity problem_severity(enum problem problem);
enum problem_repair problem_repair(enum problem problem);

struct problems {
    FILE *out;
    bool is_verbose; // all of them; else the first ones of each kind
    uint64_t counts[PROBLEM_COUNT];
    void (*before_line)(void *context); // takes a progress bar away; may be NULL
    void *context;
};

// One line: "block 2561: INODE_BLOCK: an inode's block is not valid: detail".
void problem_report(struct problems *problems, enum problem problem, uint64_t block,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
// Says how many were not shown.
void problem_report_end(const struct problems *problems);

uint64_t problem_error_count(const struct problems *problems);
// Errors that this program does not put right. (A volume marked NEEDS_FSCK has reported that.)
uint64_t problem_unrepairable_count(const struct problems *problems);
