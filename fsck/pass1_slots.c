// SPDX-License-Identifier: Apache-2.0
// Assumes the geometry. Looks at the claim and at every slot's blocks, makes sure that nobody uses
// the volume (takes the claim unless nothing is to be written), and lays over the disk what replay
// of the dead nodes' journals would write. Leaves a volume as the next mount would see it.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/error.h"
#include "fs/format_text.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "journal/header.h"

// --- the blocks of slots ---------------------------------------------------------------------

typedef int (*slot_block_decode)(struct check *check, uint32_t slot, const void *disk,
                                 const char **reason);

// What is wrong with a block of a slot; NULL: nothing.
static const char *block_broken(struct check *check, enum block_type type, uint64_t block,
                                uint32_t slot, slot_block_decode decode)
{
    uint8_t disk[BLOCK_BYTES] __attribute__((aligned(8)));
    const char *reason = NULL;
    int result = block_reader_read_verified(check->reader, type, block, slot, disk);
    if (result < 0)
        return error_text(result);
    return decode(check, slot, disk, &reason) < 0 ? reason : NULL;
}

static int decode_claim(struct check *check, uint32_t slot, const void *disk, const char **reason)
{
    struct format_claim claim;
    (void)check, (void)slot;
    return format_claim_decode(disk, &claim, reason);
}

void pass1_claim(struct check *check)
{
    const char *reason = block_broken(check, BLOCK_TYPE_CLAIM, FORMAT_CLAIM_BLOCK, 0, decode_claim);
    if (reason != NULL)
        problem_report(&check->problems, PROBLEM_CLAIM, FORMAT_CLAIM_BLOCK, "%s", reason);
}

static int decode_heartbeat(struct check *check, uint32_t slot, const void *disk,
                            const char **reason)
{
    int result = format_heartbeat_decode(disk, &check->heartbeats[slot], reason);
    if (result < 0)
        return result;
    lamport_observe(&check->clock, check->heartbeats[slot].lamport);
    lamport_observe(&check->clock, format_block_version(disk));
    return 0;
}

static void check_heartbeat(struct check *check, uint32_t slot)
{
    uint64_t block = geometry_heartbeat_block(&check->geometry, slot);
    check->heartbeats[slot] = (struct format_heartbeat){.state = HEARTBEAT_FREE};
    const char *reason = block_broken(check, BLOCK_TYPE_HEARTBEAT, block, slot, decode_heartbeat);
    if (reason != NULL)
        problem_report(&check->problems, PROBLEM_HEARTBEAT, block, "%s (slot %u)", reason, slot);
}

static int decode_mailbox(struct check *check, uint32_t slot, const void *disk, const char **reason)
{
    struct format_mailbox mailbox;
    (void)check, (void)slot;
    return format_mailbox_decode(disk, &mailbox, reason);
}

static void check_mailbox(struct check *check, uint32_t slot)
{
    uint64_t block = geometry_mailbox_block(&check->geometry, slot);
    const char *reason = block_broken(check, BLOCK_TYPE_MAILBOX, block, slot, decode_mailbox);
    if (reason != NULL)
        problem_report(&check->problems, PROBLEM_MAILBOX, block, "%s (slot %u)", reason, slot);
}

// A write that tore leaves one of them, and the other one holds (journal/header.h).
static void check_journal_copies(struct check *check, uint32_t slot)
{
    uint8_t disk[BLOCK_BYTES] __attribute__((aligned(8)));
    struct journal_header header;
    check->worn_journals &= ~((uint64_t)1 << slot);
    for (uint32_t copy = 0; copy < JOURNAL_HEADER_COPIES; copy++) {
        uint64_t block = geometry_journal_block(&check->geometry, slot) + copy;
        int result =
            block_reader_read_verified(check->reader, BLOCK_TYPE_JOURNAL_HEADER, block, slot, disk);
        if (result == 0 && !journal_header_decode((const struct journal_header_disk *)disk,
                                                  check->geometry.journal_block_count, &header))
            result = -ERROR_JOURNAL_HEADER;
        if (result == 0)
            continue;
        check->worn_journals |= (uint64_t)1 << slot;
        problem_report(&check->problems, PROBLEM_JOURNAL_COPY, block, "%s (slot %u)",
                       error_text(result), slot);
    }
}

void pass1_slot(struct check *check, uint32_t slot)
{
    check_heartbeat(check, slot);
    check_mailbox(check, slot);
    check_journal_copies(check, slot);
}

static int decode_slot_state(struct check *check, uint32_t slot, const void *disk,
                             const char **reason)
{
    (void)check, (void)slot;
    return format_slot_state_check(disk, reason);
}

void pass1_slot_state(struct check *check, uint32_t slot)
{
    uint64_t block = geometry_slot_state_block(&check->geometry, slot);
    const char *reason = block_broken(check, BLOCK_TYPE_SLOT_STATE, block, slot, decode_slot_state);
    if (reason != NULL)
        problem_report(&check->problems, PROBLEM_SLOT_STATE, block, "%s (slot %u)", reason, slot);
}

// --- who uses it -----------------------------------------------------------------------------

static uint64_t clock_boot_ns(void *context)
{
    return check_boot_ns(context);
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
    const struct claim_clock system = claim_clock_system();
    const struct claim_clock *clock = check->watch_clock != NULL ? check->watch_clock : &system;
    if (coroutine_current(check->environment->scheduler) != NULL)
        environment_sleep(check->environment, ns);
    else
        clock->wait_ns(clock->context, ns);
}

static bool clock_is_cancelled(void *context)
{
    return check_cancelled(context) != 0;
}

static void clock_progress(void *context, const char *what)
{
    struct check *check = context;
    (void)what;
    uint64_t now = check_boot_ns(check);
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
    check->problems.is_off = true; // named already
    for (uint32_t slot = 0; slot < check->geometry.slot_count; slot++)
        check_heartbeat(check, slot);
    check->problems.is_off = false;
}

static bool blocks_are_readable(const struct check *check)
{
    return check->problems.counts[PROBLEM_CLAIM] == 0 &&
           check->problems.counts[PROBLEM_HEARTBEAT] == 0;
}

// Without a readable claim and heartbeats nobody can tell who uses the volume but by watching them
// as bytes, which a user would write again: that is done with -y only, else it is only looked at.
static int make_sure_nobody_uses_it(struct check *check)
{
    struct claim_config config;
    struct claim_users users = {0};
    if (!blocks_are_readable(check) && !check->options->is_yes)
        return 0;
    make_claim_config(check, &config);
    progress_begin(&check->progress, "watched, seconds", NULL);
    check->watch_begin_ns = check_boot_ns(check);
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

void check_configure_journal(struct check *check, uint32_t slot, struct journal_config *config)
{
    const struct geometry *g = &check->geometry;
    *config = (struct journal_config){
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
    memcpy(config->format_id, g->format_id, sizeof(g->format_id));
}

// All but those that will be emptied.
static void configure_journals(struct check *check)
{
    const struct geometry *g = &check->geometry;
    check->journal_context = (struct journal_format_context){
        .user = check,
        .progress = replay_progress,
    };
    memcpy(check->journal_context.format_id, g->format_id, sizeof(g->format_id));
    check->journal_count = 0;
    for (uint32_t slot = 0; slot < g->slot_count; slot++) {
        if (!(check->bad_journals >> slot & 1))
            check_configure_journal(check, slot, &check->journals[check->journal_count++]);
    }
}

static void report_journal(struct check *check, uint32_t slot, int error)
{
    check->bad_journals |= (uint64_t)1 << slot;
    problem_report(&check->problems, PROBLEM_JOURNAL,
                   geometry_journal_block(&check->geometry, slot), "%s (slot %u)",
                   error_text(error), slot);
}

// Which journal is to blame: each one scanned alone. If none is, all are.
static void find_bad_journals(struct check *check, int error)
{
    for (uint32_t i = 0; i < check->journal_count; i++) {
        struct journal_scan scan;
        int result = journal_scan(&check->journals[i], 1, &scan);
        if (result == 0)
            journal_scan_deinit(&scan);
        else
            report_journal(check, check->journals[i].slot, result);
    }
    for (uint32_t i = 0; check->bad_journals == 0 && i < check->journal_count; i++)
        report_journal(check, check->journals[i].slot, error);
}

static int serve_journals(struct check *check)
{
    configure_journals(check);
    progress_begin(&check->progress, "journals", "blocks");
    int result = journal_scan(check->journals, check->journal_count, &check->overlay);
    if (result < 0 && !error_is_check(result))
        return check_fail(check, result, "the journals cannot be read: %s", error_text(result));
    if (result < 0) {
        find_bad_journals(check, result);
        return 0;
    }
    check->has_overlay = true;
    lamport_observe(&check->clock, check->overlay.version_max);
    if (check->overlay.dirty_count > 0)
        problem_report(&check->problems, PROBLEM_JOURNAL_DIRTY, check->geometry.journal_block,
                       "%u of them, %llu blocks", check->overlay.dirty_count,
                       (unsigned long long)check->overlay.image_count);
    return 0;
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
    progress_begin(&check->progress, "slots", NULL);
    pass1_claim(check);
    for (uint32_t slot = 0; slot < check->geometry.slot_count; slot++)
        check_heartbeat(check, slot);
    return make_sure_nobody_uses_it(check);
}

int pass1_slots_again(struct check *check)
{
    uint32_t slot_count = check->geometry.slot_count;
    if (check->round > 0)
        for (uint32_t slot = 0; slot < slot_count; slot++)
            check_heartbeat(check, slot);
    for (uint32_t slot = 0; slot < slot_count; slot++) {
        check_mailbox(check, slot);
        check_journal_copies(check, slot);
        report_slot_not_left(check, slot);
    }
    int result = check->has_overlay ? 0 : serve_journals(check);
    for (uint32_t slot = 0; slot < slot_count && result == 0; slot++)
        pass1_slot_state(check, slot);
    return result;
}
