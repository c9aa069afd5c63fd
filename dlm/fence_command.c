// SPDX-License-Identifier: Apache-2.0
// The packets between worker and guard, and the external fence command that the guard runs.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dlm/fence.h"
#include "fs/base/error.h"

// --- packets ---------------------------------------------------------------------------------

int guard_message_send(int socket, const struct guard_message *message)
{
    struct guard_message_wire wire = {
        .magic = le32_make(GUARD_MESSAGE_MAGIC),
        .type = le32_make(message->type),
        .id = le32_make(message->id),
        .status = le32_make(message->status),
        .node_id = le32_make(message->node_id),
        .slot = le32_make(message->slot),
        .incarnation = le64_make(message->incarnation),
    };
    text_copy((char *)wire.name, sizeof(wire.name), message->name);
    ssize_t sent = send(socket, &wire, sizeof(wire), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return 0;
    return errno == ECONNRESET || errno == ECONNREFUSED ? -EPIPE : -errno;
}

int guard_message_receive(int socket, struct guard_message *message)
{
    struct guard_message_wire wire;
    ssize_t got = recv(socket, &wire, sizeof(wire), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
    if (got == 0)
        return -EPIPE;
    uint32_t type = got == sizeof(wire) ? le32_get(wire.type) : 0;
    if (type < GUARD_FENCE_RUN || type > GUARD_LEFT || le32_get(wire.magic) != GUARD_MESSAGE_MAGIC)
        return -ERROR_MESSAGE_FIELD;
    *message = (struct guard_message){
        .type = (enum guard_message_type)type,
        .id = le32_get(wire.id),
        .status = le32_get(wire.status),
        .node_id = le32_get(wire.node_id),
        .slot = le32_get(wire.slot),
        .incarnation = le64_get(wire.incarnation),
    };
    memcpy(message->name, wire.name, sizeof(message->name));
    message->name[sizeof(message->name) - 1] = '\0';
    return 1;
}

// --- the command -----------------------------------------------------------------------------

extern char **environ;

// The guard's environment and two variables more. The strings of `own` must outlive the array.
static char **environment_with(char *const own[2])
{
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **all = calloc(count + 3, sizeof(*all));
    if (all == NULL)
        return NULL;
    memcpy(all, environ, count * sizeof(*all));
    all[count] = own[0];
    all[count + 1] = own[1];
    return all;
}

int fence_command_spawn(const char *command, const struct guard_message *request, pid_t *pid)
{
    char node_id[16], name_variable[GUARD_NAME_BYTES + 32], id_variable[48];
    snprintf(node_id, sizeof(node_id), "%u", request->node_id);
    snprintf(name_variable, sizeof(name_variable), "LUNFS_NODE_NAME=%s", request->name);
    snprintf(id_variable, sizeof(id_variable), "LUNFS_NODE_ID=%s", node_id);
    char *const variables[2] = {name_variable, id_variable};
    char *const arguments[] = {(char *)command, (char *)request->name, node_id, NULL};
    char **environment = environment_with(variables);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (environment == NULL)
        return -ENOMEM;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn(pid, command, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    return -error;
}

uint32_t fence_command_status(int wait_status)
{
    if (WIFEXITED(wait_status))
        return (uint32_t)WEXITSTATUS(wait_status);
    return 128; // killed: nothing is known of the node
}
