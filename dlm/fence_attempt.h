// SPDX-License-Identifier: Apache-2.0
// One victim being fenced; what the ways to fence share. Included by dlm/fence*.c alone.
//
// A way to fence has four verbs: begin, end (also half-way), an answer that may prove it, and a
// line for people. Persistent reservations will be one more.
#pragma once

#include <sys/queue.h>

#include "dlm/fence.h"

enum fence_command_state { COMMAND_NONE, COMMAND_DELAYED, COMMAND_RUNNING };

struct fence_attempt {
    TAILQ_ENTRY(fence_attempt) link;
    const struct fence_config *config;
    struct fence_victim victim;
    uint32_t run_id;
    struct environment_timer command_timer; // delayed, or to be tried again
    enum fence_command_state command_state;
    uint32_t command_failures;
    bool lease_was_aborted;
};

// fence_lease.c: poison note and lease.
void fence_lease_begin(struct fence_attempt *attempt);
void fence_lease_end(struct fence_attempt *attempt);
bool fence_lease_is_over(struct fence_attempt *attempt);
void fence_lease_to_text(const struct fence_attempt *attempt, struct text *text);

// fence_command.c: an external command, run by the guard.
void fence_command_begin(struct fence_attempt *attempt);
void fence_command_end(struct fence_attempt *attempt);
bool fence_command_answered(struct fence_attempt *attempt, uint32_t status);
void fence_command_to_text(const struct fence_attempt *attempt, struct text *text);
