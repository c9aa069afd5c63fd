// SPDX-License-Identifier: Apache-2.0
// The granting side: what each node holds and waits for on the resources that this node masters.
//
// Order of service: conversions first, in the order in which they came, then new requests, in
// theirs. Nobody overtakes, so nobody starves; the one at the head has whoever is in its way
// called back. A resource that is being rebuilt (is_moving) only listens.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

#include <errno.h>
#include <string.h>

// ---- answers ----------------------------------------------------------------------------------

static void send_grant(struct dlm_core *core, const struct core_holder *holder)
{
    const struct core_resource *resource = holder->resource;
    struct message_grant_wire m = {
        .cookie = le64_make(holder->cookie),
        .serial = le64_make(holder->serial),
        .mode = holder->granted,
        .flags = resource->value_valid ? MESSAGE_VALUE : 0,
    };
    memcpy(m.value, resource->value.bytes, sizeof(m.value));
    core_send(core, holder->peer, &m, MESSAGE_GRANT, sizeof(m));
    core->counters.mastered_grants++;
}

static void send_denied(struct dlm_core *core, const struct core_holder *holder, int error)
{
    struct message_denied_wire m = {
        .cookie = le64_make(holder->cookie),
        .serial = le64_make(holder->serial),
        .error = message_error_make(error),
    };
    core_send(core, holder->peer, &m, MESSAGE_DENIED, sizeof(m));
}

static void holder_deny(struct dlm_core *core, struct core_holder *holder, int error)
{
    send_denied(core, holder, error);
    if (holder->granted == DLM_MODE_NONE)
        core_holder_free(core, holder);
    else
        core_holder_unqueue(holder);
}

static void holder_grant(struct dlm_core *core, struct core_holder *holder)
{
    uint8_t mode = holder->requested;

    core_holder_unqueue(holder);
    core_holder_set_granted(holder, mode);
    send_grant(core, holder);
}

static void send_blocking(struct dlm_core *core, struct core_holder *holder, uint8_t mode)
{
    struct message_blocking_wire m = {
        .cookie = le64_make(holder->cookie),
        .base = le64_make(holder->base),
        .mode = mode,
    };
    core_send(core, holder->peer, &m, MESSAGE_BLOCKING, sizeof(m));
    holder->blocking = mode;
}

// ---- the queues -------------------------------------------------------------------------------

static bool is_grantable(const struct core_resource *resource, const struct core_holder *holder)
{
    uint8_t wanted = holder->requested;

    if (resource->assumed != DLM_MODE_NONE && !dlm_mode_is_compatible(resource->assumed, wanted))
        return false;
    for (int mode = DLM_NL; mode < DLM_MODE_COUNT; mode++) {
        uint32_t others = resource->granted_counts[mode] - (holder->granted == mode);
        if (others && !dlm_mode_is_compatible(mode, wanted))
            return false;
    }
    return true;
}

// Asks those in the way of `head` to go down: once for each mode wanted.
static void call_back(struct dlm_core *core, struct core_resource *resource,
                      const struct core_holder *head)
{
    struct core_holder *holder;

    TAILQ_FOREACH (holder, &resource->granted, granted_link) {
        if (holder == head || !holder->peer || holder->blocking == head->requested)
            continue;
        if (!dlm_mode_is_compatible(holder->granted, head->requested))
            send_blocking(core, holder, head->requested);
    }
}

// Serves one queue in order; the head that has to wait, or NULL when the queue is empty.
static struct core_holder *serve(struct dlm_core *core, struct core_resource *resource,
                                 struct core_holder_list *queue)
{
    struct core_holder *head;

    while ((head = TAILQ_FIRST(queue))) {
        if (is_grantable(resource, head))
            holder_grant(core, head);
        else if (head->flags & MESSAGE_NOQUEUE)
            holder_deny(core, head, -EAGAIN);
        else
            break;
    }
    return head;
}

void core_resource_run(struct dlm_core *core, struct core_resource *resource)
{
    if (!resource->is_moving) {
        struct core_holder *head = serve(core, resource, &resource->converting);
        if (!head)
            head = serve(core, resource, &resource->waiting);
        if (head)
            call_back(core, resource, head);
        core_range_master_run(core, resource);
    }
    if (core_resource_is_idle(resource))
        core_resource_free(core, resource);
}

// A conversion ahead in the queue waits for this lock to go down, and this one waits behind it.
static bool is_conversion_deadlock(const struct core_holder *holder)
{
    const struct core_holder *ahead;

    TAILQ_FOREACH (ahead, &holder->resource->converting, queue_link) {
        if (ahead == holder)
            return false;
        if (!dlm_mode_is_compatible(holder->granted, ahead->requested))
            return true;
    }
    return false;
}

// Refuses what has just been queued at a tail if it may not wait there.
static void holder_judge(struct dlm_core *core, struct core_holder *holder)
{
    struct core_resource *resource = holder->resource;
    bool is_conversion = holder->state == HOLDER_CONVERTING;

    if (resource->is_moving)
        return;
    if (is_conversion && is_conversion_deadlock(holder)) {
        core->counters.deadlocks++;
        holder_deny(core, holder, -EDEADLK);
        return;
    }
    const struct core_holder *head = TAILQ_FIRST(&resource->converting);
    if (!head && !is_conversion)
        head = TAILQ_FIRST(&resource->waiting);
    if (head != holder && holder->flags & MESSAGE_NOQUEUE)
        holder_deny(core, holder, -EAGAIN);
}

// ---- what holders ask -------------------------------------------------------------------------

void core_master_receive_request(struct dlm_core *core, const struct core_message *message)
{
    const struct message_request_wire *m = message->wire;
    uint64_t cookie = le64_get(m->cookie);

    if (core_holder_find(core, message->from->node, cookie)) {
        core->counters.messages_refused++;
        return;
    }
    struct core_resource *resource =
        core_resource_open(core, message_name_get(&m->name), message->epoch);
    if (!resource)
        return;
    struct core_holder *holder =
        core_holder_new(core, resource, message->from->node, cookie, le64_get(m->serial));
    holder->peer = message->from;
    core_holder_enqueue(holder, m->mode, m->flags);
    holder_judge(core, holder);
    core_resource_run(core, resource);
}

// The lock that the sender means, as it was last told to this master.
static struct core_holder *holder_of(struct dlm_core *core, const struct core_message *message,
                                     uint64_t cookie, uint64_t base)
{
    struct core_holder *holder = core_holder_find(core, message->from->node, cookie);
    bool is_stale = message->epoch < core_epoch(core);

    if (holder && holder->base == base && !(is_stale && SABOTAGE(dlm_refuse_stale_epoch)))
        return holder;
    core->counters.messages_refused++;
    return NULL;
}

static void value_write(struct core_holder *holder, uint8_t flags, const uint8_t *bytes)
{
    struct core_resource *resource = holder->resource;

    if (!(flags & MESSAGE_VALUE) || !dlm_mode_writes_value(holder->granted))
        return;
    memcpy(resource->value.bytes, bytes, DLM_VALUE_BYTES);
    resource->value_valid = true;
}

void core_master_receive_convert(struct dlm_core *core, const struct core_message *message)
{
    const struct message_convert_wire *m = message->wire;
    struct core_holder *holder = holder_of(core, message, le64_get(m->cookie), le64_get(m->base));

    if (!holder || holder->state != HOLDER_GRANTED)
        return;
    struct core_resource *resource = holder->resource;
    holder->serial = le64_get(m->serial);
    if (dlm_mode_is_down(holder->granted, m->mode)) {
        value_write(holder, m->flags, m->value);
        core_holder_set_granted(holder, m->mode);
    } else {
        enum dlm_mode kept = dlm_mode_kept(holder->granted, m->mode);
        if (kept != holder->granted)
            core_holder_set_granted(holder, kept);
        core_holder_enqueue(holder, m->mode, m->flags);
        holder_judge(core, holder);
    }
    core_resource_run(core, resource);
}

void core_master_receive_release(struct dlm_core *core, const struct core_message *message)
{
    const struct message_release_wire *m = message->wire;
    struct core_holder *holder = holder_of(core, message, le64_get(m->cookie), le64_get(m->base));

    if (!holder || holder->state != HOLDER_GRANTED)
        return;
    struct core_resource *resource = holder->resource;
    value_write(holder, m->flags, m->value);
    core_holder_free(core, holder);
    core_resource_run(core, resource);
}

void core_master_receive_cancel(struct dlm_core *core, const struct core_message *message)
{
    const struct message_cancel_wire *m = message->wire;
    struct core_holder *holder = core_holder_find(core, message->from->node, le64_get(m->cookie));

    if (!holder || holder->state == HOLDER_GRANTED || holder->serial != le64_get(m->serial))
        return; // answered already, the answer is on its way
    struct core_resource *resource = holder->resource;
    holder_deny(core, holder, -ECANCELED);
    core_resource_run(core, resource);
}

// ---- the rebuild ------------------------------------------------------------------------------

// The sender speaks for itself, or, having been the master, for somebody dead.
static bool may_speak_for(const struct dlm_core *core, const struct core_peer *from,
                          struct dlm_node holder)
{
    return node_equal(from->node, holder) || core_dead_has(&core->dead, holder);
}

static bool conflicts_with_granted(const struct core_resource *resource, uint8_t mode)
{
    for (int other = DLM_NL; other < DLM_MODE_COUNT; other++)
        if (resource->granted_counts[other] && !dlm_mode_is_compatible(other, mode))
            return true;
    return false;
}

// Only a lock above CR has seen the current value (rule 19).
static void value_rebuild(struct core_resource *resource, const struct message_hold_wire *m)
{
    bool pins = dlm_mode_pins_value(m->granted) || SABOTAGE(dlm_value_from_weak_lock);

    if (!pins || !(m->flags & MESSAGE_VALUE))
        return;
    memcpy(resource->value.bytes, m->value, DLM_VALUE_BYTES);
    resource->value_valid = true;
}

static void holder_rebuild(struct dlm_core *core, struct core_resource *resource,
                           const struct core_message *message)
{
    const struct message_hold_wire *m = message->wire;
    struct dlm_node node = message_node_get(&m->holder);
    struct core_holder *holder =
        core_holder_new(core, resource, node, le64_get(m->cookie), le64_get(m->serial));

    core->counters.rebuilt_locks++;
    if (m->flags & MESSAGE_AT_MOST) {
        holder->at_most = m->granted;
        core_holder_set_granted(holder, DLM_NL);
        return;
    }
    core->counters.rebuild_conflicts += conflicts_with_granted(resource, m->granted);
    core_holder_set_granted(holder, m->granted);
    if (!node_equal(message->from->node, node))
        return; // for somebody dead: no peer, nothing asked, no value
    holder->peer = message->from;
    if (m->requested != DLM_MODE_NONE)
        core_holder_enqueue(holder, m->requested, m->flags & MESSAGE_NOQUEUE);
    value_rebuild(resource, m);
}

void core_master_receive_hold(struct dlm_core *core, const struct core_message *message)
{
    const struct message_hold_wire *m = message->wire;
    struct dlm_node node = message_node_get(&m->holder);

    if (!may_speak_for(core, message->from, node))
        return; // recovered in the meantime
    if (core_holder_find(core, node, le64_get(m->cookie))) {
        core->counters.messages_refused++;
        return;
    }
    struct core_resource *resource =
        core_resource_open(core, message_name_get(&m->name), message->epoch);
    if (!resource)
        return;
    if (resource->is_moving || SABOTAGE(dlm_no_end_of_holders))
        holder_rebuild(core, resource, message);
    else
        core->counters.messages_refused++;
    core_resource_run(core, resource);
}

static void deny_deadlocked(struct dlm_core *core, struct core_resource *resource)
{
    struct core_holder *holder = TAILQ_FIRST(&resource->converting), *next;

    for (; holder; holder = next) {
        next = TAILQ_NEXT(holder, queue_link);
        if (!is_conversion_deadlock(holder))
            continue;
        core->counters.deadlocks++;
        holder_deny(core, holder, -EDEADLK);
    }
}

static void deny_impatient(struct dlm_core *core, struct core_holder_list *queue)
{
    struct core_holder *holder = TAILQ_FIRST(queue), *next;

    for (; holder; holder = next) {
        next = TAILQ_NEXT(holder, queue_link);
        if (holder->flags & MESSAGE_NOQUEUE)
            holder_deny(core, holder, -EAGAIN);
    }
}

// What a shadow said of the dead, narrowed by what is known to be held beside it.
static void settle_at_most(struct core_resource *resource, enum dlm_mode beside)
{
    struct core_holder *holder;

    TAILQ_FOREACH (holder, &resource->granted, granted_link)
        if (holder->at_most != DLM_MODE_NONE)
            core_holder_set_granted(holder, dlm_mode_weaker(holder->at_most, beside));
}

void core_resource_settle(struct dlm_core *core, struct core_resource *resource)
{
    unsigned held = 0;

    for (int mode = DLM_NL; mode < DLM_MODE_COUNT; mode++)
        held |= resource->granted_counts[mode] ? 1U << mode : 0;
    enum dlm_mode beside = dlm_mode_strongest_beside(held);
    resource->is_moving = false;
    resource->is_orphaned = core_rules_name_ranges(&core->rules, resource->name);
    if (core_rules_name(&core->rules, resource->name))
        resource->assumed = beside;
    settle_at_most(resource, beside);
    deny_deadlocked(core, resource);
    serve(core, resource, &resource->converting);
    if (TAILQ_EMPTY(&resource->converting))
        serve(core, resource, &resource->waiting);
    deny_impatient(core, &resource->converting);
    deny_impatient(core, &resource->waiting);
    core_resource_run(core, resource);
}
