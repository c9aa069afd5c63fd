// SPDX-License-Identifier: Apache-2.0
// What the operations of a client share: choosing what to do it to, and the answer that the model
// of the tree knows beforehand.
//
//   struct ring2_attempt attempt = {.client = client, .what = "link"};
//   client->pending = client->tree;
//   if (ring2_attempt_begin(&attempt, ring2_link(&client->pending, ...)))
//       ring2_attempt_end(&attempt, operation_link(...));
#pragma once

#include "tests/sim/ring2_history.h"

struct ring2_attempt {
    struct ring2_client *client;
    const char *what;
    int expected;
    unsigned node; // touched or made
    bool frees;    // gives space back: -ENOSPC is no answer
};

// The model's answer is known; the pending tree is what will be. False: the model is full.
bool ring2_attempt_begin(struct ring2_attempt *attempt, int expected);
// The file system has answered. True if the change took place.
bool ring2_attempt_end(struct ring2_attempt *attempt, int result);

struct volume *ring2_volume_of(const struct ring2_client *client);
uint64_t ring2_inode_of(const struct ring2_client *client, unsigned node);

uint64_t ring2_choose(struct ring2_client *client, uint64_t bound);
unsigned ring2_choose_name(struct ring2_client *client);
unsigned ring2_choose_directory(struct ring2_client *client);
// An entry that is there, or NULL.
struct ring2_tree_entry *ring2_choose_entry(struct ring2_client *client);
