// SPDX-License-Identifier: Apache-2.0
// mkfs.lunfs: looks at the device, plans, asks nobody, writes.
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "fs/base/block_device_file.h"
#include "fs/base/cleanup.h"
#include "fs/base/environment_tool.h"
#include "fs/base/error.h"
#include "fs/base/stop_request.h"
#include "fs/base/text.h"
#include "fs/format_find.h"
#include "fs/format_text.h"
#include "mkfs/geometry.h"
#include "mkfs/occupied.h"
#include "mkfs/options.h"
#include "mkfs/write_layout.h"

// --- messages --------------------------------------------------------------------------------

static int refuse(const struct mkfs_options *options, const char *why)
{
    fprintf(stderr, "mkfs.lunfs: %s: %s\n", options->path, why);
    return MKFS_EXIT_REFUSED;
}

static int fail_writing(const struct mkfs_options *options, const char *what, int error)
{
    fprintf(stderr, "mkfs.lunfs: %s: %s: %s; the device holds no volume now\n", options->path, what,
            error_text(error));
    return MKFS_EXIT_FAILED;
}

static void print_text(const struct geometry *g, const struct mkfs_options *options)
{
    TEXT(text, 1024);
    geometry_to_text(g, &text);
    printf("%s%s", text.bytes, options->is_dry_run ? "nothing was written (-n)\n" : "");
}

static void add_number(struct json_object *object, const char *name, uint64_t value)
{
    json_object_object_add(object, name, json_object_new_uint64(value));
}

static void print_json(const struct geometry *g, const struct mkfs_options *options,
                       uint64_t written_bytes)
{
    struct json_object *object = json_object_new_object();
    TEXT(uuid, 64);
    text_add_uuid(&uuid, g->uuid);
    json_object_object_add(object, "device", json_object_new_string(options->path));
    json_object_object_add(object, "uuid", json_object_new_string(uuid.bytes));
    json_object_object_add(object, "label", json_object_new_string(g->label));
    add_number(object, "block_bytes", BLOCK_BYTES);
    add_number(object, "block_count", g->block_count);
    add_number(object, "slot_count", g->slot_count);
    add_number(object, "journal_bytes", (uint64_t)g->journal_block_count * BLOCK_BYTES);
    add_number(object, "group_count", g->ag_count);
    add_number(object, "group_bytes", (uint64_t)BLOCK_BYTES << g->ag_block_shift);
    add_number(object, "group_base_block", g->ag_base_block);
    add_number(object, "root_inode", g->root_inode);
    add_number(object, "written_bytes", written_bytes);
    json_object_object_add(object, "dry_run", json_object_new_boolean(options->is_dry_run));
    puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
    json_object_put(object);
}

static void print_plan(const struct geometry *g, const struct mkfs_options *options,
                       uint64_t written_bytes)
{
    if (options->is_json)
        print_json(g, options, written_bytes);
    else if (!options->is_quiet)
        print_text(g, options);
}

// --- opening ---------------------------------------------------------------------------------

static const char *open_error_text(int error)
{
    switch (error) {
    case -EBUSY:
        return "the device is in use on this host (mounted, or part of another device)";
    case -ENOTBLK:
        return "neither a block device nor a regular file";
    case -ENOENT:
        return "there is no such file; 'truncate -s 8G FILE' makes one to try lunfs out";
    case -EINVAL:
        return "its sectors are larger than 4096 bytes";
    default:
        return error_text(error);
    }
}

// Also keeps a second mkfs.lunfs on this host, and udev, away from it while we write.
static int open_device(const struct mkfs_options *options, struct block_device **device)
{
    unsigned flags = BLOCK_DEVICE_ALLOW_BUFFERED | BLOCK_DEVICE_EXCLUSIVE |
                     (options->is_dry_run ? BLOCK_DEVICE_READ_ONLY : 0);
    int result = block_device_file_open(options->path, flags, device);
    if (result < 0)
        return refuse(options, open_error_text(result));
    if (flock(block_device_file_descriptor(*device), LOCK_EX | LOCK_NB) == 0)
        return -1;
    block_device_close(*device);
    return refuse(options, "another program holds a lock on it");
}

// --- the work --------------------------------------------------------------------------------

static int plan(const struct mkfs_options *options, const struct block_device *device,
                struct mkfs_layout *layout)
{
    TEXT(why, 256);
    struct mkfs_request request = {
        .device_bytes = device->size_bytes,
        .slot_count = options->slot_count,
        .journal_bytes = options->journal_bytes,
    };
    if (mkfs_geometry_plan(&request, &layout->geometry, &why) < 0)
        return refuse(options, why.bytes);
    memcpy(layout->geometry.label, options->label, sizeof(layout->geometry.label));
    memcpy(layout->geometry.uuid, options->uuid, sizeof(layout->geometry.uuid));
    mkfs_layout_identify(layout);
    return -1;
}

// Two mkfs.lunfs on two hosts at once: at most one of them finds its own volume at the end.
static int read_back(const struct mkfs_options *options, const struct mkfs_layout *layout)
{
    struct format_superblock_finding finding;
    int result = format_superblock_find(layout->device, NULL, &finding);
    if (result < 0)
        return fail_writing(options, "the new superblock does not read back", result);
    for (unsigned i = 0; i < FORMAT_SUPERBLOCK_COUNT; i++) {
        if (finding.places[i].verified != 0 ||
            memcmp(finding.places[i].geometry.format_id, layout->geometry.format_id, 16) != 0)
            return fail_writing(options, "somebody else has written to it meanwhile", -EBUSY);
    }
    return MKFS_EXIT_DONE;
}

static int write_volume(const struct mkfs_options *options, struct mkfs_layout *layout)
{
    int result = occupied_wipe_signatures(options->path);
    if (result < 0)
        return fail_writing(options, "the old signatures cannot be removed", result);
    result = mkfs_layout_write(layout);
    if (result < 0)
        return fail_writing(options, "the volume cannot be written", result);
    return read_back(options, layout);
}

// Once it is being written, which takes well under a second, it is written to the end.
static int make_volume(const struct mkfs_options *options, struct mkfs_layout *layout,
                       struct stop_request *stop)
{
    const struct occupied_question question = {
        .device = layout->device,
        .path = options->path,
        .is_forced = options->is_forced,
        .only_look = options->is_dry_run,
        .stop = stop,
    };
    struct occupied occupied;
    TEXT(why, 1024);
    int status = plan(options, layout->device, layout);
    if (status >= 0)
        return status;
    int result = occupied_check(&question, &occupied, &why);
    if (result < 0)
        return refuse(options, why.length > 0 ? why.bytes : error_text(result));
    status = options->is_dry_run ? MKFS_EXIT_DONE : write_volume(options, layout);
    if (status == MKFS_EXIT_DONE)
        print_plan(&layout->geometry, options, block_device_file_written_bytes(layout->device));
    return status;
}

int main(int argc, char **argv)
{
    struct mkfs_options options;
    int status = mkfs_options_parse(argc, argv, &options);
    if (status >= 0)
        return status;
    struct log log;
    struct stop_request stop;
    stop_request_init(&stop);
    log_init_stderr(&log, LOG_LEVEL_WARNING);
    struct mkfs_layout layout = {.log = &log};
    status = open_device(&options, &layout.device);
    if (status >= 0)
        return status;
    layout.environment = environment_tool_new();
    status = make_volume(&options, &layout, &stop);
    environment_tool_free(layout.environment);
    block_device_close(layout.device);
    return status;
}
