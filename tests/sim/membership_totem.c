// SPDX-License-Identifier: Apache-2.0
// Corosync as its sources say it behaves: within a ring all nodes deliver the
// same messages in the same order, each at its own pace. When a ring breaks, the nodes that stay
// together deliver the same rest: all that one of them has delivered, then a part of what is under
// way; behind a hole only what they sent themselves. Then come the changes of the group (one for
// those who went, one for each who came), then the new ring id. Quorum comes on a connection of its
// own, earlier or later.
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_message.h"
#include "fs/base/check.h"
#include "tests/sim/membership_world.h"

// --- queues to the worker ----------------------------------------------------------------------

static void message_release(struct totem_message *message)
{
    if (message == NULL || --message->references > 0)
        return;
    free(message->bytes);
    free(message);
}

static void event_release(struct membership_event *event)
{
    if (event->type == MEMBERSHIP_EVENT_GROUP) {
        free((void *)event->group.members);
        free((void *)event->group.left);
    }
}

static void queue_clear(struct totem_queue *queue)
{
    world_event_disarm(&queue->node->sim->world, &queue->wake);
    for (; queue->begin < queue->end; queue->begin++) {
        event_release(&queue->events[queue->begin]);
        message_release(queue->messages[queue->begin]);
    }
    queue->begin = queue->end = 0;
}

static void queue_push(struct totem_queue *queue, const struct membership_event *event,
                       struct totem_message *message, uint64_t delay_ns)
{
    struct world *world = &queue->node->sim->world;
    if (queue->end == queue->capacity) {
        queue->capacity = queue->capacity ? 2 * queue->capacity : 64;
        queue->events = realloc(queue->events, queue->capacity * sizeof(*queue->events));
        queue->messages = realloc(queue->messages, queue->capacity * sizeof(*queue->messages));
        CHECK(queue->events != NULL && queue->messages != NULL);
    }
    queue->events[queue->end] = *event;
    queue->messages[queue->end++] = message;
    if (message != NULL)
        message->references++;
    if (queue->end - queue->begin == 1)
        world_event_arm(world, &queue->wake, world->now_ns + delay_ns);
}

static void queue_wake(struct world_event *wake)
{
    struct totem_queue *queue =
        (struct totem_queue *)(void *)((char *)wake - offsetof(struct totem_queue, wake));
    struct sim *sim = queue->node->sim;
    struct sim_life *life = queue->node->life;
    if (queue->begin == queue->end)
        return;
    bool is_deaf = life != NULL && sim->world.now_ns < life->deaf_until_ns;
    if (is_deaf || (life != NULL && life->is_paused)) { // it waits in the kernel's buffers
        world_event_arm(&sim->world, wake, sim->world.now_ns + 50 * MS);
        return;
    }
    struct membership_event event = queue->events[queue->begin];
    struct totem_message *message = queue->messages[queue->begin++];
    if (queue->begin == queue->end)
        queue->begin = queue->end = 0;
    else
        world_event_arm(&sim->world, wake, sim->world.now_ns + sim_between(sim, 0, 2 * MS));
    if (life != NULL && life->is_connected)
        life_event(life, &event);
    event_release(&event);
    message_release(message);
}

static void tell_group(struct sim_node *node, const struct membership_left *left,
                       uint32_t left_count)
{
    if (node->life == NULL || !node->life->is_connected)
        return;
    struct membership_process *members = calloc(node->process_count + 1, sizeof(*members));
    struct membership_left *gone = calloc(left_count + 1, sizeof(*gone));
    CHECK(members != NULL && gone != NULL);
    memcpy(members, node->processes, node->process_count * sizeof(*members));
    if (left_count > 0)
        memcpy(gone, left, left_count * sizeof(*gone));
    struct membership_event event = {.type = MEMBERSHIP_EVENT_GROUP,
                                     .group = {.members = members,
                                               .member_count = node->process_count,
                                               .left = gone,
                                               .left_count = left_count}};
    queue_push(&node->group, &event, NULL, 1 * MS);
}

static void tell_ring(struct sim_node *node)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RING, .ring = node->ring->id};
    if (node->life != NULL && node->life->is_connected)
        queue_push(&node->group, &event, NULL, 1 * MS);
}

void totem_quorum_tell(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (node->life == NULL || !node->life->is_connected || node->ring == NULL)
        return;
    bool is_quorate = sim->is_two_node
                          ? node->has_seen_all
                          : 2 * (uint32_t)__builtin_popcount(node->ring->nodes) > sim->node_count;
    struct membership_event event = {.type = MEMBERSHIP_EVENT_QUORUM,
                                     .quorum = {.ring = node->ring->id, .is_quorate = is_quorate}};
    uint64_t delay_ns = sim_one_in(sim, 3) ? sim_between(sim, 0, 400 * MS) : 2 * MS;
    queue_push(&node->quorum, &event, NULL, delay_ns);
}

// --- processes of the group --------------------------------------------------------------------

static void process_add(struct sim_node *node, struct membership_process process)
{
    uint32_t at = 0;
    while (at < node->process_count && (node->processes[at].node_id < process.node_id ||
                                        (node->processes[at].node_id == process.node_id &&
                                         node->processes[at].pid < process.pid)))
        at++;
    if (at < node->process_count && node->processes[at].node_id == process.node_id &&
        node->processes[at].pid == process.pid)
        return;
    CHECK(node->process_count < MEMBERSHIP_PROCESSES_MAX);
    memmove(&node->processes[at + 1], &node->processes[at],
            (node->process_count - at) * sizeof(process));
    node->processes[at] = process;
    node->process_count++;
}

static bool process_remove(struct sim_node *node, struct membership_process process)
{
    for (uint32_t i = 0; i < node->process_count; i++) {
        if (node->processes[i].node_id != process.node_id || node->processes[i].pid != process.pid)
            continue;
        node->process_count--;
        memmove(&node->processes[i], &node->processes[i + 1],
                (node->process_count - i) * sizeof(process));
        return true;
    }
    return false;
}

// --- delivery in a ring ------------------------------------------------------------------------

static void deliver_message(struct sim_node *node, struct totem_message *message)
{
    struct membership_left left = {
        .process = message->from,
        .reason = message->type == TOTEM_LEAVE ? MEMBERSHIP_LEFT_LEAVE : MEMBERSHIP_LEFT_PROCESS};
    if (message->type == TOTEM_JOIN) {
        bool is_own = message->from.node_id == node->node_id;
        process_add(node, message->from);
        tell_group(node, NULL, 0);
        if (is_own)
            tell_ring(node);
    } else if (message->type != TOTEM_BYTES) {
        if (process_remove(node, message->from))
            tell_group(node, &left, 1);
    } else if (node->life != NULL && node->life->is_connected) {
        struct membership_event event = {.type = MEMBERSHIP_EVENT_DELIVERED,
                                         .delivered = {.from = message->from,
                                                       .bytes = message->bytes,
                                                       .length = message->length}};
        bool is_own = message->from.node_id == node->node_id;
        if (is_own && message->bytes[6] == MEMBERSHIP_MESSAGE_PROVED) // as its header says
            sim_proved_delivered(node);
        queue_push(&node->group, &event, message, 0);
    }
}

static void deliver_next(struct world_event *event)
{
    struct sim_node *node =
        (struct sim_node *)(void *)((char *)event - offsetof(struct sim_node, deliver));
    struct sim *sim = node->sim;
    if (node->ring == NULL || node->delivered == node->ring->count)
        return;
    deliver_message(node, node->ring->log[node->delivered++]);
    if (sim->rip_in > 0 && --sim->rip_in == 0)
        world_event_arm(&sim->world, &sim->ripping, sim->world.now_ns);
    if (node->delivered < node->ring->count)
        world_event_arm(&sim->world, event, sim->world.now_ns + sim_between(sim, 0, 5 * MS));
}

void totem_send(struct sim_node *node, struct membership_process from, int type,
                const uint8_t *bytes, size_t length)
{
    struct totem_ring *ring = node->ring;
    struct sim *sim = node->sim;
    if (ring == NULL)
        return;
    struct totem_message *message = calloc(1, sizeof(*message));
    CHECK(message != NULL);
    message->from = from;
    message->type = type;
    message->length = length;
    message->bytes = malloc(length + 1);
    message->references = 1;
    CHECK(message->bytes != NULL);
    if (length > 0)
        memcpy(message->bytes, bytes, length);
    if (ring->count == ring->capacity) {
        ring->capacity = ring->capacity ? 2 * ring->capacity : 64;
        ring->log = realloc(ring->log, ring->capacity * sizeof(*ring->log));
        CHECK(ring->log != NULL);
    }
    ring->log[ring->count++] = message;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *other = &sim->nodes[i];
        if (other->ring == ring && other->delivered + 1 == ring->count)
            world_event_arm(&sim->world, &other->deliver,
                            sim->world.now_ns + sim_between(sim, 1 * MS, 15 * MS));
    }
}

// --- rings -------------------------------------------------------------------------------------

static void ring_release(struct totem_ring *ring)
{
    if (ring == NULL || --ring->references > 0)
        return;
    for (size_t i = 0; i < ring->count; i++)
        message_release(ring->log[i]);
    free(ring->log);
    free(ring);
}

static bool stays_with(const struct sim_node *a, const struct sim_node *b,
                       const uint32_t *component)
{
    return a->ring == b->ring && component[a->node_id - 1] == component[b->node_id - 1] &&
           a->has_corosync && b->has_corosync && !a->restarted && !b->restarted;
}

// Where the common prefix ends for those who leave `node`'s old ring together with it.
static size_t choose_cut(struct sim *sim, const struct sim_node *node, const uint32_t *component)
{
    size_t low = 0;
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (stays_with(&sim->nodes[i], node, component) && sim->nodes[i].delivered > low)
            low = sim->nodes[i].delivered;
    return low + (size_t)sim_below(sim, node->ring->count - low + 1);
}

static void deliver_rest(struct sim_node *node, size_t cut, const uint32_t *component)
{
    struct sim *sim = node->sim;
    for (; node->delivered < node->ring->count; node->delivered++) {
        struct totem_message *message = node->ring->log[node->delivered];
        const struct sim_node *sender = &sim->nodes[message->from.node_id - 1];
        if (node->delivered < cut || stays_with(sender, node, component))
            deliver_message(node, message);
    }
}

static void break_rings(struct sim *sim, const uint32_t *component)
{
    bool is_done[SIM_NODES_MAX] = {false};
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (is_done[i] || node->ring == NULL || !node->has_corosync || node->restarted)
            continue;
        size_t cut = choose_cut(sim, node, component);
        for (uint32_t j = i; j < sim->node_count; j++) {
            if (!stays_with(&sim->nodes[j], node, component))
                continue;
            is_done[j] = true;
            deliver_rest(&sim->nodes[j], cut, component);
        }
    }
}

static void tell_who_went(struct sim_node *node, const uint32_t *component)
{
    struct membership_left left[MEMBERSHIP_PROCESSES_MAX];
    uint32_t count = 0;
    for (uint32_t i = node->process_count; i-- > 0;) {
        struct membership_process process = node->processes[i];
        const struct sim_node *other = &node->sim->nodes[process.node_id - 1];
        if (process.node_id == node->node_id || stays_with(other, node, component))
            continue;
        // A corosync that came back before it was missed: its processes go as "down" (rule 9a).
        bool is_zombie =
            other->restarted && component[other->node_id - 1] == component[node->node_id - 1];
        left[count++] = (struct membership_left){process, is_zombie ? MEMBERSHIP_LEFT_PROCESS
                                                                    : MEMBERSHIP_LEFT_DOWN};
        process_remove(node, process);
    }
    if (count > 0)
        tell_group(node, left, count);
}

static void tell_who_came(struct sim_node *node, const struct totem_ring *ring,
                          const struct membership_process *own, const bool *has_own)
{
    for (uint32_t i = 0; i < node->sim->node_count; i++) {
        if (!(ring->nodes & (1u << (i + 1))) || !has_own[i] || i + 1 == node->node_id)
            continue;
        uint32_t before = node->process_count;
        process_add(node, own[i]);
        if (node->process_count != before)
            tell_group(node, NULL, 0);
    }
}

static struct totem_ring *ring_new(struct sim *sim, uint32_t nodes)
{
    struct totem_ring *ring = calloc(1, sizeof(*ring));
    CHECK(ring != NULL);
    ring->nodes = nodes;
    ring->id.node_id = (uint32_t)__builtin_ctz(nodes);
    for (uint32_t i = 0; i < sim->node_count; i++)
        if ((nodes & (1u << (i + 1))) && sim->nodes[i].ring_sequence > ring->id.sequence)
            ring->id.sequence = sim->nodes[i].ring_sequence;
    ring->id.sequence += 4; // totem keeps it on disk and never goes back
    return ring;
}

static void enter_ring(struct sim *sim, struct totem_ring *ring, struct totem_ring **old)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (!(ring->nodes & (1u << (i + 1))))
            continue;
        old[i] = node->ring;
        node->ring = ring;
        node->ring_sequence = ring->id.sequence;
        node->delivered = 0;
        ring->references++;
        world_event_disarm(&sim->world, &node->deliver);
    }
}

static uint32_t component_nodes(const struct sim *sim, const uint32_t *component, uint32_t wanted)
{
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (sim->nodes[i].has_corosync && component[i] == wanted)
            nodes |= 1u << (i + 1);
    return nodes;
}

void totem_reform(struct sim *sim, const uint32_t *component)
{
    struct membership_process own[SIM_NODES_MAX];
    bool has_own[SIM_NODES_MAX] = {false};
    struct totem_ring *old[SIM_NODES_MAX] = {NULL};
    break_rings(sim, component);
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (sim->nodes[i].has_corosync)
            tell_who_went(&sim->nodes[i], component);
    for (uint32_t i = 0; i < sim->node_count; i++)
        for (uint32_t j = 0; j < sim->nodes[i].process_count; j++)
            if (sim->nodes[i].processes[j].node_id == i + 1) {
                own[i] = sim->nodes[i].processes[j];
                has_own[i] = true;
            }
    for (uint32_t i = 0; i < sim->node_count; i++) {
        uint32_t nodes = component_nodes(sim, component, i);
        if (nodes != 0)
            enter_ring(sim, ring_new(sim, nodes), old);
    }
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (!node->has_corosync)
            continue;
        node->restarted = false;
        if ((uint32_t)__builtin_popcount(node->ring->nodes) == sim->node_count)
            node->has_seen_all = true;
        tell_who_came(node, node->ring, own, has_own);
        tell_ring(node);
        totem_quorum_tell(node);
        sim_trace(sim, "n%u enters ring %u.%llu nodes %x", node->node_id, node->ring->id.node_id,
                  (unsigned long long)node->ring->id.sequence, node->ring->nodes);
    }
    for (uint32_t i = 0; i < sim->node_count; i++)
        ring_release(old[i]);
}

// --- workers -------------------------------------------------------------------------------------

void totem_worker_connects(struct sim_node *node, uint32_t pid)
{
    struct membership_process process = {node->node_id, pid};
    queue_clear(&node->group);
    queue_clear(&node->quorum);
    totem_quorum_tell(node);
    totem_send(node, process, TOTEM_JOIN, NULL, 0);
}

void totem_worker_gone(struct sim_node *node, uint32_t pid, bool is_clean)
{
    struct membership_process process = {node->node_id, pid};
    queue_clear(&node->group);
    queue_clear(&node->quorum);
    totem_send(node, process, is_clean ? TOTEM_LEAVE : TOTEM_DOWN, NULL, 0);
}

void totem_stop(struct sim_node *node)
{
    struct totem_ring *ring = node->ring;
    node->has_corosync = node->has_seen_all = false;
    node->ring = NULL;
    node->process_count = 0;
    queue_clear(&node->group);
    queue_clear(&node->quorum);
    world_event_disarm(&node->sim->world, &node->deliver);
    ring_release(ring);
}

void totem_init(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->group.node = node->quorum.node = node;
        node->group.wake.fire = node->quorum.wake.fire = queue_wake;
        node->deliver.fire = deliver_next;
    }
}

void totem_deinit(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        totem_stop(node);
        free(node->group.events);
        free(node->group.messages);
        free(node->quorum.events);
        free(node->quorum.messages);
    }
}
