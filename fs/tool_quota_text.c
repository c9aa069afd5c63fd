// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>

#include "fs/base/text.h"
#include "fs/tool_quota_request.h"

void tool_quota_time_to_text(uint64_t seconds, struct text *text)
{
    static const struct {
        uint64_t seconds;
        char letter;
    } units[] = {{24 * 3600, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    enum { COUNT = sizeof(units) / sizeof(units[0]) };
    unsigned first = 0;
    while (first < COUNT - 1 && seconds < units[first].seconds)
        first++;
    text_add(text, "%" PRIu64 "%c", seconds / units[first].seconds, units[first].letter);
    if (first < COUNT - 1)
        text_add(text, "%" PRIu64 "%c", seconds % units[first].seconds / units[first + 1].seconds,
                 units[first + 1].letter);
}

void tool_quota_head_to_text(enum quota_kind kind, struct text *text)
{
    text_add(text, "%-16s %10s %10s %10s %7s  %10s %10s %10s %7s", tool_quota_kind_word(kind),
             "used", "soft", "hard", "grace", "files", "soft", "hard", "grace");
}

// --- columns -------------------------------------------------------------------------------------

// Less than nothing is what only damage leaves: shown as it is.
static void size_to_text(int64_t bytes, struct text *text)
{
    if (bytes < 0)
        text_add(text, "-");
    text_add_size(text, bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes);
}

static void add_sizes(int64_t used, uint64_t soft, uint64_t hard, struct text *text)
{
    const uint64_t limits[] = {soft, hard};
    TEXT(column, 32);
    size_to_text(used, &column);
    text_add(text, " %10s", column.bytes);
    for (int i = 0; i < 2; i++) {
        TEXT(limit, 32);
        if (limits[i] == 0)
            text_add(&limit, "none");
        else
            text_add_size(&limit, limits[i]);
        text_add(text, " %10s", limit.bytes);
    }
}

static void add_counts(int64_t used, uint64_t soft, uint64_t hard, struct text *text)
{
    const uint64_t limits[] = {soft, hard};
    text_add(text, "  %10" PRId64, used);
    for (int i = 0; i < 2; i++) {
        if (limits[i] == 0)
            text_add(text, " %10s", "none");
        else
            text_add(text, " %10" PRIu64, limits[i]);
    }
}

static void add_grace(uint64_t until_s, uint64_t now_s, struct text *text)
{
    TEXT(left, 32);
    if (until_s > now_s)
        tool_quota_time_to_text(until_s - now_s, &left);
    else
        text_add(&left, until_s != 0 ? "over" : "-");
    text_add(text, " %7s", left.bytes);
}

void tool_quota_row_to_text(const struct tool_quota_row *row, uint64_t now_s, struct text *text)
{
    text_add(text, "%-16s", row->owner);
    add_sizes(row->bytes, row->bytes_soft, row->bytes_hard, text);
    add_grace(row->bytes_until_s, now_s, text);
    add_counts(row->inodes, row->inodes_soft, row->inodes_hard, text);
    add_grace(row->inodes_until_s, now_s, text);
}
