// SPDX-License-Identifier: Apache-2.0
// What must never happen, whatever happens:
//
//   - two lives install different views under one epoch, or skip or reorder one
//   - a write of a life lands after a member was told to replay its journal, or was told recovered
//   - a journal is written to by two replays, or after its life counts as recovered
//   - a slot is taken while its journal may hold something, or its last user may write
//   - a life goes on after a suspension with a note in its mailbox that it could have read
//   - a life that the others have recovered runs, or one whose companions are not settled
//   - a member is gone from a view, is not dead, and its slot does not say that it left
//   - one end of a link has the other one expelled; two nodes that are cut apart fence each other
//   - a life that sees another LUN is let in
//   - a beat of an old life falls on the block of the slot's next one
//   - a life empties its mailbox of a note against it
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

static bool same_node(const struct membership_node *a, const struct membership_node *b)
{
    return a->node_id == b->node_id && a->incarnation == b->incarnation && a->slot == b->slot;
}

static bool stands_in(const struct membership_node *list, uint32_t count,
                      const struct membership_node *node)
{
    for (uint32_t i = 0; i < count; i++)
        if (same_node(&list[i], node))
            return true;
    return false;
}

// Two nodes that are cut apart are both quorate and both count on, until one has fenced the other
// (rule 26): theirs are different views.
static struct sim_epoch *epoch_find(struct sim *sim, uint64_t epoch, const struct sim_life *life)
{
    struct membership_node self = {life->process.node_id, life->slot, life->incarnation};
    for (uint32_t i = 0; i < sim->epoch_count; i++)
        if (sim->epochs[i].epoch == epoch &&
            (!sim->totem.is_two_node ||
             stands_in(sim->epochs[i].members, sim->epochs[i].member_count, &self)))
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

static bool was_recovered_for(const struct sim_life *life, const struct sim_life *victim)
{
    for (uint32_t i = 0; i < life->recovered_count; i++)
        if (life->recovered[i].node_id == victim->process.node_id &&
            life->recovered[i].incarnation == victim->incarnation)
            return true;
    return false;
}

// Whoever is gone and not dead has left, and its slot says so (rule 28).
static void check_gone(struct sim_life *life, const struct sim_epoch *before,
                       const struct sim_epoch *now)
{
    struct heartbeat_content content;
    for (uint32_t i = 0; before != NULL && i < before->member_count; i++) {
        const struct membership_node *node = &before->members[i];
        struct sim_life *other = sim_life_of(life->sim, node->node_id, node->incarnation);
        if (stands_in(now->members, now->member_count, node) ||
            stands_in(now->dead, now->dead_count, node) || other == NULL ||
            was_recovered_for(life, other))
            continue;
        if (disk_slot(life->sim, node->slot, &content) && content.state != HEARTBEAT_FREE &&
            content.incarnation == node->incarnation)
            sim_fail(life->sim, "n%u.%" PRIu64 " counts as left, but its slot is in use",
                     node->node_id, node->incarnation);
    }
}

bool check_view(struct sim_life *life, const struct membership_view *view)
{
    struct sim *sim = life->sim;
    struct sim_epoch told = {0};
    bool is_first = life->last_epoch == 0;
    fill_epoch(&told, view);
    if (view->epoch <= life->last_epoch)
        sim_fail(sim, "n%u was told epoch %" PRIu64 " after %" PRIu64, life->process.node_id,
                 view->epoch, life->last_epoch);
    if (life->on_other_lun)
        sim_fail(sim, "n%u.%" PRIu64 " is let in and sees another LUN", life->process.node_id,
                 life->incarnation);
    if (!is_first)
        check_gone(life, epoch_find(sim, life->last_epoch, life), &told);
    struct sim_epoch *known = epoch_find(sim, view->epoch, life);
    bool is_new = known == NULL;
    if (is_new) {
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
    return is_new;
}

// --- writes ----------------------------------------------------------------------------------

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

// Before its first beat a life may empty its mailbox, but not of a note that names it.
void check_mailbox_emptied(struct sim_life *life)
{
    struct sim *sim = life->sim;
    struct mailbox_content note;
    if (!life->on_other_lun &&
        mailbox_decode(sim->disk.mailboxes[life->slot], &sim->geometry, life->slot, &note) == 0 &&
        note.victim_incarnation == life->incarnation)
        sim_fail(sim, "n%u.%" PRIu64 " empties its mailbox of a note against it",
                 life->process.node_id, life->incarnation);
}

// A note that landed before the life heard of its ring, or was told to look, is one that it could
// have read.
static void check_mailbox_was_read(struct sim_life *life)
{
    struct sim *sim = life->sim;
    struct mailbox_content note;
    uint64_t since_ns =
        life->ring_heard_ns > life->settled_ns ? life->ring_heard_ns : life->settled_ns;
    bool has_note =
        mailbox_decode(sim->disk.mailboxes[life->slot], &sim->geometry, life->slot, &note) == 0 &&
        note.victim_incarnation == life->incarnation;
    if (has_note && sim->disk.mailbox_landed_ns[life->slot] < since_ns)
        sim_fail(sim, "n%u.%" PRIu64 " goes on with a note in its mailbox", life->process.node_id,
                 life->incarnation);
}

void check_resume(struct sim_life *life)
{
    struct sim *sim = life->sim;
    const struct membership_view *view = membership_view_get(life->membership);
    if (life->companion_count > 0) // it was suspended
        check_mailbox_was_read(life);
    for (uint32_t i = 0; i < view->dead_count; i++) {
        struct membership_node dead = {view->dead[i].node_id, view->dead[i].slot,
                                       view->dead[i].incarnation};
        if (stands_in(life->companions, life->companion_count, &dead))
            sim_fail(sim, "n%u.%" PRIu64 " goes on before n%u.%" PRIu64 " is recovered",
                     life->process.node_id, life->incarnation, dead.node_id, dead.incarnation);
    }
    for (uint32_t i = 0; i < sim->life_count; i++)
        if (was_recovered_for(&sim->lives[i], life))
            sim_fail(sim, "n%u.%" PRIu64 " runs though it was recovered", life->process.node_id,
                     life->incarnation);
}

// --- who has to go -----------------------------------------------------------------------------

// Of two nodes that were cut apart the higher one waits and looks before it writes its note: if the
// lower one's had landed by then, it must not have written any (rule 26).
void check_tie_break(struct sim_life *writer, uint32_t victim_slot)
{
    struct sim *sim = writer->sim;
    struct mailbox_content theirs, ours;
    if (mailbox_decode(sim->disk.mailboxes[victim_slot], &sim->geometry, victim_slot, &theirs) !=
            0 ||
        mailbox_decode(sim->disk.mailboxes[writer->slot], &sim->geometry, writer->slot, &ours) != 0)
        return;
    const struct sim_life *victim =
        sim_life_of(sim, 3 - writer->process.node_id, theirs.victim_incarnation);
    if (victim == NULL || ours.victim_incarnation != writer->incarnation ||
        ours.writer_incarnation != victim->incarnation)
        return;
    const struct sim_life *lower = writer->process.node_id == 1 ? writer : victim;
    const struct sim_life *higher = writer->process.node_id == 1 ? victim : writer;
    uint64_t yield_ns = (SIM_LEASE_NS / 5 + SIM_IO_MAX_NS) / 10 * 9; // its clock may be fast
    if (higher->fence_ordered_incarnation == lower->incarnation &&
        sim->disk.mailbox_landed_ns[higher->slot] < higher->fence_ordered_ns + yield_ns)
        sim_fail(sim, "n1.%" PRIu64 " and n2.%" PRIu64 " have fenced each other",
                 lower->incarnation, higher->incarnation);
}

// For a link that is down somebody goes only when both ends have said so (rule 20).
void check_expelled(struct sim_life *life, const char *reason)
{
    struct sim *sim = life->sim;
    uint32_t peer_id;
    if (sscanf(reason, "its lock link to node %u is down", &peer_id) != 1)
        return;
    CHECK(peer_id >= 1 && peer_id <= sim->node_count);
    const struct sim_life *peer = sim_life_of(sim, peer_id, life->link_reported[peer_id - 1]);
    if (peer == NULL || peer->link_reported[life->process.node_id - 1] != life->incarnation)
        sim_fail(sim,
                 "n%u.%" PRIu64 " is expelled for its link to n%u, which n%u alone says is down",
                 life->process.node_id, life->incarnation, peer_id,
                 peer == NULL ? peer_id : life->process.node_id);
}

// --- the end ---------------------------------------------------------------------------------

bool check_all_settled(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        const struct sim_life *life = sim->nodes[i].life;
        if (life == NULL || life->is_paused || !life->runs ||
            !membership_is_settled(life->membership) ||
            membership_view_get(life->membership)->member_count != sim->node_count)
            return false;
    }
    return true;
}

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
                membership_status_to_text(life->membership, &(struct membership_words){0}, &text);
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
