// SPDX-License-Identifier: Apache-2.0
#include "fs/recovery.h"

#include <errno.h>

#include "dlm/heartbeat.h"
#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "fs/operation.h"
#include "fs/quota.h"
#include "fs/volume.h"
#include "journal/journal.h"

enum { FREE_POLL_NS = 20 * 1000 * 1000 };

static void log_replay(struct volume *volume, const struct recovery_victim *victims, size_t count,
                       const struct journal_replay_report *report, uint64_t started_ns)
{
    uint64_t took_ms = (environment_boot_ns(volume->environment) - started_ns) / 1000000;
    for (size_t i = 0; i < count; i++)
        log_notice(volume->log, "%s: recovered slot %u (incarnation %llu)", volume->device->name,
                   victims[i].slot, (unsigned long long)victims[i].incarnation);
    log_notice(volume->log, "%s: replayed %llu records, wrote %llu blocks, %llu ms",
               volume->device->name, (unsigned long long)report->record_count,
               (unsigned long long)report->written_count, (unsigned long long)took_ms);
}

static int replay(struct volume *volume, const struct recovery_victim *victims, size_t count)
{
    struct journal_config configs[FORMAT_SLOT_COUNT_MAX];
    struct journal_replay_report report = {0};
    CHECK(count <= FORMAT_SLOT_COUNT_MAX);
    for (size_t i = 0; i < count; i++) {
        volume_journal_config(volume, victims[i].slot, &configs[i]);
        configs[i].device = volume->recovery_device;
    }
    uint64_t started_ns = environment_boot_ns(volume->environment);
    int result = journal_replay(configs, count, &report);
    if (result == 0) {
        log_replay(volume, victims, count, &report, started_ns);
        return 0;
    }
    log_error(volume->log, error_is_check(result) ? -result : 0,
              "%s: replaying the journal of slot %u%s failed at block %llu: %s; what the node held "
              "stays locked%s",
              volume->device->name, victims[0].slot, count > 1 ? " and others" : "",
              (unsigned long long)report.error_address, error_text(result),
              result == -EIO ? " until a replay succeeds"
                             : ": unmount everywhere and run fsck.lunfs");
    return result;
}

// The heartbeat thread writes the blocks; it is asked again and again whether it has.
static int free_slots(struct volume *volume, struct heartbeat *heartbeat,
                      const struct recovery_victim *victims, size_t count)
{
    for (size_t i = 0; i < count; i++)
        heartbeat_free_slot(heartbeat, victims[i].slot, victims[i].incarnation);
    for (;;) {
        struct heartbeat_status status;
        heartbeat_status_get(heartbeat, &status);
        if (status.end != HEARTBEAT_ALIVE)
            return heartbeat_end_error(status.end);
        if (!status.frees_pending)
            return 0;
        environment_sleep(volume->environment, FREE_POLL_NS);
    }
}

int recovery_replay_and_free(struct volume *volume, struct heartbeat *heartbeat,
                             const struct recovery_victim *victims, size_t count)
{
    int result = SABOTAGE(recovery_skip_replay) ? 0 : replay(volume, victims, count);
    if (result == 0)
        result = free_slots(volume, heartbeat, victims, count);
    return result;
}

int recovery_replay_own(struct volume *volume, const struct recovery_victim *before)
{
    return SABOTAGE(takeover_skip_replay) ? 0 : replay(volume, before, 1);
}

void recovery_orphans(struct volume *volume, uint32_t slot)
{
    if (volume->journal == NULL)
        return;
    int result = operation_process_orphans(volume, slot);
    if (result != 0 && volume_check(volume) == 0)
        log_line(volume->log, LOG_LEVEL_WARNING, error_is_check(result) ? -result : 0,
                 "%s: the orphans of slot %u wait for another try: %s", volume->device->name, slot,
                 error_text(result));
    result = quota_settle_slot(volume->quota, slot);
    if (result != 0 && volume_check(volume) == 0)
        log_line(volume->log, LOG_LEVEL_WARNING, error_is_check(result) ? -result : 0,
                 "%s: the quota ledger of slot %u is not settled yet: %s", volume->device->name,
                 slot, error_text(result));
}
