// SPDX-License-Identifier: Apache-2.0
// fcntl, OFD and flock locks of the mount. The kernel tells us owners, not kinds: an OFD lock looks
// like a POSIX one, and nothing is sent to drop it at the last close. So what a handle took is
// dropped at its RELEASE, and what an owner took at each FLUSH, as close(2) does for POSIX locks.
//
// A wait can be interrupted (rule 34):
//
//   lane thread (INTERRUPT)              core
//   libfuse calls on_interrupt ──post──► cancel; the lock master answers -EINTR, or 0 if the grant
//                                        was faster
//                                        no answer within a second (a view change is under way):
//                                        the caller gets EINTR now, and a late grant is dropped
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"
#include "fs/volume.h"

static const uint64_t cancel_patience_ns = 1000000000;

// close(2) does not wait for its RELEASE, so who has just closed a file, or waited for somebody who
// did, may ask for a lock before we have dropped what went with it. A refusal is worth that much
// time to be sure.
static const uint64_t release_patience_ns = 2000000;

// A lock request in the hands of the range locks. It outlives the FUSE request if that was
// interrupted and the answer is late.
struct lock_waiter {
    struct range_lock_request request; // first: the waiter is the request
    struct fuse_server *server;
    LIST_ENTRY(lock_waiter) link;
    struct coroutine *coroutine; // while it waits
    fuse_req_t fuse;
    struct environment_post interrupt_post;
    struct environment_timer patience;
    _Atomic bool interrupt_is_posted; // the post is in flight: the waiter must live
    bool is_wanted;                   // its request's coroutine still looks at it
    bool is_question;                 // F_GETLK: an answer holds nothing
    bool is_done, is_cancelled, gave_up;
    int result;
};

struct lock_waiters {
    LIST_HEAD(, lock_waiter) list;
};

// --- which files may hold locks --------------------------------------------------------------

static _Atomic uint32_t *filter_of(struct fuse_server *server, uint64_t inode)
{
    return &server->lock_filter[inode % (sizeof(server->lock_filter) / sizeof(uint32_t))];
}

bool fuse_server_may_hold_locks(struct fuse_server *server, uint64_t inode)
{
    return atomic_load_explicit(filter_of(server, inode), memory_order_acquire) != 0;
}

void fuse_server_note_locks(struct fuse_server *server, struct fuse_handle *handle, bool holds)
{
    if (handle->took_locks == holds)
        return;
    handle->took_locks = holds;
    atomic_fetch_add_explicit(filter_of(server, handle->inode), holds ? 1u : (uint32_t)-1,
                              memory_order_acq_rel);
}

// --- a wait and its end ----------------------------------------------------------------------

static void waiter_free_if_over(struct lock_waiter *waiter)
{
    if (waiter->is_wanted || !waiter->is_done || waiter->interrupt_is_posted)
        return;
    struct fuse_server *server = waiter->server;
    environment_timer_disarm(server->volume->environment, &waiter->patience);
    LIST_REMOVE(waiter, link);
    free(waiter);
    if (LIST_EMPTY(&server->lock_waiters->list))
        wait_queue_wake_all(server->volume->scheduler, &server->idle_waiters);
}

static void wake(struct lock_waiter *waiter)
{
    struct coroutine *coroutine = waiter->coroutine;
    waiter->coroutine = NULL;
    coroutine_wake(waiter->server->volume->scheduler, coroutine);
}

static void on_done(struct range_lock_request *request, int result)
{
    struct lock_waiter *waiter = (struct lock_waiter *)request;
    struct range_locks *locks = waiter->server->config.range_locks;
    waiter->is_done = true;
    if (waiter->gave_up) {
        if (result == 0 && !waiter->is_question)
            locks->operations->unlock(locks, &request->lock);
        waiter_free_if_over(waiter);
        return;
    }
    waiter->result = result;
    if (waiter->coroutine != NULL)
        wake(waiter);
}

static void give_up(struct environment_timer *timer)
{
    struct lock_waiter *waiter =
        (struct lock_waiter *)((char *)timer - offsetof(struct lock_waiter, patience));
    if (waiter->is_done || waiter->coroutine == NULL)
        return;
    waiter->gave_up = true;
    waiter->result = -EINTR;
    wake(waiter);
}

static void arm_patience(struct lock_waiter *waiter)
{
    struct environment *environment = waiter->server->volume->environment;
    environment_timer_arm(environment, &waiter->patience,
                          environment_boot_ns(environment) + cancel_patience_ns);
}

static void cancel(struct lock_waiter *waiter)
{
    struct range_locks *locks = waiter->server->config.range_locks;
    if (waiter->is_done || waiter->is_cancelled)
        return;
    waiter->is_cancelled = true;
    arm_patience(waiter);
    locks->operations->cancel(locks, &waiter->request);
}

static void on_interrupt_core(struct environment_post *post)
{
    struct lock_waiter *waiter =
        (struct lock_waiter *)((char *)post - offsetof(struct lock_waiter, interrupt_post));
    waiter->interrupt_is_posted = false;
    cancel(waiter);
    waiter_free_if_over(waiter);
}

// Lane thread, called by libfuse with the request locked: it must not reply here.
static void on_interrupt(fuse_req_t fuse, void *context)
{
    struct lock_waiter *waiter = context;
    (void)fuse;
    if (!atomic_exchange(&waiter->interrupt_is_posted, true))
        environment_event_post(waiter->server->volume->environment, &waiter->interrupt_post);
}

// Waits for the answer or for patience with a cancelled one to end. Taking the interrupt function
// back waits for one that is running, so after that nothing else can post.
static int wait_for_answer(struct lock_waiter *waiter)
{
    if (!waiter->is_done) {
        waiter->coroutine = coroutine_current(waiter->server->volume->scheduler);
        fuse_req_interrupt_func(waiter->fuse, on_interrupt, waiter);
        coroutine_wait(waiter->server->volume->scheduler);
        fuse_req_interrupt_func(waiter->fuse, NULL, NULL);
    }
    return waiter->result == -ECANCELED ? -EINTR : waiter->result;
}

static struct lock_waiter *waiter_new(struct fuse_request *request)
{
    struct lock_waiter *waiter = memory_new(sizeof(*waiter));
    waiter->request.lock = request->in.lock.lock;
    waiter->request.waits = request->in.lock.waits;
    waiter->request.done = on_done;
    waiter->is_wanted = true;
    waiter->server = request->server;
    waiter->fuse = request->fuse;
    waiter->interrupt_post.function = on_interrupt_core;
    waiter->patience.fire = give_up;
    LIST_INSERT_HEAD(&request->server->lock_waiters->list, waiter, link);
    return waiter;
}

void fuse_server_cancel_locks(struct fuse_server *server)
{
    struct lock_waiter *waiter, *next;
    for (waiter = LIST_FIRST(&server->lock_waiters->list); waiter != NULL; waiter = next) {
        next = LIST_NEXT(waiter, link);
        if (waiter->coroutine != NULL)
            cancel(waiter);
    }
}

static void waiter_forget(struct lock_waiter *waiter)
{
    waiter->is_wanted = false;
    waiter_free_if_over(waiter);
}

// --- life ------------------------------------------------------------------------------------

int fuse_server_locks_init(struct fuse_server *server)
{
    server->lock_waiters = calloc(1, sizeof(*server->lock_waiters));
    return server->lock_waiters != NULL ? 0 : -ENOMEM;
}

void fuse_server_locks_deinit(struct fuse_server *server)
{
    free(server->lock_waiters);
}

bool fuse_server_locks_are_idle(const struct fuse_server *server)
{
    return LIST_EMPTY(&server->lock_waiters->list);
}

// --- run: in a coroutine of the core ---------------------------------------------------------

static int ask_for_lock(struct fuse_request *request)
{
    struct range_locks *locks = request->server->config.range_locks;
    struct lock_waiter *waiter = waiter_new(request);
    locks->operations->lock(locks, &waiter->request);
    int result = wait_for_answer(waiter);
    waiter_forget(waiter);
    return result;
}

// An unlock has no answer of its own. A question to the same master travels behind it, so once that
// is answered no node can be refused any more for what was dropped here: who is told, by whatever
// way, that this process has unlocked finds it so. A master under recovery knows nothing to refuse
// by, and a process that is being killed comes here with every file it had: bounded.
static void wait_until_dropped(struct fuse_request *request)
{
    struct range_locks *locks = request->server->config.range_locks;
    struct lock_waiter *waiter = waiter_new(request);
    waiter->request.waits = false;
    waiter->is_question = true;
    arm_patience(waiter);
    locks->operations->test(locks, &waiter->request);
    wait_for_answer(waiter);
    waiter_forget(waiter);
}

static int run_set_lock(struct fuse_request *request)
{
    struct range_locks *locks = request->server->config.range_locks;
    if (request->in.lock.unlocks) {
        locks->operations->unlock(locks, &request->in.lock.lock);
        wait_until_dropped(request);
        return 0;
    }
    // Before the lock is asked for: a handle that may hold one must be known to FLUSH.
    fuse_server_note_locks(request->server, request->handle, true);
    int result = ask_for_lock(request);
    if (result == -EAGAIN) {
        environment_sleep(request->server->volume->environment, release_patience_ns);
        result = ask_for_lock(request);
    }
    return result;
}

static int run_test_lock(struct fuse_request *request)
{
    struct range_locks *locks = request->server->config.range_locks;
    struct lock_waiter *waiter = waiter_new(request);
    waiter->is_question = true;
    locks->operations->test(locks, &waiter->request);
    int result = wait_for_answer(waiter);
    request->out.conflict = waiter->request.conflict;
    request->in.lock.unlocks = result == 0; // F_GETLK says F_UNLCK for "free"
    waiter_forget(waiter);
    return result == -EAGAIN ? 0 : result;
}

static int reply_test_lock(struct fuse_request *request)
{
    const struct range_lock *conflict = &request->out.conflict;
    struct flock answer = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (!request->in.lock.unlocks) {
        answer.l_type = conflict->is_exclusive ? F_WRLCK : F_RDLCK;
        answer.l_start = (off_t)conflict->start;
        // A range to the end, or to the last offset there is, has length 0.
        answer.l_len =
            conflict->end >= INT64_MAX ? 0 : (off_t)(conflict->end - conflict->start + 1);
        answer.l_pid = conflict->pid;
    }
    return fuse_reply_lock(request->fuse, &answer);
}

static int run_flush(struct fuse_request *request)
{
    struct range_locks *locks = request->server->config.range_locks;
    locks->operations->release_owner(locks, request->in.lock.lock.inode,
                                     request->in.lock.lock.owner, RANGE_LOCK_POSIX);
    request->in.lock.lock.space = RANGE_LOCK_POSIX;
    request->in.lock.lock.end = UINT64_MAX;
    wait_until_dropped(request);
    return 0;
}

static const struct fuse_request_type set_lock_type = {"setlk", run_set_lock, NULL, false, NULL};
static const struct fuse_request_type test_lock_type = {"getlk", run_test_lock, reply_test_lock,
                                                        false, NULL};
static const struct fuse_request_type flush_type = {"flush", run_flush, NULL, true, NULL};

// --- handlers: on a lane's thread ------------------------------------------------------------

static struct fuse_request *new_lock_request(fuse_req_t fuse, const struct fuse_request_type *type,
                                             fuse_ino_t node, const struct fuse_file_info *info)
{
    struct fuse_request *request = fuse_request_new(fuse, type, node, NULL, NULL);
    if (request == NULL)
        return NULL;
    request->handle = fuse_handle_of(info);
    request->in.lock.lock = (struct range_lock){
        .inode = fuse_request_inode(request),
        .owner = info->lock_owner,
        .handle = request->handle->id,
        .end = UINT64_MAX,
        .pid = fuse_req_ctx(fuse)->pid,
    };
    return request;
}

// libfuse gives the range as the kernel does, from the start of the file; length 0 is to the end.
static void lock_from_flock(struct fuse_request *request, const struct flock *flock)
{
    struct range_lock *lock = &request->in.lock.lock;
    lock->space = RANGE_LOCK_POSIX;
    lock->is_exclusive = flock->l_type == F_WRLCK;
    lock->start = (uint64_t)flock->l_start;
    lock->end = flock->l_len == 0 ? UINT64_MAX : lock->start + (uint64_t)flock->l_len - 1;
    request->in.lock.unlocks = flock->l_type == F_UNLCK;
}

static void handle_setlk(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info,
                         struct flock *flock, int waits)
{
    struct fuse_request *request = new_lock_request(fuse, &set_lock_type, node, info);
    if (request == NULL)
        return;
    lock_from_flock(request, flock);
    request->in.lock.waits = waits != 0;
    fuse_request_forward(request);
}

static void handle_getlk(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info,
                         struct flock *flock)
{
    struct fuse_request *request = new_lock_request(fuse, &test_lock_type, node, info);
    if (request == NULL)
        return;
    lock_from_flock(request, flock);
    fuse_request_forward(request);
}

static void handle_flock(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info,
                         int operation)
{
    struct fuse_request *request = new_lock_request(fuse, &set_lock_type, node, info);
    if (request == NULL)
        return;
    request->in.lock.lock.space = RANGE_LOCK_FLOCK;
    request->in.lock.lock.is_exclusive = (operation & LOCK_EX) != 0;
    request->in.lock.unlocks = (operation & LOCK_UN) != 0;
    request->in.lock.waits = (operation & LOCK_NB) == 0;
    fuse_request_forward(request);
}

// Each close(2) comes here; nearly all find that no open file of the inode ever took a lock.
static void handle_flush(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info)
{
    struct fuse_server *server = fuse_server_of(fuse);
    if (!fuse_server_may_hold_locks(server, fuse_node_inode(server, node))) {
        fuse_reply_err(fuse, 0);
        return;
    }
    struct fuse_request *request = new_lock_request(fuse, &flush_type, node, info);
    if (request != NULL)
        fuse_request_forward(request);
}

void fuse_server_add_locks(struct fuse_lowlevel_ops *operations)
{
    operations->setlk = handle_setlk;
    operations->getlk = handle_getlk;
    operations->flock = handle_flock;
    operations->flush = handle_flush;
}
