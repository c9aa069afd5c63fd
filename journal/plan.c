// SPDX-License-Identifier: Apache-2.0
#include "journal/plan.h"

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

// A lock as one log knows it.
struct plan_lock {
    RB_ENTRY(plan_lock) link;
    uint32_t journal;
    struct lock_name name;
    uint64_t retired_by; // number of the newest record that retires it; 0: none
};

// The newest image of a block in one log.
struct plan_image {
    RB_ENTRY(plan_image) link; // by address, then journal
    struct journal_image image;
    uint64_t sequence;
    const struct plan_lock *lock;
};

RB_HEAD(plan_locks, plan_lock);
RB_HEAD(plan_images, plan_image);

struct journal_plan {
    struct plan_locks locks;
    struct plan_images images;
    size_t image_count;
};

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_locks(const struct plan_lock *a, const struct plan_lock *b)
{
    int order = compare_u64(a->name.id, b->name.id);
    if (order == 0)
        order = compare_u64(a->name.type, b->name.type);
    return order != 0 ? order : compare_u64(a->journal, b->journal);
}

static int compare_images(const struct plan_image *a, const struct plan_image *b)
{
    int order = compare_u64(a->image.address, b->image.address);
    return order != 0 ? order : compare_u64(a->image.journal, b->image.journal);
}

#define LOCAL static __attribute__((unused))
RB_PROTOTYPE_INTERNAL(plan_locks, plan_lock, link, compare_locks, LOCAL);
RB_PROTOTYPE_INTERNAL(plan_images, plan_image, link, compare_images, LOCAL);
RB_GENERATE_INTERNAL(plan_locks, plan_lock, link, compare_locks, LOCAL)
RB_GENERATE_INTERNAL(plan_images, plan_image, link, compare_images, LOCAL)

struct journal_plan *journal_plan_new(void)
{
    struct journal_plan *plan = calloc(1, sizeof(*plan));
    CHECK(plan != NULL);
    RB_INIT(&plan->locks);
    RB_INIT(&plan->images);
    return plan;
}

static void drop_image(struct journal_plan *plan, struct plan_image *node)
{
    RB_REMOVE(plan_images, &plan->images, node);
    plan->image_count--;
    free(node);
}

void journal_plan_free(struct journal_plan *plan)
{
    struct plan_image *image;
    while ((image = RB_ROOT(&plan->images)) != NULL)
        drop_image(plan, image);
    struct plan_lock *lock;
    while ((lock = RB_ROOT(&plan->locks)) != NULL) {
        RB_REMOVE(plan_locks, &plan->locks, lock);
        free(lock);
    }
    free(plan);
}

static struct plan_lock *find_or_add_lock(struct journal_plan *plan, uint32_t journal,
                                          struct lock_name name)
{
    struct plan_lock key = {.journal = journal, .name = name};
    struct plan_lock *lock = RB_FIND(plan_locks, &plan->locks, &key);
    if (lock != NULL)
        return lock;
    lock = memory_new(sizeof(*lock));
    lock->journal = journal;
    lock->name = name;
    RB_INSERT(plan_locks, &plan->locks, lock);
    return lock;
}

static struct plan_image *find_image(struct journal_plan *plan, uint64_t address, uint32_t journal)
{
    struct plan_image key = {.image = {.address = address, .journal = journal}};
    return RB_FIND(plan_images, &plan->images, &key);
}

void journal_plan_add_image(struct journal_plan *plan, const struct journal_image *image,
                            uint64_t sequence)
{
    struct plan_image *node = find_image(plan, image->address, image->journal);
    if (node == NULL) {
        node = memory_new(sizeof(*node));
        node->image = *image;
        RB_INSERT(plan_images, &plan->images, node);
        plan->image_count++;
    }
    CHECK(sequence >= node->sequence);
    node->image = *image;
    node->sequence = sequence;
    node->lock = find_or_add_lock(plan, image->journal, image->lock);
}

void journal_plan_add_retire(struct journal_plan *plan, uint32_t journal, struct lock_name lock,
                             uint64_t sequence)
{
    find_or_add_lock(plan, journal, lock)->retired_by = sequence;
}

void journal_plan_add_revoke(struct journal_plan *plan, uint32_t journal, uint64_t address)
{
    struct plan_image *node = find_image(plan, address, journal);
    if (node != NULL)
        drop_image(plan, node);
}

size_t journal_plan_size(const struct journal_plan *plan)
{
    return plan->image_count;
}

static bool is_live(const struct plan_image *node)
{
    return node->lock->retired_by <= node->sequence;
}

// The image to write at `address`, if any is live; the block leaves the plan.
static bool take_block(struct journal_plan *plan, uint64_t address, struct journal_image *image)
{
    bool is_found = false;
    struct plan_image *node;
    while ((node = RB_MIN(plan_images, &plan->images)) != NULL && node->image.address == address) {
        if (is_live(node) && (!is_found || node->image.version > image->version)) {
            *image = node->image;
            is_found = true;
        }
        drop_image(plan, node);
    }
    return is_found;
}

size_t journal_plan_take(struct journal_plan *plan, struct journal_image *images, size_t count)
{
    size_t taken = 0;
    const struct plan_image *node;
    for (size_t i = 0; i < count && (node = RB_MIN(plan_images, &plan->images)) != NULL; i++) {
        if (take_block(plan, node->image.address, &images[taken]))
            taken++;
    }
    return taken;
}
