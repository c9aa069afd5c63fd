// SPDX-License-Identifier: Apache-2.0
// The problems that a check has found: printed as they are found, counted for the end.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum problem {
#define PROBLEM(name, number, severity, repair, stage, sentence, remedy) PROBLEM_##name,
#include "fsck/problems.def"
#undef PROBLEM
    PROBLEM_COUNT,
};

enum problem_severity { PROBLEM_SEVERITY_NOTE, PROBLEM_SEVERITY_ERROR };
enum problem_repair { PROBLEM_REPAIR_SAFE, PROBLEM_REPAIR_YES };

// In the order in which they are put right (fsck/repair.h). COMMIT is no stage of its own: it goes
// with the first thing that is written.
enum problem_stage {
    PROBLEM_STAGE_VOLUME,
    PROBLEM_STAGE_INODES,
    PROBLEM_STAGE_TREES,
    PROBLEM_STAGE_SHARED,
    PROBLEM_STAGE_NAMES,
    PROBLEM_STAGE_LINKS,
    PROBLEM_STAGE_ORPHANS,
    PROBLEM_STAGE_QUOTAS,
    PROBLEM_STAGE_SPACE,
    PROBLEM_STAGE_COMMIT,
};

struct problems {
    FILE *out;
    bool is_verbose; // all of them; else the first ones of each kind
    bool is_silent;  // counted, not printed
    bool is_off;     // neither: what is looked at was looked at before
    uint64_t counts[PROBLEM_COUNT];
    void (*before_line)(void *context); // takes a progress bar away; may be NULL
    void *context;
    // Takes each line instead of `out`, if it is set.
    void (*line)(void *context, const char *line);
};

// One line: "block 2561: INODE_BLOCK: an inode's block is not valid: detail".
void problem_report(struct problems *problems, enum problem problem, uint64_t block,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
// Says how many were not shown.
void problem_report_end(const struct problems *problems);

// All of them, notes too.
uint64_t problem_count(const struct problems *problems);
uint64_t problem_error_count(const struct problems *problems);
// Those that are put right with -y only.
uint64_t problem_unsafe_count(const struct problems *problems);
// The first stage that one of them belongs to; PROBLEM_STAGE_COMMIT if there is none.
enum problem_stage problem_stage_first(const struct problems *problems);
