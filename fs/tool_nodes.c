// SPDX-License-Identifier: Apache-2.0
// The nodes as the daemon knows them; of a device that is not mounted here, as its slot table shows
// them: read twice, so that a beating node is told from one that was.
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fs/base/block_device.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/format_decode.h"
#include "fs/format_text.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

enum { BEAT_MS_DEFAULT = 1000, BEAT_MS_LONGEST = 10000 };

// --- from the device -------------------------------------------------------------------------

struct slot_reading {
    int error;
    struct format_heartbeat heartbeat;
};

static void read_slot(struct block_device *device, const struct geometry *geometry, uint32_t slot,
                      void *block, struct slot_reading *reading)
{
    uint64_t address = geometry_heartbeat_block(geometry, slot);
    struct block_expectation expected = {geometry->format_id, address, slot, BLOCK_TYPE_HEARTBEAT};
    reading->error = block_device_read(device, NULL, address * BLOCK_BYTES, block, BLOCK_BYTES);
    if (reading->error == 0)
        reading->error = format_block_verify(block, &expected);
    if (reading->error == 0)
        reading->error = format_heartbeat_decode(block, &reading->heartbeat, NULL);
}

static void read_slots(struct block_device *device, const struct geometry *geometry,
                       struct slot_reading *readings)
{
    CLEANUP_FREE void *block = block_buffer_new(BLOCK_BYTES);
    for (uint32_t slot = 0; slot < geometry->slot_count; slot++)
        read_slot(device, geometry, slot, block, &readings[slot]);
}

// How long to wait until each node that lives has beaten again; 0: no slot is in use.
static unsigned longest_beat_ms(const struct slot_reading *readings, uint32_t count)
{
    unsigned longest = 0;
    for (uint32_t slot = 0; slot < count; slot++) {
        unsigned beat = readings[slot].heartbeat.beat_ms;
        if (readings[slot].error != 0 || readings[slot].heartbeat.state == HEARTBEAT_FREE)
            continue;
        if (beat == 0)
            beat = BEAT_MS_DEFAULT;
        longest = beat > longest ? beat : longest;
    }
    return longest < BEAT_MS_LONGEST ? longest : BEAT_MS_LONGEST;
}

static uint64_t age_ms(const struct format_heartbeat *heartbeat)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return now_ns > heartbeat->wall_ns ? (now_ns - heartbeat->wall_ns) / 1000000 : 0;
}

static void add_reading(struct json_object *nodes, uint32_t slot, const struct slot_reading *first,
                        const struct slot_reading *second)
{
    const struct format_heartbeat *heartbeat = &second->heartbeat;
    struct json_object *row;
    TEXT(state, 64);
    if (second->error == 0 && heartbeat->state == HEARTBEAT_FREE)
        return;
    row = json_object_new_object();
    status_add_number(row, "slot", slot);
    if (second->error != 0) {
        status_add_text(row, "state", error_text(second->error));
        json_object_array_add(nodes, row);
        return;
    }
    bool is_beating = first->error != 0 || first->heartbeat.beat != heartbeat->beat;
    text_add(&state, "%s, %s", format_heartbeat_state_name(heartbeat->state),
             is_beating ? "beating" : "silent");
    status_add_text(row, "name", heartbeat->node_name);
    status_add_number(row, "node_id", heartbeat->node_id);
    status_add_number(row, "incarnation", heartbeat->incarnation);
    status_add_text(row, "state", state.bytes);
    status_add_number(row, "heartbeat_age_ms", age_ms(heartbeat));
    json_object_array_add(nodes, row);
}

static struct json_object *nodes_of_device(const struct tool_target *target)
{
    static struct slot_reading first[FORMAT_SLOT_COUNT_MAX], second[FORMAT_SLOT_COUNT_MAX];
    const struct geometry *geometry = &target->geometry;
    struct block_device *device = tool_target_open(target);
    if (device == NULL)
        return NULL;
    read_slots(device, geometry, first);
    unsigned wait_ms = longest_beat_ms(first, geometry->slot_count);
    struct timespec wait = {wait_ms / 1000, (long)(wait_ms % 1000) * 1000000};
    nanosleep(&wait, NULL);
    read_slots(device, geometry, second);
    block_device_close(device);
    struct json_object *result = json_object_new_object(), *nodes = json_object_new_array();
    for (uint32_t slot = 0; slot < geometry->slot_count; slot++)
        add_reading(nodes, slot, &first[slot], &second[slot]);
    status_add_flag(result, "needs_fsck", geometry->state != 0);
    json_object_object_add(result, "nodes", nodes);
    return result;
}

// --- printing --------------------------------------------------------------------------------

static void print_nodes(struct json_object *result)
{
    unsigned count = tool_count(result, "nodes");
    printf("%4s  %-16s %7s  %-34s %s\n", "slot", "node", "node id", "state", "heartbeat");
    for (unsigned i = 0; i < count; i++) {
        struct json_object *node = tool_element(result, "nodes", i);
        unsigned long long age = tool_number(node, "heartbeat_age_ms");
        printf("%4llu  %-16s %7llu  %-34s %llu.%llu s ago%s\n", tool_number(node, "slot"),
               tool_text(node, "name"), tool_number(node, "node_id"), tool_text(node, "state"),
               age / 1000, age % 1000 / 100, tool_flag(node, "self") ? "  (this node)" : "");
    }
    if (count == 0)
        puts("no slot is in use");
    tool_print_needs_fsck(result);
    for (unsigned i = 0; i < tool_count(result, "why"); i++)
        printf("waiting: %s\n", json_object_get_string(tool_element(result, "why", i)));
    tool_print_freeze(result);
}

int tool_nodes(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    int exit_code = tool_begin(verb, argc, argv, &options, &target);
    if (exit_code >= 0)
        return exit_code;
    struct json_object *result =
        target.is_mounted ? tool_target_ask(&target, "nodes", NULL) : nodes_of_device(&target);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    if (options.json)
        return tool_print_json(result);
    print_nodes(result);
    json_object_put(result);
    return TOOL_EXIT_OK;
}
