// SPDX-License-Identifier: Apache-2.0
// What mkfs writes: every block proves itself, a huge volume costs little, and a mkfs that was cut
// off after any of its writes leaves either the old volume or none, never half a new one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/environment_tool.h"
#include "fs/base/error.h"
#include "fs/base/lamport.h"
#include "fs/format_decode.h"
#include "fs/format_find.h"
#include "fs/journal_format.h"
#include "mkfs/geometry.h"
#include "mkfs/write_layout.h"
#include "tests/lib/sparse_device.h"

#define MIB ((uint64_t)1 << 20)
#define TIB ((uint64_t)1 << 40)

struct fixture {
    struct sparse_device sparse;
    struct log log;
    struct mkfs_layout layout;
};

static void fixture_init(struct fixture *fixture, uint64_t bytes)
{
    TEXT(why, 256);
    struct mkfs_request request = {.device_bytes = bytes};
    memset(fixture, 0, sizeof(*fixture));
    sparse_device_init(&fixture->sparse, bytes);
    log_init_null(&fixture->log);
    fixture->layout.device = &fixture->sparse.device;
    fixture->layout.environment = environment_tool_new();
    fixture->layout.log = &fixture->log;
    assert_int_equal(mkfs_geometry_plan(&request, &fixture->layout.geometry, &why), 0);
    mkfs_layout_identify(&fixture->layout);
}

static void fixture_deinit(struct fixture *fixture)
{
    environment_tool_free(fixture->layout.environment);
    sparse_device_deinit(&fixture->sparse);
}

static void read_and_verify(struct fixture *fixture, enum block_type type, uint64_t address,
                            uint64_t owner, void *buffer)
{
    struct block_expectation expected = {.format_id = fixture->layout.geometry.format_id,
                                         .address = address,
                                         .owner = owner,
                                         .type = type};
    assert_int_equal(block_device_read(&fixture->sparse.device, NULL, address * BLOCK_BYTES, buffer,
                                       BLOCK_BYTES),
                     0);
    assert_int_equal(format_block_verify(buffer, &expected), 0);
}

static void check_slot(struct fixture *fixture, uint32_t slot, void *buffer)
{
    const struct geometry *g = &fixture->layout.geometry;
    struct format_heartbeat heartbeat;
    struct format_mailbox mailbox;
    struct format_node node;
    read_and_verify(fixture, BLOCK_TYPE_HEARTBEAT, geometry_heartbeat_block(g, slot), slot, buffer);
    assert_int_equal(format_heartbeat_decode(buffer, &heartbeat, NULL), 0);
    assert_int_equal(heartbeat.state, HEARTBEAT_FREE);
    read_and_verify(fixture, BLOCK_TYPE_MAILBOX, geometry_mailbox_block(g, slot), slot, buffer);
    assert_int_equal(format_mailbox_decode(buffer, &mailbox, NULL), 0);
    assert_int_equal(mailbox.victim_incarnation, 0);
    read_and_verify(fixture, BLOCK_TYPE_SLOT_STATE, geometry_slot_state_block(g, slot), slot,
                    buffer);
    const struct slot_state_disk *state = buffer;
    assert_int_equal(format_slot_state_check(state, NULL), 0);
    assert_int_equal(format_node_open(&node, state->orphan_root, sizeof(state->orphan_root), NULL),
                     0);
    assert_int_equal(node.item_count, 0);
}

static void check_journals(struct fixture *fixture)
{
    const struct geometry *g = &fixture->layout.geometry;
    struct lamport_clock clock = {0};
    struct journal_format_context context = {.user = NULL};
    struct journal_config configs[FORMAT_SLOT_COUNT_MAX];
    struct journal_scan scan;
    memcpy(context.format_id, g->format_id, 16);
    for (uint32_t slot = 0; slot < g->slot_count; slot++) {
        configs[slot] = (struct journal_config){
            .device = &fixture->sparse.device,
            .environment = fixture->layout.environment,
            .log = &fixture->log,
            .clock = &clock,
            .callbacks = &journal_format_callbacks,
            .context = &context,
            .start_block = geometry_journal_block(g, slot),
            .block_count = g->journal_block_count,
            .slot = slot,
        };
        memcpy(configs[slot].format_id, g->format_id, 16);
    }
    assert_int_equal(journal_scan(configs, g->slot_count, &scan), 0);
    assert_int_equal(scan.dirty_count, 0);
    journal_scan_deinit(&scan);
}

static void check_root(struct fixture *fixture, void *buffer)
{
    const struct geometry *g = &fixture->layout.geometry;
    struct format_inode inode;
    struct format_ag ag;
    struct format_node node;
    read_and_verify(fixture, BLOCK_TYPE_AG_HEADER, g->ag_base_block, 0, buffer);
    assert_int_equal(format_ag_decode(buffer, g, 0, &ag, NULL), 0);
    read_and_verify(fixture, BLOCK_TYPE_INODE, g->root_inode, g->root_inode, buffer);
    assert_int_equal(format_inode_decode(buffer, g, &inode, NULL), 0);
    assert_int_equal(inode.link_count, 2);
    assert_int_equal(inode.parent, g->root_inode);
    const struct inode_disk *disk = buffer;
    assert_int_equal(format_node_open(&node, disk->root, sizeof(disk->root), NULL), 0);
    assert_int_equal(node.item_count, 0);
}

static void check_volume(struct fixture *fixture)
{
    const struct geometry *g = &fixture->layout.geometry;
    struct format_superblock_finding finding;
    struct format_claim claim;
    uint8_t *buffer = block_buffer_new(BLOCK_BYTES);
    assert_int_equal(format_superblock_find(&fixture->sparse.device, NULL, &finding), 0);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++) {
        assert_int_equal(finding.places[i].decoded, 0);
        assert_memory_equal(&finding.places[i].geometry, g, sizeof(*g));
    }
    read_and_verify(fixture, BLOCK_TYPE_CLAIM, FORMAT_CLAIM_BLOCK, 0, buffer);
    assert_int_equal(format_claim_decode((void *)buffer, &claim, NULL), 0);
    assert_int_equal(claim.purpose, CLAIM_IDLE);
    for (uint32_t i = 0; i < g->ag_map_block_count; i++) {
        read_and_verify(fixture, BLOCK_TYPE_AG_MAP, FORMAT_AG_MAP_BLOCK + i, 0, buffer);
        assert_int_equal(format_ag_map_check((void *)buffer, g, i, NULL), 0);
    }
    for (uint32_t slot = 0; slot < g->slot_count; slot++)
        check_slot(fixture, slot, buffer);
    check_journals(fixture);
    check_root(fixture, buffer);
    free(buffer);
}

static void test_every_block_proves_itself(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {64 * MIB, 1000 * MIB, 8192 * MIB, 64 * TIB, 1024 * 1024 * TIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct fixture fixture;
        fixture_init(&fixture, sizes[i]);
        assert_int_equal(mkfs_layout_write(&fixture.layout), 0);
        check_volume(&fixture);
        assert_true(fixture.sparse.written_bytes <= 8 * MIB);
        fixture_deinit(&fixture);
    }
}

static void test_last_copy_is_found_after_the_device_grew(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 64 * MIB);
    assert_int_equal(mkfs_layout_write(&fixture.layout), 0);
    fixture.sparse.device.size_bytes = 128 * MIB;
    check_volume(&fixture);
    fixture_deinit(&fixture);
}

// The decision that every program takes before it touches a volume.
static int find(struct fixture *fixture, struct geometry *geometry)
{
    struct format_superblock_finding finding;
    int result = format_superblock_find(&fixture->sparse.device, NULL, &finding);
    if (result == 0)
        *geometry = finding.places[finding.chosen].geometry;
    return result;
}

static void test_cut_off_after_any_write(void **state)
{
    (void)state;
    struct fixture fixture;
    struct geometry found;
    uint64_t write_count = 0, in_progress_count = 0;
    for (uint64_t cut = 0; cut == 0 || cut <= write_count; cut++) {
        fixture_init(&fixture, 64 * MIB);
        assert_int_equal(mkfs_layout_write(&fixture.layout), 0); // the old volume
        struct geometry old = fixture.layout.geometry;
        write_count = fixture.sparse.write_count;
        mkfs_layout_identify(&fixture.layout);
        fixture.sparse.writes_until = write_count + cut;
        int result = mkfs_layout_write(&fixture.layout);
        assert_int_equal(result == 0, cut == write_count);
        int decision = find(&fixture, &found);
        if (decision == -ERROR_SUPERBLOCK_IN_PROGRESS)
            in_progress_count++;
        else if (result == 0)
            check_volume(&fixture);
        else { // the old one decides, and nothing of it but copies of its superblock is gone
            assert_int_equal(decision, 0);
            assert_memory_equal(found.format_id, old.format_id, 16);
            assert_true(cut < FORMAT_SUPERBLOCK_COUNT);
        }
        fixture_deinit(&fixture);
    }
    assert_int_equal(in_progress_count, write_count - FORMAT_SUPERBLOCK_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_block_proves_itself),
        cmocka_unit_test(test_last_copy_is_found_after_the_device_grew),
        cmocka_unit_test(test_cut_off_after_any_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
