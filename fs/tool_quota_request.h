// SPDX-License-Identifier: Apache-2.0
// The command line of `lunfs quota`, and the words of its table. Pure: names of owners are looked
// up by whoever asks.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/format_quota.h"

struct text;

enum tool_quota_action {
    TOOL_QUOTA_REPORT,
    TOOL_QUOTA_SHOW,
    TOOL_QUOTA_SET,
    TOOL_QUOTA_ON,
    TOOL_QUOTA_OFF,
    TOOL_QUOTA_ACTION_COUNT,
};

// What `set` may change, in the order of the table below.
enum tool_quota_limit {
    TOOL_QUOTA_HARD,
    TOOL_QUOTA_SOFT,
    TOOL_QUOTA_INODES_HARD,
    TOOL_QUOTA_INODES_SOFT,
    TOOL_QUOTA_GRACE,
    TOOL_QUOTA_INODES_GRACE,
    TOOL_QUOTA_LIMIT_COUNT,
};

struct tool_quota_request {
    enum tool_quota_action action;
    const char *mount;
    bool is_help, json;
    bool kinds[QUOTA_KIND_COUNT]; // of a report; none named: all are set
    enum quota_kind kind;         // of `owner`
    const char *owner;            // a name or a number; NULL: none was named
    bool is_given[TOOL_QUOTA_LIMIT_COUNT];
    uint64_t
        limits[TOOL_QUOTA_LIMIT_COUNT]; // bytes, inodes, seconds; 0: none, or the default grace
};

// `arguments` are those behind "quota". False with a sentence in `why` if they are none of ours.
bool tool_quota_parse(int count, char **arguments, struct tool_quota_request *request,
                      struct text *why);

// The members of the control protocol: "user", "bytes_hard".
const char *tool_quota_kind_word(enum quota_kind kind);
const char *tool_quota_limit_word(enum tool_quota_limit limit);

// A number of seconds with s, m, h, d or w behind it; none: seconds.
bool tool_quota_parse_time(const char *string, uint64_t *seconds);
// Its two largest units: "6d23h", "59m59s".
void tool_quota_time_to_text(uint64_t seconds, struct text *text);

// A row of the table. Until when: wall clock in seconds; 0: the soft limit is not exceeded.
struct tool_quota_row {
    const char *owner;
    int64_t bytes, inodes;
    uint64_t bytes_soft, bytes_hard, bytes_until_s;
    uint64_t inodes_soft, inodes_hard, inodes_until_s;
};
void tool_quota_head_to_text(enum quota_kind kind, struct text *text);
void tool_quota_row_to_text(const struct tool_quota_row *row, uint64_t now_s, struct text *text);
