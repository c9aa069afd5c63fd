// SPDX-License-Identifier: Apache-2.0
// Quotas, in every second history: turned on and off while clients work, with limits that nobody
// reaches for the owners of the clients' files, and with owners of their own that reach theirs.
// That the sums are right is fsck's to prove, at each cut and each unmount.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/environment.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "fs/quota.h"
#include "fs/volume.h"
#include "tests/sim/ring2_attempt.h"

enum { PROBE_UID = 7000, PROBE_BLOCKS_MAX = 60, PROBE_PIECE_MAX = 16 };

static bool has_quotas(const struct ring2_history *history)
{
    return history->options.seed % 2 == 0;
}

static void wait_for_switch(struct ring2_history *history, struct volume *volume)
{
    struct quota_status status = {.phase = QUOTA_TURNS_ON};
    while (ring2_goes_on(history) &&
           (status.phase == QUOTA_TURNS_ON || status.phase == QUOTA_TURNS_OFF)) {
        environment_sleep(&history->nodes[0].world_node.environment, 200000);
        if (ring2_goes_on(history) && quota_get_status(volume->quota, &status) != 0)
            break;
    }
    if (!ring2_goes_on(history))
        return;
    bool is_allowed = status.ended == 0 || status.ended == -EALREADY || status.ended == -EBUSY;
    if (!is_allowed)
        ring2_fail(history, "quotas cannot be turned on or off: %s", error_text(status.ended));
}

static void turn(struct ring2_history *history, struct volume *volume, bool on)
{
    int result = quota_switch(volume->quota, on);
    if (!ring2_goes_on(history) || result == -EBUSY || result == -EALREADY)
        return;
    ring2_trace(history, "quotas are turned %s: %s", on ? "on" : "off", error_text(result));
    if (result != 0)
        ring2_fail(history, "quotas are not turned %s: %s", on ? "on" : "off", error_text(result));
    wait_for_switch(history, volume);
    if (ring2_goes_on(history))
        ring2_did(history, on ? RING2_ROW_quota_on : RING2_ROW_quota_off);
}

void ring2_quota_begin(struct ring2_history *history)
{
    if (has_quotas(history))
        turn(history, history->nodes[0].volume, true);
}

// False if quotas are off, or the history is over.
static bool is_on(struct ring2_client *client, int result, const char *what)
{
    if (!ring2_goes_on(client->history))
        return false;
    if (result != 0 && result != -ENODATA)
        ring2_fail(client->history, "%s answered %d (%s)", what, result, error_text(result));
    return result == 0;
}

// Shares with and without an end, for the owners of everything.
static void set_limit(struct ring2_client *client)
{
    static const struct quota_owner owners[] = {{QUOTA_USER, 1000}, {QUOTA_GROUP, 100},
                                                {QUOTA_GROUP, 101}, {QUOTA_PROJECT, 1},
                                                {QUOTA_PROJECT, 2}, {QUOTA_USER, 1}};
    struct quota_owner owner = owners[ring2_choose(client, sizeof(owners) / sizeof(owners[0]))];
    struct quota_limits limits = {0};
    if (ring2_choose(client, 3) > 0)
        limits.block_hard = limits.inode_hard = UINT64_C(1) << (30 + ring2_choose(client, 20));
    int result = quota_set(ring2_volume_of(client)->quota, owner,
                           QUOTA_SET_BLOCK_HARD | QUOTA_SET_INODE_HARD, &limits);
    if (is_on(client, result, "quota set"))
        ring2_did(client->history, RING2_ROW_quota_set);
}

// --- an owner that reaches its limit
// ---------------------------------------------------------------

struct probe {
    struct ring2_client *client;
    struct quota_owner owner;
    uint64_t limit, written;
    bool is_refused;
};

static bool probe_row(struct probe *probe, struct quota_row *row)
{
    struct volume *volume = ring2_volume_of(probe->client);
    return is_on(probe->client, quota_get(volume->quota, probe->owner, row), "quota get");
}

// Trees may have taken some blocks of what was allowed, and no more.
static void check_refusal(struct probe *probe)
{
    struct quota_row row;
    if (!probe_row(probe, &row))
        return;
    uint64_t used = (uint64_t)row.blocks;
    if (used > probe->limit || used < probe->written)
        ring2_fail(probe->client->history,
                   "a limit of %llu blocks, and %llu are used, %llu written",
                   (unsigned long long)probe->limit, (unsigned long long)used,
                   (unsigned long long)probe->written);
    if (probe->is_refused && used < probe->limit)
        ring2_fail(probe->client->history, "EDQUOT with %llu of %llu blocks used",
                   (unsigned long long)used, (unsigned long long)probe->limit);
    if (probe->is_refused)
        ring2_did(probe->client->history, RING2_ROW_quota_refused);
}

static void write_probe(struct probe *probe, struct open_file *file)
{
    struct ring2_client *client = probe->client;
    void *bytes = calloc(PROBE_PIECE_MAX, BLOCK_BYTES);
    CHECK(bytes != NULL);
    ssize_t result = 1;
    while (ring2_goes_on(client->history) && result > 0 && probe->written <= probe->limit) {
        uint64_t count = 1 + ring2_choose(client, PROBE_PIECE_MAX);
        result = operation_write(ring2_volume_of(client), file, probe->written * BLOCK_BYTES, bytes,
                                 count * BLOCK_BYTES);
        if (result > 0)
            probe->written += (uint64_t)result / BLOCK_BYTES;
    }
    free(bytes);
    if (!ring2_goes_on(client->history) ||
        (result == -ENOSPC && ring2_no_space(client->history, client->node)))
        return;
    probe->is_refused = result == -EDQUOT;
    if (result < 0 && !probe->is_refused)
        ring2_fail(client->history, "a write below a limit answered %zd", result);
}

// The one file that is allowed is there: no other.
static void probe_inodes(struct probe *probe)
{
    struct ring2_client *client = probe->client;
    struct credentials who = {.uid = probe->owner.id, .gid = 100};
    struct attributes made;
    struct open_file *file;
    int result = operation_create_unnamed(ring2_volume_of(client), client->top_inode, 0600, &who,
                                          O_RDWR, &made, &file);
    if (result == 0)
        operation_release(ring2_volume_of(client), file);
    if (!ring2_goes_on(client->history) ||
        (result == -ENOSPC && ring2_no_space(client->history, client->node)))
        return;
    if (result != -EDQUOT)
        ring2_fail(client->history, "a file above the limit of files answered %d", result);
}

static void use_file(struct probe *probe, struct open_file *file)
{
    struct ring2_client *client = probe->client;
    if (ring2_goes_on(client->history))
        write_probe(probe, file);
    if (ring2_goes_on(client->history))
        check_refusal(probe);
    if (ring2_goes_on(client->history))
        probe_inodes(probe);
    operation_release(ring2_volume_of(client), file); // after a crash, too
}

static void use_up(struct probe *probe)
{
    struct ring2_client *client = probe->client;
    struct credentials who = {.uid = probe->owner.id, .gid = 100};
    struct attributes made;
    struct open_file *file;
    int result = operation_create_unnamed(ring2_volume_of(client), client->top_inode, 0600, &who,
                                          O_RDWR, &made, &file);
    if (result == 0)
        use_file(probe, file);
    else if (ring2_goes_on(client->history) &&
             !(result == -ENOSPC && ring2_no_space(client->history, client->node)))
        ring2_fail(client->history, "the one file that is allowed answered %d", result);
}

// Quotas may be turned off and on beside it: then nothing is certain.
static void probe(struct ring2_client *client)
{
    struct ring2_history *history = client->history;
    struct volume *volume = ring2_volume_of(client);
    struct probe probe = {.client = client, .owner = {QUOTA_USER, PROBE_UID + client->number}};
    struct quota_row row;
    while (operation_reclaim(volume))
        continue;
    if (!ring2_goes_on(history) || !probe_row(&probe, &row) || row.inodes != 0)
        return;
    probe.limit = 1 + ring2_choose(client, PROBE_BLOCKS_MAX);
    struct quota_limits limits = {.block_hard = probe.limit, .inode_hard = 1};
    int result =
        quota_set(volume->quota, probe.owner, QUOTA_SET_BLOCK_HARD | QUOTA_SET_INODE_HARD, &limits);
    if (!is_on(client, result, "quota set"))
        return;
    history->quota_probes++;
    use_up(&probe);
    history->quota_probes--;
}

void ring2_quota_step(struct ring2_client *client)
{
    struct ring2_history *history = client->history;
    uint64_t dice = ring2_choose(client, 8);
    if (!has_quotas(history))
        return;
    if (dice == 0 && history->quota_probes == 0) {
        history->quota_probes++; // and none begins meanwhile
        turn(history, ring2_volume_of(client), ring2_choose(client, 4) > 0);
        history->quota_probes--;
    } else if (dice < 4) {
        set_limit(client);
    } else if (history->quota_probes == 0) {
        probe(client);
    }
}
