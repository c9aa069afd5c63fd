// SPDX-License-Identifier: Apache-2.0
// sabotage-ring2: breaks one rule of the file system after the other in ring 2 (sabotage_hunt.h).
#include "tests/sim/ring2_history.h"
#include "tests/sim/sabotage_hunt.h"

#include <string.h>

static bool run(uint64_t seed, void **context, char failure[HUNT_FAILURE_BYTES])
{
    struct ring2_options options = {.seed = seed, .node_count = 1};
    struct ring2_result result;
    (void)context;
    ring2_history_run(&options, &result);
    memcpy(failure, result.failure, sizeof(result.failure));
    return result.is_failed;
}
_Static_assert(sizeof(((struct ring2_result *)0)->failure) <= HUNT_FAILURE_BYTES, "failure");

int main(int argc, char **argv)
{
    // What one node and a disk can show. The journal's own switches have their own simulator; some
    // of them are shown again, through files.
    static const char *const prefixes[] = {"pass_",
                                           "part_write_",
                                           "unlink_",
                                           "link_",
                                           "protect_",
                                           "truncate_",
                                           "grow_",
                                           "first_write_",
                                           "write_size_",
                                           "fsync_",
                                           "orphans_",
                                           "punch_",
                                           "zero_",
                                           "allocator_",
                                           "damage_",
                                           "quota_charge_apart",
                                           "journal_skip_data_flush",
                                           "journal_skip_revoke",
                                           "journal_ack_before_flush",
                                           "journal_clean_before_flush",
                                           "journal_replay_once",
                                           "journal_reuse_before_commit",
                                           NULL};
    static const struct hunt hunt = {
        .subject = "one node", .prefixes = prefixes, .seconds_max = 600, .run = run};
    return hunt_main(&hunt, argc, argv);
}
