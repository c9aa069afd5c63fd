// SPDX-License-Identifier: Apache-2.0
// What a master keeps: resources and the locks on them. Finding, making, queueing and freeing; who
// is granted what is decided in core_master.c.
#include "dlm/core.h"

#include "fs/base/check.h"
#include "fs/base/sabotage.h"

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
        epoch = core_epoch(core);
    return core_history_is_steady(&core->history, name, epoch, core->self);
}

struct core_resource *core_resource_find_steady(struct dlm_core *core, struct lock_name name,
                                                uint64_t epoch)
{
    struct core_resource *resource = core_resource_find(core, name);

    if (!resource || epoch == core_epoch(core))
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
    resource->is_orphaned = core_rules_name_ranges(&core->rules, name);
    resource->assumed = DLM_MODE_NONE;
    if (!resource->is_moving && core_rules_name(&core->rules, name))
        resource->assumed = DLM_EX;
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
    uint64_t now = core_epoch(core);
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

bool core_resource_is_idle(const struct core_resource *resource)
{
    return TAILQ_EMPTY(&resource->granted) && TAILQ_EMPTY(&resource->waiting) &&
           TAILQ_EMPTY(&resource->ranges) && TAILQ_EMPTY(&resource->range_waiters) &&
           resource->assumed == DLM_MODE_NONE;
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

uint64_t core_holder_hash(struct dlm_node node, uint64_t cookie)
{
    return hash_u64(cookie ^ hash_u64(node.incarnation ^ (uint64_t)node.node_id << 40));
}

struct core_holder *core_holder_find(const struct dlm_core *core, struct dlm_node node,
                                     uint64_t cookie)
{
    struct table_link *link = table_chain(&core->holders, core_holder_hash(node, cookie));

    for (; link; link = link->next) {
        struct core_holder *holder = CONTAINER_OF(link, struct core_holder, link);
        if (holder->cookie == cookie && node_equal(holder->node, node))
            return holder;
    }
    return NULL;
}

struct core_holder *core_holder_new(struct dlm_core *core, struct core_resource *resource,
                                    struct dlm_node node, uint64_t cookie, uint64_t base)
{
    struct core_holder *holder = pool_get(&core->holder_pool);

    holder->resource = resource;
    holder->node = node;
    holder->cookie = cookie;
    holder->base = holder->serial = base;
    holder->granted = holder->requested = holder->blocking = holder->at_most = DLM_MODE_NONE;
    table_insert(&core->holders, &holder->link, core_holder_hash(node, cookie));
    return holder;
}

void core_holder_unqueue(struct core_holder *holder)
{
    struct core_resource *resource = holder->resource;

    if (holder->state == HOLDER_CONVERTING)
        TAILQ_REMOVE(&resource->converting, holder, queue_link);
    if (holder->state == HOLDER_WAITING)
        TAILQ_REMOVE(&resource->waiting, holder, queue_link);
    holder->state = HOLDER_GRANTED;
    holder->requested = DLM_MODE_NONE;
}

void core_holder_enqueue(struct core_holder *holder, uint8_t mode, uint8_t flags)
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

void core_holder_set_granted(struct core_holder *holder, uint8_t mode)
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

    core_holder_unqueue(holder);
    if (holder->granted != DLM_MODE_NONE) {
        TAILQ_REMOVE(&resource->granted, holder, granted_link);
        resource->granted_counts[holder->granted]--;
    }
    table_remove(&core->holders, &holder->link);
    pool_put(&core->holder_pool, holder);
}
