// SPDX-License-Identifier: Apache-2.0
// Corosync as its sources say it behaves: within a ring all nodes deliver the
// same messages in the same order, each at its own pace. When a ring breaks, the nodes that stay
// together deliver the same rest: all that one of them has delivered, then a part of what is under
// way; behind a hole only what they sent themselves. Then come the changes of the group (one for
// those who went, one for each who came), then the new ring id. Quorum comes on a connection of its
// own, earlier or later.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"
#include "tests/sim/totem.h"

#define MS ((uint64_t)1000000)

static uint64_t below(struct totem *totem, uint64_t bound)
{
    return bound > 0 ? random_below(&totem->world->random, bound) : 0;
}

static bool one_in(struct totem *totem, uint64_t n)
{
    return random_one_in(&totem->world->random, n);
}

static uint64_t between(struct totem *totem, uint64_t low_ns, uint64_t high_ns)
{
    return low_ns + below(totem, high_ns - low_ns + 1);
}

__attribute__((format(printf, 2, 3))) static void trace(struct totem *totem, const char *format,
                                                        ...)
{
    char line[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    totem->host->trace(totem, line);
}

static bool has_listener(const struct totem_node *node)
{
    struct totem_worker worker = {0};
    return node->totem->host->worker(node, &worker) && worker.is_connected;
}

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
    world_event_disarm(queue->node->totem->world, &queue->wake);
    for (; queue->begin < queue->end; queue->begin++) {
        event_release(&queue->events[queue->begin]);
        message_release(queue->messages[queue->begin]);
    }
    queue->begin = queue->end = 0;
}

static void queue_push(struct totem_queue *queue, const struct membership_event *event,
                       struct totem_message *message, uint64_t delay_ns)
{
    struct world *world = queue->node->totem->world;
    if (queue->end == queue->capacity) {
        queue->capacity = queue->capacity ? 2 * queue->capacity : 64;
        queue->events = memory_resize(queue->events, queue->capacity, sizeof(*queue->events));
        queue->messages = memory_resize(queue->messages, queue->capacity, sizeof(*queue->messages));
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
    struct totem *totem = queue->node->totem;
    struct totem_worker worker = {0};
    bool has_worker = totem->host->worker(queue->node, &worker);
    if (queue->begin == queue->end)
        return;
    bool is_deaf = has_worker && totem->world->now_ns < worker.deaf_until_ns;
    if (is_deaf || (has_worker && worker.is_paused)) { // it waits in the kernel's buffers
        world_event_arm(totem->world, wake, totem->world->now_ns + 50 * MS);
        return;
    }
    struct membership_event event = queue->events[queue->begin];
    struct totem_message *message = queue->messages[queue->begin++];
    if (queue->begin == queue->end)
        queue->begin = queue->end = 0;
    else
        world_event_arm(totem->world, wake, totem->world->now_ns + between(totem, 0, 2 * MS));
    if (has_worker && worker.is_connected)
        totem->host->event(queue->node, &event);
    event_release(&event);
    message_release(message);
}

static void tell_group(struct totem_node *node, const struct membership_left *left,
                       uint32_t left_count)
{
    if (!has_listener(node))
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

static void tell_ring(struct totem_node *node)
{
    struct membership_event event = {.type = MEMBERSHIP_EVENT_RING, .ring = node->ring->id};
    if (has_listener(node))
        queue_push(&node->group, &event, NULL, 1 * MS);
}

static void tell_quorum(struct totem_node *node)
{
    struct totem *totem = node->totem;
    if (!has_listener(node) || node->ring == NULL)
        return;
    bool is_quorate = totem->is_two_node
                          ? node->has_seen_all
                          : 2 * (uint32_t)__builtin_popcount(node->ring->nodes) > totem->node_count;
    struct membership_event event = {.type = MEMBERSHIP_EVENT_QUORUM,
                                     .quorum = {.ring = node->ring->id, .is_quorate = is_quorate}};
    uint64_t delay_ns = one_in(totem, 3) ? between(totem, 0, 400 * MS) : 2 * MS;
    queue_push(&node->quorum, &event, NULL, delay_ns);
}

// --- processes of the group --------------------------------------------------------------------

static void process_add(struct totem_node *node, struct membership_process process)
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

static bool process_remove(struct totem_node *node, struct membership_process process)
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

static void deliver_message(struct totem_node *node, struct totem_message *message)
{
    const struct totem *totem = node->totem;
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
    } else if (has_listener(node)) {
        struct membership_event event = {.type = MEMBERSHIP_EVENT_DELIVERED,
                                         .delivered = {.from = message->from,
                                                       .bytes = message->bytes,
                                                       .length = message->length}};
        if (message->from.node_id == node->node_id && totem->host->own_delivered != NULL)
            totem->host->own_delivered(node, message);
        queue_push(&node->group, &event, message, 0);
    }
}

static void deliver_next(struct world_event *event)
{
    struct totem_node *node =
        (struct totem_node *)(void *)((char *)event - offsetof(struct totem_node, deliver));
    struct totem *totem = node->totem;
    if (node->ring == NULL || node->delivered == node->ring->count)
        return;
    deliver_message(node, node->ring->log[node->delivered++]);
    if (totem->host->delivered != NULL)
        totem->host->delivered(node);
    if (node->delivered < node->ring->count)
        world_event_arm(totem->world, event, totem->world->now_ns + between(totem, 0, 5 * MS));
}

void totem_send(struct totem_node *node, struct membership_process from, int type,
                const uint8_t *bytes, size_t length)
{
    struct totem_ring *ring = node->ring;
    struct totem *totem = node->totem;
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
        ring->log = memory_resize(ring->log, ring->capacity, sizeof(*ring->log));
    }
    ring->log[ring->count++] = message;
    for (uint32_t i = 0; i < totem->node_count; i++) {
        struct totem_node *other = totem->nodes[i];
        if (other->ring == ring && other->delivered + 1 == ring->count)
            world_event_arm(totem->world, &other->deliver,
                            totem->world->now_ns + between(totem, 1 * MS, 15 * MS));
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

static bool stays_with(const struct totem_node *a, const struct totem_node *b,
                       const uint32_t *component)
{
    return a->ring == b->ring && component[a->node_id - 1] == component[b->node_id - 1] &&
           a->has_corosync && b->has_corosync && !a->restarted && !b->restarted;
}

// Where the common prefix ends for those who leave `node`'s old ring together with it.
static size_t choose_cut(struct totem *totem, const struct totem_node *node,
                         const uint32_t *component)
{
    size_t low = 0;
    for (uint32_t i = 0; i < totem->node_count; i++)
        if (stays_with(totem->nodes[i], node, component) && totem->nodes[i]->delivered > low)
            low = totem->nodes[i]->delivered;
    return low + (size_t)below(totem, node->ring->count - low + 1);
}

static void deliver_rest(struct totem_node *node, size_t cut, const uint32_t *component)
{
    struct totem *totem = node->totem;
    for (; node->delivered < node->ring->count; node->delivered++) {
        struct totem_message *message = node->ring->log[node->delivered];
        const struct totem_node *sender = totem->nodes[message->from.node_id - 1];
        if (node->delivered < cut || stays_with(sender, node, component))
            deliver_message(node, message);
    }
}

static void break_rings(struct totem *totem, const uint32_t *component)
{
    bool is_done[TOTEM_NODES_MAX] = {false};
    for (uint32_t i = 0; i < totem->node_count; i++) {
        struct totem_node *node = totem->nodes[i];
        if (is_done[i] || node->ring == NULL || !node->has_corosync || node->restarted)
            continue;
        size_t cut = choose_cut(totem, node, component);
        for (uint32_t j = i; j < totem->node_count; j++) {
            if (!stays_with(totem->nodes[j], node, component))
                continue;
            is_done[j] = true;
            deliver_rest(totem->nodes[j], cut, component);
        }
    }
}

static void tell_who_went(struct totem_node *node, const uint32_t *component)
{
    struct membership_left left[MEMBERSHIP_PROCESSES_MAX];
    uint32_t count = 0;
    for (uint32_t i = node->process_count; i-- > 0;) {
        struct membership_process process = node->processes[i];
        const struct totem_node *other = node->totem->nodes[process.node_id - 1];
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

static void tell_who_came(struct totem_node *node, const struct totem_ring *ring,
                          const struct membership_process *own, const bool *has_own)
{
    for (uint32_t i = 0; i < node->totem->node_count; i++) {
        if (!(ring->nodes & (1u << (i + 1))) || !has_own[i] || i + 1 == node->node_id)
            continue;
        uint32_t before = node->process_count;
        process_add(node, own[i]);
        if (node->process_count != before)
            tell_group(node, NULL, 0);
    }
}

static struct totem_ring *ring_new(struct totem *totem, uint32_t nodes)
{
    struct totem_ring *ring = calloc(1, sizeof(*ring));
    CHECK(ring != NULL);
    ring->nodes = nodes;
    ring->id.node_id = (uint32_t)__builtin_ctz(nodes);
    for (uint32_t i = 0; i < totem->node_count; i++)
        if ((nodes & (1u << (i + 1))) && totem->nodes[i]->ring_sequence > ring->id.sequence)
            ring->id.sequence = totem->nodes[i]->ring_sequence;
    ring->id.sequence += 4; // totem keeps it on disk and never goes back
    return ring;
}

static void enter_ring(struct totem *totem, struct totem_ring *ring, struct totem_ring **old)
{
    for (uint32_t i = 0; i < totem->node_count; i++) {
        struct totem_node *node = totem->nodes[i];
        if (!(ring->nodes & (1u << (i + 1))))
            continue;
        old[i] = node->ring;
        node->ring = ring;
        node->ring_sequence = ring->id.sequence;
        node->delivered = 0;
        ring->references++;
        world_event_disarm(totem->world, &node->deliver);
    }
}

static uint32_t component_nodes(const struct totem *totem, const uint32_t *component,
                                uint32_t wanted)
{
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < totem->node_count; i++)
        if (totem->nodes[i]->has_corosync && component[i] == wanted)
            nodes |= 1u << (i + 1);
    return nodes;
}

void totem_reform(struct totem *totem, const uint32_t *component)
{
    struct membership_process own[TOTEM_NODES_MAX];
    bool has_own[TOTEM_NODES_MAX] = {false};
    struct totem_ring *old[TOTEM_NODES_MAX] = {NULL};
    break_rings(totem, component);
    for (uint32_t i = 0; i < totem->node_count; i++)
        if (totem->nodes[i]->has_corosync)
            tell_who_went(totem->nodes[i], component);
    for (uint32_t i = 0; i < totem->node_count; i++)
        for (uint32_t j = 0; j < totem->nodes[i]->process_count; j++)
            if (totem->nodes[i]->processes[j].node_id == i + 1) {
                own[i] = totem->nodes[i]->processes[j];
                has_own[i] = true;
            }
    for (uint32_t i = 0; i < totem->node_count; i++) {
        uint32_t nodes = component_nodes(totem, component, i);
        if (nodes != 0)
            enter_ring(totem, ring_new(totem, nodes), old);
    }
    for (uint32_t i = 0; i < totem->node_count; i++) {
        struct totem_node *node = totem->nodes[i];
        if (!node->has_corosync)
            continue;
        node->restarted = false;
        if ((uint32_t)__builtin_popcount(node->ring->nodes) == totem->node_count)
            node->has_seen_all = true;
        tell_who_came(node, node->ring, own, has_own);
        tell_ring(node);
        tell_quorum(node);
        trace(totem, "n%u enters ring %u.%llu nodes %x", node->node_id, node->ring->id.node_id,
              (unsigned long long)node->ring->id.sequence, node->ring->nodes);
    }
    for (uint32_t i = 0; i < totem->node_count; i++)
        ring_release(old[i]);
}

// --- workers -------------------------------------------------------------------------------------

void totem_worker_connects(struct totem_node *node, uint32_t pid)
{
    struct membership_process process = {node->node_id, pid};
    queue_clear(&node->group);
    queue_clear(&node->quorum);
    tell_quorum(node);
    totem_send(node, process, TOTEM_JOIN, NULL, 0);
}

void totem_worker_gone(struct totem_node *node, uint32_t pid, bool is_clean)
{
    struct membership_process process = {node->node_id, pid};
    queue_clear(&node->group);
    queue_clear(&node->quorum);
    totem_send(node, process, is_clean ? TOTEM_LEAVE : TOTEM_DOWN, NULL, 0);
}

void totem_stop(struct totem_node *node)
{
    struct totem_ring *ring = node->ring;
    node->has_corosync = node->has_seen_all = false;
    node->ring = NULL;
    node->process_count = 0;
    queue_clear(&node->group);
    queue_clear(&node->quorum);
    world_event_disarm(node->totem->world, &node->deliver);
    ring_release(ring);
}

void totem_init(struct totem *totem, struct world *world, const struct totem_host *host)
{
    *totem = (struct totem){.world = world, .host = host};
}

void totem_node_add(struct totem *totem, struct totem_node *node)
{
    CHECK(totem->node_count < TOTEM_NODES_MAX);
    totem->nodes[totem->node_count++] = node;
    node->totem = totem;
    node->node_id = totem->node_count;
    node->group.node = node->quorum.node = node;
    node->group.wake.fire = node->quorum.wake.fire = queue_wake;
    node->deliver.fire = deliver_next;
}

void totem_deinit(struct totem *totem)
{
    for (uint32_t i = 0; i < totem->node_count; i++) {
        struct totem_node *node = totem->nodes[i];
        totem_stop(node);
        free(node->group.events);
        free(node->group.messages);
        free(node->quorum.events);
        free(node->quorum.messages);
    }
}
