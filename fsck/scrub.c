// SPDX-License-Identifier: Apache-2.0
#include "fsck/scrub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/memory.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"
#include "fsck/quota_blocks.h"

// So that a cancel is not slept over.
static const uint64_t nap_ns = 200000000;

struct scrub {
    struct scrub_config config;
    struct fsck_options options;
    struct check check;
    struct check_online online;
    struct scrub_status status;
    uint64_t begun_ns;
    bool is_cancelled;
    char **lines; // of the object that is looked at
    size_t line_count;
};

// --- what is found in an object ----------------------------------------------------------------

static void keep_line(void *context, const char *line)
{
    struct scrub *scrub = context;
    scrub->lines = memory_resize(scrub->lines, scrub->line_count + 1, sizeof(*scrub->lines));
    scrub->lines[scrub->line_count] = strdup(line);
    CHECK(scrub->lines[scrub->line_count] != NULL);
    scrub->line_count++;
}

// Each object anew: what a block was called before says nothing of it now.
static void forget_findings(struct scrub *scrub)
{
    for (size_t i = 0; i < scrub->line_count; i++)
        free(scrub->lines[i]);
    scrub->line_count = 0;
    memset(scrub->check.problems.counts, 0, sizeof(scrub->check.problems.counts));
    scrub->check.flipped.count = 0;
}

static void report_findings(struct scrub *scrub)
{
    scrub->status.problem_count += problem_count(&scrub->check.problems);
    for (size_t i = 0; i < scrub->line_count; i++)
        scrub->config.hooks->found(scrub->config.context, scrub->lines[i]);
    forget_findings(scrub);
}

// --- between objects ---------------------------------------------------------------------------

// Nothing is held: whoever waits for the core, the disk or a lock goes first.
static int breathe(struct scrub *scrub)
{
    struct environment *environment = scrub->config.environment;
    uint64_t rate = scrub->config.blocks_per_second;
    scrub->status.blocks_read = scrub->online.blocks_read;
    coroutine_pause(environment->scheduler);
    while (!scrub->is_cancelled && rate > 0) {
        uint64_t read = scrub->online.blocks_read;
        uint64_t due_ns =
            scrub->begun_ns + read / rate * 1000000000 + read % rate * 1000000000 / rate;
        uint64_t now_ns = environment_boot_ns(environment);
        if (now_ns >= due_ns)
            break;
        environment_sleep(environment, due_ns - now_ns < nap_ns ? due_ns - now_ns : nap_ns);
    }
    return scrub->is_cancelled ? -ECANCELED : 0;
}

static int take(struct scrub *scrub, enum scrub_kind kind, uint64_t id)
{
    struct scrub_object object = {kind, id};
    return scrub->config.hooks->take(scrub->config.context, &object, 1);
}

// What was held is whole, so what was found counts.
static int done(struct scrub *scrub)
{
    scrub->config.hooks->drop(scrub->config.context);
    report_findings(scrub);
    return breathe(scrub);
}

static void begin(struct scrub *scrub, const char *what, uint64_t total)
{
    scrub->status.what = what;
    scrub->status.done = 0;
    scrub->status.total = total;
}

// --- the volume's own blocks ---------------------------------------------------------------------

// Which one the mount goes by does not matter here.
static int look_at_superblocks(struct scrub *scrub)
{
    struct check *check = &scrub->check;
    int result = take(scrub, SCRUB_SUPERBLOCK, 0);
    if (result != 0)
        return result;
    format_superblock_find(check->device, check->environment->scheduler, &check->finding);
    scrub->online.blocks_read += FORMAT_SUPERBLOCK_COUNT;
    if (check->finding.chosen < 0)
        check->finding.chosen = 0;
    else // another node may have turned quotas on
        check->geometry.feature_ro_compat =
            check->finding.places[check->finding.chosen].geometry.feature_ro_compat;
    pass0_compare_copies(check);
    return done(scrub);
}

// Each is written by one node, whole, in one sector, under no lock.
static int look_at_slots(struct scrub *scrub)
{
    int result = 0;
    begin(scrub, "slots", scrub->check.geometry.slot_count);
    pass1_claim(&scrub->check);
    for (uint32_t slot = 0; slot < scrub->check.geometry.slot_count && result == 0; slot++) {
        pass1_slot(&scrub->check, slot);
        report_findings(scrub);
        result = breathe(scrub);
        scrub->status.done++;
    }
    return result;
}

static int look_at_orphan_lists(struct scrub *scrub)
{
    int result = 0;
    begin(scrub, "orphan lists", scrub->check.geometry.slot_count);
    for (uint32_t slot = 0; slot < scrub->check.geometry.slot_count && result == 0; slot++) {
        result = take(scrub, SCRUB_ORPHANS, slot);
        if (result != 0)
            break;
        pass1_slot_state(&scrub->check, slot);
        pass3_orphan_list(&scrub->check, slot);
        result = done(scrub);
        scrub->status.done++;
    }
    return result;
}

// Whether their sums are right follows only from all inodes together.
static int look_at_quotas(struct scrub *scrub)
{
    static const struct {
        enum scrub_kind kind;
        void (*look)(struct check *check, uint32_t slot);
    } blocks[] = {{SCRUB_QUOTA, pass6_quota_bucket}, {SCRUB_LEDGER, pass6_quota_ledger}};
    uint32_t count = quota_blocks_exist(&scrub->check) ? scrub->check.geometry.slot_count : 0;
    int result = 0;
    begin(scrub, "quotas", count);
    for (uint32_t i = 0; i < 2 * count && result == 0; i++) {
        result = take(scrub, blocks[i % 2].kind, i / 2);
        if (result != 0)
            break;
        blocks[i % 2].look(&scrub->check, i / 2);
        result = done(scrub);
        scrub->status.done = (i + 1) / 2;
    }
    return result;
}

// --- groups --------------------------------------------------------------------------------------

static int look_at_map(struct scrub *scrub)
{
    int result = take(scrub, SCRUB_MAP, 0);
    if (result != 0)
        return result;
    pass2_map(&scrub->check);
    return done(scrub);
}

static int look_at_groups(struct scrub *scrub)
{
    struct check *check = &scrub->check;
    uint32_t count = check->geometry.ag_count;
    int result = look_at_map(scrub);
    begin(scrub, "allocation groups", count);
    for (uint32_t ag = 0; ag < count && result == 0; ag++) {
        scrub->status.done = ag;
        if (!check->space.groups[ag].is_initialised)
            continue;
        result = take(scrub, SCRUB_GROUP, ag);
        if (result != 0)
            break;
        pass2_group(check, ag);
        result = done(scrub);
    }
    return result;
}

static uint64_t used_block_count(const struct check *check)
{
    uint64_t used = 0;
    for (uint32_t ag = 0; ag < check->geometry.ag_count; ag++) {
        if (check->space.groups[ag].is_initialised)
            used += geometry_ag_block_count(&check->geometry, ag) - check->groups[ag].free_found;
    }
    return used;
}

// --- inodes --------------------------------------------------------------------------------------

// Whether who named it still does; both are held. The promise is what it says now.
static int find_namer(struct scrub *scrub, struct inode_record *record)
{
    const struct scrub_hooks *hooks = scrub->config.hooks;
    struct scrub_promise promise = {.generation = record->generation, .type = record->type};
    int result = 1;
    if (record->seen & INODE_SEEN_LINKED)
        result = hooks->find_entry(scrub->config.context, record->linked_from, record->linked_hash,
                                   record->number, &promise);
    else if (record->seen & INODE_SEEN_LISTED)
        result =
            hooks->find_orphan(scrub->config.context, record->listed_by, record->number, &promise);
    record->generation = promise.generation;
    record->type = promise.type;
    return result;
}

static struct scrub_object namer_of(const struct inode_record *record)
{
    if (record->seen & INODE_SEEN_LINKED)
        return (struct scrub_object){SCRUB_INODE, record->linked_from};
    return (struct scrub_object){SCRUB_ORPHANS, record->listed_by};
}

static int look_again(struct scrub *scrub, size_t index, struct inode_record record)
{
    struct scrub_object objects[] = {{SCRUB_INODE, record.number}, namer_of(&record)};
    bool is_root = (record.seen & INODE_SEEN_ROOT) != 0;
    forget_findings(scrub);
    int result = scrub->config.hooks->take(scrub->config.context, objects, is_root ? 1 : 2);
    if (result != 0)
        return result;
    result = is_root ? 1 : find_namer(scrub, &record);
    if (result == 1) {
        scrub->check.inodes.records[index] = record;
        pass3_inode(&scrub->check, &scrub->check.inodes.records[index]);
    }
    if (result >= 0)
        return done(scrub);
    scrub->config.hooks->drop(scrub->config.context);
    return result;
}

static int look_at_inode(struct scrub *scrub, size_t index)
{
    struct inode_record before = scrub->check.inodes.records[index];
    int result = take(scrub, SCRUB_INODE, before.number);
    if (result != 0)
        return result;
    pass3_inode(&scrub->check, &scrub->check.inodes.records[index]);
    if (problem_count(&scrub->check.problems) == 0)
        return done(scrub);
    scrub->config.hooks->drop(scrub->config.context);
    return look_again(scrub, index, before);
}

// Those found on the way are behind it in the table.
static int look_at_inodes(struct scrub *scrub)
{
    struct check *check = &scrub->check;
    int result = 0;
    begin(scrub, "files and directories", used_block_count(check));
    check->space.used_block_count = 0;
    inode_table_add(&check->inodes, check->geometry.root_inode)->seen |= INODE_SEEN_ROOT;
    for (size_t next = 0; next < check->inodes.count && result == 0; next++) {
        result = look_at_inode(scrub, next);
        scrub->status.done = check->space.used_block_count;
    }
    return result;
}

// --- all of it -----------------------------------------------------------------------------------

struct scrub *scrub_new(const struct scrub_config *config)
{
    struct scrub *scrub = calloc(1, sizeof(*scrub));
    CHECK(scrub != NULL);
    scrub->config = *config;
    scrub->options = (struct fsck_options){.path = config->device->name, .no_changes = true};
    scrub->status.what = "superblocks";
    struct check *check = &scrub->check;
    check->options = &scrub->options;
    check->device = config->device;
    check->environment = config->environment;
    check->log = config->log;
    check->geometry = *config->geometry;
    check->online = &scrub->online;
    check->problems = (struct problems){.is_verbose = true, .line = keep_line, .context = scrub};
    change_log_init(&check->changes);
    check->reader = block_reader_new(check);
    space_init(&check->space, &check->geometry);
    check->space.is_only_counted = true;
    inode_table_init(&check->inodes);
    check->groups = calloc(check->geometry.ag_count, sizeof(*check->groups));
    CHECK(check->groups != NULL);
    return scrub;
}

void scrub_free(struct scrub *scrub)
{
    struct check *check = &scrub->check;
    forget_findings(scrub);
    free(scrub->lines);
    free(check->groups);
    free(check->flipped.numbers);
    inode_table_deinit(&check->inodes);
    space_deinit(&check->space);
    block_reader_free(check->reader);
    change_log_deinit(&check->changes);
    free(scrub);
}

int scrub_run(struct scrub *scrub)
{
    scrub->begun_ns = environment_boot_ns(scrub->config.environment);
    int result = look_at_superblocks(scrub);
    if (result == 0)
        result = look_at_slots(scrub);
    if (result == 0)
        result = look_at_orphan_lists(scrub);
    if (result == 0)
        result = look_at_quotas(scrub);
    if (result == 0)
        result = look_at_groups(scrub);
    return result == 0 ? look_at_inodes(scrub) : result;
}

void scrub_cancel(struct scrub *scrub)
{
    scrub->is_cancelled = true;
}

void scrub_status_get(const struct scrub *scrub, struct scrub_status *status)
{
    *status = scrub->status;
    status->blocks_read = scrub->online.blocks_read;
}
