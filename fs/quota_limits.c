// SPDX-License-Identifier: Apache-2.0
// What limits allow. Blocks and inodes are judged alike, each by its own limits.
#include "fs/quota_private.h"

// 16 MiB, and as many inodes as come with them.
enum { SHARE_BLOCKS_MAX = 4096, SHARE_INODES_MAX = 1024 };

// Of a record, with the entry that asks.
struct measure {
    uint64_t hard, soft;
    int64_t *used;
    uint64_t *lent, *since_s;
    uint32_t grace_s;
    uint64_t *share;
    const int64_t *spent;
    uint64_t asked, extra_max;
};

static struct measure measure_blocks(struct format_quota *record, struct format_quota_entry *entry)
{
    return (struct measure){.hard = record->block_hard,
                            .soft = record->block_soft,
                            .used = &record->block_used,
                            .lent = &record->block_lent,
                            .since_s = &record->block_since_s,
                            .grace_s = record->block_grace_s,
                            .share = &entry->block_share,
                            .spent = &entry->block_spent,
                            .extra_max = SHARE_BLOCKS_MAX};
}

static struct measure measure_inodes(struct format_quota *record, struct format_quota_entry *entry)
{
    return (struct measure){.hard = record->inode_hard,
                            .soft = record->inode_soft,
                            .used = &record->inode_used,
                            .lent = &record->inode_lent,
                            .since_s = &record->inode_since_s,
                            .grace_s = record->inode_grace_s,
                            .share = &entry->inode_share,
                            .spent = &entry->inode_spent,
                            .extra_max = SHARE_INODES_MAX};
}

// --- granting ------------------------------------------------------------------------------------

// What the share lacks for what is asked for.
static uint64_t lacking(const struct measure *m)
{
    if (m->asked == 0 || *m->share == QUOTA_SHARE_ENDLESS)
        return 0;
    int64_t left = (int64_t)*m->share - *m->spent;
    int64_t lacks = (int64_t)m->asked - left;
    return lacks > 0 ? (uint64_t)lacks : 0;
}

static uint32_t grace_of(const struct measure *m)
{
    return m->grace_s != 0 ? m->grace_s : QUOTA_GRACE_S_DEFAULT;
}

// Whether `more` may be had; how much on top, in `extra`.
static bool is_allowed(struct measure *m, uint64_t more, const struct quota_request *request,
                       uint64_t *extra)
{
    int64_t taken = *m->used + (int64_t)*m->lent;
    int64_t after = taken + (int64_t)more;
    uint64_t bound = m->hard != 0 ? m->hard : FORMAT_QUOTA_MAX;
    if (m->hard != 0 && after > (int64_t)m->hard)
        return false;
    if (m->soft != 0 && after <= (int64_t)m->soft) {
        bound = m->soft;
    } else if (m->soft != 0) {
        if (*m->since_s == 0)
            *m->since_s = request->now_s;
        if (request->now_s >= *m->since_s + grace_of(m))
            return false;
    }
    uint64_t fair = (bound - (uint64_t)(after > 0 ? after : 0)) / (2 * request->slot_count);
    *extra = fair < m->extra_max ? fair : m->extra_max;
    return true;
}

static bool grant(struct measure *m, const struct quota_request *request)
{
    uint64_t more = lacking(m), extra = 0;
    if (more == 0)
        return true;
    if (m->hard == 0 && m->soft == 0) {
        *m->lent -= *m->share < *m->lent ? *m->share : *m->lent;
        *m->share = QUOTA_SHARE_ENDLESS;
        return true;
    }
    if (!is_allowed(m, more, request, &extra))
        return false;
    *m->share += more + extra;
    *m->lent += more + extra;
    return true;
}

bool quota_grant(struct format_quota *record, struct format_quota_entry *entry,
                 const struct quota_request *request)
{
    struct measure blocks = measure_blocks(record, entry), inodes = measure_inodes(record, entry);
    blocks.asked = request->blocks;
    inodes.asked = request->inodes;
    return grant(&blocks, request) && grant(&inodes, request);
}

// --- settling ------------------------------------------------------------------------------------

static bool settle(struct measure *m)
{
    uint64_t share = *m->share == QUOTA_SHARE_ENDLESS ? 0 : *m->share;
    bool is_sound = share <= *m->lent;
    *m->lent -= is_sound ? share : *m->lent;
    *m->used += *m->spent;
    return is_sound;
}

static void note_soft(struct measure *m, uint64_t now_s)
{
    bool is_over = m->soft != 0 && *m->used > (int64_t)m->soft;
    if (!is_over)
        *m->since_s = 0;
    else if (*m->since_s == 0)
        *m->since_s = now_s;
}

void quota_note_soft(struct format_quota *record, uint64_t now_s)
{
    struct format_quota_entry none = {.is_used = false};
    struct measure blocks = measure_blocks(record, &none), inodes = measure_inodes(record, &none);
    note_soft(&blocks, now_s);
    note_soft(&inodes, now_s);
}

bool quota_settle_into(struct format_quota *record, const struct format_quota_entry *entry,
                       uint32_t slot, uint64_t now_s)
{
    struct format_quota_entry taken = *entry;
    struct measure blocks = measure_blocks(record, &taken), inodes = measure_inodes(record, &taken);
    bool blocks_are_sound = settle(&blocks), inodes_are_sound = settle(&inodes);
    bool is_holder = (record->holders >> slot & 1) != 0;
    record->holders &= ~((uint64_t)1 << slot);
    quota_note_soft(record, now_s);
    return blocks_are_sound && inodes_are_sound && is_holder;
}
