// SPDX-License-Identifier: Apache-2.0
// I1: no two living nodes hold rights that exclude each other. A node lives here as long as it may
// submit I/O: it is not paused, and its gate is open by its own clock.
#include <stdlib.h>
#include <uthash.h>

#include "fs/base/check.h"
#include "fs/cluster_lock_private.h"
#include "tests/sim/ring3_check.h"

struct claim {
    UT_hash_handle hash;
    struct lock_key key;
    enum lock_right right;
    unsigned life;
};

static bool may_act(const struct ring3_life *life)
{
    struct environment *environment = (struct environment *)&life->world_node.environment;
    return !life->is_killed && !life->is_over && !ring3_life_is_paused(life) &&
           life->volume != NULL && life->volume->failure == 0 && life->volume->locks != NULL &&
           gate_is_open((struct gate *)&life->gate, environment_boot_ns(environment));
}

static void check_lock(struct ring3 *ring3, const struct ring3_life *life,
                       const struct cluster_lock *lock, struct claim **claims)
{
    struct claim *claim;
    if (lock->right == RIGHT_NONE)
        return;
    HASH_FIND(hash, *claims, &lock->key, sizeof(lock->key), claim);
    if (claim == NULL) {
        claim = calloc(1, sizeof(*claim));
        CHECK(claim != NULL);
        *claim = (struct claim){.key = lock->key, .right = lock->right, .life = life->number};
        HASH_ADD(hash, *claims, key, sizeof(claim->key), claim);
        return;
    }
    if (claim->right != lock->right || lock->right == RIGHT_EXCLUSIVE)
        ring3_fail(ring3, "lives %u and %u hold rights to lock %llu.%llu that exclude each other",
                   claim->life, life->number, (unsigned long long)lock->key.type,
                   (unsigned long long)lock->key.id);
}

void ring3_check_rights(struct ring3 *ring3)
{
    struct claim *claims = NULL, *claim, *next_claim;
    const struct ring3_life *life;
    LIST_FOREACH (life, &ring3->lives, link) {
        const struct cluster_lock *lock, *next;
        if (!may_act(life))
            continue;
        HASH_ITER (by_key, life->volume->locks->by_key, lock, next) {
            check_lock(ring3, life, lock, &claims);
        }
    }
    HASH_ITER (hash, claims, claim, next_claim) {
        HASH_DELETE(hash, claims, claim);
        free(claim);
    }
}
