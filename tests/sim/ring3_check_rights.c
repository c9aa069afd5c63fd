// SPDX-License-Identifier: Apache-2.0
// I1: no two living nodes hold rights that exclude each other. A node lives here as long as it may
// submit I/O: it is not paused, and its gate is open by its own clock.
#include <uthash.h>

#include "fs/base/check.h"
#include "fs/cluster_lock_private.h"
#include "tests/sim/ring3_check.h"

static bool may_act(const struct ring3_life *life)
{
    struct environment *environment = (struct environment *)&life->world_node.environment;
    return !life->is_killed && !life->is_over && !ring3_life_is_paused(life) &&
           life->volume != NULL && life->volume->failure == 0 && life->volume->locks != NULL &&
           gate_is_open((struct gate *)&life->gate, environment_boot_ns(environment));
}

// A lock of one against what the other has of the same key.
static void check_lock(struct ring3 *ring3, const struct ring3_life *life,
                       const struct cluster_lock *lock, const struct ring3_life *other)
{
    const struct cluster_lock *theirs;
    HASH_FIND(by_key, other->volume->locks->by_key, &lock->key, sizeof(lock->key), theirs);
    if (theirs == NULL || theirs->right == RIGHT_NONE)
        return;
    if (lock->right == RIGHT_EXCLUSIVE || lock->right != theirs->right)
        ring3_fail(ring3, "lives %u and %u hold rights to lock %llu.%llu that exclude each other",
                   other->number, life->number, (unsigned long long)lock->key.type,
                   (unsigned long long)lock->key.id);
}

static void check_two(struct ring3 *ring3, const struct ring3_life *life,
                      const struct ring3_life *other)
{
    const struct cluster_lock *lock, *next;
    HASH_ITER (by_key, life->volume->locks->by_key, lock, next) {
        if (lock->right != RIGHT_NONE)
            check_lock(ring3, life, lock, other);
    }
}

void ring3_check_rights(struct ring3 *ring3)
{
    enum { ACTING_MAX = 2 * RING3_MACHINES_MAX };
    const struct ring3_life *acting[ACTING_MAX], *life;
    unsigned count = 0;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (!may_act(life))
            continue;
        for (unsigned i = 0; i < count; i++)
            check_two(ring3, life, acting[i]);
        CHECK(count < ACTING_MAX);
        acting[count++] = life;
    }
}
