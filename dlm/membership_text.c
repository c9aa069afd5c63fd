// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>

#include "dlm/membership_machine.h"

static void add_name(struct text *text, const struct membership_words *words, uint32_t node_id)
{
    const char *given = words->name != NULL ? words->name(words->context, node_id) : NULL;
    if (given != NULL)
        text_add(text, "%s", given);
    else
        text_add(text, "node %u", node_id);
}

static void add_silent(const struct membership *self, const struct membership_words *words,
                       struct text *text)
{
    bool waits_for_ack = self->round.phase == ROUND_ACKING;
    const char *separator = "waiting for ";
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct membership_member_process *process = &self->processes[i];
        if (!process->is_expected || (waits_for_ack ? process->has_acked : process->has_synced))
            continue;
        text_add(text, "%s", separator);
        add_name(text, words, process->id.node_id);
        separator = ", ";
    }
    text_add(text, " to answer\n");
}

static void add_fencing(const struct membership_dead *dead, const struct membership_words *words,
                        struct text *text)
{
    struct membership_node victim = membership_dead_node(dead);
    text_add(text, "fencing ");
    add_name(text, words, dead->node_id);
    text_add(text, " (slot %u)", dead->slot);
    if (words->fencing != NULL)
        words->fencing(words->context, &victim, text);
    text_add(text, "\n");
}

static void add_dead(const struct membership *self, const struct membership_words *words,
                     struct text *text)
{
    for (uint32_t i = 0; i < self->state->view.dead_count; i++) {
        const struct membership_dead *dead = &self->state->view.dead[i];
        if (dead->phase == MEMBERSHIP_DEAD) {
            add_fencing(dead, words, text);
            continue;
        }
        text_add(text, "replaying journal %u (", dead->slot);
        add_name(text, words, dead->node_id);
        text_add(text, ")");
        if (dead->recoverer_node_id != 0) {
            text_add(text, " on ");
            add_name(text, words, dead->recoverer_node_id);
        }
        text_add(text, "\n");
    }
}

void membership_status_to_text(const struct membership *self, const struct membership_words *words,
                               struct text *text)
{
    if (self->standing == MEMBERSHIP_ENDED)
        return;
    if (self->is_lost) {
        text_add(text, "waiting for corosync\n");
        return;
    }
    if (!membership_ring_is_quorate(self)) {
        text_add(text, "waiting for quorum\n");
        return;
    }
    if (self->round.phase == ROUND_SYNCING || self->round.phase == ROUND_ACKING)
        add_silent(self, words, text);
    else if (self->round.phase == ROUND_NONE)
        text_add(text, "agreeing on who is in the cluster\n");
    if (self->is_founding)
        text_add(text, "taking the volume\n");
    if (self->has_state)
        add_dead(self, words, text);
    if (self->mailbox_asked)
        text_add(text, "reading the mailbox before going on\n");
}

static const char *phase_text(enum membership_phase phase)
{
    static const char *const names[] = {"dead", "fenced", "recovered"};
    return (unsigned)phase <= MEMBERSHIP_RECOVERED ? names[phase] : "?";
}

void membership_view_to_text(const struct membership_view *view, struct text *text)
{
    text_add(text, "view %" PRIu64 " {", view->epoch);
    for (uint32_t i = 0; i < view->member_count; i++)
        text_add(text, "%s%u.%" PRIu64 "@%u", i ? " " : "", view->members[i].node_id,
                 view->members[i].incarnation, view->members[i].slot);
    text_add(text, "}");
    for (uint32_t i = 0; i < view->dead_count; i++)
        text_add(text, " %s %u.%" PRIu64 "@%u", phase_text(view->dead[i].phase),
                 view->dead[i].node_id, view->dead[i].incarnation, view->dead[i].slot);
}

static const char *const event_names[] = {
    [MEMBERSHIP_EVENT_GROUP] = "group",
    [MEMBERSHIP_EVENT_RING] = "ring",
    [MEMBERSHIP_EVENT_QUORUM] = "quorum",
    [MEMBERSHIP_EVENT_DELIVERED] = "delivered",
    [MEMBERSHIP_EVENT_DRAINED] = "drained",
    [MEMBERSHIP_EVENT_LOST] = "lost",
    [MEMBERSHIP_EVENT_RECONNECTED] = "reconnected",
    [MEMBERSHIP_EVENT_JOIN] = "join",
    [MEMBERSHIP_EVENT_LEAVE] = "leave",
    [MEMBERSHIP_EVENT_EXPEL] = "expel",
    [MEMBERSHIP_EVENT_LINK] = "link",
    [MEMBERSHIP_EVENT_END] = "end",
    [MEMBERSHIP_EVENT_FOUNDED] = "founded",
    [MEMBERSHIP_EVENT_LUN_PROVED] = "lun-proved",
    [MEMBERSHIP_EVENT_LUN_SEEN] = "lun-seen",
    [MEMBERSHIP_EVENT_FENCED] = "fenced",
    [MEMBERSHIP_EVENT_REPLAYED] = "replayed",
    [MEMBERSHIP_EVENT_MAILBOX_CLEAN] = "mailbox-clean",
    [MEMBERSHIP_EVENT_STRANGER] = "stranger",
    [MEMBERSHIP_EVENT_TICK] = "tick",
};

static void add_node(struct text *text, const struct membership_node *node)
{
    text_add(text, " %u.%" PRIu64 "@%u", node->node_id, node->incarnation, node->slot);
}

static void add_message(struct text *text, const struct membership_event *event)
{
    // The type stands behind magic and version (membership_message.h).
    unsigned type = event->delivered.length >= 8 ? event->delivered.bytes[6] : 0;
    text_add(text, " %s from %u/%u", membership_message_text((enum membership_message_type)type),
             event->delivered.from.node_id, event->delivered.from.pid);
}

static void add_group(struct text *text, const struct membership_group_change *change)
{
    for (uint32_t i = 0; i < change->member_count; i++)
        text_add(text, " %u/%u", change->members[i].node_id, change->members[i].pid);
    for (uint32_t i = 0; i < change->left_count; i++)
        text_add(text, " -%u/%u", change->left[i].process.node_id, change->left[i].process.pid);
}

void membership_event_to_text(const struct membership_event *event, struct text *text)
{
    text_add(text, "%s", event_names[event->type]);
    switch (event->type) {
    case MEMBERSHIP_EVENT_GROUP:
        add_group(text, &event->group);
        break;
    case MEMBERSHIP_EVENT_RING:
        text_add(text, " %u.%" PRIu64, event->ring.node_id, event->ring.sequence);
        break;
    case MEMBERSHIP_EVENT_QUORUM:
        text_add(text, " %u.%" PRIu64 " %s", event->quorum.ring.node_id,
                 event->quorum.ring.sequence, event->quorum.is_quorate ? "yes" : "no");
        break;
    case MEMBERSHIP_EVENT_DELIVERED:
        add_message(text, event);
        break;
    case MEMBERSHIP_EVENT_DRAINED:
        add_node(text, &event->drained.node);
        break;
    case MEMBERSHIP_EVENT_EXPEL:
        add_node(text, &event->expel.node);
        break;
    case MEMBERSHIP_EVENT_LUN_SEEN:
    case MEMBERSHIP_EVENT_FENCED:
    case MEMBERSHIP_EVENT_REPLAYED:
    case MEMBERSHIP_EVENT_STRANGER:
        add_node(text, &event->node);
        break;
    default:
        break;
    }
}

static const char *const effect_names[] = {
    [MEMBERSHIP_EFFECT_SEND] = "send",
    [MEMBERSHIP_EFFECT_VIEW] = "view",
    [MEMBERSHIP_EFFECT_RECOVERED] = "recovered",
    [MEMBERSHIP_EFFECT_FOUND] = "found",
    [MEMBERSHIP_EFFECT_SLOT_ASSIGNED] = "slot",
    [MEMBERSHIP_EFFECT_WATCH_JOINER] = "watch-joiner",
    [MEMBERSHIP_EFFECT_FENCE] = "fence",
    [MEMBERSHIP_EFFECT_FENCE_CANCEL] = "fence-cancel",
    [MEMBERSHIP_EFFECT_REPLAY] = "replay",
    [MEMBERSHIP_EFFECT_SUSPEND] = "suspend",
    [MEMBERSHIP_EFFECT_CHECK_MAILBOX] = "check-mailbox",
    [MEMBERSHIP_EFFECT_RESUME] = "resume",
    [MEMBERSHIP_EFFECT_LEFT] = "left",
    [MEMBERSHIP_EFFECT_FEATURES] = "features",
    [MEMBERSHIP_EFFECT_ENDED] = "ended",
};

void membership_effect_to_text(const struct membership_effect *effect, struct text *text)
{
    text_add(text, "%s", effect_names[effect->type]);
    switch (effect->type) {
    case MEMBERSHIP_EFFECT_SEND:
        text_add(text, " %zu bytes", effect->send.length);
        break;
    case MEMBERSHIP_EFFECT_VIEW:
        text_add(text, " ");
        membership_view_to_text(effect->view, text);
        break;
    case MEMBERSHIP_EFFECT_RECOVERED:
    case MEMBERSHIP_EFFECT_SLOT_ASSIGNED:
    case MEMBERSHIP_EFFECT_WATCH_JOINER:
    case MEMBERSHIP_EFFECT_FENCE_CANCEL:
    case MEMBERSHIP_EFFECT_REPLAY:
        add_node(text, &effect->node);
        break;
    case MEMBERSHIP_EFFECT_FENCE:
        add_node(text, &effect->fence.node);
        text_add(text, " (%s)", effect->fence.reason);
        break;
    case MEMBERSHIP_EFFECT_ENDED:
        text_add(text, " %d %s", effect->ended.error, effect->ended.reason);
        break;
    default:
        break;
    }
}
