// SPDX-License-Identifier: Apache-2.0
// The fence commands that a guard's helper runs. Each has a time limit; one that outstays it is
// killed and counts as failed.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct guard_message;
struct log;

enum { GUARD_COMMANDS_MAX = 64, GUARD_FENCE_TIMEOUT_MS = 60000 };

struct guard_command {
    pid_t pid;   // 0: entry unused
    uint32_t id; // the worker's name for the run
    uint64_t deadline_ms;
    char name[64]; // of the node
};

struct guard_commands {
    struct guard_command running[GUARD_COMMANDS_MAX];
    struct log *log;
};

void guard_commands_init(struct guard_commands *commands, struct log *log);

// Runs `command` against the node that the request names, unless that would look like an option or
// has control characters in it. The answer goes to `socket`, at once if
// it could not be started.
void guard_commands_fence(struct guard_commands *commands, const char *command,
                          const struct guard_message *request, uint64_t now_ms, int socket);

// A child ended: if it was a fence command, its result goes to `socket`. False if it was not.
bool guard_commands_reaped(struct guard_commands *commands, pid_t pid, int wait_status, int socket);

// Kills what has run for too long; how long until the next deadline, at most `wait_ms`.
uint32_t guard_commands_expire(struct guard_commands *commands, uint64_t now_ms, uint32_t wait_ms);

// The helper ends: kills what still runs, for nobody would.
void guard_commands_end(struct guard_commands *commands);
