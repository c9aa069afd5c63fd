// SPDX-License-Identifier: Apache-2.0
// What must never happen, whatever happens:
//
//   - two lives install different views under one epoch, or skip or reorder one
//   - a write of a life lands after a member was told to replay its journal, or was told recovered
//   - a journal is written to by two replays, or after its life counts as recovered
//   - a slot is taken while its journal may hold something, or its last user may write
//   - a life goes on after a suspension with a note in its mailbox that it could have read
//   - a life that the others have recovered runs
//   - a beat of an old life falls on the block of the slot's next one
//   - a member has missed a view
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "fs/base/check.h"
#include "tests/sim/membership_world.h"

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    if (sim->is_failed)
        return;
    sim->is_failed = true;
    va_start(arguments, format);
    vsnprintf(sim->failure, sizeof(sim->failure), format, arguments);
    va_end(arguments);
    sim_trace(sim, "FAILED: %s", sim->failure);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    if (sim->trace == NULL)
        return;
    fprintf(sim->trace, "%9.3f ", (double)sim->world.now_ns / 1e9);
    va_start(arguments, format);
    vfprintf(sim->trace, format, arguments);
    va_end(arguments);
    fputc('\n', sim->trace);
}

struct sim_life *sim_life_of(struct sim *sim, uint32_t node_id, uint64_t incarnation)
{
    for (uint32_t i = 0; i < sim->life_count; i++)
        if (sim->lives[i].process.node_id == node_id && sim->lives[i].incarnation == incarnation)
            return &sim->lives[i];
    return NULL;
}

// --- views -----------------------------------------------------------------------------------

static struct sim_epoch *epoch_find(struct sim *sim, uint64_t epoch)
{
    for (uint32_t i = 0; i < sim->epoch_count; i++)
        if (sim->epochs[i].epoch == epoch)
            return &sim->epochs[i];
    return NULL;
}

// Whether anybody who might still refer to it is there: a cluster that all have left or died in (or
// hang in: they were expelled) is founded anew, and counts anew if the ring is still the same.
static bool epoch_lives(struct sim *sim, const struct sim_epoch *epoch)
{
    for (uint32_t i = 0; i < epoch->member_count; i++) {
        const struct sim_life *life =
            sim_life_of(sim, epoch->members[i].node_id, epoch->members[i].incarnation);
        if (life != NULL && life->is_alive && !life->has_ended && !life->is_paused)
            return true;
    }
    return false;
}

static bool same_node(const struct membership_node *a, const struct membership_node *b)
{
    return a->node_id == b->node_id && a->incarnation == b->incarnation && a->slot == b->slot;
}

static void fill_epoch(struct sim_epoch *epoch, const struct membership_view *view)
{
    epoch->epoch = view->epoch;
    for (uint32_t i = 0; i < view->member_count; i++)
        epoch->members[epoch->member_count++] = (struct membership_node){
            view->members[i].node_id, view->members[i].slot, view->members[i].incarnation};
    for (uint32_t i = 0; i < view->dead_count; i++)
        epoch->dead[epoch->dead_count++] = (struct membership_node){
            view->dead[i].node_id, view->dead[i].slot, view->dead[i].incarnation};
}

// A joiner's first view may lack dead ones that were recovered since it was agreed on.
static bool same_epoch(const struct sim_epoch *a, const struct sim_epoch *b, bool is_first)
{
    if (a->member_count != b->member_count || (!is_first && a->dead_count != b->dead_count))
        return false;
    for (uint32_t i = 0; i < a->member_count; i++)
        if (!same_node(&a->members[i], &b->members[i]))
            return false;
    for (uint32_t i = 0; i < a->dead_count && !is_first; i++)
        if (!same_node(&a->dead[i], &b->dead[i]))
            return false;
    return true;
}

void check_view(struct sim_life *life, const struct membership_view *view)
{
    struct sim *sim = life->sim;
    struct sim_epoch told = {0};
    bool is_first = life->last_epoch == 0;
    fill_epoch(&told, view);
    if (view->epoch <= life->last_epoch)
        sim_fail(sim, "n%u was told epoch %" PRIu64 " after %" PRIu64, life->process.node_id,
                 view->epoch, life->last_epoch);
    struct sim_epoch *known = epoch_find(sim, view->epoch);
    if (known == NULL) {
        CHECK(sim->epoch_count < SIM_EPOCHS_MAX);
        known = &sim->epochs[sim->epoch_count++];
        *known = told;
    } else if (!epoch_lives(sim, known)) {
        *known = told;
    } else if (!same_epoch(known, &told, is_first)) {
        sim_fail(sim, "epoch %" PRIu64 " is not the same on n%u as elsewhere", view->epoch,
                 life->process.node_id);
    }
    if (!is_first && known->has_before && known->before != life->last_epoch)
        sim_fail(sim, "n%u went from epoch %" PRIu64 " to %" PRIu64 ", others from %" PRIu64,
                 life->process.node_id, life->last_epoch, view->epoch, known->before);
    if (!is_first) {
        known->has_before = true;
        known->before = life->last_epoch;
    }
    life->last_epoch = view->epoch;
}

// --- writes ----------------------------------------------------------------------------------

static bool was_recovered_for(const struct sim_life *life, const struct sim_life *victim)
{
    for (uint32_t i = 0; i < life->recovered_count; i++)
        if (life->recovered[i].node_id == victim->process.node_id &&
            life->recovered[i].incarnation == victim->incarnation)
            return true;
    return false;
}

static bool is_replayed_for(const struct sim_life *life, const struct sim_life *victim)
{
    for (uint32_t i = 0; i < life->replay_count; i++)
        if (life->replays[i].node.node_id == victim->process.node_id &&
            life->replays[i].node.incarnation == victim->incarnation)
            return true;
    return false;
}

// A write of `life` to its own data, or to the blocks of a journal that it replays.
void check_write_landed(struct sim_life *life, struct sim_life *on_behalf_of)
{
    struct sim *sim = life->sim;
    for (uint32_t i = 0; i < sim->life_count; i++) {
        const struct sim_life *other = &sim->lives[i];
        if (other == life)
            continue;
        if (is_replayed_for(other, life) || was_recovered_for(other, life))
            sim_fail(sim,
                     "a write of n%u.%" PRIu64 " landed after n%u.%" PRIu64
                     " was told to recover it",
                     life->process.node_id, life->incarnation, other->process.node_id,
                     other->incarnation);
        if (on_behalf_of != NULL && was_recovered_for(other, on_behalf_of))
            sim_fail(sim, "n%u.%" PRIu64 " writes for n%u.%" PRIu64 ", which is recovered",
                     life->process.node_id, life->incarnation, on_behalf_of->process.node_id,
                     on_behalf_of->incarnation);
    }
}

void check_replay_begins(struct sim_life *life, const struct membership_node *node)
{
    struct sim *sim = life->sim;
    struct sim_life *victim = sim_life_of(sim, node->node_id, node->incarnation);
    if (victim != NULL && victim->is_alive && life_may_write(victim))
        sim_fail(sim, "n%u replays n%u.%" PRIu64 ", which may still write", life->process.node_id,
                 node->node_id, node->incarnation);
}

// A beat of an old life must not fall on the slot's next one.
void check_beat_lands(struct sim_life *life)
{
    struct heartbeat_content content;
    if (disk_slot(life->sim, life->slot, &content) && content.state != HEARTBEAT_FREE &&
        content.incarnation != life->incarnation)
        sim_fail(life->sim, "a beat of n%u.%" PRIu64 " falls on n%u.%" PRIu64 "'s slot",
                 life->process.node_id, life->incarnation, content.node_id, content.incarnation);
}

void check_recovered(struct sim_life *life, const struct membership_node *node)
{
    struct sim *sim = life->sim;
    if (sim->disk.is_dirty[node->slot] && sim->disk.dirty_node[node->slot] == node->node_id &&
        sim->disk.dirty_incarnation[node->slot] == node->incarnation)
        sim_fail(sim, "n%u.%" PRIu64 " counts as recovered, but its journal is not clean",
                 node->node_id, node->incarnation);
    for (uint32_t i = 0; i < life->recovered_count; i++)
        if (same_node(&life->recovered[i], node))
            sim_fail(sim, "n%u was told twice that n%u.%" PRIu64 " is recovered",
                     life->process.node_id, node->node_id, node->incarnation);
    CHECK(life->recovered_count < SIM_LIVES_MAX);
    life->recovered[life->recovered_count++] = *node;
}

void check_slot_taken(struct sim_life *life, uint32_t slot)
{
    struct sim *sim = life->sim;
    if (sim->disk.is_dirty[slot])
        sim_fail(sim, "n%u.%" PRIu64 " takes slot %u, whose journal is not clean",
                 life->process.node_id, life->incarnation, slot);
    for (uint32_t i = 0; i < sim->life_count; i++) {
        const struct sim_life *other = &sim->lives[i];
        if (other != life && other->slot == slot && other->is_alive && life_may_write(other))
            sim_fail(sim, "n%u takes slot %u from n%u, which may write", life->process.node_id,
                     slot, other->process.node_id);
    }
}

void check_resume(struct sim_life *life)
{
    struct sim *sim = life->sim;
    struct mailbox_content note;
    bool has_note =
        mailbox_decode(sim->disk.mailboxes[life->slot], &sim->geometry, life->slot, &note) == 0 &&
        note.victim_incarnation == life->incarnation;
    if (has_note && sim->disk.mailbox_landed_ns[life->slot] < life->settled_ns)
        sim_fail(sim, "n%u.%" PRIu64 " goes on with a note in its mailbox", life->process.node_id,
                 life->incarnation);
    for (uint32_t i = 0; i < sim->life_count; i++)
        if (was_recovered_for(&sim->lives[i], life))
            sim_fail(sim, "n%u.%" PRIu64 " runs though it was recovered", life->process.node_id,
                     life->incarnation);
}

// --- the end ---------------------------------------------------------------------------------

void check_all_run(struct sim *sim)
{
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < sim->node_count && !sim->is_failed; i++) {
        const struct sim_life *life = sim->nodes[i].life;
        if (life == NULL || !life->runs || !membership_is_settled(life->membership)) {
            char bytes[400];
            struct text text;
            text_init(&text, bytes, sizeof(bytes));
            if (life != NULL)
                membership_status_to_text(life->membership, NULL, NULL, &text);
            sim_fail(sim, "all is well and n%u does not run: %s", i + 1,
                     life != NULL ? text.bytes : "no life");
            return;
        }
        const struct membership_view *view = membership_view_get(life->membership);
        if (epoch != 0 && view->epoch != epoch)
            sim_fail(sim, "all is well and the views differ");
        epoch = view->epoch;
        if (view->member_count != sim->node_count)
            sim_fail(sim, "all is well and n%u sees %u members", i + 1, view->member_count);
    }
}
