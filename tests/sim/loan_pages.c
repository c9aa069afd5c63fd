// SPDX-License-Identifier: Apache-2.0
// One page an inode, as a kernel treats it. It says nothing when the page is mapped or changed. To
// drop it, it waits while the page is being filled, writes it back if it was changed, and cannot
// tell a page that is filled behind it.
//
// Each change of the data has a number, and the page holds the number of the last one in it. The
// changes of one process count on what they find: a page that is behind is a lost change.
#include "tests/sim/loan_world.h"

#include "fs/base/check.h"
#include "fs/lock_types.h"

void loan_pages_init(struct node *node)
{
    wait_queue_init(&node->pages_changed);
}

static void wait_for_change(struct node *node)
{
    wait_queue_wait(node->world->scheduler, &node->pages_changed);
}

static void note_change(struct node *node)
{
    wait_queue_wake_all(node->world->scheduler, &node->pages_changed);
}

// --- the daemon ------------------------------------------------------------------------------

void loan_pages_stop_filling(struct volume *volume, struct cluster_lock *lock)
{
    struct node *node = (struct node *)volume;
    node->pages[cluster_lock_name(lock).id].lanes_fill = false;
}

void loan_pages_quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep)
{
    struct node *node = (struct node *)volume;
    struct page *page = &node->pages[cluster_lock_name(lock).id];
    (void)keep;
    page->lanes_fill = false;
    while (page->lanes > 0)
        wait_for_change(node);
}
_Static_assert(offsetof(struct node, volume) == 0, "a node's volume is the node");

static uint64_t read_by_lane(struct node *node, unsigned inode)
{
    struct page *page = &node->pages[inode];
    page->lanes++;
    loan_delay(node->world);
    uint64_t value = node->world->data[inode];
    page->lanes--;
    note_change(node);
    return value;
}

static uint64_t read_by_core(struct node *node, unsigned inode)
{
    struct page *page = &node->pages[inode];
    struct cluster_lock *lock = loan_lock_of(node, inode);
    for (;;) {
        CHECK(cluster_lock_acquire(lock, LOCK_SHARED, page_loans_fill_flags(&page->loans)) == 0);
        if (page_loans_may_fill(&page->loans, lock))
            break;
        cluster_lock_release(lock, LOCK_SHARED);
    }
    if (page_loans_lend(&page->loans, lock, inode))
        page->lanes_fill = page_loans_cover(&page->loans, lock);
    loan_delay(node->world);
    uint64_t value = node->world->data[inode];
    cluster_lock_release(lock, LOCK_SHARED);
    cluster_lock_put(lock);
    return value;
}

static void write_value(struct node *node, unsigned inode, uint64_t value, unsigned flags)
{
    struct world *world = node->world;
    struct cluster_lock *lock = loan_lock_of(node, inode);
    CHECK(cluster_lock_acquire(lock, LOCK_EXCLUSIVE, flags) == 0);
    loan_delay(world);
    if (world->data[inode] > value)
        loan_fail(world, "node %d writes change %llu of inode %u over change %llu", node->index + 1,
                  (unsigned long long)value, inode, (unsigned long long)world->data[inode]);
    world->data[inode] = value;
    cluster_lock_release(lock, LOCK_EXCLUSIVE);
    cluster_lock_put(lock);
}

// --- the kernel ------------------------------------------------------------------------------

static void fill(struct node *node, unsigned inode)
{
    struct page *page = &node->pages[inode];
    page->is_locked = true;
    loan_delay(node->world);
    uint64_t value = page->lanes_fill ? read_by_lane(node, inode) : read_by_core(node, inode);
    loan_delay(node->world);
    page->is_there = true;
    page->value = value;
    page->is_locked = false;
    note_change(node);
}

// The page stays, and may be changed meanwhile.
static void write_back(struct node *node, unsigned inode)
{
    struct page *page = &node->pages[inode];
    if (!page->is_dirty)
        return;
    page->is_dirty = false;
    page->is_written_back = true;
    loan_delay(node->world);
    write_value(node, inode, page->value, LOCK_FOR_KERNEL_WRITE);
    loan_delay(node->world);
    page->is_written_back = false;
    note_change(node);
}

static void drop_page(struct node *node, unsigned inode, struct cluster_lock *lock)
{
    struct page *page = &node->pages[inode];
    while (page->is_locked || page->is_written_back) {
        loan_delay(node->world);
        if (lock != NULL)
            cluster_lock_recall_is_stuck(lock);
        if (page->is_locked || page->is_written_back)
            wait_for_change(node);
    }
    if (!page->is_there)
        return;
    page->is_locked = true;
    write_back(node, inode);
    page->is_there = page->is_locked = false;
    note_change(node);
}

void loan_pages_drop(struct node *node, const struct loan_recall *what)
{
    struct page *page = &node->pages[what->node];
    node->world->result->page_recalls++;
    node->world->result->page_recalls_behind_reads += page->is_locked;
    node->world->result->page_recalls_dirty += page->is_dirty;
    drop_page(node, (unsigned)what->node, what->lock);
    loan_delay(node->world);
}

// --- what processes do -----------------------------------------------------------------------

// Returns with the page there and nobody working on it.
static struct page *fault(struct node *node, unsigned inode)
{
    struct page *page = &node->pages[inode];
    while (page->is_locked || !page->is_there) {
        if (page->is_locked)
            wait_for_change(node);
        else
            fill(node, inode);
    }
    return page;
}

static void check_read(struct node *node, unsigned inode, uint64_t seen, uint64_t least)
{
    if (seen < least)
        loan_fail(node->world, "node %d read change %llu of inode %u, complete was %llu",
                  node->index + 1, (unsigned long long)seen, inode, (unsigned long long)least);
}

void loan_pages_read(struct node *node, unsigned inode)
{
    uint64_t least = node->world->data_complete[inode];
    bool was_there = node->pages[inode].is_there;
    uint64_t seen = fault(node, inode)->value;
    node->world->result->pages_kept += was_there;
    check_read(node, inode, seen, least);
}

static void complete(struct world *world, unsigned inode, uint64_t change)
{
    if (change > world->data_complete[inode])
        world->data_complete[inode] = change;
}

static void store(struct node *node, unsigned inode)
{
    struct world *world = node->world;
    struct page *page = fault(node, inode);
    while (page->is_written_back || page->writing > 0) {
        wait_for_change(node);
        page = fault(node, inode);
    }
    check_read(node, inode, page->value, world->data_complete[inode]);
    page->value = ++world->data_newest[inode];
    page->is_dirty = true;
    complete(world, inode, page->value);
}

void loan_pages_map(struct node *node, unsigned inode)
{
    struct page *page = &node->pages[inode];
    while (node->kept[inode].reads > 0)
        wait_queue_wait(node->world->scheduler, &node->reads_ended);
    CHECK(page_loans_add_mapper(&page->loans, node->volume.locks, inode) == 0);
    for (uint64_t left = random_below(&node->world->random, 4); left > 0; left--) {
        loan_delay(node->world);
        store(node, inode);
    }
    loan_delay(node->world);
    while (page->is_locked || page->is_written_back)
        wait_for_change(node);
    write_back(node, inode);
    page_loans_remove_mapper(&page->loans);
}

// With the file to itself, or together with other nodes; that is for who keeps no pages.
static enum lock_mode lock_to_write(struct node *node, struct cluster_lock *lock)
{
    if (random_below(&node->world->random, 2) == 0) {
        CHECK(cluster_lock_acquire(lock, LOCK_SHARED, LOCK_TO_WRITE_TOGETHER) == 0);
        if ((cluster_lock_loans(lock) & LOAN_PAGES) == 0)
            return LOCK_SHARED;
        cluster_lock_release(lock, LOCK_SHARED);
    }
    CHECK(cluster_lock_acquire(lock, LOCK_EXCLUSIVE, 0) == 0);
    return LOCK_EXCLUSIVE;
}

// The kernel writes back and drops before it asks; that it does so again afterwards is not counted
// on, for not every kernel does, and none for every write.
void loan_pages_write(struct node *node, unsigned inode)
{
    struct world *world = node->world;
    struct page *page = &node->pages[inode];
    while (page->writing > 0)
        wait_for_change(node);
    page->writing++;
    drop_page(node, inode, NULL);
    loan_delay(world);
    struct cluster_lock *lock = loan_lock_of(node, inode);
    enum lock_mode mode = lock_to_write(node, lock);
    if (mode == LOCK_EXCLUSIVE) // else a pass keeps pages from being lent meanwhile
        loan_delay(world);
    uint64_t change = world->data[inode] = ++world->data_newest[inode];
    world->result->writes_together += mode == LOCK_SHARED;
    cluster_lock_release(lock, mode);
    cluster_lock_put(lock);
    loan_delay(world);
    CHECK(page_loans_written(&page->loans, node->volume.locks, inode, 0, 1) == 0);
    complete(world, inode, change);
    page->writing--;
    note_change(node);
}
