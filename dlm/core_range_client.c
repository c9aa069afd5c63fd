// SPDX-License-Identifier: Apache-2.0
// The asking side of byte ranges: what this node's owners hold, kept to tell the next master, and
// what they wait for.
//
// An unlock is effective at once, like a release. It may cross the grant of a lock of the same
// owner (two threads of one process):
//
//   here      LOCK [0,9] ─┐    UNLOCK [0,9] ─┐          ┌── granted: held, or not?
//   master                └─ granted ─────────│─────────┘
//                                             └─ unlocked
//
// The answer says which of our operations the master had handled before it (`seen`). Unlocks that
// came later are cut from what was granted; unlocks that it had seen preceded the grant.
//
// A shared lock over what the owner has exclusive is given up in the same way: the master keeps
// the exclusive part until the owner, who now knows of its grant, says that it is shared. Else
// others would share it with an owner that still believes to be alone.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <errno.h>
#include <stdlib.h>

static struct core_file *file_find(const struct dlm_core *core, struct lock_name name)
{
    struct table_link *link = table_chain(&core->files, core_name_hash(name));

    for (; link; link = link->next) {
        struct core_file *file = CONTAINER_OF(link, struct core_file, link);
        if (lock_name_equal(file->name, name))
            return file;
    }
    return NULL;
}

static struct core_file *file_open(struct dlm_core *core, struct lock_name name)
{
    struct core_file *file = file_find(core, name);

    if (file)
        return file;
    file = pool_get(&core->file_pool);
    file->name = name;
    file->master = core_peer_of_master(core, name);
    TAILQ_INIT(&file->held);
    TAILQ_INIT(&file->waits);
    table_insert(&core->files, &file->link, core_name_hash(name));
    return file;
}

static void file_put(struct dlm_core *core, struct core_file *file)
{
    if (!TAILQ_EMPTY(&file->held) || !TAILQ_EMPTY(&file->waits))
        return;
    table_remove(&core->files, &file->link);
    pool_put(&core->file_pool, file);
}

static void unlocks_clear(struct dlm_core *core, struct core_range_wait *wait)
{
    struct core_unlock *unlock;

    while ((unlock = TAILQ_FIRST(&wait->unlocks))) {
        TAILQ_REMOVE(&wait->unlocks, unlock, link);
        pool_put(&core->unlock_pool, unlock);
    }
}

static void wait_free(struct dlm_core *core, struct core_range_wait *wait)
{
    unlocks_clear(core, wait);
    free(wait->probes);
    TAILQ_REMOVE(&wait->file->waits, wait, link);
    TAILQ_REMOVE(&core->waits, wait, all_link);
    pool_put(&core->wait_pool, wait);
}

static struct core_range_wait *wait_find(const struct core_file *file, uint64_t cookie)
{
    struct core_range_wait *wait;

    TAILQ_FOREACH (wait, &file->waits, link)
        if (wait->cookie == cookie)
            return wait;
    return NULL;
}

// ---- what the owner asks ----------------------------------------------------------------------

static void send_lock(struct dlm_core *core, const struct core_range_wait *wait)
{
    struct message_range_lock_wire m = {
        .name = message_name_make(wait->file->name),
        .cookie = le64_make(wait->cookie),
        .serial = le64_make(wait->serial),
        .range = message_range_make(&wait->range),
        .wait = wait->wait,
    };
    core_send(core, wait->file->master, &m, wait->is_test ? MESSAGE_RANGE_TEST : MESSAGE_RANGE_LOCK,
              sizeof(m));
}

// flock(2): a change of type lets go of the old lock first, and others may come between.
static void flock_drop_other_type(struct dlm_core *core, const struct dlm_range_lock *lock)
{
    const struct core_file *file = file_find(core, lock->name);
    const struct core_range *held;

    if (lock->range.space != DLM_RANGE_FLOCK || !file)
        return;
    TAILQ_FOREACH (held, &file->held, link) {
        if (!core_range_same_owner(held, core->self, &lock->range) ||
            held->range.type == lock->range.type)
            continue;
        struct dlm_range_unlock unlock = {lock->name, lock->range, DLM_SCOPE_OWNER};
        core_range_client_unlock(core, &unlock);
        return;
    }
}

void core_range_client_lock(struct dlm_core *core, const struct dlm_range_lock *lock, bool is_test)
{
    CHECK(lock->range.start <= lock->range.end && lock->range.space < DLM_RANGE_SPACE_COUNT);
    if (!is_test)
        flock_drop_other_type(core, lock);
    struct core_file *file = file_open(core, lock->name);
    CHECK(!wait_find(file, lock->cookie));
    struct core_range_wait *wait = pool_get(&core->wait_pool);
    wait->file = file;
    wait->cookie = lock->cookie;
    wait->serial = ++core->serial;
    wait->range = lock->range;
    wait->is_test = is_test;
    wait->wait = lock->wait && !is_test;
    TAILQ_INIT(&wait->unlocks);
    TAILQ_INSERT_TAIL(&file->waits, wait, link);
    TAILQ_INSERT_TAIL(&core->waits, wait, all_link);
    core->counters.requests++;
    core->counters.requests_local += file->master && file->master == core->self_peer;
    if (file->master)
        send_lock(core, wait);
}

// Waits whose grant this unlock may cross remember it. True if there is one.
static bool remember_unlock(struct dlm_core *core, struct core_file *file,
                            const struct dlm_range_unlock *unlock, uint64_t serial, bool is_share)
{
    struct core_range_wait *wait;
    bool any = false;

    TAILQ_FOREACH (wait, &file->waits, link) {
        if (wait->is_test || !core_range_scope_covers(&unlock->range, unlock->scope, &wait->range))
            continue;
        struct core_unlock *remembered = pool_get(&core->unlock_pool);
        remembered->serial = serial;
        remembered->is_share = is_share;
        remembered->range = unlock->range;
        remembered->scope = unlock->scope;
        TAILQ_INSERT_TAIL(&wait->unlocks, remembered, link);
        any = true;
    }
    return any;
}

static void send_unlock(struct dlm_core *core, struct core_file *file,
                        const struct dlm_range_unlock *unlock, uint64_t serial, bool is_share)
{
    struct message_range_unlock_wire m = {
        .name = message_name_make(unlock->name),
        .serial = le64_make(serial),
        .range = message_range_make(&unlock->range),
        .scope = unlock->scope,
        .is_share = is_share,
    };
    core_send(core, file->master, &m, MESSAGE_RANGE_UNLOCK, sizeof(m));
}

void core_range_client_unlock(struct dlm_core *core, const struct dlm_range_unlock *unlock)
{
    struct core_file *file = file_find(core, unlock->name);

    CHECK(unlock->range.start <= unlock->range.end && unlock->scope <= DLM_SCOPE_HANDLE);
    if (!file)
        return;
    bool any = core_range_set_remove(&file->held, &core->range_pool, core->self, &unlock->range,
                                     unlock->scope);
    if (file->master) {
        uint64_t serial = ++core->serial;
        any = remember_unlock(core, file, unlock, serial, false) || any;
        if (any)
            send_unlock(core, file, unlock, serial, false);
    }
    file_put(core, file);
}

static void effect_result(struct dlm_core *core, uint64_t cookie, int error)
{
    core_effect(core, DLM_EFFECT_RANGE_RESULT)->range_result =
        (struct dlm_effect_range_result){.cookie = cookie, .error = error};
    core->counters.denied += error != 0;
    core->counters.grants += error == 0;
}

static void wait_finish(struct dlm_core *core, struct core_range_wait *wait)
{
    struct core_file *file = wait->file;

    wait_free(core, wait);
    file_put(core, file);
}

void core_range_wait_cancel(struct dlm_core *core, struct core_range_wait *wait, int error)
{
    if (wait->cancel_error)
        return;
    wait->cancel_error = error;
    if (!wait->file->master) {
        effect_result(core, wait->cookie, error);
        wait_finish(core, wait);
        return;
    }
    struct message_range_cancel_wire m = {
        .name = message_name_make(wait->file->name),
        .cookie = le64_make(wait->cookie),
        .serial = le64_make(wait->serial),
        .error = message_error_make(error),
    };
    core_send(core, wait->file->master, &m, MESSAGE_RANGE_CANCEL, sizeof(m));
}

void core_range_client_cancel(struct dlm_core *core, const struct dlm_range_cancel *cancel)
{
    struct core_file *file = file_find(core, cancel->name);
    struct core_range_wait *wait = file ? wait_find(file, cancel->cookie) : NULL;

    if (wait)
        core_range_wait_cancel(core, wait, -ECANCELED);
}

// ---- what the master answers ------------------------------------------------------------------

static void unlock_again(struct dlm_core *core, struct core_file *file,
                         const struct core_unlock *unlock)
{
    if (unlock->is_share)
        core_range_set_share(&file->held, &core->range_pool, core->self, &unlock->range);
    else
        core_range_set_remove(&file->held, &core->range_pool, core->self, &unlock->range,
                              unlock->scope);
}

// The grant is here: what was exclusive and is shared now may be shared by others.
static void share(struct dlm_core *core, struct core_range_wait *wait)
{
    struct core_file *file = wait->file;
    struct dlm_range_unlock unlock = {file->name, wait->range, DLM_SCOPE_RANGE};
    uint64_t serial = ++core->serial;

    remember_unlock(core, file, &unlock, serial, true);
    send_unlock(core, file, &unlock, serial, true);
}

static void take_granted(struct dlm_core *core, struct core_range_wait *wait, uint64_t seen)
{
    struct core_file *file = wait->file;
    struct core_unlock *unlock;

    core_range_set_add(&file->held, &core->range_pool, core->self, false, &wait->range);
    TAILQ_FOREACH (unlock, &wait->unlocks, link)
        if (unlock->serial > seen && !SABOTAGE(dlm_forget_crossing_unlock))
            unlock_again(core, file, unlock);
}

void core_range_client_receive_result(struct dlm_core *core, const struct core_message *message)
{
    const struct message_range_result_wire *m = message->wire;
    struct core_file *file = file_find(core, message_name_get(&m->name));
    struct core_range_wait *wait = file ? wait_find(file, le64_get(m->cookie)) : NULL;

    if (!wait || wait->serial != le64_get(m->serial))
        return; // of an earlier master
    int error = message_error_get(m->error);
    if (error == 0 && !wait->is_test)
        take_granted(core, wait, le64_get(m->seen));
    if (m->is_kept)
        share(core, wait);
    effect_result(core, wait->cookie, error);
    struct dlm_effect_range_result *result =
        &core->effects->items[core->effects->count - 1].range_result;
    result->conflict_node = message_node_get(&m->conflict_node);
    result->conflict = message_range_get(&m->conflict);
    wait_finish(core, wait);
}

// ---- a view change ----------------------------------------------------------------------------

static void send_held(struct dlm_core *core, const struct core_file *file)
{
    const struct core_range *held;

    TAILQ_FOREACH (held, &file->held, link) {
        struct message_range_hold_wire m = {
            .name = message_name_make(file->name),
            .holder = message_node_make(core->self),
            .range = message_range_make(&held->range),
        };
        core_send(core, file->master, &m, MESSAGE_RANGE_HOLD, sizeof(m));
    }
}

static void wait_move(struct dlm_core *core, struct core_range_wait *wait)
{
    wait->serial = ++core->serial;
    unlocks_clear(core, wait);
    if (wait->cancel_error) {
        effect_result(core, wait->cookie, wait->cancel_error);
        wait_free(core, wait);
        return;
    }
    if (!SABOTAGE(dlm_drop_redrive))
        send_lock(core, wait);
}

static void file_move(struct dlm_core *core, struct core_file *file, struct core_peer *master)
{
    struct core_range_wait *wait = TAILQ_FIRST(&file->waits), *next;

    file->master = master;
    send_held(core, file);
    for (; wait; wait = next) {
        next = TAILQ_NEXT(wait, link);
        wait_move(core, wait);
    }
    file_put(core, file);
}

void core_range_client_move(struct dlm_core *core, struct core_file *file)
{
    struct core_peer *master = core_peer_of_master(core, file->name);

    if (master != file->master)
        file_move(core, file, master);
}
