// SPDX-License-Identifier: Apache-2.0
// sabotage-ring3: breaks one rule after the other in ring 3 (sabotage_hunt.h): those that take more
// than one part to show, and, through files, some that the inner rings find as well. Then each
// checker has to find a switch of its own.
#include <limits.h>
#include <string.h>

#include "tests/sim/ring3.h"
#include "tests/sim/sabotage_hunt.h"

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    if (*context == NULL)
        *context = ring3_scheduler_new();
    struct ring3_options options = {
        .seed = seed, .fault_count = UINT_MAX, .faults = RING3_FAULTS_ALL, .scheduler = *context};
    struct ring3_result result;
    ring3_run(&options, &result);
    if (result.is_failed)
        *context = NULL; // its coroutines are left in it
    memcpy(failure, result.failure, sizeof(result.failure));
    return result.is_failed;
}
_Static_assert(sizeof(((struct ring3_result *)0)->failure) <= HUNT_FAILURE_BYTES, "failure");

// Each checker of ring3_check*.c, with a switch that it must find by itself.
static const struct {
    const char *name, *sentence, *subject;
} checkers[] = {
    {"membership_skip_fence", "takes it for fenced", "whole nodes: writes of the fenced"},
    {"dlm_no_end_of_holders", "that exclude each other", "whole nodes: rights"},
    {"mode_pr_beside_cw", "that exclude each other", "whole nodes: writers beside readers"},
    {"journal_skip_retire", "is live in the journals of", "whole nodes: one journal a block"},
    {"journal_replay_once", "a replay that was cut off", "whole nodes: replays repeated"},
    {"quota_refuse_alone", "quotas: EDQUOT for", "whole nodes: limits"},
    {"dlm_forget_dead_ranges", "of it, through life", "whole nodes: byte ranges"},
};

int main(int argc, char **argv)
{
    static const char *const prefixes[] = {"cluster_",
                                           "freeze_",
                                           "quota_share_lost",
                                           "quota_refuse_alone",
                                           "recovery_",
                                           "takeover_",
                                           "dlm_forget_dead_master",
                                           "dlm_no_end_of_holders",
                                           "dlm_grant_before_recovered",
                                           "dlm_no_relay",
                                           "dlm_drop_redrive",
                                           "dlm_refuse_stale_epoch",
                                           "dlm_accept_moved",
                                           "dlm_use_early_frames",
                                           "membership_skip_fence",
                                           "journal_skip_retire",
                                           "protect_skip_drain",
                                           "times_keep_noted",
                                           "append_at_known_end",
                                           "chmod_skip_list",
                                           "seek_skip_flush",
                                           NULL};
    static const struct hunt hunt = {
        .subject = "whole nodes", .prefixes = prefixes, .seconds_max = 600, .run = run};
    int status = hunt_main(&hunt, argc, argv);
    for (unsigned i = 0; i < sizeof(checkers) / sizeof(checkers[0]); i++) {
        const char *const one[] = {checkers[i].name, NULL};
        const struct hunt proof = {.subject = checkers[i].subject,
                                   .prefixes = one,
                                   .seconds_max = 600,
                                   .run = run,
                                   .sentence = checkers[i].sentence};
        status |= hunt_main(&proof, argc, argv);
    }
    return status;
}
