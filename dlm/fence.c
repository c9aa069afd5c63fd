// SPDX-License-Identifier: Apache-2.0
// One attempt a victim; the ways are tried side by side and the first proof ends them all.
#include "dlm/fence.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "dlm/fence_attempt.h"
#include "dlm/heartbeat.h"
#include "fs/base/check.h"

struct fence {
    struct fence_config config;
    uint32_t last_run_id;
    TAILQ_HEAD(fence_attempts, fence_attempt) attempts;
};

const char *fence_method_text(enum fence_method method)
{
    static const char *const names[] = {
        [FENCE_METHOD_NONE] = "nothing",    [FENCE_METHOD_DRAINED] = "its guard",
        [FENCE_METHOD_COMMAND] = "command", [FENCE_METHOD_CONFIRMED] = "an administrator",
        [FENCE_METHOD_LEASE] = "lease",
    };
    return (unsigned)method <= FENCE_METHOD_LEASE ? names[method] : "?";
}

struct fence *fence_new(const struct fence_config *config)
{
    struct fence *fence = calloc(1, sizeof(*fence));
    CHECK(fence != NULL);
    fence->config = *config;
    TAILQ_INIT(&fence->attempts);
    return fence;
}

static struct fence_attempt *attempt_find(struct fence *fence, uint32_t slot, uint64_t incarnation)
{
    struct fence_attempt *attempt;
    TAILQ_FOREACH (attempt, &fence->attempts, link)
        if (attempt->victim.slot == slot && attempt->victim.incarnation == incarnation)
            return attempt;
    return NULL;
}

static void attempt_end(struct fence *fence, struct fence_attempt *attempt)
{
    TAILQ_REMOVE(&fence->attempts, attempt, link);
    fence_lease_end(attempt);
    fence_command_end(attempt);
    free(attempt);
}

void fence_free(struct fence *fence)
{
    while (!TAILQ_EMPTY(&fence->attempts))
        attempt_end(fence, TAILQ_FIRST(&fence->attempts));
    free(fence);
}

void fence_start(struct fence *fence, const struct fence_victim *victim)
{
    if (attempt_find(fence, victim->slot, victim->incarnation) != NULL)
        return;
    struct fence_attempt *attempt = calloc(1, sizeof(*attempt));
    CHECK(attempt != NULL);
    attempt->config = &fence->config;
    attempt->victim = *victim;
    attempt->run_id = ++fence->last_run_id;
    TAILQ_INSERT_TAIL(&fence->attempts, attempt, link);
    fence_lease_begin(attempt);
    fence_command_begin(attempt);
}

// Ends the attempt first: the callback may start others.
static void fenced(struct fence *fence, struct fence_attempt *attempt, enum fence_method method)
{
    struct fence_victim victim = attempt->victim;
    attempt_end(fence, attempt);
    fence->config.fenced(fence->config.context, victim.slot, victim.incarnation, method);
}

void fence_cancel(struct fence *fence, uint32_t slot, uint64_t incarnation)
{
    struct fence_attempt *attempt = attempt_find(fence, slot, incarnation);
    if (attempt != NULL)
        attempt_end(fence, attempt);
}

static struct fence_attempt *attempt_of_node(struct fence *fence, uint32_t node_id)
{
    struct fence_attempt *attempt;
    TAILQ_FOREACH (attempt, &fence->attempts, link)
        if (attempt->victim.node_id == node_id)
            return attempt;
    return NULL;
}

bool fence_confirm(struct fence *fence, uint32_t node_id)
{
    struct fence_attempt *attempt = attempt_of_node(fence, node_id);
    bool found = attempt != NULL;
    for (; attempt != NULL; attempt = attempt_of_node(fence, node_id)) {
        log_warning(fence->config.log, "an administrator vouches that %s (slot %u) is down",
                    attempt->victim.name, attempt->victim.slot);
        fenced(fence, attempt, FENCE_METHOD_CONFIRMED);
    }
    return found;
}

void fence_guard_answered(struct fence *fence, const struct guard_message *message)
{
    struct fence_attempt *attempt;
    if (message->type != GUARD_FENCE_RESULT)
        return;
    TAILQ_FOREACH (attempt, &fence->attempts, link) {
        if (attempt->run_id != message->id)
            continue;
        if (fence_command_answered(attempt, message->status))
            fenced(fence, attempt, FENCE_METHOD_COMMAND);
        return;
    }
}

static struct fence_attempt *attempt_over_by_lease(struct fence *fence)
{
    struct fence_attempt *attempt;
    TAILQ_FOREACH (attempt, &fence->attempts, link)
        if (fence_lease_is_over(attempt))
            return attempt;
    return NULL;
}

void fence_heartbeat_changed(struct fence *fence)
{
    struct fence_attempt *attempt;
    while ((attempt = attempt_over_by_lease(fence)) != NULL)
        fenced(fence, attempt, FENCE_METHOD_LEASE);
}

void fence_progress_to_text(const struct fence *fence, uint32_t slot, uint64_t incarnation,
                            struct text *text)
{
    const struct fence_attempt *attempt;
    TAILQ_FOREACH (attempt, &fence->attempts, link) {
        if (attempt->victim.slot != slot || attempt->victim.incarnation != incarnation)
            continue;
        fence_command_to_text(attempt, text);
        fence_lease_to_text(attempt, text);
    }
}
