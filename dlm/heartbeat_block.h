// SPDX-License-Identifier: Apache-2.0
// The blocks of a node slot that the heartbeat writes and reads: the heartbeat itself and the
// mailbox. Pure; the structs stand in fs/format.h.
#pragma once

#include <stdint.h>

#include "fs/format.h"

enum { HEARTBEAT_REASON_BYTES = 128 };

struct heartbeat_content {
    uint64_t incarnation, beat, lamport, boot_ns, recovered_incarnation, version;
    int64_t wall_ns;
    enum heartbeat_state state;
    uint32_t node_id, lease_ms, beat_ms;
    uint8_t cluster_id[16];
    char node_name[FORMAT_NODE_NAME_BYTES];
};
// Fills all 4096 bytes and seals them.
void heartbeat_encode(uint8_t *block, const struct geometry *geometry, uint32_t slot,
                      const struct heartbeat_content *content);
// 0 or -ERROR_BLOCK_*. Text is terminated.
int heartbeat_decode(const uint8_t *block, const struct geometry *geometry, uint32_t slot,
                     struct heartbeat_content *content);

struct mailbox_content {
    uint64_t victim_incarnation, writer_incarnation, version;
    int64_t wall_ns;
    uint32_t writer_slot, writer_node_id;
    char reason[HEARTBEAT_REASON_BYTES];
};

void mailbox_encode(uint8_t *block, const struct geometry *geometry, uint32_t slot,
                    const struct mailbox_content *content);
int mailbox_decode(const uint8_t *block, const struct geometry *geometry, uint32_t slot,
                   struct mailbox_content *content);
const char *heartbeat_state_text(enum heartbeat_state state);
