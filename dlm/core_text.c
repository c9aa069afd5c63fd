// SPDX-License-Identifier: Apache-2.0
// Looking in: who holds what, where the rebuild stands, and all of it as text.
#include "dlm/core.h"

#include "fs/base/error.h"

#include <inttypes.h>
#include <string.h>

// ---- visiting ---------------------------------------------------------------------------------

static void visit_own(const struct dlm_core *core, dlm_lock_visit *visit, void *context)
{
    struct table_cursor cursor = table_begin(&core->locks);
    struct table_link *link;

    while ((link = table_next(&cursor))) {
        const struct core_lock *lock = CONTAINER_OF(link, struct core_lock, link);
        struct dlm_lock_info info = {
            .name = lock->name,
            .node = core->self,
            .cookie = lock->cookie,
            .granted = lock->granted,
            .requested = lock->requested,
        };
        visit(context, &info);
    }
}

static void visit_file(const struct dlm_core *core, const struct core_file *file,
                       dlm_lock_visit *visit, void *context)
{
    struct dlm_lock_info info = {
        .name = file->name,
        .node = core->self,
        .is_range = true,
        .granted = DLM_MODE_NONE,
        .requested = DLM_MODE_NONE,
    };
    const struct core_range *held;
    const struct core_range_wait *wait;

    TAILQ_FOREACH (held, &file->held, link) {
        info.range = held->range;
        visit(context, &info);
    }
    info.requested = DLM_NL;
    TAILQ_FOREACH (wait, &file->waits, link) {
        info.range = wait->range;
        info.cookie = wait->cookie;
        visit(context, &info);
    }
}

static void visit_holders(const struct core_resource *resource, const struct core_holder_list *list,
                          bool is_granted, dlm_lock_visit *visit, void *context)
{
    const struct core_holder *holder = TAILQ_FIRST(list);

    while (holder) {
        struct dlm_lock_info info = {
            .name = resource->name,
            .node = holder->node,
            .is_master = true,
            .is_dead = !holder->peer,
            .cookie = holder->cookie,
            .granted = holder->granted,
            .requested = holder->requested,
        };
        visit(context, &info);
        holder = is_granted ? TAILQ_NEXT(holder, granted_link) : TAILQ_NEXT(holder, queue_link);
    }
}

static void visit_ranges(const struct core_resource *resource, dlm_lock_visit *visit, void *context)
{
    struct dlm_lock_info info = {
        .name = resource->name,
        .is_master = true,
        .is_range = true,
        .granted = DLM_MODE_NONE,
        .requested = DLM_MODE_NONE,
    };
    const struct core_range *held;
    const struct core_range_waiter *waiter;

    TAILQ_FOREACH (held, &resource->ranges, link) {
        info.node = held->node;
        info.is_dead = held->is_dead;
        info.range = held->range;
        visit(context, &info);
    }
    info.is_dead = false;
    info.requested = DLM_NL;
    TAILQ_FOREACH (waiter, &resource->range_waiters, link) {
        info.node = waiter->peer->node;
        info.range = waiter->range;
        info.cookie = waiter->cookie;
        visit(context, &info);
    }
}

static void visit_resource(const struct core_resource *resource, dlm_lock_visit *visit,
                           void *context)
{
    visit_holders(resource, &resource->granted, true, visit, context);
    visit_holders(resource, &resource->waiting, false, visit, context);
    visit_ranges(resource, visit, context);
    if (resource->assumed != DLM_MODE_NONE) {
        struct dlm_lock_info info = {
            .name = resource->name,
            .is_master = true,
            .is_dead = true,
            .is_assumed = true,
            .granted = resource->assumed,
            .requested = DLM_MODE_NONE,
        };
        visit(context, &info);
    }
}

void dlm_core_visit_locks(const struct dlm_core *core, dlm_lock_visit *visit, void *context)
{
    struct table_cursor cursor = table_begin(&core->files);
    struct table_link *link;

    visit_own(core, visit, context);
    while ((link = table_next(&cursor)))
        visit_file(core, CONTAINER_OF(link, struct core_file, link), visit, context);
    cursor = table_begin(&core->resources);
    while ((link = table_next(&cursor)))
        visit_resource(CONTAINER_OF(link, struct core_resource, link), visit, context);
}

void dlm_core_visit_notes(const struct dlm_core *core, dlm_lock_visit *visit, void *context)
{
    struct table_cursor cursor = table_begin(&core->notes);
    struct table_link *link;

    while ((link = table_next(&cursor))) {
        const struct core_note *note = CONTAINER_OF(link, struct core_note, link);
        struct dlm_lock_info info = {
            .name = note->name,
            .node = note->peer->node,
            .cookie = note->cookie,
            .granted = note->mode,
            .requested = DLM_MODE_NONE,
        };
        visit(context, &info);
    }
}

struct dlm_core_status dlm_core_status_get(const struct dlm_core *core)
{
    const struct core_view *view = core_history_current(&core->history);
    struct dlm_core_status status = {
        .epoch = view ? view->epoch : 0,
        .is_complete = core->is_complete,
        .dead_count = core->dead.count,
        .lock_count = core->locks.count,
        .resource_count = core->resources.count,
        .note_count = core->notes.count,
    };

    for (uint32_t i = 0; i < core->peer_count; i++)
        status.missing += core->peers[i]->ready_epoch != status.epoch;
    return status;
}

const struct dlm_counters *dlm_core_counters(const struct dlm_core *core)
{
    return &core->counters;
}

struct dlm_node dlm_core_master_of(const struct dlm_core *core, struct lock_name name)
{
    const struct core_peer *peer = core_peer_of_master(core, name);

    return peer ? peer->node : (struct dlm_node){0};
}

struct dlm_node dlm_core_shadow_of(const struct dlm_core *core, struct lock_name name)
{
    struct core_place place = core_place_of(core, name);

    return place.shadow ? place.shadow->node : (struct dlm_node){0};
}

// ---- text -------------------------------------------------------------------------------------

static void name_to_text(struct lock_name name, struct text *text)
{
    text_add(text, "%u/%" PRIu64, name.type, name.id);
}

static void node_to_text(struct dlm_node node, struct text *text)
{
    text_add(text, "n%u.%" PRIu64, node.node_id, node.incarnation);
}

static void range_to_text(const struct dlm_range *range, struct text *text)
{
    text_add(text, "%s %s owner=%" PRIu64 " handle=%" PRIu64 " [%" PRIu64 ",%" PRIu64 "]",
             range->space == DLM_RANGE_FLOCK ? "flock" : "posix",
             range->type == DLM_RANGE_EXCLUSIVE ? "exclusive" : "shared", range->owner,
             range->handle, range->start, range->end);
}

void dlm_lock_info_to_text(const struct dlm_lock_info *info, struct text *text)
{
    name_to_text(info->name, text);
    text_add(text, " ");
    if (info->is_assumed)
        text_add(text, "the dead");
    else
        node_to_text(info->node, text);
    if (info->is_range) {
        text_add(text, " ");
        range_to_text(&info->range, text);
        text_add(text, info->requested == DLM_MODE_NONE ? " held" : " waits");
    } else {
        text_add(text, " %s", dlm_mode_text(info->granted));
        if (info->requested != DLM_MODE_NONE)
            text_add(text, " waits for %s", dlm_mode_text(info->requested));
    }
    if (info->is_dead)
        text_add(text, info->is_assumed ? " (assumed until recovered)" : " (dead)");
    if (info->is_master)
        text_add(text, " (master)");
}

static void view_to_text(const struct dlm_view *view, struct text *text)
{
    text_add(text, "VIEW %" PRIu64 " members", view->epoch);
    for (uint32_t i = 0; i < view->member_count; i++) {
        text_add(text, " ");
        node_to_text(view->members[i], text);
    }
    for (uint32_t i = 0; i < view->dead_count; i++) {
        text_add(text, i ? " " : " dead ");
        node_to_text(view->dead[i], text);
    }
}

static void frame_to_text(const struct dlm_frame *frame, struct text *text)
{
    struct frame_header header;

    text_add(text, "FRAME from ");
    node_to_text(frame->from, text);
    if (message_frame_verify(frame->bytes, frame->length, &header) != 0) {
        text_add(text, " bad");
        return;
    }
    text_add(text, " epoch=%" PRIu64 " {", header.epoch);
    const uint8_t *at = frame->bytes + sizeof(struct frame_header_wire);
    for (uint32_t i = 0; i < header.message_count; i++) {
        const struct message_header_wire *message = (const void *)at;
        text_add(text, i ? "; " : "");
        message_to_text(message, text);
        at += le16_get(message->length);
    }
    text_add(text, "}");
}

static void range_lock_to_text(const struct dlm_event *event, struct text *text)
{
    const struct dlm_range_lock *lock = &event->range_lock;

    text_add(text, event->type == DLM_EVENT_RANGE_TEST ? "RANGE_TEST " : "RANGE_LOCK ");
    name_to_text(lock->name, text);
    text_add(text, " cookie=%" PRIu64 " ", lock->cookie);
    range_to_text(&lock->range, text);
    text_add(text, lock->wait ? " wait" : "");
}

static void range_unlock_to_text(const struct dlm_range_unlock *unlock, struct text *text)
{
    static const char *const scopes[] = {"range", "owner", "handle"};

    text_add(text, "RANGE_UNLOCK ");
    name_to_text(unlock->name, text);
    text_add(text, " %s ", scopes[unlock->scope]);
    range_to_text(&unlock->range, text);
}

void dlm_event_to_text(const struct dlm_event *event, struct text *text)
{
    switch (event->type) {
    case DLM_EVENT_REQUEST:
        text_add(text, "REQUEST ");
        name_to_text(event->request.name, text);
        text_add(text, " cookie=%" PRIu64 " %s%s", event->request.cookie,
                 dlm_mode_text(event->request.mode),
                 event->request.flags & DLM_NOQUEUE ? " noqueue" : "");
        return;
    case DLM_EVENT_CONVERT:
        text_add(text, "CONVERT cookie=%" PRIu64 " %s%s%s", event->convert.cookie,
                 dlm_mode_text(event->convert.mode),
                 event->convert.flags & DLM_NOQUEUE ? " noqueue" : "",
                 event->convert.flags & DLM_WRITE_VALUE ? " value" : "");
        return;
    case DLM_EVENT_RELEASE:
        text_add(text, "RELEASE cookie=%" PRIu64 "%s", event->release.cookie,
                 event->release.flags & DLM_WRITE_VALUE ? " value" : "");
        return;
    case DLM_EVENT_CANCEL:
        text_add(text, "CANCEL cookie=%" PRIu64, event->cancel.cookie);
        return;
    case DLM_EVENT_RANGE_LOCK:
    case DLM_EVENT_RANGE_TEST:
        range_lock_to_text(event, text);
        return;
    case DLM_EVENT_RANGE_UNLOCK:
        range_unlock_to_text(&event->range_unlock, text);
        return;
    case DLM_EVENT_RANGE_CANCEL:
        text_add(text, "RANGE_CANCEL cookie=%" PRIu64, event->range_cancel.cookie);
        return;
    case DLM_EVENT_FRAME:
        frame_to_text(&event->frame, text);
        return;
    case DLM_EVENT_VIEW:
        view_to_text(event->view, text);
        return;
    case DLM_EVENT_RECOVERED:
        text_add(text, "RECOVERED ");
        node_to_text(event->recovered, text);
        return;
    }
}

void dlm_effect_to_text(const struct dlm_effect *effect, struct text *text)
{
    switch (effect->type) {
    case DLM_EFFECT_SEND:
        text_add(text, "send to ");
        node_to_text(effect->send.to, text);
        return;
    case DLM_EFFECT_GRANT:
        text_add(text, "grant cookie=%" PRIu64 " %s%s", effect->grant.cookie,
                 dlm_mode_text(effect->grant.mode), effect->grant.value_valid ? " value" : "");
        return;
    case DLM_EFFECT_DENIED:
        text_add(text, "denied cookie=%" PRIu64 " %s", effect->denied.cookie,
                 error_text(effect->denied.error));
        return;
    case DLM_EFFECT_BLOCKING:
        text_add(text, "blocking cookie=%" PRIu64 " wanted %s", effect->blocking.cookie,
                 dlm_mode_text(effect->blocking.mode));
        return;
    case DLM_EFFECT_RANGE_RESULT:
        text_add(text, "range result cookie=%" PRIu64 " %s", effect->range_result.cookie,
                 effect->range_result.error ? error_text(effect->range_result.error) : "ok");
        return;
    case DLM_EFFECT_VIEW_DONE:
        text_add(text, "view %" PRIu64 " done", effect->view_done);
        return;
    case DLM_EFFECT_BAD_FRAME:
        text_add(text, "bad frame from ");
        node_to_text(effect->bad_frame.from, text);
        text_add(text, ": %s", error_text(effect->bad_frame.error));
        return;
    }
}

static void rule_to_text(const struct core_rule *rule, struct text *text)
{
    text_add(text, "rule: mastered by");
    for (uint32_t i = 0; i < rule->member_count; i++) {
        if (!(rule->gone >> i & 1))
            continue;
        text_add(text, " ");
        node_to_text(rule->members[i], text);
    }
    text_add(text, rule->member_count ? "" : " anybody");
    text_add(text, rule->is_noted ? " and noted by none but these, until recovered"
                                  : ", until recovered");
    for (uint32_t i = 0; i < rule->blocker_count; i++) {
        text_add(text, " ");
        node_to_text(rule->blockers[i], text);
    }
    text_add(text, "\n");
}

static void lock_line(void *context, const struct dlm_lock_info *info)
{
    struct text *text = context;

    dlm_lock_info_to_text(info, text);
    text_add(text, "\n");
}

static void note_line(void *context, const struct dlm_lock_info *info)
{
    text_add(context, "note: ");
    lock_line(context, info);
}

void dlm_core_to_text(const struct dlm_core *core, struct text *text)
{
    struct dlm_core_status status = dlm_core_status_get(core);
    const struct core_rule *rule;

    node_to_text(core->self, text);
    text_add(text, " epoch %" PRIu64 ", %u members, ", status.epoch, core->peer_count);
    if (status.is_complete)
        text_add(text, "complete");
    else
        text_add(text, "%u members have not re-sent their locks", status.missing);
    text_add(text, ", %u dead\n", status.dead_count);
    LIST_FOREACH (rule, &core->rules, link)
        rule_to_text(rule, text);
    dlm_core_visit_locks(core, lock_line, text);
    dlm_core_visit_notes(core, note_line, text);
}
