// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/loan_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/cache.h"
#include "fs/lock_types.h"
#include "journal/journal.h"

void loan_fail(struct world *world, const char *format, ...)
{
    va_list arguments;
    if (world->result->is_failed)
        return;
    world->result->is_failed = true;
    va_start(arguments, format);
    vsnprintf(world->result->failure, sizeof(world->result->failure), format, arguments);
    va_end(arguments);
}

// Something else may happen here, now or much later.
void loan_delay(struct world *world)
{
    if (random_below(&world->random, 3) == 0)
        return;
    CHECK(world->sleeper_count < SLEEPERS_MAX);
    world->sleepers[world->sleeper_count++] = coroutine_current(world->scheduler);
    coroutine_wait(world->scheduler);
}

// --- what the lock table needs of journal, cache and volume ----------------------------------

int journal_lock_write_back(struct journal *journal, const struct lock_name *names, size_t count)
{
    (void)names, (void)count;
    loan_delay((struct world *)(void *)journal);
    return 0;
}

int journal_lock_retire(struct journal *journal, const struct lock_name *names, size_t count)
{
    (void)names, (void)count;
    loan_delay((struct world *)(void *)journal);
    return 0;
}

void cache_drop_lock(struct cache *cache, struct lock_name lock)
{
    (void)cache, (void)lock;
}

void volume_fail(struct volume *volume, int error, const char *where)
{
    (void)volume, (void)error, (void)where;
    CHECK(false);
}

const struct lock_type *lock_type_of(uint32_t id)
{
    static const struct lock_type inode = {
        "inode", 40, true, false, loan_pages_quiesce, loan_pages_stop_filling, NULL};
    (void)id;
    return &inode;
}

// --- links -----------------------------------------------------------------------------------

static void send_frame(void *context, struct dlm_node to, const uint8_t *bytes, size_t length)
{
    struct node *node = context;
    struct link *link = &node->world->links[node->index][to.node_id - 1];
    struct frame *frame = malloc(sizeof(*frame) + length);
    CHECK(frame != NULL);
    *frame = (struct frame){.from = {(uint32_t)node->index + 1, 1}, .length = length};
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

static bool wake_one(struct world *world)
{
    if (world->sleeper_count == 0)
        return false;
    uint64_t at = random_below(&world->random, world->sleeper_count);
    struct coroutine *sleeper = world->sleepers[at];
    world->sleepers[at] = world->sleepers[--world->sleeper_count];
    coroutine_wake(world->scheduler, sleeper);
    return true;
}

static bool step(struct world *world)
{
    if (random_below(&world->random, 2) == 0)
        return deliver_one(world) || wake_one(world);
    return wake_one(world) || deliver_one(world);
}

// --- the kernel ------------------------------------------------------------------------------

static void drop_attributes(struct node *node, unsigned inode)
{
    node->kept[inode].has_attributes = false;
    node->kept[inode].version = ++node->version;
}

static void recall(struct borrower *borrower, const struct loan_recall *what)
{
    struct node *node = (struct node *)((char *)borrower - offsetof(struct node, borrower));
    unsigned inode = (unsigned)what->node;
    node->world->result->recalls++;
    loan_delay(node->world);
    if ((what->loans & LOAN_NAMES) != 0)
        node->epoch++;
    if ((what->loans & LOAN_PAGES) != 0)
        loan_pages_drop(node, what);
    if ((what->loans & LOAN_ATTRIBUTES) == 0)
        return;
    node->world->result->recalls_behind_reads += node->kept[inode].reads > 0;
    while (node->kept[inode].reads > 0) {
        loan_delay(node->world);
        cluster_lock_recall_is_stuck(what->lock);
        if (node->kept[inode].reads > 0)
            wait_queue_wait(node->world->scheduler, &node->reads_ended);
    }
    drop_attributes(node, inode);
    loan_delay(node->world);
}

struct cluster_lock *loan_lock_of(struct node *node, unsigned inode)
{
    return cluster_lock_get(node->volume.locks, lock_name_inode(inode));
}

// The daemon's part of a question: the value and whether it may be kept.
static uint64_t answer(struct node *node, unsigned inode, unsigned loan, bool *is_lent)
{
    struct cluster_lock *lock = loan_lock_of(node, inode);
    CHECK(cluster_lock_acquire(lock, LOCK_SHARED, 0) == 0);
    loan_delay(node->world);
    uint64_t value = node->world->value[inode];
    cluster_lock_release(lock, LOCK_SHARED);
    *is_lent = cluster_lock_lend(node->volume.locks, lock_name_inode(inode), inode, loan);
    cluster_lock_put(lock);
    return value;
}

static uint64_t ask_attributes(struct node *node, unsigned inode)
{
    struct kept *kept = &node->kept[inode];
    bool is_lent;
    uint64_t asked_at = node->version;
    if (kept->has_attributes) {
        node->world->result->answered_by_kernel++;
        return kept->attributes;
    }
    loan_delay(node->world);
    uint64_t value = answer(node, inode, LOAN_ATTRIBUTES, &is_lent);
    loan_delay(node->world);
    if (kept->version <= asked_at) {
        kept->has_attributes = is_lent;
        kept->attributes = value;
    }
    return value;
}

static uint64_t ask_name(struct node *node, unsigned inode)
{
    struct kept *kept = &node->kept[inode];
    bool is_lent;
    uint64_t asked_at = node->epoch;
    if (kept->has_name && kept->name_epoch == node->epoch) {
        node->world->result->answered_by_kernel++;
        return kept->name;
    }
    loan_delay(node->world);
    uint64_t value = answer(node, inode, LOAN_NAMES, &is_lent);
    loan_delay(node->world);
    // An answer that the kernel's own change of the name has overtaken finds that entry gone.
    if (value >= kept->name) {
        kept->has_name = is_lent;
        kept->name = value;
        kept->name_epoch = asked_at;
    }
    return value;
}

// A read ahead that outlived its open file: the inode is being dropped.
static void read_data(struct node *node, unsigned inode)
{
    if (node->pages[inode].loans.mappers > 0)
        return;
    struct cluster_lock *lock = loan_lock_of(node, inode);
    node->kept[inode].reads++;
    loan_delay(node->world);
    CHECK(cluster_lock_acquire(lock, LOCK_SHARED, LOCK_FOR_KERNEL_READ) == 0);
    loan_delay(node->world);
    cluster_lock_release(lock, LOCK_SHARED);
    cluster_lock_put(lock);
    loan_delay(node->world);
    if (--node->kept[inode].reads == 0)
        wait_queue_wake_all(node->world->scheduler, &node->reads_ended);
}

// --- what processes do -----------------------------------------------------------------------

static void look(struct node *node, unsigned inode)
{
    struct world *world = node->world;
    uint64_t least = world->complete[inode];
    bool is_name = random_below(&world->random, 2) == 0;
    uint64_t seen = is_name ? ask_name(node, inode) : ask_attributes(node, inode);
    if (seen < least)
        loan_fail(world, "node %d was told %s %llu of inode %u, complete was %llu", node->index + 1,
                  is_name ? "name" : "attributes", (unsigned long long)seen, inode,
                  (unsigned long long)least);
}

// All inodes from `first` to `end`, as a rename changes two directories. The node's own kernel
// knows what it has asked for.
static void change(struct node *node, unsigned first, unsigned end)
{
    struct world *world = node->world;
    struct cluster_lock *locks[INODES];
    for (unsigned i = first; i < end; i++) {
        locks[i] = loan_lock_of(node, i);
        CHECK(cluster_lock_acquire(locks[i], LOCK_EXCLUSIVE, 0) == 0);
        loan_delay(world);
    }
    uint64_t made[INODES];
    for (unsigned i = first; i < end; i++)
        made[i] = ++world->value[i];
    for (unsigned i = first; i < end; i++) {
        cluster_lock_release(locks[i], LOCK_EXCLUSIVE);
        cluster_lock_put(locks[i]);
    }
    loan_delay(world);
    for (unsigned i = first; i < end; i++) {
        drop_attributes(node, i);
        node->kept[i].has_name = false;
        node->kept[i].name = world->value[i]; // an answer from before does not stand any more
        if (made[i] > world->complete[i])
            world->complete[i] = made[i];
    }
}

// What the kernel has not asked for: it is told before the change is complete.
static void change_unasked(struct node *node, unsigned inode)
{
    struct world *world = node->world;
    struct cluster_lock *lock = loan_lock_of(node, inode);
    CHECK(cluster_lock_acquire(lock, LOCK_EXCLUSIVE, 0) == 0);
    loan_delay(world);
    uint64_t made = ++world->value[inode];
    cluster_lock_release(lock, LOCK_EXCLUSIVE);
    cluster_lock_put(lock);
    lock_table_recall(node->volume.locks, lock_name_inode(inode));
    if (made > world->complete[inode])
        world->complete[inode] = made;
}

static void operate(struct node *node)
{
    struct random *random = &node->world->random;
    unsigned inode = (unsigned)random_below(random, INODES);
    switch (random_below(random, 13)) {
    case 0:
        change(node, inode, inode + 1);
        break;
    case 1:
        change(node, 0, INODES);
        break;
    case 2:
        read_data(node, inode);
        break;
    case 3:
        change_unasked(node, inode);
        break;
    case 4:
    case 5:
    case 6:
        loan_pages_read(node, inode);
        break;
    case 7:
    case 8:
        loan_pages_map(node, inode);
        break;
    case 9:
        loan_pages_write(node, inode);
        break;
    default:
        look(node, inode);
    }
    node->world->result->operations++;
}

static void run_process(void *argument)
{
    struct process *process = argument;
    for (unsigned i = 0; i < OPERATIONS; i++) {
        operate(process->node);
        loan_delay(process->node->world);
    }
    process->is_done = true;
}

// --- a history -------------------------------------------------------------------------------

static void make_node(struct world *world, int index)
{
    struct node *node = &world->nodes[index];
    node->world = world;
    node->index = index;
    node->borrower.recall = recall;
    node->volume.borrower = &node->borrower;
    node->volume.scheduler = world->scheduler;
    node->volume.journal = (struct journal *)(void *)world; // what stands for it takes it back
    wait_queue_init(&node->reads_ended);
    loan_pages_init(node);
    node->service = dlm_service_new(&(struct dlm_service_config){
        .self = {(uint32_t)index + 1, 1},
        .clock = &node->volume.clock,
        .send = send_frame,
        .context = node,
    });
    node->volume.locks = lock_table_new(&node->volume, dlm_service_locks(node->service));
}

static struct world *make_world(uint64_t seed, struct loan_result *result)
{
    struct world *world = calloc(1, sizeof(*world));
    struct dlm_view view = {.epoch = 1, .member_count = NODES};
    CHECK(world != NULL);
    world->result = result;
    world->scheduler = scheduler_new();
    random_init(&world->random, seed);
    for (int i = 0; i < NODES * NODES; i++)
        world->links[i / NODES][i % NODES].last = &world->links[i / NODES][i % NODES].first;
    for (int i = 0; i < NODES; i++) {
        make_node(world, i);
        view.members[i] = (struct dlm_node){(uint32_t)i + 1, 1};
    }
    for (int i = 0; i < NODES; i++)
        dlm_service_view(world->nodes[i].service, &view);
    return world;
}

static void free_world(struct world *world)
{
    for (int i = 0; i < NODES; i++) {
        lock_table_free(world->nodes[i].volume.locks);
        dlm_service_free(world->nodes[i].service);
    }
    scheduler_free(world->scheduler);
    free(world);
}

// A failed history is left as it stands: its processes cannot be ended.
void loan_history_run(uint64_t seed, struct loan_result *result)
{
    *result = (struct loan_result){0};
    struct world *world = make_world(seed, result);
    for (int i = 0; i < NODES * PROCESSES; i++) {
        world->processes[i].node = &world->nodes[i % NODES];
        coroutine_start(world->scheduler, "process", run_process, &world->processes[i]);
    }
    do {
        scheduler_run(world->scheduler);
    } while (step(world));
    for (int i = 0; i < NODES * PROCESSES; i++) {
        if (!world->processes[i].is_done)
            loan_fail(world, "a process of node %d waits for ever", i % NODES + 1);
    }
    if (!result->is_failed)
        free_world(world);
}
