// SPDX-License-Identifier: Apache-2.0
// Free space: from the daemon, or counted from the group headers of a device that is not mounted. A
// group that no map bit calls initialised is free as a whole (rule 16).
#include <json-c/json.h>
#include <stdio.h>

#include "fs/base/block_device.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/format_decode.h"
#include "fs/status_volume.h"
#include "fs/tool.h"

struct counting {
    struct block_device *device;
    const struct geometry *geometry;
    uint64_t free_blocks, blocks;
    uint64_t bad_groups;
};

static int read_verified(const struct counting *counting, uint64_t address, uint64_t owner,
                         enum block_type type, void *block)
{
    struct block_expectation expected = {counting->geometry->format_id, address, owner, type};
    int result =
        block_device_read(counting->device, NULL, address * BLOCK_BYTES, block, BLOCK_BYTES);
    return result != 0 ? result : format_block_verify(block, &expected);
}

static void count_group(struct counting *counting, uint32_t group, bool is_initialised, void *block)
{
    const struct geometry *geometry = counting->geometry;
    struct format_ag header;
    uint64_t count = geometry_ag_block_count(geometry, group);
    counting->blocks += count;
    if (!is_initialised) {
        counting->free_blocks += count - 1; // its header will take one
        return;
    }
    int result = read_verified(counting, geometry_ag_first_block(geometry, group), group,
                               BLOCK_TYPE_AG_HEADER, block);
    if (result == 0)
        result = format_ag_decode(block, geometry, group, &header, NULL);
    if (result == 0)
        counting->free_blocks += header.free_block_count;
    else
        counting->bad_groups++;
}

static int count_map_block(struct counting *counting, uint32_t index, struct ag_map_disk *map,
                           void *block)
{
    uint32_t first = index * (uint32_t)AG_MAP_BITS_PER_BLOCK;
    int result = read_verified(counting, FORMAT_AG_MAP_BLOCK + index, 0, BLOCK_TYPE_AG_MAP, map);
    for (uint32_t bit = 0; result == 0 && bit < (uint32_t)AG_MAP_BITS_PER_BLOCK &&
                           first + bit < counting->geometry->ag_count;
         bit++)
        count_group(counting, first + bit, (map->bits[bit / 8] >> bit % 8 & 1) != 0, block);
    return result;
}

static int count_all(struct counting *counting)
{
    CLEANUP_FREE struct ag_map_disk *map = block_buffer_new(BLOCK_BYTES);
    CLEANUP_FREE void *block = block_buffer_new(BLOCK_BYTES);
    int result = 0;
    for (uint32_t i = 0; i < counting->geometry->ag_map_block_count && result == 0; i++)
        result = count_map_block(counting, i, map, block);
    return result;
}

static struct json_object *df_of_device(const struct tool_target *target)
{
    struct counting counting = {tool_target_open(target), &target->geometry, 0, 0, 0};
    if (counting.device == NULL)
        return NULL;
    int error = count_all(&counting);
    block_device_close(counting.device);
    if (error != 0) {
        tool_fail(0, "%s: %s", target->name, error_text(error));
        return NULL;
    }
    struct json_object *result = json_object_new_object();
    status_add_number(result, "size_bytes", counting.blocks * BLOCK_BYTES);
    status_add_number(result, "free_bytes", counting.free_blocks * BLOCK_BYTES);
    status_add_number(result, "available_bytes", counting.free_blocks * BLOCK_BYTES);
    status_add_number(result, "bad_groups", counting.bad_groups);
    status_add_flag(result, "needs_fsck", target->geometry.state != 0);
    return result;
}

static void print_df(const struct tool_target *target, struct json_object *result)
{
    unsigned long long size = tool_number(result, "size_bytes");
    unsigned long long available = tool_number(result, "available_bytes");
    TEXT(total, 32);
    TEXT(used, 32);
    TEXT(left, 32);
    text_add_size(&total, size);
    text_add_size(&used, size - tool_number(result, "free_bytes"));
    text_add_size(&left, available);
    printf("%-24s %12s %12s %12s %5s\n", "volume", "size", "used", "available", "use%");
    printf("%-24s %12s %12s %12s %4llu%%\n", target->name, total.bytes, used.bytes, left.bytes,
           size > 0 ? (size - available) * 100 / size : 0);
    if (tool_number(result, "bad_groups") > 0)
        printf("%llu groups could not be read: run fsck.lunfs\n",
               tool_number(result, "bad_groups"));
    tool_print_freeze(result);
    tool_print_needs_fsck(result);
}

int tool_df(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct tool_target target;
    int exit_code = tool_begin(verb, argc, argv, &options, &target);
    if (exit_code >= 0)
        return exit_code;
    struct json_object *result =
        target.is_mounted ? tool_target_ask(&target, "df", NULL) : df_of_device(&target);
    if (result == NULL)
        return TOOL_EXIT_FAILURE;
    if (options.json)
        return tool_print_json(result);
    print_df(&target, result);
    json_object_put(result);
    return TOOL_EXIT_OK;
}
