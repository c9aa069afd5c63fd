// SPDX-License-Identifier: Apache-2.0
// The asking side: the locks of this node.
//
// What is given up is given up at the moment it is said: a conversion down and a release need no
// answer. If the resource stays where it is, the session delivers them; if it moves, the new
// master learns what is held now, and not what was held when the old one last looked. The value
// that such a message carried may be lost with a move; it is then not valid at the new master,
// because no lock above CR is left to tell it (rule 19).
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <errno.h>
#include <string.h>

struct core_lock *core_lock_find(const struct dlm_core *core, uint64_t cookie)
{
    uint64_t hash = hash_u64(cookie);
    struct table_link *link = table_chain(&core->locks, hash);

    for (; link; link = link->next) {
        struct core_lock *lock = CONTAINER_OF(link, struct core_lock, link);
        if (lock->cookie == cookie)
            return lock;
    }
    return NULL;
}

// Nothing is held any more.
static void lock_free(struct dlm_core *core, struct core_lock *lock)
{
    core_note_lower(core, lock, DLM_MODE_NONE);
    table_remove(&core->locks, &lock->link);
    pool_put(&core->lock_pool, lock);
}

static bool lock_is_pending(const struct core_lock *lock)
{
    return lock->requested != DLM_MODE_NONE;
}

// ---- what the owner asks ----------------------------------------------------------------------

static void count_request(struct dlm_core *core, const struct core_peer *master)
{
    core->counters.requests++;
    core->counters.requests_local += master && master == core->self_peer;
}

static void send_request(struct dlm_core *core, struct core_lock *lock)
{
    struct message_request_wire m = {
        .name = message_name_make(lock->name),
        .cookie = le64_make(lock->cookie),
        .serial = le64_make(lock->serial),
        .mode = lock->requested,
        .flags = lock->flags & DLM_NOQUEUE ? MESSAGE_NOQUEUE : 0,
    };
    core_send(core, lock->master, &m, MESSAGE_REQUEST, sizeof(m));
}

void core_client_request(struct dlm_core *core, const struct dlm_request *request)
{
    CHECK(request->mode < DLM_MODE_COUNT && !core_lock_find(core, request->cookie));
    struct core_lock *lock = pool_get(&core->lock_pool);
    lock->cookie = request->cookie;
    lock->name = request->name;
    struct core_place place = core_place_of(core, request->name);
    lock->master = place.master;
    core_note_place(core, lock, place.shadow);
    lock->base = lock->serial = ++core->serial;
    lock->granted = DLM_MODE_NONE;
    lock->requested = request->mode;
    lock->flags = request->flags;
    table_insert(&core->locks, &lock->link, hash_u64(lock->cookie));
    count_request(core, lock->master);
    if (!lock->master)
        return;
    send_request(core, lock);
    core_note_ask(core, lock);
}

static void effect_grant(struct dlm_core *core, const struct core_lock *lock)
{
    struct dlm_effect_grant *grant = &core_effect(core, DLM_EFFECT_GRANT)->grant;

    grant->cookie = lock->cookie;
    grant->mode = lock->granted;
    grant->value_valid = lock->value_valid;
    grant->value = lock->value;
    core->counters.grants++;
}

static void effect_blocking(struct dlm_core *core, const struct core_lock *lock, uint8_t mode)
{
    core_effect(core, DLM_EFFECT_BLOCKING)->blocking =
        (struct dlm_effect_blocking){lock->cookie, mode};
    core->counters.blocking++;
}

static void effect_denied(struct dlm_core *core, uint64_t cookie, int error)
{
    core_effect(core, DLM_EFFECT_DENIED)->denied = (struct dlm_effect_denied){cookie, error};
    core->counters.denied++;
}

static void send_convert(struct dlm_core *core, struct core_lock *lock,
                         const struct dlm_convert *convert, bool writes_value)
{
    struct message_convert_wire m = {
        .cookie = le64_make(lock->cookie),
        .base = le64_make(lock->base),
        .serial = le64_make(lock->serial),
        .mode = convert->mode,
        .flags = (convert->flags & DLM_NOQUEUE ? MESSAGE_NOQUEUE : 0) |
                 (writes_value ? MESSAGE_VALUE : 0),
    };
    if (writes_value)
        memcpy(m.value, convert->value.bytes, sizeof(m.value));
    core_send(core, lock->master, &m, MESSAGE_CONVERT, sizeof(m));
}

void core_client_convert(struct dlm_core *core, const struct dlm_convert *convert)
{
    struct core_lock *lock = core_lock_find(core, convert->cookie);

    CHECK(lock && !lock_is_pending(lock) && convert->mode < DLM_MODE_COUNT);
    bool writes_value = convert->flags & DLM_WRITE_VALUE && dlm_mode_writes_value(lock->granted);
    lock->serial = ++core->serial;
    send_convert(core, lock, convert, writes_value);
    if (!dlm_mode_is_down(lock->granted, convert->mode)) {
        lock->granted = dlm_mode_kept(lock->granted, convert->mode);
        lock->requested = convert->mode;
        lock->flags = convert->flags;
        lock->is_cancelled = false;
        count_request(core, lock->master);
        core_note_ask(core, lock);
        return;
    }
    if (writes_value) {
        lock->value = convert->value;
        lock->value_valid = true;
    }
    lock->granted = convert->mode;
    core_note_lower(core, lock, lock->granted);
    effect_grant(core, lock);
}

void core_client_release(struct dlm_core *core, const struct dlm_release *release)
{
    struct core_lock *lock = core_lock_find(core, release->cookie);

    CHECK(lock && !lock_is_pending(lock));
    bool writes_value = release->flags & DLM_WRITE_VALUE && dlm_mode_writes_value(lock->granted);
    struct message_release_wire m = {
        .cookie = le64_make(lock->cookie),
        .base = le64_make(lock->base),
        .flags = writes_value ? MESSAGE_VALUE : 0,
    };
    if (writes_value)
        memcpy(m.value, release->value.bytes, sizeof(m.value));
    core_send(core, lock->master, &m, MESSAGE_RELEASE, sizeof(m));
    lock_free(core, lock);
}

void core_client_cancel(struct dlm_core *core, const struct dlm_cancel *cancel)
{
    struct core_lock *lock = core_lock_find(core, cancel->cookie);

    if (!lock || !lock_is_pending(lock) || lock->is_cancelled)
        return;
    lock->is_cancelled = true;
    if (!lock->master) {
        effect_denied(core, lock->cookie, -ECANCELED);
        lock_free(core, lock);
        return;
    }
    struct message_cancel_wire m = {
        .cookie = le64_make(lock->cookie),
        .serial = le64_make(lock->serial),
    };
    core_send(core, lock->master, &m, MESSAGE_CANCEL, sizeof(m));
}

// ---- what the master answers ------------------------------------------------------------------

// The lock whose pending operation `serial` is. An answer of an earlier master carries a serial
// that is not pending any more.
static struct core_lock *lock_pending(const struct dlm_core *core, uint64_t cookie, uint64_t serial)
{
    struct core_lock *lock = core_lock_find(core, cookie);

    return lock && lock_is_pending(lock) && lock->serial == serial ? lock : NULL;
}

// Callbacks that came before the owner had heard of the grant that they want back.
static void effect_blocks(struct dlm_core *core, struct core_lock *lock)
{
    for (int mode = DLM_NL; mode < DLM_MODE_COUNT; mode++)
        if (lock->blocks >> mode & 1 && !dlm_mode_is_compatible(lock->granted, mode))
            effect_blocking(core, lock, (uint8_t)mode);
    lock->blocks = 0;
}

void core_client_finish(struct dlm_core *core, struct core_lock *lock)
{
    if (!lock->is_answered || !core_note_is_enough(lock))
        return;
    lock->granted = lock->requested;
    lock->requested = DLM_MODE_NONE;
    lock->is_answered = lock->is_cancelled = false;
    effect_grant(core, lock);
    effect_blocks(core, lock);
}

void core_client_receive_grant(struct dlm_core *core, const struct core_message *message)
{
    const struct message_grant_wire *m = message->wire;
    struct core_lock *lock = lock_pending(core, le64_get(m->cookie), le64_get(m->serial));

    if (!lock || lock->requested != m->mode)
        return;
    lock->is_answered = true;
    lock->value_valid = m->flags & MESSAGE_VALUE;
    memcpy(lock->value.bytes, m->value, sizeof(m->value));
    core_client_finish(core, lock);
}

static void lock_deny(struct dlm_core *core, struct core_lock *lock, int error)
{
    effect_denied(core, lock->cookie, error);
    lock->requested = DLM_MODE_NONE;
    lock->is_cancelled = false;
    if (lock->granted == DLM_MODE_NONE)
        lock_free(core, lock);
    else
        core_note_lower(core, lock, lock->granted);
}

void core_client_receive_denied(struct dlm_core *core, const struct core_message *message)
{
    const struct message_denied_wire *m = message->wire;
    struct core_lock *lock = lock_pending(core, le64_get(m->cookie), le64_get(m->serial));

    if (lock)
        lock_deny(core, lock, message_error_get(m->error));
}

void core_client_receive_blocking(struct dlm_core *core, const struct core_message *message)
{
    const struct message_blocking_wire *m = message->wire;
    struct core_lock *lock = core_lock_find(core, le64_get(m->cookie));

    if (!lock || lock->base != le64_get(m->base))
        return;
    if (lock->is_answered) {
        lock->blocks |= (uint8_t)(1U << m->mode);
        return;
    }
    if (lock->granted == DLM_MODE_NONE || dlm_mode_is_compatible(lock->granted, m->mode))
        return; // it crossed a conversion down
    effect_blocking(core, lock, m->mode);
    if (SABOTAGE(dlm_note_lowered_early))
        core_note_lower(core, lock, DLM_MODE_NONE);
}

// ---- a view change ----------------------------------------------------------------------------

static void send_hold(struct dlm_core *core, struct core_lock *lock)
{
    struct message_hold_wire m = {
        .name = message_name_make(lock->name),
        .holder = message_node_make(core->self),
        .cookie = le64_make(lock->cookie),
        .serial = le64_make(lock->serial),
        .granted = lock->granted,
        .requested = lock->requested,
        .flags = (lock->flags & DLM_NOQUEUE ? MESSAGE_NOQUEUE : 0) |
                 (lock->value_valid ? MESSAGE_VALUE : 0),
    };
    memcpy(m.value, lock->value.bytes, sizeof(m.value));
    core_send(core, lock->master, &m, MESSAGE_HOLD, sizeof(m));
}

// Goes to another master. False: it was cancelled, and is gone.
static bool lock_move(struct dlm_core *core, struct core_lock *lock, struct core_peer *master)
{
    lock->master = master;
    lock->base = lock->serial = ++core->serial;
    lock->is_answered = false; // by a master that is none any more
    lock->blocks = 0;
    if (lock->is_cancelled) {
        bool is_gone = lock->granted == DLM_MODE_NONE;
        lock_deny(core, lock, -ECANCELED);
        if (is_gone)
            return false;
    }
    if (lock->granted != DLM_MODE_NONE)
        send_hold(core, lock);
    else if (!SABOTAGE(dlm_drop_redrive))
        send_request(core, lock);
    return true;
}

// Another shadow: it is noted there anew, and what the old one says does not count.
static void lock_note(struct dlm_core *core, struct core_lock *lock)
{
    if (lock_is_pending(lock))
        core_note_ask(core, lock);
    else if (!SABOTAGE(dlm_notes_not_moved))
        core_note_lower(core, lock, lock->granted);
    if (lock_is_pending(lock))
        core_client_finish(core, lock);
}

void core_client_move(struct dlm_core *core, struct core_lock *lock)
{
    struct core_place place = core_place_of(core, lock->name);
    bool is_noted_anew = lock->shadow != (place.shadow == core->self_peer ? NULL : place.shadow);

    if (is_noted_anew)
        core_note_place(core, lock, place.shadow);
    if (place.master != lock->master && !lock_move(core, lock, place.master))
        return;
    if (is_noted_anew)
        lock_note(core, lock);
}
