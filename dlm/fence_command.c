// SPDX-License-Identifier: Apache-2.0
// The external fence command: asked for here, run by the guard's helper (rule 17), and the packets
// between the three.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "dlm/fence_attempt.h"
#include "fs/base/error.h"

#define COMMAND_RETRY_NS ((uint64_t)10 * 1000 * 1000 * 1000)

// --- packets ---------------------------------------------------------------------------------

int guard_message_send(int socket, const struct guard_message *message)
{
    struct guard_message_wire wire = {
        .magic = le32_make(GUARD_MESSAGE_MAGIC),
        .type = le32_make((uint32_t)message->type),
        .id = le32_make(message->id),
        .status = le32_make(message->status),
        .node_id = le32_make(message->node_id),
        .slot = le32_make(message->slot),
        .incarnation = le64_make(message->incarnation),
    };
    memcpy(wire.name, message->name, strnlen(message->name, sizeof(wire.name) - 1));
    if (send(socket, &wire, sizeof(wire), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(wire))
        return 0;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

int guard_message_receive(int socket, struct guard_message *message)
{
    struct guard_message_wire wire;
    ssize_t got = recv(socket, &wire, sizeof(wire), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (got == 0)
        return -EPIPE;
    uint32_t type = got == sizeof(wire) ? le32_get(wire.type) : 0;
    if (type < GUARD_FENCE_RUN || type > GUARD_ABORT_MOUNT ||
        le32_get(wire.magic) != GUARD_MESSAGE_MAGIC)
        return -ERROR_MESSAGE_FIELD;
    *message = (struct guard_message){
        .type = (enum guard_message_type)type,
        .id = le32_get(wire.id),
        .status = le32_get(wire.status),
        .node_id = le32_get(wire.node_id),
        .slot = le32_get(wire.slot),
        .incarnation = le64_get(wire.incarnation),
    };
    memcpy(message->name, wire.name, sizeof(message->name) - 1);
    return 1;
}

// --- in the guard's helper ----------------------------------------------------------------------

static int spawn_with(const char *command, const struct guard_message *request, pid_t *pid,
                      posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes)
{
    char id[16], name_variable[GUARD_NAME_BYTES + 32], id_variable[48];
    snprintf(id, sizeof(id), "%u", request->node_id);
    snprintf(name_variable, sizeof(name_variable), "LUNFS_NODE_NAME=%s", request->name);
    snprintf(id_variable, sizeof(id_variable), "LUNFS_NODE_ID=%s", id);
    char *arguments[] = {(char *)command, (char *)request->name, id, NULL};
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {name_variable, id_variable, path, NULL};
    posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    // The helper blocks and ignores signals that the command and what it starts must hear.
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setpgroup(attributes, 0); // killed as a group
    return -posix_spawn(pid, command, actions, attributes, arguments, environment);
}

int fence_command_spawn(const char *command, const struct guard_message *request, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int result = spawn_with(command, request, pid, &actions, &attributes);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return result;
}

uint32_t fence_command_status(int wait_status)
{
    if (WIFEXITED(wait_status))
        return (uint32_t)WEXITSTATUS(wait_status);
    return FENCE_STATUS_UNKNOWN; // killed
}

// --- in the worker ---------------------------------------------------------------------------

static void command_try(struct environment_timer *timer)
{
    struct fence_attempt *attempt =
        (struct fence_attempt *)(void *)((char *)timer -
                                         offsetof(struct fence_attempt, command_timer));
    const struct fence_config *config = attempt->config;
    struct guard_message request = {.type = GUARD_FENCE_RUN,
                                    .id = attempt->run_id,
                                    .node_id = attempt->victim.node_id,
                                    .slot = attempt->victim.slot,
                                    .incarnation = attempt->victim.incarnation};
    memcpy(request.name, attempt->victim.name, sizeof(request.name));
    attempt->command_state = COMMAND_RUNNING;
    int result = guard_message_send(config->guard_socket, &request);
    if (result == 0)
        return;
    log_warning(config->log, "the guard does not take a fence request: %s", error_text(result));
    fence_command_answered(attempt, FENCE_STATUS_UNKNOWN);
}

void fence_command_begin(struct fence_attempt *attempt)
{
    const struct fence_config *config = attempt->config;
    if (!config->has_command || config->guard_socket < 0)
        return;
    attempt->command_timer.fire = command_try;
    attempt->command_state = COMMAND_DELAYED;
    uint64_t at_ns = environment_boot_ns(config->environment);
    if (attempt->victim.is_node_up)
        at_ns += config->command_wait_ns;
    if (attempt->victim.yields)
        at_ns += attempt->victim.yield_ns;
    environment_timer_arm(config->environment, &attempt->command_timer, at_ns);
}

void fence_command_end(struct fence_attempt *attempt)
{
    environment_timer_disarm(attempt->config->environment, &attempt->command_timer);
}

bool fence_command_answered(struct fence_attempt *attempt, uint32_t status)
{
    const struct fence_config *config = attempt->config;
    if (status == 0)
        return true;
    attempt->command_failures++;
    log_warning(config->log, "the fence command against %s failed with status %u",
                attempt->victim.name, status);
    attempt->command_state = COMMAND_DELAYED;
    environment_timer_arm(config->environment, &attempt->command_timer,
                          environment_boot_ns(config->environment) + COMMAND_RETRY_NS);
    return false;
}

void fence_command_to_text(const struct fence_attempt *attempt, struct text *text)
{
    if (attempt->command_state == COMMAND_RUNNING)
        text_add(text, " by command,");
    else if (attempt->command_failures > 0)
        text_add(text, " by command (failed %u times),", attempt->command_failures);
}
