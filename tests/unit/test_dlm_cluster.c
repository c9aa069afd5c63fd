// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/test_dlm_cluster.h"

#include <stdlib.h>
#include <string.h>

static struct dlm_node node_of(uint32_t node)
{
    return (struct dlm_node){node + 1, 1};
}

void cluster_init(struct cluster *cluster, uint32_t count)
{
    memset(cluster, 0, sizeof(*cluster));
    for (uint32_t i = 0; i < count; i++)
        cluster->cores[i] = dlm_core_new(
            &(struct dlm_core_config){.self = node_of(i), .clock = &cluster->clocks[i]});
}

void cluster_deinit(struct cluster *cluster)
{
    for (uint32_t i = 0; i < CLUSTER_NODES; i++)
        if (cluster->cores[i])
            dlm_core_free(cluster->cores[i]);
    for (size_t i = 0; i < cluster->frame_count; i++)
        free(cluster->frames[i].bytes);
    dlm_effects_deinit(&cluster->effects);
}

static void trace(struct cluster *cluster, uint32_t node, const char *arrow,
                  const struct dlm_event *event, const struct dlm_effect *effect)
{
    if (!cluster->trace)
        return;
    text_add(cluster->trace, "n%u %s ", node + 1, arrow);
    if (event)
        dlm_event_to_text(event, cluster->trace);
    else
        dlm_effect_to_text(effect, cluster->trace);
    text_add(cluster->trace, "\n");
}

static void send(struct cluster *cluster, uint32_t from, const struct dlm_effect_send *effect)
{
    struct cluster_frame *frame = &cluster->frames[cluster->frame_count++];

    assert_true(cluster->frame_count < CLUSTER_FRAMES);
    frame->from = from;
    frame->to = effect->to.node_id - 1;
    frame->length = effect->length;
    frame->bytes = malloc(effect->length);
    assert_non_null(frame->bytes);
    memcpy(frame->bytes, dlm_effects_frame(&cluster->effects, effect), effect->length);
}

static void take_effects(struct cluster *cluster, uint32_t node)
{
    for (size_t i = 0; i < cluster->effects.count; i++) {
        const struct dlm_effect *effect = &cluster->effects.items[i];
        if (effect->type == DLM_EFFECT_SEND) {
            send(cluster, node, &effect->send);
            continue;
        }
        trace(cluster, node, "->", NULL, effect);
        assert_true(cluster->said_count[node] < CLUSTER_EFFECTS);
        cluster->said[node][cluster->said_count[node]++] = *effect;
    }
}

void cluster_step(struct cluster *cluster, uint32_t node, const struct dlm_event *event)
{
    trace(cluster, node, "<-", event, NULL);
    assert_int_equal(dlm_core_step(cluster->cores[node], event, 1, &cluster->effects), 1);
    take_effects(cluster, node);
    while (dlm_core_is_busy(cluster->cores[node]) ||
           dlm_core_has_more_to_say(cluster->cores[node])) {
        dlm_core_step(cluster->cores[node], NULL, 0, &cluster->effects);
        take_effects(cluster, node);
    }
}

static void deliver_at(struct cluster *cluster, size_t at)
{
    struct cluster_frame frame = cluster->frames[at];
    struct dlm_event event = {
        .type = DLM_EVENT_FRAME,
        .frame = {node_of(frame.from), frame.bytes, frame.length},
    };

    cluster->frame_count--;
    memmove(&cluster->frames[at], &cluster->frames[at + 1],
            (cluster->frame_count - at) * sizeof(frame));
    if (cluster->cores[frame.to])
        cluster_step(cluster, frame.to, &event);
    free(frame.bytes);
}

bool cluster_deliver(struct cluster *cluster, uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < cluster->frame_count; i++) {
        if (cluster->frames[i].from != from || cluster->frames[i].to != to)
            continue;
        deliver_at(cluster, i);
        return true;
    }
    return false;
}

void cluster_settle(struct cluster *cluster)
{
    while (cluster->frame_count)
        deliver_at(cluster, 0);
}

void cluster_crash(struct cluster *cluster, uint32_t node)
{
    if (cluster->trace)
        text_add(cluster->trace, "n%u crashes\n", node + 1);
    dlm_core_free(cluster->cores[node]);
    cluster->cores[node] = NULL;
    for (size_t i = cluster->frame_count; i-- > 0;) {
        if (cluster->frames[i].from != node)
            continue;
        free(cluster->frames[i].bytes);
        cluster->frame_count--;
        memmove(&cluster->frames[i], &cluster->frames[i + 1],
                (cluster->frame_count - i) * sizeof(cluster->frames[0]));
    }
}

void cluster_view(struct cluster *cluster, unsigned members, unsigned dead)
{
    struct dlm_view view = {.epoch = ++cluster->epoch};
    struct dlm_event event = {.type = DLM_EVENT_VIEW, .view = &view};

    for (uint32_t i = 0; i < CLUSTER_NODES; i++) {
        if (members >> i & 1)
            view.members[view.member_count++] = node_of(i);
        if (dead >> i & 1)
            view.dead[view.dead_count++] = node_of(i);
    }
    for (uint32_t i = 0; i < CLUSTER_NODES; i++)
        if (members >> i & 1)
            cluster_step(cluster, i, &event);
}

void cluster_recovered(struct cluster *cluster, uint32_t node)
{
    struct dlm_event event = {.type = DLM_EVENT_RECOVERED, .recovered = node_of(node)};

    for (uint32_t i = 0; i < CLUSTER_NODES; i++)
        if (cluster->cores[i])
            cluster_step(cluster, i, &event);
}

void cluster_request(struct cluster *cluster, uint32_t node, struct lock_name name, uint64_t cookie,
                     enum dlm_mode mode, uint8_t flags)
{
    struct dlm_event event = {.type = DLM_EVENT_REQUEST, .request = {name, cookie, mode, flags}};

    cluster_step(cluster, node, &event);
}

void cluster_convert(struct cluster *cluster, uint32_t node, uint64_t cookie, enum dlm_mode mode,
                     uint8_t flags, uint8_t value)
{
    struct dlm_event event = {.type = DLM_EVENT_CONVERT, .convert = {cookie, mode, flags, {{0}}}};

    event.convert.value.bytes[0] = value;
    cluster_step(cluster, node, &event);
}

void cluster_release(struct cluster *cluster, uint32_t node, uint64_t cookie, uint8_t flags,
                     uint8_t value)
{
    struct dlm_event event = {.type = DLM_EVENT_RELEASE, .release = {cookie, flags, {{0}}}};

    event.release.value.bytes[0] = value;
    cluster_step(cluster, node, &event);
}

void cluster_cancel(struct cluster *cluster, uint32_t node, uint64_t cookie)
{
    struct dlm_event event = {.type = DLM_EVENT_CANCEL, .cancel = {cookie}};

    cluster_step(cluster, node, &event);
}

const struct dlm_effect *cluster_take(struct cluster *cluster, uint32_t node,
                                      enum dlm_effect_type type)
{
    struct dlm_effect *said = cluster->said[node];
    size_t *count = &cluster->said_count[node];

    for (size_t i = 0; i < *count; i++) {
        if (said[i].type != type)
            continue;
        struct dlm_effect taken = said[i];
        memmove(&said[i], &said[i + 1], (*count - i - 1) * sizeof(taken));
        said[--*count] = taken; // stays valid until the node is told something new
        return &said[*count];
    }
    return NULL;
}

void cluster_expect_grant(struct cluster *cluster, uint32_t node, uint64_t cookie,
                          enum dlm_mode mode)
{
    const struct dlm_effect *effect = cluster_take(cluster, node, DLM_EFFECT_GRANT);

    assert_non_null(effect);
    assert_int_equal(effect->grant.cookie, cookie);
    assert_int_equal(effect->grant.mode, mode);
}

void cluster_expect_denied(struct cluster *cluster, uint32_t node, uint64_t cookie, int error)
{
    const struct dlm_effect *effect = cluster_take(cluster, node, DLM_EFFECT_DENIED);

    assert_non_null(effect);
    assert_int_equal(effect->denied.cookie, cookie);
    assert_int_equal(effect->denied.error, error);
}

void cluster_expect_blocking(struct cluster *cluster, uint32_t node, uint64_t cookie,
                             enum dlm_mode mode)
{
    const struct dlm_effect *effect = cluster_take(cluster, node, DLM_EFFECT_BLOCKING);

    assert_non_null(effect);
    assert_int_equal(effect->blocking.cookie, cookie);
    assert_int_equal(effect->blocking.mode, mode);
}

void cluster_expect_silence(struct cluster *cluster, uint32_t node)
{
    while (cluster_take(cluster, node, DLM_EFFECT_VIEW_DONE))
        ;
    assert_int_equal(cluster->said_count[node], 0);
}

struct lock_name cluster_name_of(const struct cluster *cluster, uint32_t node)
{
    struct lock_name name = {1, 1};
    const struct dlm_core *core = cluster->cores[node];

    while (dlm_core_master_of(core, name).node_id != node + 1)
        name.id++;
    return name;
}
