// SPDX-License-Identifier: Apache-2.0
// The note is always written, also where a lease alone does not count: a victim that still beats
// reads it, drains and says so, which is the gentlest proof there is.
#include <string.h>

#include "dlm/fence_attempt.h"
#include "dlm/heartbeat.h"
#include "fs/base/error.h"

void fence_lease_begin(struct fence_attempt *attempt)
{
    const struct fence_victim *victim = &attempt->victim;
    uint64_t yield_until_ns = 0;
    if (victim->yields)
        yield_until_ns = environment_boot_ns(attempt->config->environment) + victim->yield_ns;
    heartbeat_fence(attempt->config->heartbeat, victim->slot, victim->incarnation, yield_until_ns,
                    victim->reason);
}

void fence_lease_end(struct fence_attempt *attempt)
{
    heartbeat_fence_cancel(attempt->config->heartbeat, attempt->victim.slot);
}

static bool says_so_itself(const struct fence_attempt *attempt,
                           const struct heartbeat_slot_info *info)
{
    const struct lease_sighting *seen = &info->sighting;
    return seen->is_valid && seen->incarnation == attempt->victim.incarnation &&
           (seen->state == HEARTBEAT_STOPPED || seen->state == HEARTBEAT_FREE);
}

bool fence_lease_is_over(struct fence_attempt *attempt)
{
    struct heartbeat_slot_info info;
    heartbeat_slot_get(attempt->config->heartbeat, attempt->victim.slot, &info);
    if (!info.fences)
        return false;
    if (info.fence_verdict == LEASE_FENCE_ABORTED && !attempt->lease_was_aborted) {
        attempt->lease_was_aborted = true;
        log_error(attempt->config->log, ERROR_LEASE_LOST,
                  "slot %u of %s shows incarnation %llu, but %llu is to be fenced",
                  attempt->victim.slot, attempt->victim.name,
                  (unsigned long long)info.sighting.incarnation,
                  (unsigned long long)attempt->victim.incarnation);
    }
    if (info.fence_verdict != LEASE_FENCE_DONE)
        return false;
    return attempt->config->allows_lease || says_so_itself(attempt, &info);
}

void fence_lease_to_text(const struct fence_attempt *attempt, struct text *text)
{
    struct heartbeat_slot_info info;
    if (!attempt->config->allows_lease) {
        text_add(text, ", waiting for the fence command or an administrator");
        return;
    }
    heartbeat_slot_get(attempt->config->heartbeat, attempt->victim.slot, &info);
    text_add(text, " by lease, %llu s left",
             (unsigned long long)((info.fence_left_ns + 999999999u) / 1000000000u));
}
