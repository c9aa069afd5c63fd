// SPDX-License-Identifier: Apache-2.0
// Inside the FUSE front end: a request on its way through the core, and what its parts share.
//
//   lane thread: fuse_request_new, arguments filled in, fuse_request_forward
//   core thread: coroutine: gate ─► type->run ─► gate ─► type->reply, or an error reply
//
// The kernel's node id of a file is its inode number in the low 48 bits, then a bit that says
// whether it is a directory, then the low 15 bits of its generation: so a node id that outlived its
// file is told from the number's next use with no table of what the kernel remembers. The root has
// the id 1 that FUSE gives it.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "fs/base/coroutine.h"
#include "fs/base/environment_event.h"
#include "fs/cluster_lock.h"
#include "fs/fuse_dialect.h"
#include "fs/fuse_server.h"
#include "fs/lane.h"
#include "fs/live_inode.h"
#include "fs/operation.h"
#include "fs/range_locks.h"

struct fuse_recall;
struct fuse_request;
struct io_buffers;

// An open file of the mount. Made and freed on the core, used by lanes in between: the kernel sends
// a handle's RELEASE after all its other requests were answered.
struct fuse_handle {
    LIST_ENTRY(fuse_handle) link;
    uint64_t id; // names the handle to the range locks; never reused
    uint64_t inode;
    fuse_ino_t node; // what the kernel calls it
    struct open_file *file;
    struct pass *pass; // NULL: all data goes through the core
    int flags;         // open(2)'s
    bool is_cached;    // the kernel keeps what it reads through it
    bool took_locks;   // core: locks may have to be dropped at its release
    // The file is set-user-id or set-group-id: a write by others than root must drop that, which
    // is the core's. As of the open, and of what this mount changed since.
    _Atomic bool has_set_id;
    _Atomic bool has_capability; // the same for a program's capabilities, whoever writes
};

// One row a kind of request; see the tables in fuse_server_*.c.
struct fuse_request_type {
    const char *name;
    // In a coroutine. Negative: the error to answer. Else `reply` answers.
    int (*run)(struct fuse_request *request);
    // Sends the answer; what libfuse's fuse_reply_* returned. NULL: an empty success.
    int (*reply)(struct fuse_request *request);
    // Gives something back: done also when the mount has ended, and it does not wait at the gate.
    bool is_cleanup;
    // Gives back what `run` took, when the answer is an error after all. NULL: nothing.
    void (*undo)(struct fuse_request *request);
};

struct fuse_request {
    struct fuse_request *next; // in the hand-over list
    LIST_ENTRY(fuse_request) alive;
    struct fuse_server *server;
    fuse_req_t fuse;
    struct coroutine *coroutine; // that serves it
    bool is_at_gate;
    bool was_patrolled; // it has been here for a while
    bool is_killed;     // nobody waits for the answer any more
    const struct fuse_request_type *type;
    fuse_ino_t node;                // of the file or the parent directory
    struct live_inodes_meant meant; // whose lives the nodes of this request are
    struct fuse_handle *handle;
    struct credentials who;
    void *buffer; // from the server's io_buffers, NULL if none
    size_t buffer_bytes;
    char *name, *second_name; // NULL if none; inside `text`

    union { // arguments
        struct {
            mode_t mode;
            dev_t device;
            int flags; // open(2)'s
        } make;
        struct {
            struct attributes wanted;
            unsigned fields;
        } set;
        struct {
            fuse_ino_t parent;
            unsigned flags;
        } move; // rename and link
        struct {
            uint64_t offset;
            size_t length;
            int flags;    // open(2)'s, as they are now
            bool is_page; // the kernel fills a page, or writes one back
        } data;
        struct {
            uint64_t offset, length;
            int mode; // fallocate's, or lseek's whence
        } range;
        struct {
            uint32_t protection, project;
            bool hands_project_down;
            bool is_extended; // struct fsxattr
        } protect;
        struct {
            struct fuse_handle *from;
            uint64_t from_offset, offset, length;
        } copy;
        struct {
            size_t size;
            int flags;
            bool with_trusted;
        } xattr;
        struct {
            uint64_t cursor;
            size_t size;
            bool with_attributes;
        } directory;
        struct {
            struct range_lock lock;
            bool waits, unlocks;
        } lock;
        bool data_only; // fsync
    } in;

    double loan_s; // how long the kernel may keep the answer

    union { // results
        struct attributes attributes;
        struct statvfs space;
        size_t bytes; // in `buffer`
        off_t offset;
        struct range_lock conflict;
    } out;

    char text[];
};

// The kernel may take its time over one inode.
enum { FUSE_RECALL_THREADS = 4 };

struct fuse_server {
    struct fuse_server_config config;
    struct volume *volume;
    struct lane_volume lane_volume;
    struct io_buffers *buffers;
    struct fuse_session *session;
    struct fuse_dialect dialect;
    char *directory; // of the mount, absolute

    pthread_t session_thread;
    pthread_key_t lane_key; // the calling thread's lane
    _Atomic uint32_t lane_count;
    struct lane lanes[FUSE_SERVER_LANES_MAX]; // each begun by its thread, freed with the server

    _Atomic(struct fuse_request *) forwarded; // last in, first out; the core turns them round
    struct environment_post drain_post;       // wakes the core for `forwarded`
    struct environment_post live_post;
    struct environment_post ended_post;
    struct environment_post shut_out_post; // a lane met a reservation conflict
    _Atomic bool is_shut_out;

    // The core's alone:
    LIST_HEAD(, fuse_request) alive;
    LIST_HEAD(, fuse_handle) handles;
    uint64_t handle_id_last;
    struct wait_queue gate_waiters;
    struct environment_timer gate_timer;
    bool gate_timer_is_armed;
    struct environment_timer patrol_timer; // looks for requests of killed processes
    bool patrol_is_armed;
    struct wait_queue idle_waiters; // the end, for the last request
    bool is_stopping;
    struct lock_waiters *lock_waiters;

    // Loans (fuse_server_recall.c). Lists: last in, first out.
    bool keeps_pages; // data may be lent; from the start on
    bool can_epochs;  // the kernel can be told to drop names; from INIT on
    bool is_lending;  // names and attributes
    struct borrower borrower;
    _Atomic(struct fuse_recall *) recalls;  // for the recall thread
    _Atomic(struct fuse_recall *) recalled; // back from it
    pthread_t recall_threads[FUSE_RECALL_THREADS];
    unsigned recall_thread_count;
    sem_t recall_wakeups;
    _Atomic bool recall_stops;
    struct environment_post recalled_post;
    struct wait_queue recall_waiters; // the core's, as what follows
    unsigned recalls_waiting;

    // How many open files of inodes with this hash took a lock: while none did, a lane answers
    // FLUSH.
    _Atomic uint32_t lock_filter[256];

    _Atomic uint64_t core_reads, core_writes, core_requests, core_wakeups;
    _Atomic uint64_t alive_count, at_gate_count, handle_count;
    _Atomic uint64_t loan_count, recall_count, epoch_count;
};

// --- node ids --------------------------------------------------------------------------------

fuse_ino_t fuse_node_make(const struct fuse_server *server, const struct attributes *of);
uint64_t fuse_node_inode(const struct fuse_server *server, fuse_ino_t node);
// Whether the file with the attributes `now`, which were read with `result`, is the one that the
// kernel means: 0, or what to answer. Gone, and the number perhaps another's: -ESTALE, on which the
// kernel looks the name up again; but -ENOENT for a directory, which may be open or somebody's
// working directory and has no names any more.
int fuse_node_check(const struct fuse_server *server, fuse_ino_t node, int result,
                    const struct attributes *now);

// --- requests --------------------------------------------------------------------------------

// Lane thread. On NULL the request was answered ENOMEM. The names are copied and may be NULL.
struct fuse_request *fuse_request_new(fuse_req_t fuse, const struct fuse_request_type *type,
                                      fuse_ino_t node, const char *name, const char *second_name);
// The same, with a buffer for `bytes`.
struct fuse_request *fuse_request_new_buffered(fuse_req_t fuse,
                                               const struct fuse_request_type *type,
                                               fuse_ino_t node, const char *name, size_t bytes);
// Lane thread: the request names this node, too, beside the one that it was made with.
void fuse_request_mean(struct fuse_request *request, fuse_ino_t node);
// Lane thread: hands it to the core, which owns it from now on.
void fuse_request_forward(struct fuse_request *request);

// Core thread: takes what was forwarded and starts a coroutine for each.
void fuse_request_drain(struct fuse_server *server);
// Core thread: the timers' functions.
void fuse_request_gate_timer(struct environment_timer *timer);
void fuse_request_patrol_timer(struct environment_timer *timer);
// Core thread: lets the waiters at the gate look again.
void fuse_request_wake_gate(struct fuse_server *server);

static inline struct fuse_server *fuse_server_of(fuse_req_t fuse)
{
    return fuse_req_userdata(fuse);
}
// Of an open file; requests that may come without one do not ask.
static inline struct fuse_handle *fuse_handle_of(const struct fuse_file_info *info)
{
    return (struct fuse_handle *)(uintptr_t)info->fh;
}
static inline uint64_t fuse_request_inode(const struct fuse_request *request)
{
    return fuse_node_inode(request->server, request->node);
}

// --- answers shared by several kinds ---------------------------------------------------------

void fuse_entry_from_attributes(const struct fuse_server *server, const struct attributes *from,
                                struct fuse_entry_param *entry);
int fuse_reply_request_attributes(struct fuse_request *request);
int fuse_reply_request_entry(struct fuse_request *request);
int fuse_reply_request_buffer(struct fuse_request *request);
int fuse_reply_request_count(struct fuse_request *request);

// --- the parts of the front end --------------------------------------------------------------

// Lane thread: the calling thread's lane; NULL when memory is out.
struct lane *fuse_server_lane(struct fuse_server *server);
// Core, in a coroutine: ends a handle, whether the kernel asked or the mount is gone.
int fuse_handle_release(struct fuse_server *server, struct fuse_handle *handle);
// Core: a file's mode is `mode` now; its handles here take note of set-id bits.
void fuse_handles_note_mode(struct fuse_server *server, uint64_t inode, mode_t mode);
// The same for the capabilities of a program, which are this attribute.
#define FUSE_CAPABILITY_NAME "security.capability"
void fuse_handles_note_capability(struct fuse_server *server, uint64_t inode, bool has_capability);
// Core, in a coroutine: what a new handle has to know of both.
void fuse_handle_note_opened(struct fuse_server *server, struct fuse_handle *handle,
                             const struct attributes *opened);
// Core, in a coroutine: takes both away before the file's data is changed, as its writer must.
int fuse_request_drop_privileges(struct fuse_request *request);
// Core: makes all that wait for range locks give up.
void fuse_server_cancel_locks(struct fuse_server *server);
// Whether no range lock request is in the hands of the range locks.
bool fuse_server_locks_are_idle(const struct fuse_server *server);
int fuse_server_locks_init(struct fuse_server *server);
void fuse_server_locks_deinit(struct fuse_server *server);
// Whether an open file of this inode may hold range locks. Any thread.
bool fuse_server_may_hold_locks(struct fuse_server *server, uint64_t inode);
void fuse_server_note_locks(struct fuse_server *server, struct fuse_handle *handle, bool holds);

// Core, in a coroutine that has not waited since the operation returned what is to be lent
// (operation.h's LOAN_*): how long the kernel may keep it, in seconds; 0: not at all.
double fuse_loan_s(struct fuse_server *server, fuse_ino_t node, unsigned loans);
void fuse_server_recall_init(struct fuse_server *server);
// Starts its threads: 0 or -errno.
int fuse_server_recall_start(struct fuse_server *server);
// Lane thread, at INIT: which protocol the kernel speaks.
void fuse_server_note_kernel(struct fuse_server *server, unsigned protocol_minor);
// Core: between the two answers may be lent.
void fuse_server_begin_lending(struct fuse_server *server);
void fuse_server_end_lending(struct fuse_server *server);
// No recall is waited for.
void fuse_server_recall_deinit(struct fuse_server *server);

// Lane thread: hands a read or write that no lane can serve to the core; `data` is copied.
void fuse_files_forward_read(fuse_req_t fuse, fuse_ino_t node, uint64_t offset, size_t length,
                             const struct fuse_file_info *info, bool is_page);
void fuse_files_forward_write(fuse_req_t fuse, fuse_ino_t node, uint64_t offset, const void *data,
                              size_t length, const struct fuse_file_info *info);

// Each adds its handlers to libfuse's table.
void fuse_server_add_names(struct fuse_lowlevel_ops *operations);
void fuse_server_add_attributes(struct fuse_lowlevel_ops *operations);
void fuse_server_add_directories(struct fuse_lowlevel_ops *operations);
void fuse_server_add_files(struct fuse_lowlevel_ops *operations);
void fuse_server_add_locks(struct fuse_lowlevel_ops *operations);
void fuse_server_add_protection(struct fuse_lowlevel_ops *operations);
void fuse_server_add_lanes(struct fuse_lowlevel_ops *operations);
