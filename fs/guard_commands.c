// SPDX-License-Identifier: Apache-2.0
#include "fs/guard_commands.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "dlm/fence.h"
#include "fs/base/log.h"

void guard_commands_init(struct guard_commands *commands, struct log *log)
{
    *commands = (struct guard_commands){.log = log};
}

static struct guard_command *find(struct guard_commands *commands, pid_t pid)
{
    for (unsigned i = 0; i < GUARD_COMMANDS_MAX; i++) {
        if (commands->running[i].pid == pid)
            return &commands->running[i];
    }
    return NULL;
}

static void answer(struct guard_commands *commands, int socket, uint32_t id, uint32_t status)
{
    struct guard_message result = {.type = GUARD_FENCE_RESULT, .id = id, .status = status};
    int error = guard_message_send(socket, &result);
    if (error != 0)
        log_warning(commands->log, "the result of a fence command could not be told: %s",
                    strerror(-error));
}

// Names come from corosync's list of nodes; the command gets them as an argument.
static bool is_node_name(const char *name)
{
    for (const char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    }
    return name[0] != '\0' && name[0] != '-';
}

void guard_commands_fence(struct guard_commands *commands, const char *command,
                          const struct guard_message *request, uint64_t now_ms, int socket)
{
    struct guard_command *entry = find(commands, 0);
    pid_t pid;
    int error = command[0] == '\0' ? -ENOENT : entry == NULL ? -EBUSY : 0;
    if (error == 0 && !is_node_name(request->name))
        error = -EINVAL;
    if (error == 0)
        error = fence_command_spawn(command, request, &pid);
    if (error != 0) {
        log_error(commands->log, 0, "the fence command against %s could not be started: %s",
                  request->name, strerror(-error));
        answer(commands, socket, request->id, 1);
        return;
    }
    entry->pid = pid;
    entry->id = request->id;
    entry->deadline_ms = now_ms + GUARD_FENCE_TIMEOUT_MS;
    snprintf(entry->name, sizeof(entry->name), "%s", request->name);
    log_notice(commands->log, "running %s against %s", command, request->name);
}

bool guard_commands_reaped(struct guard_commands *commands, pid_t pid, int wait_status, int socket)
{
    struct guard_command *entry = find(commands, pid);
    if (entry == NULL)
        return false;
    uint32_t status = fence_command_status(wait_status);
    log_notice(commands->log, "the fence command against %s %s", entry->name,
               status == 0 ? "succeeded" : "failed");
    entry->pid = 0;
    answer(commands, socket, entry->id, status);
    return true;
}

uint32_t guard_commands_expire(struct guard_commands *commands, uint64_t now_ms, uint32_t wait_ms)
{
    for (unsigned i = 0; i < GUARD_COMMANDS_MAX; i++) {
        struct guard_command *entry = &commands->running[i];
        if (entry->pid == 0)
            continue;
        if (now_ms >= entry->deadline_ms) {
            log_error(commands->log, 0, "the fence command against %s took too long", entry->name);
            kill(-entry->pid, SIGKILL); // a process group of its own
            entry->deadline_ms = UINT64_MAX;
        } else if (entry->deadline_ms - now_ms < wait_ms) {
            wait_ms = (uint32_t)(entry->deadline_ms - now_ms);
        }
    }
    return wait_ms;
}

void guard_commands_end(struct guard_commands *commands)
{
    for (unsigned i = 0; i < GUARD_COMMANDS_MAX; i++) {
        if (commands->running[i].pid != 0)
            kill(-commands->running[i].pid, SIGKILL);
    }
}
