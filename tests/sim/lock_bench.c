// SPDX-License-Identifier: Apache-2.0
// lock-bench: what the lock core costs, without any wire: nanoseconds of one core for
//   a request that this node masters itself, noted by the other, granted, and its release;
//   the same over a remote master, both cores and both frames;
//   a view change with 100,000 locks held, and its slices.
#include "dlm/dlm.h"
#include "fs/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAIRS = 2000000, HELD = 100000, SLICES_MAX = 100000 };

struct bench {
    struct dlm_core *cores[2];
    struct lamport_clock clocks[2];
    struct dlm_effects effects[2];
    bool is_timed;
    size_t slice_count;
    double slices[SLICES_MAX];
};

// Of this thread's own time: what else the machine does at the moment does not count.
static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
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

// One slice; frames that it caused are carried.
static void step_slice(struct bench *bench, uint32_t node, const struct dlm_event *event)
{
    double start = bench->is_timed ? seconds_now() : 0;

    dlm_core_step(bench->cores[node], event, event ? 1 : 0, &bench->effects[node]);
    if (bench->is_timed && bench->slice_count < SLICES_MAX)
        bench->slices[bench->slice_count++] = seconds_now() - start;
    for (size_t i = 0; i < bench->effects[node].count; i++)
        if (bench->effects[node].items[i].type == DLM_EFFECT_SEND) {
            carry(bench, node);
            return;
        }
}

static void step(struct bench *bench, uint32_t node, const struct dlm_event *event)
{
    step_slice(bench, node, event);
    while (dlm_core_is_busy(bench->cores[node]))
        step_slice(bench, node, NULL);
}

// Both install before either hears of the other.
static void view_of_two(struct bench *bench)
{
    struct dlm_view view = {.epoch = 1, .member_count = 2, .members = {{1, 1}, {2, 1}}};
    struct dlm_event event = {.type = DLM_EVENT_VIEW, .view = &view};

    struct dlm_effects first = {0};
    dlm_core_step(bench->cores[0], &event, 1, &first);
    CHECK(!dlm_core_is_busy(bench->cores[0]));
    step(bench, 1, &event);
    struct dlm_effects kept = bench->effects[0];
    bench->effects[0] = first;
    carry(bench, 0);
    dlm_effects_deinit(&bench->effects[0]);
    bench->effects[0] = kept;
}

static void view_of_one(struct bench *bench)
{
    struct dlm_view view = {
        .epoch = 2, .member_count = 1, .members = {{1, 1}}, .dead_count = 1, .dead = {{2, 1}}};

    step(bench, 0, &(struct dlm_event){.type = DLM_EVENT_VIEW, .view = &view});
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

static void recovered(struct bench *bench)
{
    step(bench, 0, &(struct dlm_event){.type = DLM_EVENT_RECOVERED, .recovered = {2, 1}});
}

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure_slices(struct bench *bench, const char *what, void (*work)(struct bench *))
{
    double start = seconds_now();

    bench->is_timed = true;
    bench->slice_count = 0;
    work(bench);
    double milliseconds = (seconds_now() - start) * 1e3;
    CHECK(bench->slice_count > 0 && bench->slice_count < SLICES_MAX);
    qsort(bench->slices, bench->slice_count, sizeof(bench->slices[0]), compare_seconds);
    printf("%-44s %7.1f ms in %zu slices: median %.3f, 99 in 100 %.3f, longest %.3f ms\n", what,
           milliseconds, bench->slice_count, bench->slices[bench->slice_count / 2] * 1e3,
           bench->slices[bench->slice_count * 99 / 100] * 1e3,
           bench->slices[bench->slice_count - 1] * 1e3);
}

static void measure_view(struct bench *bench)
{
    struct dlm_event request = {.type = DLM_EVENT_REQUEST};

    for (uint64_t i = 0; i < HELD; i++) {
        request.request = (struct dlm_request){{2, i}, i, DLM_PR, 0};
        step(bench, 0, &request);
    }
    measure_slices(bench, "view change, 100,000 locks held, half moved", view_of_one);
    measure_slices(bench, "the dead is recovered", recovered);
}

int main(void)
{
    static struct bench bench;

    for (uint32_t i = 0; i < 2; i++)
        bench.cores[i] =
            dlm_core_new(&(struct dlm_core_config){.self = {i + 1, 1}, .clock = &bench.clocks[i]});
    view_of_two(&bench);
    measure_pairs(&bench, "grant and release, mastered here", name_of(&bench, 0));
    measure_pairs(&bench, "grant and release, remote master, no wire", name_of(&bench, 1));
    measure_view(&bench);
    for (uint32_t i = 0; i < 2; i++) {
        dlm_core_free(bench.cores[i]);
        dlm_effects_deinit(&bench.effects[i]);
    }
    return 0;
}
