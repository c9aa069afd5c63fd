// SPDX-License-Identifier: Apache-2.0
// Lives on the LUN that this node has never heard of. Their journal is nobody's to replay and their
// locks nobody's to wait for, until the members know of them as of any other dead:
//
//   n1 {1 2 3}   cut off, suspended
//   n2, n3       let n4 in, which takes locks and writes; then n2, n3 and n4 lose power
//   n2 again     quorum with n1, whose state names n1, n2, n3: all back or recovered ─► resume?
//                n4's slot is not free and shows a life that n1 knows not: a stranger, which is
//                fenced and recovered first
//
// So all slots are read before a resume, and every few seconds. What a look says counts only if it
// began after the last change of the state: a joiner beats as soon as it is let in, and here that
// may be told later.
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cluster_state.h"
#include "fs/slots.h"

static const uint64_t look_period_ns = 5000000000;

// Tells of the first stranger; false if there is none.
static bool tell_stranger(struct cluster *cluster, const struct slot_survey *survey)
{
    for (uint32_t slot = 0; slot < survey->slot_count; slot++) {
        const struct heartbeat_content *seen = &survey->slots[slot].heartbeat;
        if (!survey->slots[slot].is_in_use || slot == presence_slot(cluster->presence) ||
            membership_knows(cluster->membership, seen->node_id, seen->incarnation))
            continue;
        log_warning(cluster->config.log,
                    "slot %u holds a life that no member knows (node %u, incarnation %llu): it is "
                    "fenced and recovered first",
                    slot, seen->node_id, (unsigned long long)seen->incarnation);
        struct membership_node node = {seen->node_id, slot, seen->incarnation};
        cluster_node_event(cluster, MEMBERSHIP_EVENT_STRANGER, &node);
        return true;
    }
    return false;
}

static void conclude(struct cluster *cluster, const struct slot_survey *survey, uint64_t began_ns)
{
    if (cluster->is_closing || cluster->failure != 0 ||
        began_ns <= membership_changed_ns(cluster->membership))
        return; // the next look tells
    if (tell_stranger(cluster, survey) || !cluster->checks_mailbox || !cluster->mailbox_is_clean ||
        began_ns < cluster->mailbox_clean_ns)
        return;
    cluster->checks_mailbox = false;
    cluster_simple_event(cluster, MEMBERSHIP_EVENT_MAILBOX_CLEAN);
}

static void look(void *argument)
{
    struct cluster *cluster = argument;
    struct volume *volume = cluster->config.volume;
    struct slot_survey *survey = calloc(1, sizeof(*survey));
    CHECK(survey != NULL);
    uint64_t began_ns = environment_boot_ns(cluster->config.environment), block = 0;
    // Also while we are suspended: the resume waits for it.
    int result = slot_survey_read(survey, volume->recovery_device, volume->scheduler,
                                  &volume->geometry, &block);
    if (result == 0)
        conclude(cluster, survey, began_ns);
    else if (cluster->failure == 0)
        log_warning(cluster->config.log, "looking at the slots failed at block %llu: %s",
                    (unsigned long long)block, error_text(result));
    free(survey);
    cluster->looks_for_strangers = false;
    cluster_helper_ended(cluster);
}

void cluster_strangers_tick(struct cluster *cluster)
{
    uint64_t now_ns = environment_boot_ns(cluster->config.environment);
    bool resume_waits = cluster->checks_mailbox && cluster->mailbox_is_clean;
    if (!cluster->has_view || cluster->is_closing || cluster->looks_for_strangers ||
        (!resume_waits && now_ns < cluster->strangers_looked_ns + look_period_ns))
        return;
    cluster->looks_for_strangers = true;
    cluster->strangers_looked_ns = now_ns;
    cluster_helper_start(cluster, "strangers", look, cluster);
}
