// SPDX-License-Identifier: Apache-2.0
// Notes: what a lock of this node is at most, told to the shadow of its resource, so that the death
// of the master alone leaves nothing unknown (protocols, rule 1). Both ends.
//
//   node C                M, master of R        S, shadow of R
//   REQUEST EX ─────────► holds C: EX
//   NOTE EX ──────────────────────────────────► C: at most EX
//              ◄──────── GRANT      ◄───────── NOTED        C relies on EX when both are here
//   ...
//   view without M, C: both dead
//                                               masters R now, and holds "C: at most EX" there
//                                               until C is recovered; what nobody is noted on
//                                               is free at once
//
// For each lock that a member relies on, its shadow's note says its mode or more, whenever all are
// ready for a view: who asks relies on nothing before NOTED, and what is held is noted anew, before
// READY, where the shadow moved. A note is lowered after its owner gave up, so it is never too low;
// that it is too high for a while costs nothing but waiting, should both die just then. So lowering
// waits some milliseconds for a frame that goes to the shadow anyway: whoever gives a lock up to
// another mostly wants it back.
//
// Nobody notes what it holds on resources that it shadows itself: that dies with the shadow only,
// and then the master knows. Nor NL, which excludes nothing.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

// ---- the holder's end -------------------------------------------------------------------------

void core_note_place(const struct dlm_core *core, struct core_lock *lock, struct core_peer *shadow)
{
    lock->shadow = shadow == core->self_peer ? NULL : shadow;
    lock->noted = DLM_MODE_NONE;
    lock->note_is_confirmed = false;
}

static void send_note(struct dlm_core *core, struct core_lock *lock, uint8_t mode, uint8_t flags)
{
    lock->note_serial = ++core->serial;
    lock->noted = mode;
    lock->note_is_confirmed = false;
    struct message_note_wire m = {
        .name = message_name_make(lock->name),
        .cookie = le64_make(lock->cookie),
        .serial = le64_make(lock->note_serial),
        .mode = mode,
        .flags = flags,
    };
    if (flags & MESSAGE_ANSWER)
        core_send(core, lock->shadow, &m, MESSAGE_NOTE, sizeof(m));
    else // READY, which it has to precede, comes after it in any case
        core_send_leisurely(core, lock->shadow, &m, MESSAGE_NOTE, sizeof(m));
    core->counters.notes++;
}

void core_note_ask(struct dlm_core *core, struct core_lock *lock)
{
    if (lock->shadow && lock->requested != DLM_NL)
        send_note(core, lock, lock->requested, MESSAGE_ANSWER);
}

void core_note_lower(struct dlm_core *core, struct core_lock *lock, uint8_t mode)
{
    uint8_t wanted = mode == DLM_NL ? DLM_MODE_NONE : mode;

    if (lock->shadow && lock->noted != wanted)
        send_note(core, lock, wanted, 0);
}

bool core_note_is_enough(const struct core_lock *lock)
{
    return !lock->shadow || lock->requested == DLM_NL || lock->note_is_confirmed ||
           SABOTAGE(dlm_grant_unnoted);
}

void core_note_receive_noted(struct dlm_core *core, const struct core_message *message)
{
    const struct message_noted_wire *m = message->wire;
    struct core_lock *lock = core_lock_find(core, le64_get(m->cookie));
    bool is_last = lock && lock->note_serial == le64_get(m->serial);

    if (!lock || !(is_last || SABOTAGE(dlm_noted_by_old_answer)))
        return; // of an earlier note, which may have been lowered since
    lock->note_is_confirmed = true;
    core_client_finish(core, lock);
}

// ---- the shadow's end -------------------------------------------------------------------------

static struct core_note *note_find(const struct dlm_core *core, struct dlm_node node,
                                   uint64_t cookie)
{
    struct table_link *link = table_chain(&core->notes, core_holder_hash(node, cookie));

    for (; link; link = link->next) {
        struct core_note *note = CONTAINER_OF(link, struct core_note, link);
        if (note->cookie == cookie && node_equal(note->peer->node, node))
            return note;
    }
    return NULL;
}

static struct core_note *note_new(struct dlm_core *core, struct core_peer *peer,
                                  struct lock_name name, uint64_t cookie)
{
    struct core_note *note = pool_get(&core->note_pool);

    note->peer = peer;
    note->name = name;
    note->cookie = cookie;
    table_insert(&core->notes, &note->link, core_holder_hash(peer->node, cookie));
    return note;
}

static void note_free(struct dlm_core *core, struct core_note *note)
{
    table_remove(&core->notes, &note->link);
    pool_put(&core->note_pool, note);
}

void core_note_receive(struct dlm_core *core, const struct core_message *message)
{
    const struct message_note_wire *m = message->wire;
    struct lock_name name = message_name_get(&m->name);
    uint64_t cookie = le64_get(m->cookie);

    if (!core_history_is_steady_shadow(&core->history, name, message->epoch, core->self)) {
        core->counters.messages_refused++;
        return; // its sender notes it anew in the view that moved it
    }
    struct core_note *note = note_find(core, message->from->node, cookie);
    if (m->mode == DLM_MODE_NONE) {
        if (note)
            note_free(core, note);
        return;
    }
    if (!note)
        note = note_new(core, message->from, name, cookie);
    note->mode = m->mode;
    if (!(m->flags & MESSAGE_ANSWER))
        return;
    struct message_noted_wire answer = {.cookie = m->cookie, .serial = m->serial};
    core_send(core, message->from, &answer, MESSAGE_NOTED, sizeof(answer));
}

// ---- a view change at the shadow --------------------------------------------------------------

static void tell_master(struct dlm_core *core, const struct core_note *note,
                        struct core_peer *master)
{
    struct message_hold_wire m = {
        .name = message_name_make(note->name),
        .holder = message_node_make(note->peer->node),
        .cookie = le64_make(note->cookie),
        .granted = note->mode,
        .requested = DLM_MODE_NONE,
        .flags = MESSAGE_AT_MOST,
    };
    if (!SABOTAGE(dlm_notes_untold))
        core_send(core, master, &m, MESSAGE_HOLD, sizeof(m));
}

// The master of the view before is no member any more: it cannot say what the dead hold.
static bool master_departed(const struct dlm_core *core, struct lock_name name)
{
    CHECK(core->history.count > 1); // who notes has been in a view with us
    const struct core_view *before = &core->history.views[core->history.count - 2];
    uint32_t master = core_view_master(before->members, before->member_count, name);
    return !core_peer_find(core, before->members[master]);
}

void core_note_change(struct dlm_core *core, struct core_note *note)
{
    struct core_place place = core_place_of(core, note->name);

    if (!note->peer->is_departed && place.shadow == core->self_peer)
        return;
    if (core_dead_has(&core->dead, note->peer->node) && master_departed(core, note->name))
        tell_master(core, note, place.master);
    note_free(core, note);
}
