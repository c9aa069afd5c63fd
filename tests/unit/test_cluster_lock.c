// SPDX-License-Identifier: Apache-2.0
// The lock table of three nodes over real lock cores, in one process: frames travel in a random
// order between peers. The journal and the cache are recorders here: what must happen before a
// right goes is checked call by call.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/random.h"
#include "fs/cache.h"
#include "fs/cluster_lock.h"
#include "fs/dlm_service.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/volume.h"

enum { NODES = 3, FRAMES_MAX = 4096, LOCKS = 4 };

struct frame {
    struct frame *next;
    struct dlm_node from;
    size_t length;
    uint8_t bytes[];
};

struct link {
    struct frame *first;
    struct frame **last;
};

struct world;

struct node {
    struct volume volume;
    struct world *world;
    struct dlm_service *service;
    int index;
};

struct world {
    struct scheduler *scheduler;
    struct random random;
    struct node nodes[NODES];
    struct link links[NODES][NODES];
    int holders_shared[LOCKS];
    int holders_exclusive[LOCKS];
    uint64_t holds;
    char steps[4096]; // what the recorders saw, one letter a call
};

// --- recorders: what cluster_lock.c needs of journal, cache and volume ---------------------------

static void record(struct volume *volume, char what)
{
    struct world *world = ((struct node *)volume)->world;
    size_t length = strlen(world->steps);
    if (length + 1 < sizeof(world->steps))
        world->steps[length] = what;
}

int journal_lock_write_back(struct journal *journal, const struct lock_name *names, size_t count)
{
    (void)names, (void)count;
    struct node *node = (struct node *)(void *)journal;
    record(&node->volume, 'w');
    coroutine_pause(node->volume.scheduler); // I/O takes its time
    return 0;
}

int journal_lock_retire(struct journal *journal, const struct lock_name *names, size_t count)
{
    (void)names, (void)count;
    struct node *node = (struct node *)(void *)journal;
    record(&node->volume, 'r');
    coroutine_pause(node->volume.scheduler);
    return 0;
}

void cache_drop_lock(struct cache *cache, struct lock_name lock)
{
    (void)lock;
    struct node *node = (struct node *)(void *)cache;
    record(&node->volume, 'd');
}

void volume_fail(struct volume *volume, int error, const char *where)
{
    (void)volume, (void)error;
    fail_msg("the volume failed: %s", where);
}

static void quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep)
{
    (void)lock;
    record(volume, keep != RIGHT_NONE ? 'k' : 'q');
}

static void forget(struct volume *volume, struct cluster_lock *lock)
{
    (void)lock;
    record(volume, 'f');
}

const struct lock_type *lock_type_of(uint32_t id)
{
    static const struct lock_type inode = {"inode", 40, true, false, quiesce, NULL, forget};
    static const struct lock_type owner = {"owner", 30, false, true, NULL, NULL, NULL};
    static const struct lock_type open = {"open", 35, true, true, NULL, NULL, NULL};
    return id == LOCK_OWNER ? &owner : id == LOCK_OPEN ? &open : &inode;
}

// --- the world -------------------------------------------------------------------------------

static void send_frame(void *context, struct dlm_node to, const uint8_t *bytes, size_t length)
{
    struct node *node = context;
    struct link *link = &node->world->links[node->index][to.node_id - 1];
    struct frame *frame = malloc(sizeof(*frame) + length);
    assert_non_null(frame);
    *frame = (struct frame){.from = {.node_id = (uint32_t)node->index + 1, .incarnation = 1},
                            .length = length};
    memcpy(frame->bytes, bytes, length);
    *link->last = frame;
    link->last = &frame->next;
}

static bool deliver_one(struct world *world)
{
    uint64_t start = random_below(&world->random, NODES * NODES);
    for (uint64_t i = 0; i < NODES * NODES; i++) {
        uint64_t at = (start + i) % (NODES * NODES);
        struct link *link = &world->links[at / NODES][at % NODES];
        struct frame *frame = link->first;
        if (frame == NULL)
            continue;
        link->first = frame->next;
        if (link->first == NULL)
            link->last = &link->first;
        dlm_service_frame(world->nodes[at % NODES].service, frame->from, frame->bytes,
                          frame->length);
        free(frame);
        return true;
    }
    return false;
}

// Until nothing moves any more.
static void settle_world(struct world *world)
{
    do {
        scheduler_run(world->scheduler);
    } while (deliver_one(world));
}

static void install_view(struct world *world)
{
    struct dlm_view view = {.epoch = 1, .member_count = NODES};
    for (uint32_t i = 0; i < NODES; i++)
        view.members[i] = (struct dlm_node){.node_id = i + 1, .incarnation = 1};
    for (int i = 0; i < NODES; i++)
        dlm_service_view(world->nodes[i].service, &view);
}

static struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->scheduler = scheduler_new();
    random_init(&world->random, seed);
    for (int i = 0; i < NODES * NODES; i++)
        world->links[i / NODES][i % NODES].last = &world->links[i / NODES][i % NODES].first;
    for (int i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->world = world;
        node->index = i;
        node->volume.scheduler = world->scheduler;
        node->volume.journal = (struct journal *)(void *)node; // the recorders take it back
        node->volume.cache = (struct cache *)(void *)node;
        node->service = dlm_service_new(&(struct dlm_service_config){
            .self = {.node_id = (uint32_t)i + 1, .incarnation = 1},
            .clock = &node->volume.clock,
            .send = send_frame,
            .context = node,
        });
        node->volume.locks = lock_table_new(&node->volume, dlm_service_locks(node->service));
    }
    install_view(world);
    settle_world(world);
    return world;
}

static void world_free(struct world *world)
{
    for (int i = 0; i < NODES; i++) {
        lock_table_free(world->nodes[i].volume.locks);
        dlm_service_free(world->nodes[i].service);
    }
    scheduler_free(world->scheduler);
    free(world);
}

// --- coroutines that lock --------------------------------------------------------------------

struct job {
    struct node *node;
    struct coroutine *coroutine;
    struct lock_name name;
    enum lock_mode mode;
    unsigned flags;
    int result;
    bool keeps; // does not release
    bool is_done;
    struct cluster_lock *lock;
};

static void run_job(void *argument)
{
    struct job *job = argument;
    job->lock = cluster_lock_get(job->node->volume.locks, job->name);
    job->result = cluster_lock_acquire(job->lock, job->mode, job->flags);
    job->is_done = true;
    if (job->result == 0 && !job->keeps)
        cluster_lock_release(job->lock, job->mode);
    if (job->result != 0 || !job->keeps)
        cluster_lock_put(job->lock);
}

static void start_job(struct job *job)
{
    job->coroutine = coroutine_start(job->node->volume.scheduler, "job", run_job, job);
}

static void finish_job(struct job *job)
{
    cluster_lock_release(job->lock, job->mode);
    cluster_lock_put(job->lock);
}

static struct job job_on(struct world *world, int node, uint64_t id, enum lock_mode mode)
{
    return (struct job){
        .node = &world->nodes[node], .name = lock_name_inode(id), .mode = mode, .keeps = true};
}

// --- tests -----------------------------------------------------------------------------------

static void test_exclusive_goes_in_order(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct job a = job_on(world, 0, 5, LOCK_EXCLUSIVE), b = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    start_job(&a);
    settle_world(world);
    assert_true(a.is_done);
    start_job(&b);
    settle_world(world);
    assert_false(b.is_done); // a holds it
    finish_job(&a);
    settle_world(world);
    assert_true(b.is_done);
    assert_string_equal(world->steps, "qwrdf");
    finish_job(&b);
    settle_world(world);
    world_free(world);
}

static void test_reader_leaves_shared_right(void **state)
{
    (void)state;
    struct world *world = world_new(2);
    struct job a = job_on(world, 0, 5, LOCK_EXCLUSIVE), b = job_on(world, 1, 5, LOCK_SHARED);
    start_job(&a);
    settle_world(world);
    finish_job(&a);
    start_job(&b);
    settle_world(world);
    assert_true(b.is_done);
    assert_string_equal(world->steps, "kw"); // no retire on the way to SHARED (rule 6)
    a = job_on(world, 0, 5, LOCK_SHARED);
    start_job(&a);
    scheduler_run(world->scheduler);
    assert_true(a.is_done); // without a message
    finish_job(&a);
    finish_job(&b);
    settle_world(world);
    world_free(world);
}

static void test_retire_hangs_on_the_last_step(void **state)
{
    (void)state;
    struct world *world = world_new(3);
    struct job a = job_on(world, 0, 5, LOCK_EXCLUSIVE), b = job_on(world, 1, 5, LOCK_SHARED);
    start_job(&a);
    settle_world(world);
    finish_job(&a);
    start_job(&b);
    settle_world(world);
    finish_job(&b);
    struct job c = job_on(world, 2, 5, LOCK_EXCLUSIVE);
    start_job(&c);
    settle_world(world);
    assert_true(c.is_done);
    // EX to PR: write back. PR to nothing, clean: still the retire; b, too, asks its journal.
    assert_int_equal(strncmp(world->steps, "kw", 2), 0);
    int retires = 0;
    for (const char *p = world->steps; *p != '\0'; p++)
        retires += *p == 'r';
    assert_int_equal(retires, 2);
    finish_job(&c);
    settle_world(world);
    world_free(world);
}

static void test_two_upgraders_both_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct world *world = world_new(seed);
        struct job readers[NODES], writers[NODES];
        for (int i = 0; i < NODES; i++) {
            readers[i] = job_on(world, i, 5, LOCK_SHARED);
            start_job(&readers[i]);
        }
        settle_world(world);
        for (int i = 0; i < NODES; i++) {
            assert_true(readers[i].is_done);
            finish_job(&readers[i]);
            writers[i] = job_on(world, i, 5, LOCK_EXCLUSIVE);
            writers[i].keeps = false;
            start_job(&writers[i]);
        }
        settle_world(world);
        for (int i = 0; i < NODES; i++)
            assert_true(writers[i].is_done && writers[i].result == 0);
        world_free(world);
    }
}

static void test_try_does_not_wait(void **state)
{
    (void)state;
    struct world *world = world_new(4);
    struct job a = job_on(world, 0, 5, LOCK_EXCLUSIVE), b = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    struct job c = job_on(world, 0, 5, LOCK_SHARED);
    start_job(&a);
    settle_world(world);
    b.flags = c.flags = LOCK_TRY;
    start_job(&b);
    start_job(&c);
    settle_world(world);
    assert_true(b.is_done && c.is_done);
    assert_int_equal(b.result, -EAGAIN);
    assert_int_equal(c.result, -EAGAIN);
    finish_job(&a);
    settle_world(world);
    world_free(world);
}

// Only who said so is interrupted; the others' turns come as if it had not been there.
static void test_wait_is_interrupted(void **state)
{
    (void)state;
    struct world *world = world_new(6);
    struct lock_table *table = world->nodes[1].volume.locks;
    struct job a = job_on(world, 0, 5, LOCK_EXCLUSIVE), b = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    struct job c = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    start_job(&a);
    settle_world(world);
    b.flags = LOCK_INTERRUPTIBLE;
    start_job(&b);
    start_job(&c);
    settle_world(world);
    assert_false(lock_table_interrupt(table, c.coroutine, -EINTR));
    assert_true(lock_table_interrupt(table, b.coroutine, -EINTR));
    assert_false(lock_table_interrupt(table, b.coroutine, -EINTR));
    settle_world(world);
    assert_true(b.is_done && b.result == -EINTR);
    assert_false(c.is_done);
    finish_job(&a);
    settle_world(world);
    assert_true(c.is_done && c.result == 0);
    finish_job(&c);
    settle_world(world);
    world_free(world);
}

static void test_owner_does_not_yield(void **state)
{
    (void)state;
    struct world *world = world_new(5);
    struct job a = job_on(world, 0, 5, LOCK_EXCLUSIVE), b = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    a.name.type = b.name.type = LOCK_OWNER;
    start_job(&a);
    settle_world(world);
    finish_job(&a); // held by nobody here, cached all the same
    start_job(&b);
    settle_world(world);
    assert_false(b.is_done);
    lock_table_fail(world->nodes[1].volume.locks, -EIO);
    settle_world(world);
    assert_true(b.is_done && b.result == -EIO);
    world_free(world);
}

// A file is open here under an exclusive right that an earlier inode of that number left behind;
// another node opens it too, while it stays open here.
static void test_open_file_goes_down_under_its_holder(void **state)
{
    (void)state;
    struct world *world = world_new(9);
    struct job freed = job_on(world, 0, 5, LOCK_EXCLUSIVE);
    freed.name.type = LOCK_OPEN;
    freed.keeps = false;
    start_job(&freed);
    settle_world(world);
    struct job opens[2] = {job_on(world, 0, 5, LOCK_SHARED), job_on(world, 1, 5, LOCK_SHARED)};
    for (int i = 0; i < 2; i++) {
        opens[i].name.type = LOCK_OPEN;
        start_job(&opens[i]);
        settle_world(world);
        assert_true(opens[i].is_done && opens[i].result == 0);
    }
    for (int i = 0; i < 2; i++)
        finish_job(&opens[i]);
    settle_world(world);
    world_free(world);
}

// Node 1 wants to free the inode that node 0 has open with the exclusive right, and gives it up.
// What it asked for has no end before the file is closed, and must not keep others from opening it.
static void test_open_file_survives_who_gave_up(void **state)
{
    (void)state;
    struct world *world = world_new(10);
    struct job freed = job_on(world, 0, 5, LOCK_EXCLUSIVE);
    freed.name.type = LOCK_OPEN;
    freed.keeps = false;
    start_job(&freed);
    settle_world(world);
    struct job opens[3] = {job_on(world, 0, 5, LOCK_SHARED), job_on(world, 0, 5, LOCK_SHARED),
                           job_on(world, 2, 5, LOCK_SHARED)};
    for (int i = 0; i < 3; i++)
        opens[i].name.type = LOCK_OPEN;
    start_job(&opens[0]);
    settle_world(world);
    struct job frees = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    frees.name.type = LOCK_OPEN;
    frees.flags = LOCK_INTERRUPTIBLE;
    start_job(&frees);
    settle_world(world);
    assert_false(frees.is_done);
    assert_true(lock_table_interrupt(frees.node->volume.locks, frees.coroutine, -EINTR));
    settle_world(world);
    assert_true(frees.is_done && frees.result == -EINTR);
    for (int i = 1; i < 3; i++) {
        start_job(&opens[i]);
        settle_world(world);
        assert_true(opens[i].is_done && opens[i].result == 0);
    }
    for (int i = 0; i < 3; i++)
        finish_job(&opens[i]);
    settle_world(world);
    world_free(world);
}

// Random holders on random locks: never two that conflict, everybody served.
struct wanderer {
    struct node *node;
    struct random random;
    int rounds;
};

static void check_holders(const struct world *world, uint64_t id)
{
    int shared = world->holders_shared[id], exclusive = world->holders_exclusive[id];
    assert_true(exclusive == 0 || (exclusive == 1 && shared == 0));
}

static void wander(void *argument)
{
    struct wanderer *wanderer = argument;
    struct world *world = wanderer->node->world;
    for (; wanderer->rounds > 0; wanderer->rounds--) {
        uint64_t id = random_below(&wanderer->random, LOCKS);
        enum lock_mode mode = random_one_in(&wanderer->random, 3) ? LOCK_EXCLUSIVE : LOCK_SHARED;
        int *count =
            mode == LOCK_SHARED ? &world->holders_shared[id] : &world->holders_exclusive[id];
        LOCK_SET(set);
        lock_set_add(&set, lock_name_inode(id), mode);
        assert_int_equal(lock_set_acquire(&set, &wanderer->node->volume), 0);
        ++*count;
        world->holds++;
        check_holders(world, id);
        for (uint64_t i = random_below(&wanderer->random, 4); i > 0; i--)
            coroutine_pause(world->scheduler);
        check_holders(world, id);
        --*count;
        lock_set_release(&set);
    }
}

static void test_random_holders(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world *world = world_new(seed);
        struct wanderer wanderers[NODES * 3];
        for (int i = 0; i < NODES * 3; i++) {
            wanderers[i] = (struct wanderer){.node = &world->nodes[i % NODES], .rounds = 100};
            random_init(&wanderers[i].random, seed * 100 + (uint64_t)i);
            coroutine_start(world->scheduler, "wanderer", wander, &wanderers[i]);
        }
        settle_world(world);
        for (int i = 0; i < NODES * 3; i++) {
            if (wanderers[i].rounds != 0)
                fail_msg("seed %llu: a waiter was never served", (unsigned long long)seed);
        }
        assert_int_equal(world->holds, NODES * 3 * 100);
        world_free(world);
    }
}

static void release_all(void *argument)
{
    struct node *node = argument;
    assert_int_equal(lock_table_release_all(node->volume.locks), 0);
}

static void test_release_all_leaves_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(6);
    struct job jobs[200];
    for (int i = 0; i < 200; i++) {
        jobs[i] = job_on(world, 0, (uint64_t)i, i % 2 ? LOCK_SHARED : LOCK_EXCLUSIVE);
        jobs[i].keeps = false;
        start_job(&jobs[i]);
    }
    settle_world(world);
    assert_int_equal(dlm_core_status_get(dlm_service_core(world->nodes[0].service)).lock_count,
                     200);
    coroutine_start(world->scheduler, "release", release_all, &world->nodes[0]);
    settle_world(world);
    assert_int_equal(dlm_core_status_get(dlm_service_core(world->nodes[0].service)).lock_count, 0);
    world_free(world);
}

static void test_prefetch_asks_ahead(void **state)
{
    (void)state;
    struct world *world = world_new(7);
    struct lock_name names[64];
    for (uint64_t i = 0; i < 64; i++)
        names[i] = lock_name_inode(1000 + i);
    cluster_lock_prefetch(world->nodes[1].volume.locks, names, 64, LOCK_EXCLUSIVE, LOCK_TRY);
    settle_world(world);
    struct job job = job_on(world, 1, 1010, LOCK_EXCLUSIVE);
    start_job(&job);
    scheduler_run(world->scheduler);
    assert_true(job.is_done); // it came without waiting
    finish_job(&job);
    settle_world(world);
    world_free(world);
}

// A denial that comes at once, from this node as the master, leaves nothing behind.
static void test_prefetch_denied_at_once(void **state)
{
    (void)state;
    struct world *world = world_new(8);
    struct lock_name names[64];
    struct job jobs[64];
    for (uint64_t i = 0; i < 64; i++) {
        names[i] = lock_name_inode(i);
        jobs[i] = job_on(world, 0, i, LOCK_EXCLUSIVE);
        start_job(&jobs[i]);
    }
    settle_world(world);
    cluster_lock_prefetch(world->nodes[1].volume.locks, names, 64, LOCK_EXCLUSIVE, LOCK_TRY);
    settle_world(world);
    assert_int_equal(dlm_core_status_get(dlm_service_core(world->nodes[1].service)).lock_count, 0);
    for (int i = 0; i < 64; i++)
        finish_job(&jobs[i]);
    settle_world(world);
    world_free(world);
}

// Callbacks that come together cost one write-back and one retire, and each lock still goes after
// both.
static void test_callbacks_share_a_round(void **state)
{
    (void)state;
    enum { MANY = 20 };
    struct world *world = world_new(10);
    struct lock_name names[MANY];
    struct job jobs[MANY];
    for (uint64_t i = 0; i < MANY; i++) {
        names[i] = lock_name_inode(i);
        jobs[i] = job_on(world, 0, i, LOCK_EXCLUSIVE);
        jobs[i].keeps = false;
        start_job(&jobs[i]);
    }
    settle_world(world);
    struct job holder = job_on(world, 0, 0, LOCK_EXCLUSIVE);
    start_job(&holder);
    settle_world(world);
    // All callbacks lie there before the scheduler turns.
    cluster_lock_prefetch(world->nodes[1].volume.locks, names, MANY, LOCK_EXCLUSIVE, 0);
    while (deliver_one(world))
        ;
    settle_world(world);
    for (uint64_t i = 1; i < MANY; i++) {
        struct cluster_lock *lock = cluster_lock_get(world->nodes[1].volume.locks, names[i]);
        assert_true(cluster_lock_is_cached(lock, LOCK_EXCLUSIVE));
        cluster_lock_put(lock);
    }
    unsigned writes = 0, retires = 0, gone_before_retire = 0;
    for (const char *p = world->steps; *p != '\0'; p++) {
        writes += *p == 'w';
        retires += *p == 'r';
        gone_before_retire += *p == 'f' && retires == 0;
    }
    assert_int_equal(writes, 1);
    assert_int_equal(retires, 1);
    assert_int_equal(gone_before_retire, 0);
    finish_job(&holder); // goes in a round of its own
    settle_world(world);
    world_free(world);
}

// --- loans -----------------------------------------------------------------------------------

static struct world *recalled_world;
static struct wait_queue recalls;
static bool recall_waits;
static struct loan_recall recalled;

static void recall(struct borrower *borrower, const struct loan_recall *what)
{
    (void)borrower;
    struct world *world = recalled_world;
    record(&world->nodes[0].volume, 'l');
    assert_int_equal(what->node, 500);
    recalled = *what;
    if (recall_waits)
        wait_queue_wait(world->scheduler, &recalls);
}

static struct borrower borrower = {recall};

static struct world *world_with_loan(uint64_t seed)
{
    struct world *world = recalled_world = world_new(seed);
    struct lock_table *table = world->nodes[0].volume.locks;
    struct job a = job_on(world, 0, 5, LOCK_SHARED);
    world->nodes[0].volume.borrower = &borrower;
    wait_queue_init(&recalls);
    assert_false(cluster_lock_lend(table, a.name, 500, 1)); // no right yet
    start_job(&a);
    settle_world(world);
    assert_true(cluster_lock_lend(table, a.name, 500, 1));
    finish_job(&a);
    assert_true(cluster_lock_lend(table, a.name, 500, 2)); // idle, and still ours
    return world;
}

static void test_loan_is_called_in_first(void **state)
{
    (void)state;
    struct world *world = world_with_loan(21);
    struct job b = job_on(world, 1, 5, LOCK_SHARED), c = job_on(world, 1, 5, LOCK_EXCLUSIVE);
    recall_waits = false;
    start_job(&b);
    settle_world(world);
    assert_string_equal(world->steps, ""); // both may read, and keep what they read
    finish_job(&b);
    start_job(&c);
    settle_world(world);
    assert_true(c.is_done);
    assert_string_equal(world->steps, "lqrdf");
    assert_int_equal(recalled.loans, LOAN_ATTRIBUTES | LOAN_NAMES);
    finish_job(&c);
    settle_world(world);
    world_free(world);
}

// The kernel drops nothing before its read is answered; nobody else is let in. If the read came
// after the kernel was told, it is told again: what was read may still be there.
static void test_kernel_read_is_let_in(void **state)
{
    (void)state;
    struct world *world = world_with_loan(22);
    struct job b = job_on(world, 1, 5, LOCK_EXCLUSIVE), read = job_on(world, 0, 5, LOCK_SHARED);
    struct job other = job_on(world, 0, 5, LOCK_SHARED);
    recall_waits = true;
    start_job(&b);
    settle_world(world);
    assert_string_equal(world->steps, "l");
    assert_false(cluster_lock_lend(world->nodes[0].volume.locks, b.name, 500, 1)); // it goes
    other.keeps = false;
    start_job(&other);
    read.flags = LOCK_FOR_KERNEL_READ;
    start_job(&read);
    settle_world(world);
    assert_false(read.is_done);
    cluster_lock_recall_is_stuck(recalled.lock);
    settle_world(world);
    assert_true(read.is_done && read.result == 0);
    assert_false(other.is_done);
    wait_queue_wake_all(world->scheduler, &recalls);
    settle_world(world);
    assert_string_equal(world->steps, "ll");
    assert_int_equal(recalled.loans, LOAN_ATTRIBUTES | LOAN_NAMES | LOAN_PAGES);
    wait_queue_wake_all(world->scheduler, &recalls);
    settle_world(world);
    assert_string_equal(world->steps, "ll"); // not while it reads
    assert_false(b.is_done);
    finish_job(&read);
    settle_world(world);
    assert_true(b.is_done);
    finish_job(&b);
    settle_world(world);
    assert_true(other.is_done);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exclusive_goes_in_order),
        cmocka_unit_test(test_reader_leaves_shared_right),
        cmocka_unit_test(test_retire_hangs_on_the_last_step),
        cmocka_unit_test(test_two_upgraders_both_end),
        cmocka_unit_test(test_try_does_not_wait),
        cmocka_unit_test(test_wait_is_interrupted),
        cmocka_unit_test(test_owner_does_not_yield),
        cmocka_unit_test(test_open_file_goes_down_under_its_holder),
        cmocka_unit_test(test_open_file_survives_who_gave_up),
        cmocka_unit_test(test_random_holders),
        cmocka_unit_test(test_release_all_leaves_nothing),
        cmocka_unit_test(test_prefetch_asks_ahead),
        cmocka_unit_test(test_prefetch_denied_at_once),
        cmocka_unit_test(test_callbacks_share_a_round),
        cmocka_unit_test(test_loan_is_called_in_first),
        cmocka_unit_test(test_kernel_read_is_let_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
