// SPDX-License-Identifier: Apache-2.0
// A life of a node: what fs/cluster does with a membership machine and a heartbeat, without the
// file system. It writes data whenever its gate is open; a replay is a few writes and a clean mark.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "tests/sim/membership_world.h"

static struct sim_life *life_of(struct world_event *event, size_t offset)
{
    return (struct sim_life *)(void *)((char *)event - offset);
}

uint64_t life_now(const struct sim_life *life)
{
    return life->node->clock_base + life->sim->world.now_ns / 1000 * life->node->clock_rate;
}

uint64_t life_at(const struct sim_life *life, uint64_t local_ns)
{
    if (local_ns == UINT64_MAX)
        return UINT64_MAX;
    if (local_ns <= life->node->clock_base)
        return 0;
    return (local_ns - life->node->clock_base) / life->node->clock_rate * 1000;
}

static void arm_in(struct sim_life *life, struct world_event *event, uint64_t in_ns)
{
    world_event_arm(&life->sim->world, event, life->sim->world.now_ns + in_ns);
}

// The gate, as lanes see it.
bool life_may_write(const struct sim_life *life)
{
    return life->runs && !life->has_ended && !life->is_leaving && life->heartbeat != NULL &&
           lease_is_valid(&life->heartbeat->lease, life_now(life));
}

// Replays go on while this node is not suspended for good: the lease is what counts.
static bool may_replay(const struct sim_life *life)
{
    return life->is_alive && !life->has_ended && life->heartbeat != NULL &&
           lease_is_valid(&life->heartbeat->lease, life_now(life));
}

// --- events into the machine -----------------------------------------------------------------

static void carry_out(struct sim_life *life, const struct membership_effect *effect);

static void arm_tick(struct sim_life *life)
{
    uint64_t at_ns = membership_deadline_ns(life->membership);
    if (at_ns == UINT64_MAX) {
        world_event_disarm(&life->sim->world, &life->tick);
        return;
    }
    at_ns = life_at(life, at_ns) + 1000;
    if (at_ns < life->sim->world.now_ns)
        at_ns = life->sim->world.now_ns;
    world_event_arm(&life->sim->world, &life->tick, at_ns);
}

void life_event(struct sim_life *life, const struct membership_event *event)
{
    struct membership_event stamped = *event;
    if (!life->is_alive || life->sim->is_failed)
        return;
    CHECK(!life->is_stepping);
    life->is_stepping = true;
    stamped.now_ns = life_now(life);
    if (event->type == MEMBERSHIP_EVENT_RING)
        life->ring_heard_ns = life->sim->world.now_ns;
    life->sim->steps++;
    if (life->sim->trace != NULL) {
        char bytes[300];
        struct text text;
        text_init(&text, bytes, sizeof(bytes));
        membership_event_to_text(&stamped, &text);
        sim_trace(life->sim, "n%u.%" PRIu64 " <- %s", life->process.node_id, life->incarnation,
                  text.bytes);
    }
    membership_step(life->membership, &stamped, &life->effects);
    for (size_t i = 0; i < life->effects.count && life->is_alive; i++)
        carry_out(life, &life->effects.items[i]);
    life->is_stepping = false;
    if (life->is_alive)
        arm_tick(life);
}

static void node_event(struct sim_life *life, enum membership_event_type type,
                       struct membership_node node)
{
    struct membership_event event = {.type = type, .node = node};
    life_event(life, &event);
}

static void simple_event(struct sim_life *life, enum membership_event_type type)
{
    struct membership_event event = {.type = type};
    life_event(life, &event);
}

static void tick_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, tick));
    if (life->is_paused) {
        arm_in(life, event, 50 * MS);
        return;
    }
    simple_event(life, MEMBERSHIP_EVENT_TICK);
}

// --- the end of a life -----------------------------------------------------------------------

// The guard waits until the worker's I/O has drained, and says so.
static void guard_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, guard));
    struct sim *sim = life->sim;
    if (!life->guard_is_alive || !life->node->is_up)
        return;
    if (life->is_alive) { // paused: killed before its lease is over
        if (life->is_paused)
            life_die(life, false);
        return;
    }
    if (life->in_flight > 0 || life->node->ring == NULL) {
        arm_in(life, event, 20 * MS);
        return;
    }
    life->has_drained = true;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (node->ring != life->node->ring || node->life == NULL || !node->life->is_connected ||
            node->life->is_paused || node->life->is_stepping)
            continue;
        struct membership_event drained = {
            .type = MEMBERSHIP_EVENT_DRAINED,
            .drained = {.node = {life->process.node_id, life->slot, life->incarnation},
                        .ring = life->node->ring->id}};
        life_event(node->life, &drained);
    }
}

static void forget_timers(struct sim_life *life)
{
    struct world *world = &life->sim->world;
    world_event_disarm(world, &life->tick);
    world_event_disarm(world, &life->beat);
    world_event_disarm(world, &life->data);
    world_event_disarm(world, &life->chore);
    world_event_disarm(world, &life->exit);
    world_event_disarm(world, &life->found);
}

void life_die(struct sim_life *life, bool with_node)
{
    struct sim_node *node = life->node;
    if (!life->is_alive)
        return;
    sim_trace(life->sim, "n%u.%" PRIu64 " dies%s", node->node_id, life->incarnation,
              with_node ? " with its node" : "");
    life->is_alive = false;
    life->is_paused = false;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) // the next life connects anew
        life->sim->link_down_ns[node->node_id - 1][i] =
            life->sim->link_down_ns[i][node->node_id - 1] = 0;
    forget_timers(life);
    node->life = NULL;
    if (life->sim->disk.claimer == life)
        life->sim->disk.claimer = NULL;
    if (life->is_connected && !with_node)
        totem_worker_gone(node, life->process.pid, false);
    life->is_connected = false;
    if (life->guard_is_alive && !with_node && life->slot != MEMBERSHIP_NO_SLOT && !life->says_left)
        arm_in(life, &life->guard, 30 * MS);
    if (!with_node && node->wants_mount)
        world_event_arm(&life->sim->world, &node->mount,
                        life->sim->world.now_ns + sim_between(life->sim, 200 * MS, 3000 * MS));
}

static void exit_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, exit));
    life_die(life, false);
}

// This life is over: nothing is submitted any more; 'stopped' is written once all has landed.
static void life_ends(struct sim_life *life, const char *why)
{
    if (life->has_ended)
        return;
    sim_trace(life->sim, "n%u.%" PRIu64 " ends: %s", life->process.node_id, life->incarnation, why);
    life->has_ended = true;
    life->runs = false;
    arm_in(life, &life->exit, sim_between(life->sim, 100 * MS, 2000 * MS));
}

// --- effects ---------------------------------------------------------------------------------

static void start_heartbeat(struct sim_life *life, uint32_t slot)
{
    struct heartbeat_config config = {
        .lease = lease_config_of(SIM_LEASE_NS, SIM_IO_MAX_NS),
        .geometry = &life->sim->geometry,
        .slot = slot,
        .node_id = life->process.node_id,
        .incarnation = life->incarnation,
        .state = HEARTBEAT_JOINING,
        .watch_ns = SIM_LEASE_NS / 10,
    };
    check_slot_taken(life, slot);
    life->slot = slot;
    life->heartbeat = calloc(1, sizeof(*life->heartbeat));
    life->buffer = block_buffer_new(BLOCK_BYTES);
    CHECK(life->heartbeat != NULL);
    heartbeat_machine_init(life->heartbeat, &config, life->buffer, life_now(life));
    for (uint32_t i = 0; i < SIM_SLOTS; i++)
        heartbeat_machine_watch(life->heartbeat, i, i != slot);
    arm_in(life, &life->beat, 0);
}

// Every slot was left behind: under its claim, after a lease's length in which nothing moved, the
// founder replays one journal and takes that slot.
static void free_one_slot(struct sim_life *life, const struct membership_node *node)
{
    struct sim *sim = life->sim;
    struct heartbeat_content content = {.incarnation = node->incarnation,
                                        .recovered_incarnation = node->incarnation,
                                        .node_id = node->node_id,
                                        .state = HEARTBEAT_FREE};
    check_replay_begins(life, node);
    sim->disk.is_dirty[node->slot] = false;
    heartbeat_encode(sim->disk.heartbeats[node->slot], &sim->geometry, node->slot, &content);
}

static void found_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, found));
    struct sim *sim = life->sim;
    struct membership_node dead[SIM_SLOTS];
    uint32_t count = 0, slot = MEMBERSHIP_NO_SLOT;
    if (life->is_paused) {
        arm_in(life, event, 50 * MS);
        return;
    }
    for (uint32_t i = 0; i < sim->life_count; i++) { // somebody's heartbeat moves
        struct sim_life *other = &sim->lives[i];
        if (other != life && other->is_alive && other->heartbeat != NULL && !other->is_paused &&
            !other->on_other_lun && other->heartbeat->end == HEARTBEAT_ALIVE &&
            !other->heartbeat->is_silent) {
            life_ends(life, "the volume is in use");
            return;
        }
    }
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        struct heartbeat_content content;
        bool is_read = disk_slot(sim, i, &content);
        CHECK(is_read);
        if (content.state != HEARTBEAT_FREE)
            dead[count++] = (struct membership_node){content.node_id, i, content.incarnation};
        else if (slot == MEMBERSHIP_NO_SLOT)
            slot = i;
    }
    if (slot == MEMBERSHIP_NO_SLOT) {
        arm_in(life, event, SIM_LEASE_NS + SIM_LEASE_NS / 5 + SIM_IO_MAX_NS);
        if (life->has_waited)
            free_one_slot(life, &dead[0]);
        life->has_waited = true;
        return;
    }
    start_heartbeat(life, slot);
    memcpy(life->found_dead, dead, count * sizeof(dead[0]));
    life->found_count = count;
    life->is_founding = true;
}

// Nobody is told of a founder before its first beat is durable: who comes after it must find it.
static void report_founded(struct sim_life *life)
{
    if (!life->is_founding || life->heartbeat->state_durable != HEARTBEAT_JOINING)
        return;
    life->is_founding = false;
    struct membership_event founded = {
        .type = MEMBERSHIP_EVENT_FOUNDED,
        .founded = {.slot = life->slot, .dead = life->found_dead, .dead_count = life->found_count}};
    life_event(life, &founded);
}

static void begin_found(struct sim_life *life)
{
    struct sim *sim = life->sim;
    if (life->on_other_lun) {
        life_ends(life,
                  "it has another LUN, and found it so"); // by what nobody else has to do with
        return;
    }
    if (sim->disk.claimer != NULL && sim->disk.claimer->is_alive) {
        life_ends(life, "another one claims the volume");
        return;
    }
    sim->disk.claimer = life;
    // Not left cleanly: two beats and io_max are watched (rule 15).
    arm_in(life, &life->found, 2000 * MS + SIM_IO_MAX_NS + sim_below(sim, 1000 * MS));
}

static void begin_replay(struct sim_life *life, struct membership_node node)
{
    struct sim *sim = life->sim;
    check_replay_begins(life, &node);
    CHECK(life->replay_count < SIM_LIVES_MAX / 4);
    struct sim_replay *replay = &life->replays[life->replay_count++];
    *replay = (struct sim_replay){.node = node};
    bool is_dirty = sim->disk.is_dirty[node.slot] &&
                    sim->disk.dirty_node[node.slot] == node.node_id &&
                    sim->disk.dirty_incarnation[node.slot] == node.incarnation;
    replay->writes_left = is_dirty ? 1 + (uint32_t)sim_below(sim, sim_one_in(sim, 2) ? 3 : 20) : 0;
    arm_in(life, &life->chore, 10 * MS);
}

static void fence_forget(struct sim_life *life, struct membership_node node)
{
    for (uint32_t i = 0; i < life->fence_count; i++)
        if (life->fences[i].slot == node.slot && life->fences[i].incarnation == node.incarnation)
            life->fences[i--] = life->fences[--life->fence_count];
}

static void begin_fence(struct sim_life *life, const struct membership_effect *effect)
{
    struct membership_node node = effect->fence.node;
    CHECK(life->fence_count < SIM_LIVES_MAX / 4);
    life->fences[life->fence_count++] = node;
    life->fence_ordered_ns = life->sim->world.now_ns;
    life->fence_ordered_incarnation = node.incarnation;
    uint64_t yield_ns = life->heartbeat->config.lease.beat_ns + SIM_IO_MAX_NS;
    heartbeat_machine_fence(life->heartbeat, node.slot, node.incarnation,
                            effect->fence.yields ? life_now(life) + yield_ns : 0,
                            effect->fence.reason);
    arm_in(life, &life->beat, 0);
}

static void told_view(struct sim_life *life, const struct membership_view *view)
{
    bool is_first = check_view(life, view);
    for (uint32_t i = 0; i < SIM_SLOTS; i++)
        life->was_expelled[i] = false;
    if (is_first)
        sim_view_installed(life);
}

static void resume(struct sim_life *life)
{
    struct sim *sim = life->sim;
    check_resume(life);
    life->companion_count = 0;
    life->runs = true;
    heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_RUNNING);
    sim->disk.is_dirty[life->slot] = true;
    sim->disk.dirty_node[life->slot] = life->process.node_id;
    sim->disk.dirty_incarnation[life->slot] = life->incarnation;
    arm_in(life, &life->data, sim_between(sim, 0, 50 * MS));
}

static void suspend(struct sim_life *life)
{
    life->runs = false;
    life->has_asked_mailbox = false;
    life->settled_ns = 0;
    const struct membership_view *view = membership_view_get(life->membership);
    life->companion_count = 0;
    for (uint32_t i = 0; i < view->member_count; i++)
        life->companions[life->companion_count++] = (struct membership_node){
            view->members[i].node_id, view->members[i].slot, view->members[i].incarnation};
    if (life->heartbeat != NULL && !life->is_leaving)
        heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_SUSPENDED);
}

static void watch_joiner(struct sim_life *life, struct membership_node node)
{
    CHECK(life->look_count < SIM_LIVES_MAX / 4);
    life->looks[life->look_count++] = node;
}

static void left(struct sim_life *life)
{
    sim_trace(life->sim, "n%u.%" PRIu64 " has left", life->process.node_id, life->incarnation);
    if (life->is_connected)
        totem_worker_gone(life->node, life->process.pid, true);
    life->is_connected = false;
    arm_in(life, &life->exit, 20 * MS);
}

static void take_slot(struct sim_life *life, uint32_t slot)
{
    struct heartbeat_content content;
    bool is_free = life->on_other_lun ||
                   (disk_slot(life->sim, slot, &content) && content.state == HEARTBEAT_FREE);
    if (!is_free) {
        life_ends(life, "the slot is not free on the LUN");
        return;
    }
    // Taken for dead as soon as it has its slot, before it has looked into the mailbox (rule 10b).
    if (!life->sim->is_healing && sim_one_in(life->sim, 40)) {
        life->slow_until_ns = life->sim->world.now_ns + SIM_IO_MAX_NS;
        sim_isolate(life->node);
    }
    start_heartbeat(life, slot);
    life->proves_lun = true;
}

static void carry_out(struct sim_life *life, const struct membership_effect *effect)
{
    struct sim *sim = life->sim;
    if (sim->trace != NULL && effect->type != MEMBERSHIP_EFFECT_SEND) {
        char bytes[500];
        struct text text;
        text_init(&text, bytes, sizeof(bytes));
        membership_effect_to_text(effect, &text);
        sim_trace(sim, "n%u.%" PRIu64 "    -> %s", life->process.node_id, life->incarnation,
                  text.bytes);
    }
    switch (effect->type) {
    case MEMBERSHIP_EFFECT_SEND:
        if (life->is_connected)
            totem_send(life->node, life->process, TOTEM_BYTES,
                       membership_effects_bytes(&life->effects, effect), effect->send.length);
        break;
    case MEMBERSHIP_EFFECT_VIEW:
        told_view(life, effect->view);
        break;
    case MEMBERSHIP_EFFECT_RECOVERED:
        check_recovered(life, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_FOUND:
        begin_found(life);
        break;
    case MEMBERSHIP_EFFECT_SLOT_ASSIGNED:
        take_slot(life, effect->node.slot);
        break;
    case MEMBERSHIP_EFFECT_WATCH_JOINER:
        watch_joiner(life, effect->node);
        break;
    case MEMBERSHIP_EFFECT_FENCE:
        begin_fence(life, effect);
        break;
    case MEMBERSHIP_EFFECT_FENCE_CANCEL:
        fence_forget(life, effect->node);
        heartbeat_machine_fence_cancel(life->heartbeat, effect->node.slot);
        break;
    case MEMBERSHIP_EFFECT_REPLAY:
        begin_replay(life, effect->node);
        break;
    case MEMBERSHIP_EFFECT_SUSPEND:
        suspend(life);
        break;
    case MEMBERSHIP_EFFECT_CHECK_MAILBOX:
        life->has_asked_mailbox = true;
        life->mailbox_asked_ns = life_now(life);
        life->settled_ns = sim->world.now_ns;
        break;
    case MEMBERSHIP_EFFECT_RESUME:
        if (life->settled_ns == 0)
            life->settled_ns = sim->world.now_ns; // it has not been asked to look
        life->has_asked_mailbox = false;
        resume(life);
        break;
    case MEMBERSHIP_EFFECT_LEFT:
        left(life);
        break;
    case MEMBERSHIP_EFFECT_FEATURES:
        break;
    case MEMBERSHIP_EFFECT_ENDED:
        if (effect->ended.error == -ERROR_VIEW_MISSED)
            sim_fail(sim, "n%u has missed a view", life->process.node_id);
        check_expelled(life, effect->ended.reason);
        life_ends(life, effect->ended.reason);
        break;
    }
}

// --- what the heartbeat shows ----------------------------------------------------------------

static const struct heartbeat_slot *slot_of(const struct sim_life *life, uint32_t slot)
{
    return &life->heartbeat->slots[slot];
}

static void report_fences(struct sim_life *life)
{
    for (uint32_t i = 0; i < life->fence_count; i++) {
        struct membership_node node = life->fences[i];
        const struct heartbeat_slot *slot = slot_of(life, node.slot);
        if (!slot->fences || slot->fence.incarnation != node.incarnation ||
            slot->fence_verdict != LEASE_FENCE_DONE)
            continue;
        fence_forget(life, node);
        node_event(life, MEMBERSHIP_EVENT_FENCED, node);
        return;
    }
}

static void report_frees(struct sim_life *life)
{
    for (uint32_t i = 0; i < life->replay_count; i++) {
        struct sim_replay *replay = &life->replays[i];
        if (!replay->is_freeing || replay->is_over || slot_of(life, replay->node.slot)->frees)
            continue;
        replay->is_over = true;
        node_event(life, MEMBERSHIP_EVENT_REPLAYED, replay->node);
        return;
    }
}

static void report_looks(struct sim_life *life)
{
    for (uint32_t i = 0; i < life->look_count; i++) {
        struct membership_node node = life->looks[i];
        const struct lease_watch *watch = &slot_of(life, node.slot)->watch;
        if (!watch->last.is_valid || watch->last.incarnation != node.incarnation)
            continue;
        life->looks[i] = life->looks[--life->look_count];
        node_event(life, MEMBERSHIP_EVENT_LUN_SEEN, node);
        return;
    }
    if (!life->proves_lun || life->heartbeat->state_durable != HEARTBEAT_JOINING)
        return;
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        if (i == life->slot || slot_of(life, i)->watch.change_count == 0)
            continue;
        life->proves_lun = false;
        simple_event(life, MEMBERSHIP_EVENT_LUN_PROVED);
        return;
    }
}

static void report_stalls(struct sim_life *life)
{
    const struct membership_view *view = membership_view_get(life->membership);
    for (uint32_t i = 0; life->runs && i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        const struct lease_watch *watch = &slot_of(life, member->slot)->watch;
        if (member->slot == life->slot || life->was_expelled[member->slot] ||
            watch->last.incarnation != member->incarnation || member->is_leaving ||
            lease_watch_silent_ns(watch) < SIM_LEASE_NS)
            continue;
        life->was_expelled[member->slot] = true;
        struct membership_event event = {
            .type = MEMBERSHIP_EVENT_EXPEL,
            .expel.node = {member->node_id, member->slot, member->incarnation}};
        snprintf(event.expel.reason, sizeof(event.expel.reason), "its heartbeat stands still");
        life_event(life, &event);
        return;
    }
}

// What a life tells of its lock links: down for 3 s, or up again.
static void report_links(struct sim_life *life)
{
    const struct membership_view *view = membership_view_get(life->membership);
    const struct sim *sim = life->sim;
    const uint64_t *down_ns = sim->link_down_ns[life->process.node_id - 1];
    for (uint32_t i = 0; life->runs && i < view->member_count; i++) {
        const struct membership_member *member = &view->members[i];
        uint32_t at = member->node_id - 1;
        bool is_new = life->link_reported[at] != member->incarnation;
        bool is_down = down_ns[at] != 0 && sim->world.now_ns > down_ns[at] + 3000 * MS;
        if (is_down == (life->link_told[at] && !is_new) || member->incarnation == life->incarnation)
            continue;
        life->link_told[at] = is_down;
        if (is_down)
            life->link_reported[at] = member->incarnation;
        struct membership_event event = {.type = MEMBERSHIP_EVENT_LINK,
                                         .link = {.peer_node_id = member->node_id,
                                                  .peer_incarnation = member->incarnation,
                                                  .is_down = is_down}};
        life_event(life, &event);
        return;
    }
}

// A slot in use by a life that nobody here has heard of; true if there is one.
static bool report_strangers(struct sim_life *life)
{
    uint64_t changed_ns = membership_changed_ns(life->membership);
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        const struct lease_watch *watch = &slot_of(life, i)->watch;
        const struct lease_sighting *seen = &watch->last;
        if (i == life->slot || !seen->is_valid || seen->state == HEARTBEAT_FREE ||
            watch->seen_ns <= changed_ns ||
            membership_knows(life->membership, seen->node_id, seen->incarnation))
            continue;
        node_event(life, MEMBERSHIP_EVENT_STRANGER,
                   (struct membership_node){seen->node_id, i, seen->incarnation});
        return true;
    }
    return false;
}

static bool all_slots_were_read(const struct sim_life *life, uint64_t since_ns)
{
    for (uint32_t i = 0; i < SIM_SLOTS; i++)
        if (i != life->slot && slot_of(life, i)->watch.seen_ns < since_ns)
            return false;
    return true;
}

static void report_state(struct sim_life *life)
{
    const struct heartbeat_machine *heartbeat = life->heartbeat;
    bool has_stranger = life->last_epoch != 0 && report_strangers(life);
    if (life->has_asked_mailbox && heartbeat->mailbox_clean_ns >= life->mailbox_asked_ns &&
        !has_stranger && all_slots_were_read(life, life->mailbox_asked_ns)) {
        life->has_asked_mailbox = false;
        simple_event(life, MEMBERSHIP_EVENT_MAILBOX_CLEAN);
    }
    if (life->is_alive && life->is_leaving && !life->says_left && heartbeat->is_silent &&
        heartbeat->state_durable == HEARTBEAT_FREE) {
        life->says_left = true;
        simple_event(life, MEMBERSHIP_EVENT_LEAVE);
    }
}

void life_heartbeat_changed(struct sim_life *life)
{
    if (life->heartbeat == NULL || !life->is_alive || life->is_stepping || life->sim->is_failed)
        return;
    if (life->heartbeat->end != HEARTBEAT_ALIVE && !life->has_ended) {
        struct membership_event event = {.type = MEMBERSHIP_EVENT_END,
                                         .error = heartbeat_end_error(life->heartbeat->end)};
        life_ends(life, life->heartbeat->end_reason);
        life_event(life, &event);
    }
    if (life->has_ended) {
        if (life->in_flight == 0)
            heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_STOPPED);
        return;
    }
    report_founded(life);
    report_fences(life);
    report_frees(life);
    report_looks(life);
    report_stalls(life);
    if (life->is_alive)
        report_links(life);
    if (life->is_alive)
        report_state(life);
}

// --- timers ----------------------------------------------------------------------------------

static void beat_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, beat));
    disk_pump(life);
}

static void data_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, data));
    if (!life->is_paused && life_may_write(life))
        disk_data_write(life, NULL);
    arm_in(life, event, sim_between(life->sim, 20 * MS, 300 * MS));
}

static void mark_clean(struct sim_life *life, struct sim_replay *replay)
{
    struct sim_slots *disk = &life->sim->disk;
    uint32_t slot = replay->node.slot;
    if (disk->dirty_node[slot] == replay->node.node_id &&
        disk->dirty_incarnation[slot] == replay->node.incarnation)
        disk->is_dirty[slot] = false;
    replay->is_freeing = true;
    heartbeat_machine_free(life->heartbeat, slot, replay->node.incarnation);
    arm_in(life, &life->beat, 0);
}

// One step of each replay: a write, or, once all have landed, the clean mark.
static void chore_fires(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, chore));
    bool has_more = false;
    for (uint32_t i = 0; i < life->replay_count && !life->is_paused && may_replay(life); i++) {
        struct sim_replay *replay = &life->replays[i];
        if (replay->is_freeing)
            continue;
        has_more = true;
        if (replay->writes_left > 0) {
            replay->writes_left--;
            disk_data_write(life,
                            sim_life_of(life->sim, replay->node.node_id, replay->node.incarnation));
        } else if (life->in_flight == 0) {
            mark_clean(life, replay);
        }
    }
    if (has_more || life->is_paused)
        arm_in(life, event, sim_between(life->sim, 10 * MS, 200 * MS));
    else if (life->replay_count > 0 && !life->has_ended)
        arm_in(life, event, 300 * MS); // the lease may come back with the next round
}

// --- a life's beginning, faults ----------------------------------------------------------------

static uint64_t next_incarnation(struct sim *sim)
{
    uint64_t highest = 0;
    for (uint32_t i = 0; i < SIM_SLOTS; i++) {
        struct heartbeat_content content;
        struct mailbox_content note;
        if (disk_slot(sim, i, &content) && content.incarnation > highest)
            highest = content.incarnation;
        if (mailbox_decode(sim->disk.mailboxes[i], &sim->geometry, i, &note) == 0 &&
            note.victim_incarnation > highest)
            highest = note.victim_incarnation;
    }
    // A life that died before its first beat has left no trace: the clock keeps the next one apart.
    uint64_t clock = sim->world.now_ns / MS;
    return highest + 1 > clock ? highest + 1 : clock;
}

void life_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (node->life != NULL || !node->has_corosync || sim->life_count == SIM_LIVES_MAX)
        return;
    struct sim_life *life = &sim->lives[sim->life_count++];
    *life = (struct sim_life){.sim = sim,
                              .node = node,
                              .process = {node->node_id, ++node->next_pid},
                              .incarnation = next_incarnation(sim),
                              .slot = MEMBERSHIP_NO_SLOT,
                              .is_alive = true,
                              .is_connected = true,
                              .guard_is_alive = !sim_one_in(sim, 4),
                              .on_other_lun = node->has_other_lun};
    life->tick.fire = tick_fires;
    life->beat.fire = beat_fires;
    life->data.fire = data_fires;
    life->chore.fire = chore_fires;
    life->exit.fire = exit_fires;
    life->guard.fire = guard_fires;
    life->found.fire = found_fires;
    struct membership_config config = {.self = life->process,
                                       .patience_ns = SIM_LEASE_NS,
                                       .is_two_node = sim->is_two_node,
                                       .version_min = 1,
                                       .version_max = 1,
                                       .features = 3};
    life->membership = membership_new(&config);
    node->life = life;
    totem_worker_connects(node, life->process.pid);
    struct membership_event join = {.type = MEMBERSHIP_EVENT_JOIN,
                                    .join = {.incarnation = life->incarnation,
                                             .slot_wish = (uint32_t)sim_below(sim, SIM_SLOTS),
                                             .slot_count = SIM_SLOTS}};
    life_event(life, &join);
}

static void pause_is_over(struct world_event *event)
{
    struct sim_life *life = life_of(event, offsetof(struct sim_life, data));
    life->is_paused = false;
    life->data.fire = data_fires;
    sim_trace(life->sim, "n%u.%" PRIu64 " wakes", life->process.node_id, life->incarnation);
    arm_in(life, &life->data, 0);
    arm_in(life, &life->beat, 0);
}

// Stopped as by SIGSTOP. Its guard kills it when its lease is about to end.
void life_pause(struct sim_life *life, uint64_t for_ns)
{
    struct sim *sim = life->sim;
    if (life->is_paused || !life->is_alive)
        return;
    sim_trace(sim, "n%u.%" PRIu64 " is paused", life->process.node_id, life->incarnation);
    life->is_paused = true;
    life->data.fire = pause_is_over;
    arm_in(life, &life->data, for_ns);
    if (life->heartbeat == NULL || !life->guard_is_alive || life->heartbeat->lease.until_ns == 0)
        return;
    uint64_t end_ns = life_at(life, life->heartbeat->lease.until_ns - 300 * MS);
    world_event_arm(&sim->world, &life->guard,
                    end_ns > sim->world.now_ns ? end_ns : sim->world.now_ns);
}

// Clean: everything of it has landed, its journal is clean, then its slot says 'left'.
void life_leave(struct sim_life *life)
{
    if (!life->runs || life->is_leaving || life->has_ended || life->in_flight > 0 ||
        life->is_paused || life->heartbeat == NULL)
        return;
    for (uint32_t i = 0; i < life->replay_count; i++)
        if (!life->replays[i].is_over)
            return;
    sim_trace(life->sim, "n%u.%" PRIu64 " leaves", life->process.node_id, life->incarnation);
    life->is_leaving = true;
    life->sim->disk.is_dirty[life->slot] = false;
    heartbeat_machine_set_state(life->heartbeat, HEARTBEAT_FREE);
    arm_in(life, &life->beat, 0);
}
