// SPDX-License-Identifier: Apache-2.0
// Ways to make sure that a node writes no more, strongest first. All that are available start at
// once, whichever proves it first counts:
//
//   drained    the guard of a worker that died has its descriptor's lock (rule 9; membership knows)
//   command    an external command, run by the guard, says that the node is off
//   confirmed  an administrator vouches for it: `lunfs fence confirm`
//   lease      poison note and lease (dlm/lease.h), by the heartbeat thread
//
// The worker never forks (rule 17): it asks its guard over a socketpair (SOCK_SEQPACKET), one
// packet a message, fixed size; the guard asks its helper in the same way (fs/guard_helper.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/base/endian.h"
#include "fs/base/environment.h"
#include "fs/base/log.h"
#include "fs/base/text.h"

struct heartbeat;

enum fence_method {
    FENCE_METHOD_NONE,
    FENCE_METHOD_DRAINED,
    FENCE_METHOD_COMMAND,
    FENCE_METHOD_CONFIRMED,
    FENCE_METHOD_LEASE,
};
const char *fence_method_text(enum fence_method method);

// --- worker, guard and helper -------------------------------------------------------------------

enum guard_message_type {
    GUARD_FENCE_RUN = 1,    // worker -> guard -> helper: run the fence command against a node
    GUARD_FENCE_RESULT = 2, // helper -> guard -> worker: `status` of the run `id`
    GUARD_CORE_HUNG = 3,    // worker's heartbeat thread -> guard: kill this process
    GUARD_IDENTITY = 4,     // worker -> guard: what to say in drained(): slot, incarnation
    GUARD_LEFT = 5,         // worker -> guard: left cleanly, nothing to announce any more
    GUARD_MOUNT = 6,        // worker -> helper: mount; back: errno as `status`, connection as `id`
    GUARD_UNMOUNT = 7,      // guard, worker -> helper: unmount
    GUARD_ABORT_MOUNT = 8,  // guard -> helper: abort FUSE connection `id`
};

enum { GUARD_NAME_BYTES = 64 };

struct guard_message_wire {
    le32_t magic;                   // 0   GUARD_MESSAGE_MAGIC
    le32_t type;                    // 4   enum guard_message_type
    le32_t id;                      // 8   of the run, chosen by the worker
    le32_t status;                  // 12  FENCE_RESULT: 0 the node is off; else it may not be
    le32_t node_id;                 // 16
    le32_t slot;                    // 20
    le64_t incarnation;             // 24
    uint8_t name[GUARD_NAME_BYTES]; // 32  of the node, padded with 0
};
_Static_assert(sizeof(struct guard_message_wire) == 96, "guard message");
#define GUARD_MESSAGE_MAGIC 0x47464e55u

struct guard_message {
    enum guard_message_type type;
    uint32_t id;
    uint32_t status;
    uint32_t node_id;
    uint32_t slot;
    uint64_t incarnation;
    char name[GUARD_NAME_BYTES];
};

// One packet, without blocking. 0; -EAGAIN; -EPIPE when the other side is gone; -errno.
int guard_message_send(int socket, const struct guard_message *message);
// 1 with a message, 0 when there is none now, -EPIPE at the end, -ERROR_MESSAGE_FIELD for nonsense.
int guard_message_receive(int socket, struct guard_message *message);

// In the guard's helper: starts `command NODE_NAME NODE_ID` (also LUNFS_NODE_NAME, LUNFS_NODE_ID in
// its environment; standard input from /dev/null). 0 and *pid, or -errno. The helper reaps the
// child and sends fence_command_status of what waitpid said; it kills it after `timeout_ms` of its
// own.
int fence_command_spawn(const char *command, const struct guard_message *request, pid_t *pid);
uint32_t fence_command_status(int wait_status);
// Of a command that could not be run to its end: it has proved nothing.
enum { FENCE_STATUS_UNKNOWN = 255 };

// --- the worker's side -----------------------------------------------------------------------

// One per volume; on the core's thread.
struct fence;

struct fence_config {
    struct environment *environment;
    struct heartbeat *heartbeat;
    struct log *log;
    int guard_socket;         // -1: no guard, no command
    bool has_command;         // a fence command is configured
    bool allows_lease;        // else only the command or an administrator counts
    uint64_t command_wait_ns; // how long drained() may take before the command is run against a
                              // node whose worker died but which is in the ring
    void *context;
    // The victim writes no more.
    void (*fenced)(void *context, uint32_t slot, uint64_t incarnation, enum fence_method method);
};

struct fence_victim {
    uint32_t slot;
    uint32_t node_id;
    uint64_t incarnation;
    bool is_node_up; // its corosync is in our ring: drained() may come
    bool yields;     // rule 26: wait one beat + io_max before the note
    uint64_t yield_ns;
    char name[GUARD_NAME_BYTES];
    char reason[128];
};

struct fence *fence_new(const struct fence_config *config);
void fence_free(struct fence *fence);
// Starts all ways against the victim; again for the same one: nothing happens.
void fence_start(struct fence *fence, const struct fence_victim *victim);
// Fenced by other means or by another node: stops what is under way here.
void fence_cancel(struct fence *fence, uint32_t slot, uint64_t incarnation);
// An administrator vouches that the node is down. False if no fence is under way against it.
bool fence_confirm(struct fence *fence, uint32_t node_id);
// From the guard's socket.
void fence_guard_answered(struct fence *fence, const struct guard_message *message);
// From the heartbeat's `changed`.
void fence_heartbeat_changed(struct fence *fence);
// How far the fence of this life is: " by lease, 4 s left"; nothing if none is under way here.
void fence_progress_to_text(const struct fence *fence, uint32_t slot, uint64_t incarnation,
                            struct text *text);
