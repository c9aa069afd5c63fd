// SPDX-License-Identifier: Apache-2.0
// Limits hold for the cluster (docs/quotas.md): an owner never has more than its hard limit, and is
// refused only what would be more, whatever nodes have been lent of it.
#include "tests/sim/ring3_quota.h"

// A death takes back what was not durable, also a truncation.
static bool is_certain(const struct ring3_quota *quota, const struct ring3_quota_file *file)
{
    return file->is_known && file->deaths == quota->ring3->deaths;
}

static void look_at_least(const struct ring3_quota *quota)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < RING3_QUOTA_FILES; i++)
        sum += is_certain(quota, &quota->files[i]) ? quota->files[i].least : 0;
    if (sum > quota->limit + RING3_QUOTA_SLACK)
        ring3_fail(quota->ring3, "quotas: an owner with a limit of %llu blocks has %llu",
                   (unsigned long long)quota->limit, (unsigned long long)sum);
}

static void note_others(const struct ring3_quota *quota, struct ring3_quota_file *file)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < RING3_QUOTA_FILES; i++) {
        const struct ring3_quota_file *other = &quota->files[i];
        if (!is_certain(quota, other))
            file->is_open_ended = true;
        else if (other != file)
            sum += other->most;
    }
    if (sum > file->others_most)
        file->others_most = sum;
}

// What is known has changed: for all that are under way, too.
static void note_all(struct ring3_quota *quota)
{
    for (unsigned i = 0; i < RING3_QUOTA_FILES; i++) {
        if (quota->files[i].is_pending)
            note_others(quota, &quota->files[i]);
    }
    look_at_least(quota);
}

void ring3_check_quota_known(struct ring3_quota *quota, struct ring3_quota_file *file,
                             uint64_t blocks, unsigned deaths)
{
    file->least = file->most = blocks;
    file->deaths = deaths;
    file->is_known = true;
    note_all(quota);
}

void ring3_check_quota_begin(struct ring3_quota *quota, struct ring3_quota_file *file,
                             uint64_t asked)
{
    file->is_pending = true;
    file->asked = asked;
    file->others_most = 0;
    file->is_open_ended = false;
    file->most += asked;
    if (asked == 0)
        file->least = 0;
    note_all(quota);
}

void ring3_check_quota_refused(struct ring3_quota *quota, struct ring3_quota_file *file)
{
    note_others(quota, file);
    quota->refused++;
    uint64_t most = file->others_most + file->most;
    if (!file->is_open_ended && most + RING3_QUOTA_SLACK <= quota->limit)
        ring3_fail(quota->ring3,
                   "quotas: EDQUOT for %llu blocks, and all have %llu of %llu at most with them",
                   (unsigned long long)file->asked, (unsigned long long)most,
                   (unsigned long long)quota->limit);
}

void ring3_check_quota_end(struct ring3_quota *quota, struct ring3_quota_file *file)
{
    file->is_pending = false;
    file->is_known = false;
    note_all(quota);
}
