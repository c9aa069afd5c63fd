// SPDX-License-Identifier: Apache-2.0
#include "dlm/lease.h"

#include <string.h>

#include "fs/base/sabotage.h"
#include "fs/format.h"

struct lease_config lease_config_of(uint64_t lease_ns, uint64_t io_max_ns)
{
    return (struct lease_config){
        .beat_ns = lease_ns / 5,
        .lease_ns = lease_ns,
        .drift_ns = lease_ns / 10,
        .io_max_ns = io_max_ns,
    };
}

struct lease_config lease_config_default(uint64_t io_max_ns)
{
    return lease_config_of(5000000000u, io_max_ns);
}

// --- the holder's side -----------------------------------------------------------------------

void lease_init(struct lease *lease, const struct lease_config *config)
{
    *lease = (struct lease){.lease_ns = config->lease_ns};
}

void lease_beat_acknowledged(struct lease *lease, uint64_t submitted_ns, uint64_t acknowledged_ns)
{
    lease->submitted_ns = SABOTAGE(lease_from_reply) ? acknowledged_ns : submitted_ns;
}

bool lease_has_run_out(struct lease *lease, uint64_t now_ns)
{
    // 0: none was ever held, so none can have run out.
    if (lease->until_ns != 0 && now_ns >= lease->until_ns && !SABOTAGE(lease_revives))
        lease->is_over = true;
    return lease->is_over;
}

bool lease_extend(struct lease *lease, uint64_t read_submitted_ns, uint64_t now_ns)
{
    if (lease_has_run_out(lease, now_ns))
        return false;
    // A read that began before the beat may have missed a note that a fencer wrote in between.
    if (lease->submitted_ns == 0 || read_submitted_ns < lease->submitted_ns)
        return false;
    uint64_t until_ns = lease->submitted_ns + lease->lease_ns;
    lease->submitted_ns = 0;
    if (until_ns <= lease->until_ns || until_ns <= now_ns)
        return false; // this round took longer than L: it moved nothing
    lease->until_ns = until_ns;
    return true;
}

bool lease_is_valid(const struct lease *lease, uint64_t now_ns)
{
    return !lease->is_over && now_ns < lease->until_ns;
}

void lease_end(struct lease *lease)
{
    lease->is_over = true;
}

// --- watching another slot -------------------------------------------------------------------

void lease_watch_init(struct lease_watch *watch)
{
    memset(watch, 0, sizeof(*watch));
}

static bool sighting_equal(const struct lease_sighting *a, const struct lease_sighting *b)
{
    return a->is_valid == b->is_valid && a->incarnation == b->incarnation && a->beat == b->beat &&
           a->version == b->version && a->state == b->state && a->node_id == b->node_id;
}

bool lease_watch_observe(struct lease_watch *watch, const struct lease_sighting *sighting,
                         uint64_t submitted_ns, uint64_t completed_ns)
{
    bool is_first = watch->changed_ns == 0;
    watch->seen_ns = submitted_ns;
    if (!is_first && sighting_equal(&watch->last, sighting))
        return false;
    watch->last = *sighting;
    watch->changed_ns = completed_ns;
    if (!is_first)
        watch->change_count++;
    return true;
}

uint64_t lease_watch_silent_ns(const struct lease_watch *watch)
{
    if (watch->changed_ns == 0 || watch->seen_ns < watch->changed_ns)
        return 0;
    return watch->seen_ns - watch->changed_ns;
}

// --- fencing by lease ------------------------------------------------------------------------

void lease_fence_init(struct lease_fence *fence, uint64_t incarnation)
{
    *fence = (struct lease_fence){.incarnation = incarnation};
}

void lease_fence_note_durable(struct lease_fence *fence, uint64_t now_ns)
{
    fence->note_durable_ns = now_ns;
}

uint64_t lease_silence_ns(const struct lease_config *config)
{
    if (SABOTAGE(fence_wait_short))
        return config->lease_ns / 2;
    return config->lease_ns + config->drift_ns + config->io_max_ns;
}

// The victim says itself that it has drained: 'stopped', or 'free' after a clean leave.
static bool victim_says_over(const struct lease_sighting *last, uint64_t incarnation)
{
    return last->incarnation == incarnation &&
           (last->state == HEARTBEAT_STOPPED || last->state == HEARTBEAT_FREE);
}

enum lease_fence_verdict lease_fence_judge(const struct lease_fence *fence,
                                           const struct lease_config *config,
                                           const struct lease_watch *watch)
{
    if (watch->changed_ns == 0)
        return LEASE_FENCE_WAITING;
    const struct lease_sighting *last = &watch->last;
    if (last->is_valid && victim_says_over(last, fence->incarnation))
        return LEASE_FENCE_DONE;
    bool is_another = last->is_valid && last->incarnation != fence->incarnation;
    if (is_another && last->state != HEARTBEAT_FREE)
        return LEASE_FENCE_ABORTED;
    if (fence->note_durable_ns == 0 || watch->seen_ns < fence->note_durable_ns)
        return LEASE_FENCE_WAITING;
    uint64_t silent_ns = lease_watch_silent_ns(watch);
    // The block still shows the life before: the victim has not beaten yet. Its first look into the
    // mailbox (before its first beat) finds the note, or began before it.
    uint64_t since_note_ns = watch->seen_ns - fence->note_durable_ns;
    if (is_another && since_note_ns < silent_ns)
        silent_ns = since_note_ns;
    return silent_ns < lease_silence_ns(config) ? LEASE_FENCE_WAITING : LEASE_FENCE_DONE;
}

uint64_t lease_fence_left_ns(const struct lease_fence *fence, const struct lease_config *config,
                             const struct lease_watch *watch, uint64_t now_ns)
{
    (void)fence;
    uint64_t from_ns = watch->changed_ns ? watch->changed_ns : now_ns;
    uint64_t over_ns = from_ns + lease_silence_ns(config);
    return over_ns > now_ns ? over_ns - now_ns : 0;
}
