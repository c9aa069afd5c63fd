// SPDX-License-Identifier: Apache-2.0
// A client: the states of its tree, what it works on, and what it does next.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

// --- states --------------------------------------------------------------------------------------

uint64_t ring2_client_state(const struct ring2_client *client)
{
    return client->first_state + client->state_count - 1;
}

void ring2_client_durable(struct ring2_client *client, uint64_t state)
{
    if (state <= client->first_state)
        return;
    unsigned dropped = (unsigned)(state - client->first_state);
    CHECK(dropped < client->state_count);
    client->state_count -= dropped;
    client->first_state = state;
    memmove(client->states, client->states + dropped,
            client->state_count * sizeof(client->states[0]));
}

static void push_state(struct ring2_client *client)
{
    CHECK(client->state_count < RING2_STATES_MAX);
    client->states[client->state_count++] = client->tree;
}

// --- attempts ------------------------------------------------------------------------------------

bool ring2_attempt_begin(struct ring2_attempt *attempt, int expected)
{
    if (expected == -E2BIG)
        return false;
    attempt->expected = expected;
    attempt->client->has_pending = expected == 0;
    return true;
}

static bool is_as_expected(const struct ring2_attempt *attempt, int result)
{
    struct ring2_client *client = attempt->client;
    struct ring2_history *history = client->history;
    if (result == -ENOSPC && !attempt->frees && ring2_no_space(history, client->node))
        return false;
    if (result != attempt->expected)
        ring2_fail(history, "client %u: %s answered %d (%s), expected %d", client->number,
                   attempt->what, result, error_text(result), attempt->expected);
    return result == attempt->expected;
}

bool ring2_attempt_end(struct ring2_attempt *attempt, int result)
{
    struct ring2_client *client = attempt->client;
    struct ring2_history *history = client->history;
    if (history->nodes[0].is_stopping)
        return false;
    client->has_pending = false;
    history->result.operations++;
    ring2_trace(history, "client %u: node %u: %s: %s", client->number, client->node, attempt->what,
                result == 0 ? "done" : error_text(result));
    if (!is_as_expected(attempt, result) || result != 0)
        return false;
    if (attempt->frees)
        ring2_freed(history);
    client->tree = client->pending;
    push_state(client);
    struct ring2_file *file = client->tree.nodes[attempt->node].file;
    if (attempt->node != 0 && file != NULL)
        file->last_state = ring2_client_state(client);
    return true;
}

// --- choosing ------------------------------------------------------------------------------------

struct volume *ring2_volume_of(const struct ring2_client *client)
{
    return client->history->nodes[client->node].volume;
}

uint64_t ring2_inode_of(const struct ring2_client *client, unsigned node)
{
    return client->tree.nodes[node].inode;
}

uint64_t ring2_choose(struct ring2_client *client, uint64_t bound)
{
    return random_below(&client->history->random, bound);
}

unsigned ring2_choose_name(struct ring2_client *client)
{
    return (unsigned)ring2_choose(client, RING2_NAMES);
}

unsigned ring2_choose_directory(struct ring2_client *client)
{
    for (int i = 0; i < 8; i++) {
        unsigned node = (unsigned)ring2_choose(client, RING2_NODES_MAX);
        if (ring2_is_directory(&client->tree.nodes[node]))
            return node;
    }
    return RING2_TREE_TOP;
}

struct ring2_tree_entry *ring2_choose_entry(struct ring2_client *client)
{
    for (int i = 0; i < 40; i++) {
        uint64_t at = ring2_choose(client, RING2_ENTRIES_MAX);
        if (client->tree.entries[at].is_used)
            return &client->tree.entries[at];
    }
    return NULL;
}

// --- the next operation --------------------------------------------------------------------------

void ring2_client_sync(struct ring2_client *client)
{
    struct ring2_history *history = client->history;
    uint64_t states[RING2_CLIENTS], marks[RING2_FILES_MAX];
    unsigned file_count = history->file_count;
    for (unsigned i = 0; i < RING2_CLIENTS; i++)
        states[i] = ring2_client_state(&history->clients[i]);
    for (unsigned i = 0; i < file_count; i++)
        marks[i] = ring2_sync_mark(history->files[i]);
    int result = operation_sync_volume(ring2_volume_of(client));
    if (!ring2_goes_on(history))
        return;
    if (result != 0) {
        ring2_fail(history, "sync of the volume answered %d", result);
        return;
    }
    for (unsigned i = 0; i < RING2_CLIENTS; i++)
        ring2_client_durable(&history->clients[i], states[i]);
    for (unsigned i = 0; i < file_count; i++)
        ring2_synced(history->files[i], marks[i]);
    ring2_did(history, RING2_ROW_syncfs);
    ring2_trace(history, "client %u: sync", client->number);
}

void ring2_client_step(struct ring2_client *client)
{
    static const struct {
        unsigned share; // of 205
        void (*step)(struct ring2_client *client);
    } steps[] = {
        {120, ring2_handles_step}, {22, ring2_names_make},      {10, ring2_names_link},
        {12, ring2_names_unlink},  {6, ring2_names_rmdir},      {12, ring2_names_rename},
        {6, ring2_names_look},     {10, ring2_attributes_step}, {2, ring2_protection_step},
        {2, ring2_client_sync},    {3, ring2_quota_step},
    };
    client->node = (unsigned)ring2_choose(client, client->history->options.node_count);
    if (client->state_count >= RING2_STATES_MAX - 1) {
        ring2_client_sync(client);
        return;
    }
    if (ring2_protection_undo(client))
        return;
    uint64_t dice = ring2_choose(client, 205);
    unsigned i = 0;
    while (dice >= steps[i].share)
        dice -= steps[i++].share;
    steps[i].step(client);
}
