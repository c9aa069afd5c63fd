// SPDX-License-Identifier: Apache-2.0
// lock-bench: what the lock core costs, without any wire: nanoseconds of one core for
//   a request that this node masters itself, granted, and its release;
//   the same over a remote master, both cores and both frames;
//   a view change with 100,000 locks held.
#include "dlm/dlm.h"
#include "fs/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAIRS = 2000000, HELD = 100000 };

struct bench {
    struct dlm_core *cores[2];
    struct lamport_clock clocks[2];
    struct dlm_effects effects[2];
};

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void step(struct bench *bench, uint32_t node, const struct dlm_event *event);

// Carries every frame of the last step of `node` to the other core, at once.
static void carry(struct bench *bench, uint32_t node)
{
    struct dlm_effects taken = bench->effects[node];

    bench->effects[node] = (struct dlm_effects){0}; // the answer makes a step of this core
    for (size_t i = 0; i < taken.count; i++) {
        const struct dlm_effect_send *send = &taken.items[i].send;
        if (taken.items[i].type != DLM_EFFECT_SEND)
            continue;
        struct dlm_event event = {
            .type = DLM_EVENT_FRAME,
            .frame = {{node + 1, 1}, dlm_effects_frame(&taken, send), send->length},
        };
        step(bench, 1 - node, &event);
    }
    dlm_effects_deinit(&bench->effects[node]);
    bench->effects[node] = taken;
}

static void step(struct bench *bench, uint32_t node, const struct dlm_event *event)
{
    dlm_core_step(bench->cores[node], event, 1, &bench->effects[node]);
    for (size_t i = 0; i < bench->effects[node].count; i++)
        if (bench->effects[node].items[i].type == DLM_EFFECT_SEND) {
            carry(bench, node);
            return;
        }
}

static void view(struct bench *bench, uint64_t epoch, uint32_t count)
{
    struct dlm_view view = {.epoch = epoch, .member_count = count, .members = {{1, 1}, {2, 1}}};
    struct dlm_event event = {.type = DLM_EVENT_VIEW, .view = &view};
    struct dlm_effects first = {0}; // both install before either hears of the other

    dlm_core_step(bench->cores[0], &event, 1, &first);
    if (count == 2)
        step(bench, 1, &event);
    struct dlm_effects kept = bench->effects[0];
    bench->effects[0] = first;
    if (count == 2)
        carry(bench, 0);
    dlm_effects_deinit(&bench->effects[0]);
    bench->effects[0] = kept;
}

static struct lock_name name_of(const struct bench *bench, uint32_t node)
{
    struct lock_name name = {1, 1};

    while (dlm_core_master_of(bench->cores[0], name).node_id != node + 1)
        name.id++;
    return name;
}

static void measure_pairs(struct bench *bench, const char *what, struct lock_name name)
{
    struct dlm_event request = {.type = DLM_EVENT_REQUEST, .request = {name, 1, DLM_EX, 0}};
    struct dlm_event release = {.type = DLM_EVENT_RELEASE, .release = {.cookie = 1}};
    double start = seconds_now();

    for (int i = 0; i < PAIRS; i++) {
        step(bench, 0, &request);
        step(bench, 0, &release);
    }
    printf("%-44s %7.0f ns\n", what, (seconds_now() - start) / PAIRS * 1e9);
    CHECK(dlm_core_status_get(bench->cores[0]).lock_count == 0);
}

static void measure_view(struct bench *bench)
{
    struct dlm_event request = {.type = DLM_EVENT_REQUEST};

    for (uint64_t i = 0; i < HELD; i++) {
        request.request = (struct dlm_request){{2, i}, i, DLM_PR, 0};
        step(bench, 0, &request);
    }
    double start = seconds_now();
    view(bench, 3, 1);
    printf("%-44s %7.1f ms\n", "view change, 100,000 locks held, half moved",
           (seconds_now() - start) * 1e3);
}

int main(void)
{
    struct bench bench;

    memset(&bench, 0, sizeof(bench));
    for (uint32_t i = 0; i < 2; i++)
        bench.cores[i] = dlm_core_new(&(struct dlm_core_config){{i + 1, 1}, &bench.clocks[i]});
    view(&bench, 1, 2);
    measure_pairs(&bench, "grant and release, mastered here", name_of(&bench, 0));
    measure_pairs(&bench, "grant and release, remote master, no wire", name_of(&bench, 1));
    measure_view(&bench);
    for (uint32_t i = 0; i < 2; i++) {
        dlm_core_free(bench.cores[i]);
        dlm_effects_deinit(&bench.effects[i]);
    }
    return 0;
}
