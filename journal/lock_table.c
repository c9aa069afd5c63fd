// SPDX-License-Identifier: Apache-2.0
// The locks that the journal has something of: changes, dirty blocks, or images in the log. What
// rule 6 asks for is kept here: whether an image under the lock lies between tail and head that no
// retire has ended. It is set when such an image is submitted, and cleared by a durable retire or
// by the durable tail, never by write-back.
#include <stdlib.h>

#include "fs/base/check.h"
#include "journal/state.h"

int journal_lock_compare(const struct journal_lock *a, const struct journal_lock *b)
{
    if (a->name.id != b->name.id)
        return a->name.id < b->name.id ? -1 : 1;
    return (a->name.type > b->name.type) - (a->name.type < b->name.type);
}

RB_GENERATE(journal_lock_table, journal_lock, by_name, journal_lock_compare)

struct journal_lock *journal_lock_find(struct journal *journal, struct lock_name name)
{
    struct journal_lock key = {.name = name};
    return RB_FIND(journal_lock_table, &journal->locks, &key);
}

static struct journal_lock *take_pooled(struct journal *journal)
{
    struct journal_lock *lock = TAILQ_FIRST(&journal->free_locks);
    if (lock != NULL) {
        TAILQ_REMOVE(&journal->free_locks, lock, by_age);
        return lock;
    }
    lock = malloc(sizeof(*lock));
    CHECK(lock != NULL);
    return lock;
}

struct journal_lock *journal_lock_find_or_add(struct journal *journal, struct lock_name name)
{
    struct journal_lock *lock = journal_lock_find(journal, name);
    if (lock != NULL)
        return lock;
    lock = take_pooled(journal);
    *lock = (struct journal_lock){.name = name};
    TAILQ_INIT(&lock->dirty);
    RB_INSERT(journal_lock_table, &journal->locks, lock);
    return lock;
}

void journal_lock_release_if_idle(struct journal *journal, struct journal_lock *lock)
{
    if (lock->block_count > 0 || lock->has_images || lock->is_retire_in_flight)
        return;
    CHECK(lock->uncommitted_count == 0 && TAILQ_EMPTY(&lock->dirty) && !lock->is_retire_wanted);
    RB_REMOVE(journal_lock_table, &journal->locks, lock);
    TAILQ_INSERT_HEAD(&journal->free_locks, lock, by_age);
}

void journal_lock_note_image(struct journal *journal, struct journal_lock *lock, uint64_t position)
{
    CHECK(!lock->is_retire_wanted && !lock->is_retire_in_flight);
    if (lock->has_images) {
        TAILQ_REMOVE(&journal->locks_with_images, lock, by_age);
    } else {
        lock->has_images = true;
        journal->lock_with_images_count++;
    }
    lock->last_image_position = position;
    TAILQ_INSERT_TAIL(&journal->locks_with_images, lock, by_age);
}

void journal_lock_clear_images(struct journal *journal, struct journal_lock *lock)
{
    CHECK(lock->has_images);
    TAILQ_REMOVE(&journal->locks_with_images, lock, by_age);
    journal->lock_with_images_count--;
    lock->has_images = false;
    if (lock->is_retire_wanted) {
        TAILQ_REMOVE(&journal->retires_wanted, lock, retires);
        journal->retire_wanted_count--;
        lock->is_retire_wanted = false;
    }
    journal_lock_release_if_idle(journal, lock);
}

void journal_lock_table_pass_tail(struct journal *journal)
{
    struct journal_lock *lock;
    while ((lock = TAILQ_FIRST(&journal->locks_with_images)) != NULL &&
           lock->last_image_position < journal->ring.tail)
        journal_lock_clear_images(journal, lock);
}
