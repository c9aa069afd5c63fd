// SPDX-License-Identifier: Apache-2.0
#include "fs/dlm_service.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "fs/base/check.h"
#include "fs/base/environment.h"
#include "fs/base/memory.h"

enum { LEISURE_NS = 5000000 };

struct range_call {
    UT_hash_handle hh;
    uint64_t cookie;
    dlm_range_answer *answer;
    void *context;
};

// Of events, and of what those own that could not be stepped at once: the view or the frame.
struct queue {
    struct dlm_event *items;
    void **owned;
    size_t first; // what was before it has been taken
    size_t count;
    size_t capacity;
};

struct dlm_service {
    struct lock_service locks; // first
    struct dlm_service_config config;
    struct dlm_core *core;
    struct dlm_effects effects;
    struct queue incoming; // waits for the next step
    struct queue stepping; // is being stepped
    struct range_call *range_calls;
    uint64_t next_range_cookie;
    int range_error; // of a node that has ended
    bool is_stepping;
    bool is_paused;   // the core is busy, until the timer fires
    bool is_waiting;  // the timer is armed for what the core may say later
    bool is_in_batch; // events wait for its end
    struct environment_timer timer;
};

static enum dlm_mode mode_for(enum lock_right right)
{
    if (right == RIGHT_TOGETHER)
        return DLM_CW;
    return right == RIGHT_EXCLUSIVE ? DLM_EX : DLM_PR;
}

static enum lock_right right_of(enum dlm_mode mode)
{
    if (mode == DLM_CW)
        return RIGHT_TOGETHER;
    return mode == DLM_EX ? RIGHT_EXCLUSIVE : RIGHT_SHARED;
}

// What may be kept beside whoever wants `mode`.
static enum lock_right right_beside(enum dlm_mode mode)
{
    if (dlm_mode_is_compatible(DLM_PR, mode))
        return RIGHT_SHARED;
    return dlm_mode_is_compatible(DLM_CW, mode) ? RIGHT_TOGETHER : RIGHT_NONE;
}

// --- effects ---------------------------------------------------------------------------------

static void answer_range(struct dlm_service *service, const struct dlm_effect_range_result *result)
{
    struct range_call *call;
    HASH_FIND(hh, service->range_calls, &result->cookie, sizeof(result->cookie), call);
    if (call == NULL && service->range_error != 0)
        return; // late
    CHECK(call != NULL);
    HASH_DELETE(hh, service->range_calls, call);
    call->answer(call->context, result);
    free(call);
}

// What is said of a lock when its table is gone has nobody to hear it.
static bool is_for_client(const struct dlm_effect *effect)
{
    return effect->type == DLM_EFFECT_GRANT || effect->type == DLM_EFFECT_DENIED ||
           effect->type == DLM_EFFECT_BLOCKING;
}

static void carry_out(struct dlm_service *service, const struct dlm_effect *effect)
{
    struct lock_service_client *client = service->locks.client;
    if (client == NULL && is_for_client(effect))
        return;
    switch (effect->type) {
    case DLM_EFFECT_SEND:
        service->config.send(service->config.context, effect->send.to,
                             dlm_effects_frame(&service->effects, &effect->send),
                             effect->send.length);
        break;
    case DLM_EFFECT_GRANT:
        client->granted(client, effect->grant.cookie, right_of(effect->grant.mode));
        break;
    case DLM_EFFECT_DENIED:
        client->denied(client, effect->denied.cookie, effect->denied.error);
        break;
    case DLM_EFFECT_BLOCKING:
        client->blocking(client, effect->blocking.cookie, right_beside(effect->blocking.mode));
        break;
    case DLM_EFFECT_RANGE_RESULT:
        answer_range(service, &effect->range_result);
        break;
    case DLM_EFFECT_VIEW_DONE:
        break;
    case DLM_EFFECT_BAD_FRAME:
        if (service->config.bad_frame != NULL)
            service->config.bad_frame(service->config.context, effect->bad_frame.from,
                                      effect->bad_frame.error);
        break;
    }
}

// A downward conversion is answered by the core in the same step, but the lock table did not ask
// for an answer: it is recognised by its mode, since upward ones end at the highest right.
static bool is_answer_to_down(const struct dlm_service *service, size_t taken,
                              const struct dlm_effect *effect)
{
    const struct queue *queue = &service->stepping;
    if (effect->type != DLM_EFFECT_GRANT)
        return false;
    for (size_t i = queue->first; i < queue->first + taken; i++) {
        const struct dlm_event *event = &queue->items[i];
        if (event->type == DLM_EVENT_CONVERT && event->convert.cookie == effect->grant.cookie &&
            event->convert.mode != DLM_EX)
            return true;
    }
    return false;
}

static void queue_take(struct queue *queue, size_t taken)
{
    for (size_t end = queue->first + taken; queue->first < end; queue->first++)
        free(queue->owned[queue->first]);
}

static void queue_free(struct queue *queue)
{
    queue_take(queue, queue->count - queue->first);
    free(queue->items);
    free(queue->owned);
}

static void step_once(struct dlm_service *service)
{
    struct queue *queue = &service->stepping;
    if (queue->first == queue->count) {
        struct queue batch = service->incoming;
        service->incoming = *queue;
        service->incoming.first = service->incoming.count = 0;
        *queue = batch;
    }
    size_t taken = dlm_core_step(service->core, queue->items + queue->first,
                                 queue->count - queue->first, &service->effects);
    for (size_t i = 0; i < service->effects.count; i++) {
        struct dlm_effect effect = service->effects.items[i];
        if (!is_answer_to_down(service, taken, &effect))
            carry_out(service, &effect);
    }
    queue_take(queue, taken);
}

static bool has_work(const struct dlm_service *service)
{
    return dlm_core_is_busy(service->core) || service->incoming.count > 0 ||
           service->stepping.first < service->stepping.count;
}

static void arm(struct dlm_service *service, uint64_t delay_ns)
{
    struct environment *environment = service->config.environment;
    environment_timer_arm(environment, &service->timer,
                          environment_boot_ns(environment) + delay_ns);
}

// What the core may say later: with whatever else it says, or when the timer fires.
static void plan_rest(struct dlm_service *service)
{
    bool has_more = dlm_core_has_more_to_say(service->core);
    if (has_more && service->config.environment == NULL)
        step_once(service);
    else if (has_more && !service->is_waiting)
        arm(service, LEISURE_NS);
    service->is_waiting = has_more && service->config.environment != NULL;
}

static void step(struct dlm_service *service)
{
    if (service->is_stepping || service->is_paused || service->is_in_batch)
        return;
    service->is_stepping = true;
    while (!service->is_paused && has_work(service)) {
        step_once(service);
        service->is_paused = service->config.environment != NULL && dlm_core_is_busy(service->core);
    }
    if (service->is_paused)
        arm(service, 0);
    else
        plan_rest(service);
    service->is_stepping = false;
}

static void go_on(struct environment_timer *timer)
{
    struct dlm_service *service =
        (struct dlm_service *)(void *)((char *)timer - offsetof(struct dlm_service, timer));
    service->is_paused = service->is_waiting = false;
    service->is_stepping = true;
    step_once(service);
    service->is_stepping = false;
    step(service);
}

static void queue_grow(struct queue *queue)
{
    queue->capacity = queue->capacity > 0 ? queue->capacity * 2 : 64;
    queue->items = memory_resize(queue->items, queue->capacity, sizeof(*queue->items));
    queue->owned = memory_resize(queue->owned, queue->capacity, sizeof(*queue->owned));
}

static struct dlm_event *queue_add(struct dlm_service *service)
{
    struct queue *queue = &service->incoming;
    if (queue->count == queue->capacity)
        queue_grow(queue);
    queue->owned[queue->count] = NULL;
    struct dlm_event *event = &queue->items[queue->count++];
    memset(event, 0, sizeof(*event));
    return event;
}

// `bytes` if the event that was added last is stepped within this call, else a copy that it owns.
static const void *queue_keep(struct dlm_service *service, const void *bytes, size_t length)
{
    struct queue *queue = &service->incoming;
    if (!service->is_paused && !service->is_in_batch)
        return bytes;
    void *copy = malloc(length);
    CHECK(copy != NULL);
    queue->owned[queue->count - 1] = copy;
    return memcpy(copy, bytes, length);
}

// --- the lock table's side -------------------------------------------------------------------

static void request(struct lock_service *locks, uint64_t cookie, struct lock_name name,
                    enum lock_right right, bool no_wait)
{
    struct dlm_service *service = (struct dlm_service *)locks;
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_REQUEST;
    event->request = (struct dlm_request){.name = name,
                                          .cookie = cookie,
                                          .mode = mode_for(right),
                                          .flags = no_wait ? DLM_NOQUEUE : 0};
    step(service);
}

static void convert(struct lock_service *locks, uint64_t cookie, enum lock_right right,
                    bool no_wait)
{
    struct dlm_service *service = (struct dlm_service *)locks;
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_CONVERT;
    event->convert.cookie = cookie;
    event->convert.mode = mode_for(right);
    event->convert.flags = no_wait ? DLM_NOQUEUE : 0;
    step(service);
}

static void release(struct lock_service *locks, uint64_t cookie)
{
    struct dlm_service *service = (struct dlm_service *)locks;
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_RELEASE;
    event->release.cookie = cookie;
    step(service);
}

static void cancel(struct lock_service *locks, uint64_t cookie)
{
    struct dlm_service *service = (struct dlm_service *)locks;
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_CANCEL;
    event->cancel.cookie = cookie;
    step(service);
}

static void batch_begin(struct lock_service *locks)
{
    struct dlm_service *service = (struct dlm_service *)locks;
    CHECK(!service->is_in_batch);
    service->is_in_batch = true;
}

static void batch_end(struct lock_service *locks)
{
    struct dlm_service *service = (struct dlm_service *)locks;
    CHECK(service->is_in_batch);
    service->is_in_batch = false;
    step(service);
}

static const struct lock_service_operations operations = {
    .request = request,
    .convert = convert,
    .release = release,
    .cancel = cancel,
    .batch_begin = batch_begin,
    .batch_end = batch_end,
};

// --- life ------------------------------------------------------------------------------------

struct dlm_service *dlm_service_new(const struct dlm_service_config *config)
{
    struct dlm_service *service = calloc(1, sizeof(*service));
    CHECK(service != NULL);
    service->config = *config;
    service->locks.operations = &operations;
    service->next_range_cookie = 1;
    service->timer.fire = go_on;
    service->core =
        dlm_core_new(&(struct dlm_core_config){.self = config->self, .clock = config->clock});
    return service;
}

void dlm_service_free(struct dlm_service *service)
{
    struct range_call *call, *next;
    HASH_ITER (hh, service->range_calls, call, next) {
        HASH_DELETE(hh, service->range_calls, call);
        free(call);
    }
    if (service->config.environment != NULL)
        environment_timer_disarm(service->config.environment, &service->timer);
    dlm_core_free(service->core);
    dlm_effects_deinit(&service->effects);
    queue_free(&service->incoming);
    queue_free(&service->stepping);
    free(service);
}

struct lock_service *dlm_service_locks(struct dlm_service *service)
{
    return &service->locks;
}

const struct dlm_core *dlm_service_core(const struct dlm_service *service)
{
    return service->core;
}

// --- peers and membership --------------------------------------------------------------------

void dlm_service_frame(struct dlm_service *service, struct dlm_node from, const uint8_t *bytes,
                       size_t length)
{
    CHECK(!service->is_stepping); // the bytes live only during this call
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_FRAME;
    event->frame = (struct dlm_frame){
        .from = from, .bytes = queue_keep(service, bytes, length), .length = length};
    step(service);
}

void dlm_service_view(struct dlm_service *service, const struct dlm_view *view)
{
    CHECK(!service->is_stepping);
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_VIEW;
    event->view = queue_keep(service, view, sizeof(*view));
    step(service);
}

void dlm_service_recovered(struct dlm_service *service, struct dlm_node node)
{
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_RECOVERED;
    event->recovered = node;
    step(service);
}

// --- byte ranges -----------------------------------------------------------------------------

static void start_range_call(struct dlm_service *service, const struct dlm_range_lock *what,
                             enum dlm_event_type type, dlm_range_answer *answer, void *context)
{
    if (service->range_error != 0) {
        answer(context, &(struct dlm_effect_range_result){.cookie = what->cookie,
                                                          .error = service->range_error});
        return;
    }
    struct range_call *call = calloc(1, sizeof(*call));
    CHECK(call != NULL);
    uint64_t cookie = what->cookie;
    *call = (struct range_call){.cookie = cookie, .answer = answer, .context = context};
    HASH_ADD(hh, service->range_calls, cookie, sizeof(call->cookie), call);
    struct dlm_event *event = queue_add(service);
    event->type = type;
    event->range_lock = *what;
    step(service); // may answer and free the call
}

void dlm_service_range_lock(struct dlm_service *service, struct lock_name name,
                            const struct dlm_range *range, bool wait, uint64_t *cookie,
                            dlm_range_answer *answer, void *context)
{
    *cookie = service->next_range_cookie++;
    struct dlm_range_lock what = {.name = name, .cookie = *cookie, .range = *range, .wait = wait};
    start_range_call(service, &what, DLM_EVENT_RANGE_LOCK, answer, context);
}

void dlm_service_range_test(struct dlm_service *service, struct lock_name name,
                            const struct dlm_range *range, dlm_range_answer *answer, void *context)
{
    struct dlm_range_lock what = {
        .name = name, .cookie = service->next_range_cookie++, .range = *range};
    start_range_call(service, &what, DLM_EVENT_RANGE_TEST, answer, context);
}

void dlm_service_range_unlock(struct dlm_service *service, struct lock_name name,
                              const struct dlm_range *range, enum dlm_range_scope scope)
{
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_RANGE_UNLOCK;
    event->range_unlock =
        (struct dlm_range_unlock){.name = name, .range = *range, .scope = (uint8_t)scope};
    step(service);
}

void dlm_service_range_cancel(struct dlm_service *service, struct lock_name name, uint64_t cookie)
{
    struct dlm_event *event = queue_add(service);
    event->type = DLM_EVENT_RANGE_CANCEL;
    event->range_cancel = (struct dlm_range_cancel){.name = name, .cookie = cookie};
    step(service);
}

void dlm_service_range_fail(struct dlm_service *service, int error)
{
    CHECK(error < 0);
    service->range_error = error;
    while (service->range_calls != NULL)
        answer_range(service, &(struct dlm_effect_range_result){
                                  .cookie = service->range_calls->cookie, .error = error});
}
