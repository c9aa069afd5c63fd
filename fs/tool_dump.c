// SPDX-License-Identifier: Apache-2.0
// Prints one block of metadata as it stands on the device. What the journals would write over it is
// not shown: the disk is what is asked for.
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/block_device_file.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/format_find.h"
#include "fs/format_quota.h"
#include "fs/format_text.h"
#include "fs/tool.h"
#include "fs/tool_dump_json.h"

enum { TEXT_BYTES_MAX = 1 << 18 }; // a full node of short items takes far less

struct dump {
    struct block_device *device;
    struct geometry geometry;
    uint64_t block;
    void *bytes;
    int verified; // 0, or what is wrong with the block
};

// --- which block -----------------------------------------------------------------------------

static bool parse_number(const char *text, uint64_t end, uint64_t *number)
{
    char *rest;
    errno = 0;
    *number = strtoull(text, &rest, 10);
    return text[0] >= '0' && text[0] <= '9' && *rest == '\0' && errno == 0 && *number < end;
}

struct numbered_place {
    const char *name; // with its colon
    uint64_t end;     // the first number that there is not
    uint64_t first, stride;
};

static bool find_numbered(const struct geometry *g, const char *name, uint64_t *block)
{
    const struct numbered_place places[] = {
        {"slot:", g->slot_count, geometry_heartbeat_block(g, 0), FORMAT_SLOT_BLOCKS},
        {"mailbox:", g->slot_count, geometry_mailbox_block(g, 0), FORMAT_SLOT_BLOCKS},
        {"state:", g->slot_count, geometry_slot_state_block(g, 0), FORMAT_SLOT_BLOCKS},
        {"quota:", g->slot_count, geometry_quota_bucket_block(g, 0), FORMAT_SLOT_BLOCKS},
        {"ledger:", g->slot_count, geometry_quota_ledger_block(g, 0, 0), FORMAT_SLOT_BLOCKS},
        {"journal:", g->slot_count, g->journal_block, g->journal_block_count},
        {"group:", g->ag_count, g->ag_base_block, (uint64_t)1 << g->ag_block_shift},
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint64_t number;
        size_t length = strlen(places[i].name);
        if (strncmp(name, places[i].name, length) != 0 ||
            !parse_number(name + length, places[i].end, &number))
            continue;
        *block = places[i].first + number * places[i].stride;
        return true;
    }
    return false;
}

static bool find_block(const struct geometry *g, const char *name, uint64_t *block)
{
    const struct {
        const char *name;
        uint64_t block;
    } places[] = {
        {"superblock", FORMAT_SUPERBLOCK_BLOCK},
        {"claim", FORMAT_CLAIM_BLOCK},
        {"map", FORMAT_AG_MAP_BLOCK},
        {"root", g->root_inode},
    };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (strcmp(name, places[i].name) == 0) {
            *block = places[i].block;
            return true;
        }
    }
    return parse_number(name, g->block_count, block) || find_numbered(g, name, block);
}

// --- printing --------------------------------------------------------------------------------

// Type and owner are taken from the block itself: the place says neither for most.
static int verify(const struct dump *dump)
{
    const struct block_header_disk *header = dump->bytes;
    struct block_expectation expected = {
        .format_id = dump->geometry.format_id,
        .address = dump->block,
        .owner = le64_get(header->owner),
        .type = (enum block_type)le16_get(header->type),
    };
    return format_block_verify(dump->bytes, &expected);
}

static struct json_object *journal_of(const struct dump *dump)
{
    const struct block_header_disk *header = dump->bytes;
    bool is_journal = dump->verified == 0 && le16_get(header->type) == BLOCK_TYPE_JOURNAL_HEADER;
    return is_journal ? tool_dump_journal_json(dump->bytes, dump->geometry.journal_block_count)
                      : NULL;
}

static const char *verdict(const struct dump *dump)
{
    return dump->verified == 0 ? "valid" : error_text(dump->verified);
}

static int print_json(const struct dump *dump)
{
    struct json_object *object = tool_dump_json(dump->bytes);
    struct json_object *journal = journal_of(dump);
    json_object_object_add(object, "block", json_object_new_uint64(dump->block));
    json_object_object_add(object, "verdict", json_object_new_string(verdict(dump)));
    if (journal != NULL)
        json_object_object_add(object, "journal", journal);
    return tool_print_json(object);
}

static void print_journal(struct json_object *journal)
{
    json_object_object_foreach(journal, name, value)
    {
        printf("%s: %s\n", name, json_object_get_string(value));
    }
    json_object_put(journal);
}

static int print_text(const struct dump *dump)
{
    CLEANUP_FREE char *bytes = malloc(TEXT_BYTES_MAX);
    struct text text;
    if (bytes == NULL)
        return tool_fail(TOOL_EXIT_FAILURE, "%s", error_text(-ENOMEM));
    text_init(&text, bytes, TEXT_BYTES_MAX);
    format_block_header_to_text(dump->bytes, &text);
    printf("block %llu: %s: %s\n", (unsigned long long)dump->block, verdict(dump), text.bytes);
    text_init(&text, bytes, TEXT_BYTES_MAX);
    format_block_to_text(dump->bytes, &text);
    fputs(text.bytes, stdout);
    struct json_object *journal = journal_of(dump);
    if (journal != NULL)
        print_journal(journal);
    return TOOL_EXIT_OK;
}

// --- the verb --------------------------------------------------------------------------------

static int read_geometry(struct dump *dump, const char *path)
{
    struct format_superblock_finding finding;
    int result = format_superblock_find(dump->device, NULL, &finding);
    if (finding.chosen < 0)
        return tool_fail(TOOL_EXIT_FAILURE, "%s: %s", path, error_text(result));
    dump->geometry = finding.places[finding.chosen].geometry;
    return -1;
}

static int dump_block(struct dump *dump, const char *path, const struct tool_options *options)
{
    int exit_code = read_geometry(dump, path);
    if (exit_code >= 0)
        return exit_code;
    if (!find_block(&dump->geometry, options->arguments[1], &dump->block))
        return tool_fail(TOOL_EXIT_USAGE, "there is no block '%s' on this volume",
                         options->arguments[1]);
    dump->bytes = block_buffer_new(BLOCK_BYTES);
    int result =
        block_device_read(dump->device, NULL, dump->block * BLOCK_BYTES, dump->bytes, BLOCK_BYTES);
    if (result < 0) {
        exit_code = tool_fail(TOOL_EXIT_FAILURE, "%s: block %llu: %s", path,
                              (unsigned long long)dump->block, error_text(result));
    } else {
        dump->verified = verify(dump);
        exit_code = options->json ? print_json(dump) : print_text(dump);
    }
    free(dump->bytes);
    return exit_code;
}

int tool_dump(const struct tool_verb *verb, int argc, char **argv)
{
    struct tool_options options;
    struct dump dump = {.device = NULL};
    char path[PATH_MAX];
    int exit_code = tool_parse(verb, argc, argv, 2, 2, &options);
    if (exit_code >= 0)
        return exit_code;
    if (!tool_target_device(options.arguments[0], path))
        return TOOL_EXIT_FAILURE;
    int result = block_device_file_open(path, BLOCK_DEVICE_READ_ONLY | BLOCK_DEVICE_ALLOW_BUFFERED,
                                        &dump.device);
    if (result < 0)
        return tool_fail(TOOL_EXIT_FAILURE, "%s: %s", path, error_text(result));
    exit_code = dump_block(&dump, path, &options);
    block_device_close(dump.device);
    return exit_code;
}
