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

// ---- resources --------------------------------------------------------------------------------

struct core_resource *core_resource_find(const struct dlm_core *core, struct lock_name name)
{
    struct table_link *link = table_chain(&core->resources, core_name_hash(name));

    for (; link; link = link->next) {
        struct core_resource *resource = CONTAINER_OF(link, struct core_resource, link);
        if (lock_name_equal(resource->name, name))
            return resource;
    }
    return NULL;
}

// Nothing has moved `name` away from this node since `epoch`.
static bool is_ours_since(const struct dlm_core *core, struct lock_name name, uint64_t epoch)
{
    if (SABOTAGE(dlm_accept_moved))
        epoch = core_history_current(&core->history)->epoch;
    return core_history_is_steady(&core->history, name, epoch, core->self);
}

struct core_resource *core_resource_find_steady(struct dlm_core *core, struct lock_name name,
                                                uint64_t epoch)
{
    struct core_resource *resource = core_resource_find(core, name);

    if (!resource || epoch == core_history_current(&core->history)->epoch)
        return resource;
    if (is_ours_since(core, name, epoch) && !SABOTAGE(dlm_refuse_stale_epoch))
        return resource;
    core->counters.messages_refused++;
    return NULL;
}

static struct core_resource *resource_new(struct dlm_core *core, struct lock_name name)
{
    struct core_resource *resource = pool_get(&core->resource_pool);

    resource->name = name;
    resource->is_moving = !core->is_complete && !(core->complete_epoch &&
                                                  is_ours_since(core, name, core->complete_epoch));
    if (SABOTAGE(dlm_no_end_of_holders))
        resource->is_moving = false;
    resource->is_orphaned = core_rules_name(&core->rules, name);
    resource->assumed = resource->is_orphaned && !resource->is_moving ? DLM_EX : DLM_MODE_NONE;
    TAILQ_INIT(&resource->granted);
    TAILQ_INIT(&resource->converting);
    TAILQ_INIT(&resource->waiting);
    TAILQ_INIT(&resource->ranges);
    TAILQ_INIT(&resource->range_waiters);
    table_insert(&core->resources, &resource->link, core_name_hash(name));
    return resource;
}

struct core_resource *core_resource_open(struct dlm_core *core, struct lock_name name,
                                         uint64_t epoch)
{
    uint64_t now = core_history_current(&core->history)->epoch;
    struct core_resource *resource = core_resource_find(core, name);
    bool is_refused = SABOTAGE(dlm_refuse_stale_epoch) && epoch < now;

    if (resource && epoch == now)
        return resource;
    if (is_refused || !is_ours_since(core, name, epoch)) {
        core->counters.messages_refused++;
        return NULL;
    }
    return resource ? resource : resource_new(core, name);
}

static bool resource_is_idle(const struct core_resource *resource)
{
    return TAILQ_EMPTY(&resource->granted) && TAILQ_EMPTY(&resource->waiting) &&
           TAILQ_EMPTY(&resource->ranges) && TAILQ_EMPTY(&resource->range_waiters) &&
           !resource->is_orphaned;
}

void core_resource_free(struct dlm_core *core, struct core_resource *resource)
{
    while (!TAILQ_EMPTY(&resource->granted))
        core_holder_free(core, TAILQ_FIRST(&resource->granted));
    while (!TAILQ_EMPTY(&resource->waiting))
        core_holder_free(core, TAILQ_FIRST(&resource->waiting));
    while (!TAILQ_EMPTY(&resource->range_waiters))
        core_range_waiter_free(core, resource, TAILQ_FIRST(&resource->range_waiters));
    core_range_set_clear(&resource->ranges, &core->range_pool);
    table_remove(&core->resources, &resource->link);
    pool_put(&core->resource_pool, resource);
}

// ---- holders ----------------------------------------------------------------------------------

static uint64_t holder_hash(struct dlm_node node, uint64_t cookie)
{
    return hash_u64(cookie ^ hash_u64(node.incarnation ^ (uint64_t)node.node_id << 40));
}

static struct core_holder *holder_find(const struct dlm_core *core, struct dlm_node node,
                                       uint64_t cookie)
{
    struct table_link *link = table_chain(&core->holders, holder_hash(node, cookie));

    for (; link; link = link->next) {
        struct core_holder *holder = CONTAINER_OF(link, struct core_holder, link);
        if (holder->cookie == cookie && node_equal(holder->node, node))
            return holder;
    }
    return NULL;
}

static struct core_holder *holder_new(struct dlm_core *core, struct core_resource *resource,
                                      struct dlm_node node, uint64_t cookie, uint64_t base)
{
    struct core_holder *holder = pool_get(&core->holder_pool);

    holder->resource = resource;
    holder->node = node;
    holder->cookie = cookie;
    holder->base = holder->serial = base;
    holder->granted = holder->requested = holder->blocking = DLM_MODE_NONE;
    table_insert(&core->holders, &holder->link, holder_hash(node, cookie));
    return holder;
}

static void holder_unqueue(struct core_holder *holder)
{
    struct core_resource *resource = holder->resource;

    if (holder->state == HOLDER_CONVERTING)
        TAILQ_REMOVE(&resource->converting, holder, queue_link);
    if (holder->state == HOLDER_WAITING)
        TAILQ_REMOVE(&resource->waiting, holder, queue_link);
    holder->state = HOLDER_GRANTED;
    holder->requested = DLM_MODE_NONE;
}

static void holder_enqueue(struct core_holder *holder, uint8_t mode, uint8_t flags)
{
    struct core_resource *resource = holder->resource;

    holder->requested = mode;
    holder->flags = flags;
    if (holder->granted == DLM_MODE_NONE) {
        holder->state = HOLDER_WAITING;
        TAILQ_INSERT_TAIL(&resource->waiting, holder, queue_link);
    } else {
        holder->state = HOLDER_CONVERTING;
        TAILQ_INSERT_TAIL(&resource->converting, holder, queue_link);
    }
}

static void holder_set_granted(struct core_holder *holder, uint8_t mode)
{
    struct core_resource *resource = holder->resource;

    if (holder->granted == DLM_MODE_NONE)
        TAILQ_INSERT_TAIL(&resource->granted, holder, granted_link);
    else
        resource->granted_counts[holder->granted]--;
    resource->granted_counts[mode]++;
    holder->granted = mode;
    holder->blocking = DLM_MODE_NONE;
}

void core_holder_free(struct dlm_core *core, struct core_holder *holder)
{
    struct core_resource *resource = holder->resource;

    holder_unqueue(holder);
    if (holder->granted != DLM_MODE_NONE) {
        TAILQ_REMOVE(&resource->granted, holder, granted_link);
        resource->granted_counts[holder->granted]--;
    }
    table_remove(&core->holders, &holder->link);
    pool_put(&core->holder_pool, holder);
}

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
        holder_unqueue(holder);
}

static void holder_grant(struct dlm_core *core, struct core_holder *holder)
{
    uint8_t mode = holder->requested;

    holder_unqueue(holder);
    holder_set_granted(holder, mode);
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
    if (resource_is_idle(resource))
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

    if (holder_find(core, message->from->node, cookie)) {
        core->counters.messages_refused++;
        return;
    }
    struct core_resource *resource =
        core_resource_open(core, message_name_get(&m->name), message->epoch);
    if (!resource)
        return;
    struct core_holder *holder =
        holder_new(core, resource, message->from->node, cookie, le64_get(m->serial));
    holder->peer = message->from;
    holder_enqueue(holder, m->mode, m->flags);
    holder_judge(core, holder);
    core_resource_run(core, resource);
}

// The lock that the sender means, as it was last told to this master.
static struct core_holder *holder_of(struct dlm_core *core, const struct core_message *message,
                                     uint64_t cookie, uint64_t base)
{
    struct core_holder *holder = holder_find(core, message->from->node, cookie);
    bool is_stale = message->epoch < core_history_current(&core->history)->epoch;

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
        holder_set_granted(holder, m->mode);
    } else {
        enum dlm_mode kept = dlm_mode_kept(holder->granted, m->mode);
        if (kept != holder->granted)
            holder_set_granted(holder, kept);
        holder_enqueue(holder, m->mode, m->flags);
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
    struct core_holder *holder = holder_find(core, message->from->node, le64_get(m->cookie));

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
        holder_new(core, resource, node, le64_get(m->cookie), le64_get(m->serial));

    core->counters.rebuild_conflicts += conflicts_with_granted(resource, m->granted);
    core->counters.rebuilt_locks++;
    holder_set_granted(holder, m->granted);
    if (!node_equal(message->from->node, node))
        return; // for somebody dead: no peer, nothing asked, no value
    holder->peer = message->from;
    if (m->requested != DLM_MODE_NONE)
        holder_enqueue(holder, m->requested, m->flags & MESSAGE_NOQUEUE);
    value_rebuild(resource, m);
}

void core_master_receive_hold(struct dlm_core *core, const struct core_message *message)
{
    const struct message_hold_wire *m = message->wire;
    struct dlm_node node = message_node_get(&m->holder);

    if (!may_speak_for(core, message->from, node))
        return; // recovered in the meantime
    if (holder_find(core, node, le64_get(m->cookie))) {
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

void core_resource_settle(struct dlm_core *core, struct core_resource *resource)
{
    unsigned held = 0;

    for (int mode = DLM_NL; mode < DLM_MODE_COUNT; mode++)
        held |= resource->granted_counts[mode] ? 1U << mode : 0;
    resource->is_moving = false;
    resource->is_orphaned = core_rules_name(&core->rules, resource->name);
    if (resource->is_orphaned)
        resource->assumed = dlm_mode_strongest_beside(held);
    deny_deadlocked(core, resource);
    serve(core, resource, &resource->converting);
    if (TAILQ_EMPTY(&resource->converting))
        serve(core, resource, &resource->waiting);
    deny_impatient(core, &resource->converting);
    deny_impatient(core, &resource->waiting);
    core_resource_run(core, resource);
}
