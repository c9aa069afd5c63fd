// SPDX-License-Identifier: Apache-2.0
// The FUSE front end: the mount as the kernel sees it.
//
//     kernel ── clone of /dev/fuse ──► lane thread ── pass valid ──► pread / pwrite ──► answer
//                  (one a lane)            │ everything else
//                                          ▼ lock-free list, one wake-up a batch
//                                     core thread: a coroutine a request ──► operation_* ──► answer
//
// A lane never waits for the core, so requests that need nobody go on while the core waits for
// other nodes, and an interrupt is always read. Answers of the core are written by the core's
// thread to the descriptor that the request came from (rule P1).
//
// While the gate is shut nothing is begun and nothing is answered (rule 18); once the mount has
// ended everything is answered EIO. docs/daemon.md says which FUSE features are used and why.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_server;
struct range_locks;
struct volume;

enum { FUSE_SERVER_LANES_MAX = 64 };

struct fuse_server_config {
    struct volume *volume;
    struct range_locks *range_locks; // fcntl, OFD and flock locks; outlives the server
    int lun_descriptor;              // the worker's description of the LUN, O_DIRECT; not owned
    // The connection as fuse_mount_attach or guard_helper_mount made it: its descriptor, which is
    // the server's from now on, and its number.
    int descriptor;
    uint32_t connection;
    const char *directory; // the mount point, for the log
    uint32_t lane_count;   // 1 to FUSE_SERVER_LANES_MAX
    // Both are called once, on the core's thread. `ended` comes after `live`, or without it when
    // the mount never came to life.
    void (*live)(void *context);  // requests are served
    void (*ended)(void *context); // unmounted or aborted: no request alive, all handles released
    void *context;
};

// Starts to serve. 0, or -errno with the descriptor closed; the mount is the caller's to take away.
// Core thread, before or inside its loop; starts the only threads that this front end has.
int fuse_server_start(const struct fuse_server_config *config, struct fuse_server **out);

// After `ended`: joins the threads, closes the connection, frees.
void fuse_server_free(struct fuse_server *server);

// Number of the connection below /sys/fs/fuse/connections.
uint32_t fuse_server_connection(const struct fuse_server *server);

struct fuse_server_counters {
    uint64_t lane_reads, lane_writes; // served without the core (I5)
    uint64_t lane_read_bytes, lane_write_bytes;
    uint64_t lane_errors;             // the LUN refused a lane's I/O
    uint64_t core_reads, core_writes; // data requests that the core served
    uint64_t core_requests;           // all that the core served
    uint64_t core_wakeups;            // how often it was woken for them
    uint64_t requests_alive;          // now in the core
    uint64_t requests_at_gate;        // ... of these, waiting for the gate to open
    uint64_t handles;                 // open files
    uint64_t loans;                   // answers that the kernel may keep
    uint64_t recalls;                 // inodes of which it was told to drop what it kept
    uint64_t epochs;                  // how often it was told to drop all names
};

// Any thread.
void fuse_server_counters(const struct fuse_server *server, struct fuse_server_counters *out);

// Core thread, when the volume has failed: the kernel drops the data that it keeps of open files,
// so that nobody reads from it what other nodes have changed since. Does not wait; wound down with
// the server.
void fuse_server_drop_pages(struct fuse_server *server);

// Core thread: each open file of the mount.
void fuse_server_visit_files(const struct fuse_server *server,
                             void (*visit)(void *context, uint64_t inode, int flags),
                             void *context);
