// SPDX-License-Identifier: Apache-2.0
#include "fs/guard_rules.h"

void guard_rules_init(struct guard_rules *rules)
{
    *rules = (struct guard_rules){.phase = GUARD_WATCHING};
}

static struct guard_decision decide(enum guard_action action, uint64_t wait_ms)
{
    return (struct guard_decision){action, (uint32_t)wait_ms};
}

static uint64_t margin_ms(const struct guard_sight *sight)
{
    uint64_t tenth = sight->lease_ms / 10;
    return tenth < GUARD_MARGIN_MS_MAX ? tenth : GUARD_MARGIN_MS_MAX;
}

// A worker that has ended and drained cannot write any more, whatever its threads do next; it lives
// on to answer EIO.
static bool must_be_watched(const struct guard_sight *sight)
{
    return sight->lease_until_ms != 0 && !sight->has_left &&
           !(sight->has_ended && sight->is_drained);
}

static struct guard_decision watch(struct guard_rules *rules, const struct guard_sight *sight)
{
    if (!must_be_watched(sight))
        return decide(GUARD_WAIT, GUARD_WATCH_MS_MAX);
    uint64_t kill_at_ms = sight->lease_until_ms - margin_ms(sight);
    if (sight->now_ms < kill_at_ms && !sight->is_hung) {
        uint64_t left_ms = kill_at_ms - sight->now_ms;
        return decide(GUARD_WAIT, left_ms < GUARD_WATCH_MS_MAX ? left_ms : GUARD_WATCH_MS_MAX);
    }
    rules->phase = GUARD_DYING;
    rules->killed_at_ms = sight->now_ms;
    return decide(GUARD_KILL, 0);
}

static struct guard_decision wait_for_exit(struct guard_rules *rules,
                                           const struct guard_sight *sight)
{
    uint64_t abort_at_ms = rules->killed_at_ms + GUARD_EXIT_PATIENCE_MS;
    if (rules->aborted)
        return decide(GUARD_WAIT, GUARD_WATCH_MS_MAX);
    if (sight->now_ms < abort_at_ms)
        return decide(GUARD_WAIT, abort_at_ms - sight->now_ms);
    rules->aborted = true;
    return decide(GUARD_ABORT, 0);
}

static enum guard_phase phase_after_exit(const struct guard_sight *sight)
{
    return sight->has_slot && !sight->has_left ? GUARD_DRAINING : GUARD_OVER;
}

struct guard_decision guard_rules_step(struct guard_rules *rules, const struct guard_sight *sight)
{
    if (rules->phase <= GUARD_DYING && sight->worker_gone)
        rules->phase = phase_after_exit(sight);
    if (rules->phase == GUARD_DRAINING && sight->got_lock)
        rules->phase = GUARD_ANNOUNCING;
    if (rules->phase == GUARD_ANNOUNCING && sight->announced)
        rules->phase = GUARD_OVER;
    switch (rules->phase) {
    case GUARD_WATCHING:
        return watch(rules, sight);
    case GUARD_DYING:
        return wait_for_exit(rules, sight);
    case GUARD_DRAINING:
        return decide(GUARD_TRY_LOCK, GUARD_DRAIN_POLL_MS);
    case GUARD_ANNOUNCING:
        return decide(GUARD_ANNOUNCE, GUARD_ANNOUNCE_POLL_MS);
    case GUARD_OVER:
        break;
    }
    return decide(GUARD_END, 0);
}

bool guard_rules_is_safe(const struct guard_rules *rules, const struct guard_sight *sight)
{
    if (rules->phase == GUARD_ANNOUNCING || rules->phase == GUARD_OVER)
        return true;
    return !must_be_watched(sight) || sight->now_ms < sight->lease_until_ms;
}
