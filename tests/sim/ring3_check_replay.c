// SPDX-License-Identifier: Apache-2.0
// I2: recovery may be repeated and cut off anywhere. As soon as a dead node is fenced its journal
// is replayed on two copies of the LUN: on one at once, on the other cut off at one write after
// another and begun again. Both must hold the same in the end.
#include "dlm/membership.h"
#include "fs/base/error.h"
#include "journal/journal.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring3_check.h"
#include "tests/sim/still_device.h"

enum { CUTS = 2 };

static bool replay(struct ring3_copy *copy, uint32_t slot, struct journal_replay_report *report,
                   int *result)
{
    struct journal_config config = ring3_copy_journal(copy, slot);
    *report = (struct journal_replay_report){0};
    *result = journal_replay(&config, 1, report);
    return *result == 0;
}

static void compare(struct ring3 *ring3, struct ring3_copy *once, struct ring3_copy *often,
                    uint32_t slot)
{
    const struct geometry *geometry = once->geometry;
    uint64_t first = geometry_journal_block(geometry, slot) * BLOCK_BYTES, differs;
    uint64_t last = first + (uint64_t)geometry->journal_block_count * BLOCK_BYTES - 1;
    if (!sim_disk_is_same(once->disk, often->disk, first, last, &differs))
        ring3_fail(ring3,
                   "the journal of slot %u: a replay that was cut off and repeated leaves block "
                   "%llu otherwise",
                   slot, (unsigned long long)(differs / BLOCK_BYTES));
}

void ring3_check_replay(struct ring3 *ring3, struct ring3_copy *once,
                        const struct membership_dead *dead)
{
    struct journal_replay_report report, ignored;
    struct ring3_copy often;
    int result, cut;
    ring3_copy_init(&often, ring3, once->geometry);
    if (!replay(once, dead->slot, &report, &result)) {
        ring3_fail(ring3, "the journal of slot %u cannot be replayed at block %llu: %s", dead->slot,
                   (unsigned long long)report.error_address, error_text(result));
    } else if (report.dirty_count > 0) {
        uint64_t writes = report.written_count + 2, at = ring3->result.steps;
        for (int i = 0; i < CUTS; i++, at = at / writes + 1) {
            often.device->writes_left = at % writes;
            replay(&often, dead->slot, &ignored, &cut);
        }
        often.device->writes_left = UINT64_MAX;
        if (replay(&often, dead->slot, &ignored, &result))
            compare(ring3, once, &often, dead->slot);
        else
            ring3_fail(ring3,
                       "the journal of slot %u: a replay that was cut off cannot be "
                       "repeated, at block %llu: %s",
                       dead->slot, (unsigned long long)ignored.error_address, error_text(result));
        ring3->result.replays_checked++;
    }
    ring3_copy_deinit(&often);
}
