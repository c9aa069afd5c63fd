// SPDX-License-Identifier: Apache-2.0
// Assumes the geometry. Looks at the claim and at every slot's blocks, makes sure that nobody uses
// the volume (takes the claim unless nothing is to be written), replays what dead nodes left in
// their journals, or with -n lays it over the disk. Leaves a volume as the next mount would see it.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/error.h"
#include "fs/format_text.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"

// --- the blocks of slots ---------------------------------------------------------------------

// Reads, verifies and decodes nothing but the header; reports.
static bool read_block(struct check *check, enum block_type type, uint64_t block, uint64_t owner,
                       enum problem problem, void *buffer)
{
    int result = block_reader_read_verified(check->reader, type, block, owner, buffer);
    if (result < 0)
        problem_report(&check->problems, problem, block, "%s (slot %llu)", error_text(result),
                       (unsigned long long)owner);
    return result == 0;
}

static void report_reason(struct check *check, enum problem problem, uint64_t block, uint32_t slot,
                          const char *reason)
{
    problem_report(&check->problems, problem, block, "%s (slot %u)", reason, slot);
}

static void check_claim_block(struct check *check)
{
    struct claim_disk disk;
    struct format_claim claim;
    const char *reason = NULL;
    int result =
        block_reader_read_verified(check->reader, BLOCK_TYPE_CLAIM, FORMAT_CLAIM_BLOCK, 0, &disk);
    if (result < 0)
        reason = error_text(result);
    else
        format_claim_decode(&disk, &claim, &reason);
    if (reason != NULL)
        problem_report(&check->problems, PROBLEM_CLAIM, FORMAT_CLAIM_BLOCK, "%s", reason);
}

static void check_heartbeat(struct check *check, uint32_t slot)
{
    struct heartbeat_disk disk;
    const char *reason = NULL;
    uint64_t block = geometry_heartbeat_block(&check->geometry, slot);
    if (!read_block(check, BLOCK_TYPE_HEARTBEAT, block, slot, PROBLEM_HEARTBEAT, &disk))
        return;
    if (format_heartbeat_decode(&disk, &check->heartbeats[slot], &reason) < 0) {
        report_reason(check, PROBLEM_HEARTBEAT, block, slot, reason);
        return;
    }
    lamport_observe(&check->clock, check->heartbeats[slot].lamport);
    lamport_observe(&check->clock, format_block_version(&disk));
}

static void check_mailbox(struct check *check, uint32_t slot)
{
    struct mailbox_disk disk;
    struct format_mailbox mailbox;
    const char *reason = NULL;
    uint64_t block = geometry_mailbox_block(&check->geometry, slot);
    if (read_block(check, BLOCK_TYPE_MAILBOX, block, slot, PROBLEM_MAILBOX, &disk) &&
        format_mailbox_decode(&disk, &mailbox, &reason) < 0)
        report_reason(check, PROBLEM_MAILBOX, block, slot, reason);
}

static void check_slot_state(struct check *check, uint32_t slot)
{
    struct slot_state_disk disk;
    const char *reason = NULL;
    uint64_t block = geometry_slot_state_block(&check->geometry, slot);
    if (read_block(check, BLOCK_TYPE_SLOT_STATE, block, slot, PROBLEM_SLOT_STATE, &disk) &&
        format_slot_state_check(&disk, &reason) < 0)
        report_reason(check, PROBLEM_SLOT_STATE, block, slot, reason);
}

// --- who uses it -----------------------------------------------------------------------------

static uint64_t clock_boot_ns(void *context)
{
    struct check *check = context;
    return environment_boot_ns(check->environment);
}

static int64_t clock_wall_ns(void *context)
{
    struct check *check = context;
    return environment_wall_ns(check->environment);
}

// In a coroutine (the simulator) waiting is the environment's; a plain program sleeps.
static void clock_wait_ns(void *context, uint64_t ns)
{
    struct check *check = context;
    struct claim_clock system = claim_clock_system();
    if (coroutine_current(check->environment->scheduler) != NULL)
        environment_sleep(check->environment, ns);
    else
        system.wait_ns(system.context, ns);
}

static bool clock_is_cancelled(void *context)
{
    return check_cancelled(context) != 0;
}

static void clock_progress(void *context, const char *what)
{
    struct check *check = context;
    (void)what;
    uint64_t now = environment_boot_ns(check->environment);
    progress_update(&check->progress, now, (now - check->watch_begin_ns) / 1000000000, 0);
}

static void make_claim_config(struct check *check, struct claim_config *config)
{
    *config = (struct claim_config){
        .device = check->device,
        .scheduler = check->environment->scheduler,
        .geometry = &check->geometry,
        .clock = {.boot_ns = clock_boot_ns,
                  .wall_ns = clock_wall_ns,
                  .wait_ns = clock_wait_ns,
                  .progress = clock_progress,
                  .is_cancelled = clock_is_cancelled,
                  .context = check},
        .purpose = CLAIM_FSCK,
        .io_max_ns = check->io_max_ns,
    };
    gethostname(config->host_name, sizeof(config->host_name) - 1);
    for (size_t i = 0; i < sizeof(config->holder); i += sizeof(uint64_t)) {
        uint64_t value = environment_random_u64(check->environment);
        memcpy(config->holder + i, &value, sizeof(value));
    }
}

static int refuse_users(struct check *check, const struct claim_users *users)
{
    TEXT(text, 1024);
    claim_users_to_text(users, &text);
    return check_fail(check, -ERROR_CLAIM_HELD,
                      "the volume is in use by %s; unmount it everywhere first", text.bytes);
}

static void forget_blocks(struct check *check)
{
    block_reader_free(check->reader);
    check->reader = block_reader_new(check);
}

// The last user may have left while we watched.
static void read_heartbeats_again(struct check *check)
{
    forget_blocks(check);
    for (uint32_t slot = 0; slot < check->geometry.slot_count; slot++)
        check_heartbeat(check, slot);
}

static bool blocks_are_readable(const struct check *check)
{
    return check->problems.counts[PROBLEM_CLAIM] == 0 &&
           check->problems.counts[PROBLEM_HEARTBEAT] == 0;
}

// Without a readable claim and heartbeats nobody can tell who uses the volume: it is then only
// looked at.
static int make_sure_nobody_uses_it(struct check *check)
{
    struct claim_config config;
    struct claim_users users = {0};
    if (!blocks_are_readable(check))
        return 0;
    make_claim_config(check, &config);
    progress_begin(&check->progress, "watched, seconds");
    check->watch_begin_ns = environment_boot_ns(check->environment);
    int result = check->options->no_changes ? claim_watch_live(&config, &users)
                                            : claim_acquire(&check->claim, &config, &users);
    if (result == 0)
        read_heartbeats_again(check);
    if (result == -ERROR_CLAIM_HELD)
        return refuse_users(check, &users);
    if (result < 0 && result != -ECANCELED)
        return check_fail(check, result, "whether the volume is in use cannot be told: %s",
                          error_text(result));
    return result;
}

// --- journals --------------------------------------------------------------------------------

static void replay_progress(void *user, uint64_t done, uint64_t total)
{
    struct check *check = user;
    progress_update(&check->progress, environment_boot_ns(check->environment), done, total);
    check_breathe(check);
}

static void configure_journals(struct check *check)
{
    const struct geometry *g = &check->geometry;
    check->journal_context = (struct journal_format_context){
        .user = check,
        .progress = replay_progress,
    };
    memcpy(check->journal_context.format_id, g->format_id, sizeof(g->format_id));
    for (uint32_t slot = 0; slot < g->slot_count; slot++) {
        check->journals[slot] = (struct journal_config){
            .device = check->device,
            .environment = check->environment,
            .log = check->log,
            .clock = &check->clock,
            .callbacks = &journal_format_callbacks,
            .context = &check->journal_context,
            .start_block = geometry_journal_block(g, slot),
            .block_count = g->journal_block_count,
            .slot = slot,
        };
        memcpy(check->journals[slot].format_id, g->format_id, sizeof(g->format_id));
    }
}

// Which journal is to blame, so that the report can name its block: each one scanned alone.
static void report_journal_failure(struct check *check, int error)
{
    bool is_named = false;
    for (uint32_t slot = 0; slot < check->geometry.slot_count; slot++) {
        struct journal_scan scan;
        int result = journal_scan(&check->journals[slot], 1, &scan);
        if (result == 0) {
            journal_scan_deinit(&scan);
            continue;
        }
        is_named = true;
        problem_report(&check->problems, PROBLEM_JOURNAL,
                       geometry_journal_block(&check->geometry, slot), "%s (slot %u)",
                       error_text(result), slot);
    }
    if (!is_named)
        problem_report(&check->problems, PROBLEM_JOURNAL, check->geometry.journal_block, "%s",
                       error_text(error));
}

static bool may_write(const struct check *check)
{
    return !check->options->no_changes && check->claim.is_held &&
           problem_unrepairable_count(&check->problems) == 0;
}

static int replay(struct check *check)
{
    struct journal_replay_report report = {0};
    int result = journal_replay(check->journals, check->geometry.slot_count, &report);
    if (result == 0) {
        check->was_changed = true;
        check_note(check, "replayed %u journals: %llu records, %llu blocks written",
                   report.dirty_count, (unsigned long long)report.record_count,
                   (unsigned long long)report.written_count);
        return 0;
    }
    if (!error_is_check(result))
        return check_fail(check, result, "the journals cannot be replayed: %s", error_text(result));
    problem_report(&check->problems, PROBLEM_JOURNAL, report.error_address, "%s",
                   error_text(result));
    return 0;
}

static int serve_journals(struct check *check)
{
    configure_journals(check);
    progress_begin(&check->progress, "journals");
    int result = journal_scan(check->journals, check->geometry.slot_count, &check->overlay);
    if (result < 0 && !error_is_check(result))
        return check_fail(check, result, "the journals cannot be read: %s", error_text(result));
    if (result < 0) {
        report_journal_failure(check, result);
        return 0;
    }
    check->has_overlay = true;
    lamport_observe(&check->clock, check->overlay.version_max);
    if (check->overlay.dirty_count == 0)
        return 0;
    problem_report(&check->problems, PROBLEM_JOURNAL_DIRTY, check->geometry.journal_block,
                   "%u of them, %llu blocks", check->overlay.dirty_count,
                   (unsigned long long)check->overlay.image_count);
    return may_write(check) ? replay(check) : 0;
}

// After replay the disk is what it says; an overlay over it would hide later repairs.
static void drop_overlay_if_replayed(struct check *check)
{
    if (!check->has_overlay || !check->was_changed)
        return;
    journal_scan_deinit(&check->overlay);
    check->has_overlay = false;
    forget_blocks(check);
}

// --- the pass --------------------------------------------------------------------------------

static void report_slot_not_left(struct check *check, uint32_t slot)
{
    const struct format_heartbeat *heartbeat = &check->heartbeats[slot];
    TEXT(text, 256);
    if (heartbeat->state == HEARTBEAT_FREE)
        return;
    format_heartbeat_to_text(heartbeat, &text);
    problem_report(&check->problems, PROBLEM_SLOT_NOT_LEFT,
                   geometry_heartbeat_block(&check->geometry, slot), "%s", text.bytes);
}

int pass1_slots(struct check *check)
{
    uint32_t slot_count = check->geometry.slot_count;
    progress_begin(&check->progress, "slots");
    check_claim_block(check);
    for (uint32_t slot = 0; slot < slot_count; slot++)
        check_heartbeat(check, slot);
    for (uint32_t slot = 0; slot < slot_count; slot++)
        check_mailbox(check, slot);
    int result = make_sure_nobody_uses_it(check);
    if (result < 0)
        return result;
    for (uint32_t slot = 0; slot < slot_count; slot++)
        report_slot_not_left(check, slot);
    result = serve_journals(check);
    drop_overlay_if_replayed(check);
    for (uint32_t slot = 0; slot < slot_count && result == 0; slot++)
        check_slot_state(check, slot);
    return result;
}
