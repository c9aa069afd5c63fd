// SPDX-License-Identifier: Apache-2.0
#include "dlm/heartbeat_block.h"

#include <string.h>

#include "fs/base/error.h"

static void text_put(uint8_t *field, size_t bytes, const char *text)
{
    size_t length = strnlen(text, bytes - 1);
    memcpy(field, text, length);
    memset(field + length, 0, bytes - length);
}

static void text_get(char *text, const uint8_t *field, size_t bytes)
{
    memcpy(text, field, bytes - 1);
    text[bytes - 1] = '\0';
}

static struct block_expectation expectation(const struct geometry *geometry, uint32_t slot,
                                            enum block_type type)
{
    return (struct block_expectation){
        .format_id = geometry->format_id,
        .address = type == BLOCK_TYPE_MAILBOX ? geometry_mailbox_block(geometry, slot)
                                              : geometry_heartbeat_block(geometry, slot),
        .owner = slot,
        .type = type,
    };
}

void heartbeat_encode(uint8_t *block, const struct geometry *geometry, uint32_t slot,
                      const struct heartbeat_content *content)
{
    struct block_expectation is = expectation(geometry, slot, BLOCK_TYPE_HEARTBEAT);
    struct heartbeat_disk *disk = (struct heartbeat_disk *)block;
    memset(disk, 0, sizeof(*disk));
    format_block_init(disk, &is);
    disk->incarnation = le64_make(content->incarnation);
    disk->beat = le64_make(content->beat);
    disk->lamport = le64_make(content->lamport);
    disk->boot_ns = le64_make(content->boot_ns);
    disk->wall_ns = le64_make((uint64_t)content->wall_ns);
    disk->state = le32_make((uint32_t)content->state);
    disk->node_id = le32_make(content->node_id);
    disk->lease_ms = le32_make(content->lease_ms);
    disk->beat_ms = le32_make(content->beat_ms);
    text_put(disk->node_name, sizeof(disk->node_name), content->node_name);
    memcpy(disk->cluster_id, content->cluster_id, sizeof(disk->cluster_id));
    disk->recovered_incarnation = le64_make(content->recovered_incarnation);
    format_block_seal(disk, content->version);
}

int heartbeat_decode(const uint8_t *block, const struct geometry *geometry, uint32_t slot,
                     struct heartbeat_content *content)
{
    struct block_expectation expected = expectation(geometry, slot, BLOCK_TYPE_HEARTBEAT);
    const struct heartbeat_disk *disk = (const struct heartbeat_disk *)block;
    int result = format_block_verify(block, &expected);
    if (result != 0)
        return result;
    if (le32_get(disk->state) > HEARTBEAT_STOPPED)
        return -ERROR_BLOCK_CONTENT;
    *content = (struct heartbeat_content){
        .incarnation = le64_get(disk->incarnation),
        .beat = le64_get(disk->beat),
        .lamport = le64_get(disk->lamport),
        .boot_ns = le64_get(disk->boot_ns),
        .recovered_incarnation = le64_get(disk->recovered_incarnation),
        .version = format_block_version(block),
        .wall_ns = (int64_t)le64_get(disk->wall_ns),
        .state = (enum heartbeat_state)le32_get(disk->state),
        .node_id = le32_get(disk->node_id),
        .lease_ms = le32_get(disk->lease_ms),
        .beat_ms = le32_get(disk->beat_ms),
    };
    memcpy(content->cluster_id, disk->cluster_id, sizeof(content->cluster_id));
    text_get(content->node_name, disk->node_name, sizeof(content->node_name));
    return 0;
}

void mailbox_encode(uint8_t *block, const struct geometry *geometry, uint32_t slot,
                    const struct mailbox_content *content)
{
    struct block_expectation is = expectation(geometry, slot, BLOCK_TYPE_MAILBOX);
    struct mailbox_disk *disk = (struct mailbox_disk *)block;
    memset(disk, 0, sizeof(*disk));
    format_block_init(disk, &is);
    disk->victim_incarnation = le64_make(content->victim_incarnation);
    disk->writer_incarnation = le64_make(content->writer_incarnation);
    disk->writer_slot = le32_make(content->writer_slot);
    disk->writer_node_id = le32_make(content->writer_node_id);
    disk->wall_ns = le64_make((uint64_t)content->wall_ns);
    text_put(disk->reason, sizeof(disk->reason), content->reason);
    format_block_seal(disk, content->version);
}

int mailbox_decode(const uint8_t *block, const struct geometry *geometry, uint32_t slot,
                   struct mailbox_content *content)
{
    struct block_expectation expected = expectation(geometry, slot, BLOCK_TYPE_MAILBOX);
    const struct mailbox_disk *disk = (const struct mailbox_disk *)block;
    int result = format_block_verify(block, &expected);
    if (result != 0)
        return result;
    *content = (struct mailbox_content){
        .victim_incarnation = le64_get(disk->victim_incarnation),
        .writer_incarnation = le64_get(disk->writer_incarnation),
        .version = format_block_version(block),
        .wall_ns = (int64_t)le64_get(disk->wall_ns),
        .writer_slot = le32_get(disk->writer_slot),
        .writer_node_id = le32_get(disk->writer_node_id),
    };
    text_get(content->reason, disk->reason, sizeof(content->reason));
    return 0;
}

const char *heartbeat_state_text(enum heartbeat_state state)
{
    static const char *const names[] = {
        [HEARTBEAT_FREE] = "free",       [HEARTBEAT_JOINING] = "joining",
        [HEARTBEAT_RUNNING] = "running", [HEARTBEAT_SUSPENDED] = "suspended",
        [HEARTBEAT_STOPPED] = "stopped",
    };
    return (unsigned)state <= HEARTBEAT_STOPPED ? names[state] : "unknown";
}
