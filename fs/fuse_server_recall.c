// SPDX-License-Identifier: Apache-2.0
// Loans to the kernel: what an answer lets it keep, and how it is told to drop that
// (docs/caching.md).
//
//   core, before a right goes              recall threads                  kernel
//     recall: on the list, waits ──wakes──► all that is on the list:
//       1 ms: "stuck" (cluster_lock.h)        one INC_EPOCH for all names ──► asks for each anew
//                                             INVAL_INODE a node ───────────► drops attributes,
//                                                                             pages, after it has
//                                                                             written them back
//     goes on ◄──────────post───────────────  handed back
//
// Threads of their own: the kernel may wait until this daemon has answered reads and writes of that
// inode's pages. Lanes and the core go on meanwhile, and the core serves those under the right that
// is being given up (LOCK_FOR_KERNEL_READ, LOCK_FOR_KERNEL_WRITE).
//
// A loan of names or attributes also ends with the lease under which it was made: what this node
// keeps and can no longer be told to drop (its worker is dead, stopped, cut off) is gone before
// others may take over.
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/base/environment_event.h"
#include "fs/base/error.h"
#include "fs/cluster_lock.h"
#include "fs/gate.h"
#include "fs/volume.h"

enum {
    MINOR_WITH_EPOCHS = 44, // of the protocol: Linux 6.16
    NOTIFY_INC_EPOCH = 8,   // newer than libfuse 3.14
};

static const double loan_s_max = 3600;

// How long the kernel may take before it is taken to wait for reads that came since.
static const uint64_t stuck_ns = 1000000;

struct fuse_recall {
    struct environment_timer timer; // first
    struct fuse_recall *next;
    struct loan_recall what;
    bool is_done;
    bool is_nobodys; // nobody waits for it: to be freed
};

// --- lending: core ---------------------------------------------------------------------------

// Until the lease ends, in seconds; 0 if it has.
static double lease_s(struct fuse_server *server)
{
    struct volume *volume = server->volume;
    uint64_t now_ns = environment_boot_ns(volume->environment);
    uint64_t until_ns = atomic_load(&volume->gate->lease_until_ns);
    double seconds = until_ns > now_ns ? (double)(until_ns - now_ns) / 1e9 : 0;
    return seconds < loan_s_max ? seconds : loan_s_max;
}

double fuse_loan_s(struct fuse_server *server, fuse_ino_t node, unsigned loans)
{
    struct volume *volume = server->volume;
    double seconds = server->is_lending ? lease_s(server) : 0;
    if (seconds == 0 || !operation_lend(volume, fuse_node_inode(server, node), node, loans))
        return 0;
    atomic_fetch_add_explicit(&server->loan_count, 1, memory_order_relaxed);
    return seconds;
}

// --- the recall threads ----------------------------------------------------------------------

// That nothing of it is known in the kernel, or that the mount is gone, is as good as done.
static void tell_inode(struct fuse_server *server, const struct loan_recall *what)
{
    bool has_pages = (what->loans & LOAN_PAGES) != 0;
    fuse_lowlevel_notify_inval_inode(server->session, what->node,
                                     has_pages ? (off_t)what->offset : -1,
                                     has_pages ? (off_t)what->length : 0);
}

static void tell_names(struct fuse_server *server)
{
    struct fuse_out_header header = {.len = sizeof(header), .error = NOTIFY_INC_EPOCH};
    ssize_t written = write(fuse_session_fd(server->session), &header, sizeof(header));
    if (written < 0 && errno != ENODEV && errno != ENOTCONN &&
        !fuse_session_exited(server->session))
        log_error(server->volume->log, 0, "the kernel keeps names: %s", error_text(-errno));
    atomic_fetch_add_explicit(&server->epoch_count, 1, memory_order_relaxed);
}

static void hand_back(struct fuse_server *server, struct fuse_recall *recall)
{
    struct fuse_recall *first = atomic_load_explicit(&server->recalled, memory_order_relaxed);
    do {
        recall->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&server->recalled, &first, recall,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (first == NULL)
        environment_event_post(server->volume->environment, &server->recalled_post);
}

static void tell_all(struct fuse_server *server, struct fuse_recall *recall)
{
    unsigned loans = 0;
    for (const struct fuse_recall *each = recall; each != NULL; each = each->next)
        loans |= each->what.loans;
    if ((loans & LOAN_NAMES) != 0)
        tell_names(server);
    while (recall != NULL) {
        struct fuse_recall *next = recall->next; // it is the core's once it is handed back
        if ((recall->what.loans & (LOAN_ATTRIBUTES | LOAN_PAGES)) != 0)
            tell_inode(server, &recall->what);
        hand_back(server, recall);
        recall = next;
    }
}

static void *recall_body(void *argument)
{
    struct fuse_server *server = argument;
    pthread_setname_np(pthread_self(), "lunfs-recall");
    while (!atomic_load(&server->recall_stops)) {
        if (sem_wait(&server->recall_wakeups) == 0)
            tell_all(server,
                     atomic_exchange_explicit(&server->recalls, NULL, memory_order_acq_rel));
    }
    return NULL;
}

// --- recalling: core -------------------------------------------------------------------------

static void on_stuck(struct environment_timer *timer)
{
    cluster_lock_recall_is_stuck(((struct fuse_recall *)timer)->what.lock);
}

static void enlist(struct fuse_server *server, struct fuse_recall *recall)
{
    server->recalls_waiting++;
    atomic_fetch_add_explicit(&server->recall_count, 1, memory_order_relaxed);
    struct fuse_recall *first = atomic_load_explicit(&server->recalls, memory_order_relaxed);
    do {
        recall->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&server->recalls, &first, recall,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (first == NULL)
        sem_post(&server->recall_wakeups);
}

static void strike_off(struct fuse_server *server)
{
    if (--server->recalls_waiting == 0)
        wait_queue_wake_all(server->volume->scheduler, &server->idle_waiters);
}

static void recall(struct borrower *borrower, const struct loan_recall *what)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)borrower - offsetof(struct fuse_server, borrower));
    struct environment *environment = server->volume->environment;
    struct fuse_recall mine = {.timer.fire = on_stuck, .what = *what};
    enlist(server, &mine);
    environment_timer_arm(environment, &mine.timer, environment_boot_ns(environment) + stuck_ns);
    while (!mine.is_done)
        wait_queue_wait(server->volume->scheduler, &server->recall_waiters);
    environment_timer_disarm(environment, &mine.timer);
    strike_off(server);
}

static void on_recalled(struct environment_post *post)
{
    struct fuse_server *server =
        (struct fuse_server *)((char *)post - offsetof(struct fuse_server, recalled_post));
    struct fuse_recall *each =
        atomic_exchange_explicit(&server->recalled, NULL, memory_order_acq_rel);
    while (each != NULL) {
        struct fuse_recall *next = each->next;
        each->is_done = true;
        if (each->is_nobodys) {
            free(each);
            strike_off(server);
        }
        each = next;
    }
    wait_queue_wake_all(server->volume->scheduler, &server->recall_waiters);
}

// What is dirty comes back and is refused: the gate has ended.
void fuse_server_drop_pages(struct fuse_server *server)
{
    const struct fuse_handle *handle;
    if (!server->keeps_pages)
        return;
    LIST_FOREACH (handle, &server->handles, link) {
        struct fuse_recall *recall = calloc(1, sizeof(*recall));
        if (recall == NULL)
            return;
        recall->is_nobodys = true;
        recall->what = (struct loan_recall){.node = handle->node, .loans = LOAN_PAGES};
        enlist(server, recall);
    }
}

// --- life ------------------------------------------------------------------------------------

void fuse_server_recall_init(struct fuse_server *server)
{
    server->borrower.recall = recall;
    server->recalled_post.function = on_recalled;
    wait_queue_init(&server->recall_waiters);
    sem_init(&server->recall_wakeups, 0, 0);
}

// Pages are lent from the first one on: what was read before nobody could call in.
int fuse_server_recall_start(struct fuse_server *server)
{
    struct volume *volume = server->volume;
    if (!volume->options.keep_pages && !volume->options.keep_names)
        return 0;
    while (server->recall_thread_count < FUSE_RECALL_THREADS) {
        int error = pthread_create(&server->recall_threads[server->recall_thread_count], NULL,
                                   recall_body, server);
        if (error != 0)
            return -error;
        server->recall_thread_count++;
    }
    server->keeps_pages = volume->options.keep_pages;
    volume->borrower = &server->borrower;
    return 0;
}

void fuse_server_note_kernel(struct fuse_server *server, unsigned protocol_minor)
{
    server->can_epochs = protocol_minor >= MINOR_WITH_EPOCHS;
}

void fuse_server_begin_lending(struct fuse_server *server)
{
    struct volume *volume = server->volume;
    server->is_lending = volume->options.keep_names && server->can_epochs;
    if (volume->options.keep_names && !server->can_epochs)
        log_warning(volume->log, "keep-names needs Linux 6.16: the kernel keeps no names");
}

void fuse_server_end_lending(struct fuse_server *server)
{
    server->is_lending = false;
    server->volume->borrower = NULL;
}

void fuse_server_recall_deinit(struct fuse_server *server)
{
    server->volume->borrower = NULL;
    atomic_store(&server->recall_stops, true);
    for (unsigned i = 0; i < server->recall_thread_count; i++)
        sem_post(&server->recall_wakeups);
    for (unsigned i = 0; i < server->recall_thread_count; i++)
        pthread_join(server->recall_threads[i], NULL);
    sem_destroy(&server->recall_wakeups);
}
