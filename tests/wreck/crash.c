// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/crash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/environment_tool.h"
#include "fs/base/error.h"
#include "fs/format_fields.h"
#include "fs/journal_format.h"
#include "tests/wreck/image_device.h"

struct crash {
    struct image_device device;
    struct log log;
    struct lamport_clock clock;
    struct journal_format_context context;
    struct journal_config config;
    uint64_t block;
    const char *field;
    uint64_t value;
};

static int change_and_die(void *argument)
{
    struct crash *crash = argument;
    struct journal *journal;
    struct journal_handle *handle;
    struct journal_block block;
    uint8_t *bytes = block_buffer_new(BLOCK_BYTES);
    const struct format_field *field =
        format_field_find(format_structure_of(BLOCK_TYPE_INODE), crash->field);
    memcpy(bytes, image_block(crash->device.image, crash->block), BLOCK_BYTES);
    lamport_observe(&crash->clock, format_block_version(bytes));
    journal_block_init(&block, crash->block, (struct lock_name){.id = crash->block}, bytes);
    int result = journal_open(&crash->config, &journal);
    if (result < 0)
        image_die("the journal cannot be opened: %s", error_text(result));
    result = journal_transaction_begin(journal, 1, &handle);
    if (result == 0) {
        journal_transaction_change(handle, &block);
        format_field_set(field, bytes, 0, crash->value);
        journal_transaction_end(handle);
        result = journal_sync(journal);
    }
    if (result < 0)
        image_die("the journal cannot be written: %s", error_text(result));
    journal_stop(journal, -EIO);
    journal_close(journal);
    free(bytes);
    return 0;
}

void crash_with_dirty_journal(struct image *image, uint64_t block, const char *field,
                              uint64_t value)
{
    struct environment *environment = environment_tool_new();
    struct crash crash = {
        .clock = {.now = 100},
        .block = block,
        .field = field,
        .value = value,
    };
    image_device_init(&crash.device, image);
    log_init_null(&crash.log);
    memcpy(crash.context.format_id, image->g.format_id, sizeof(crash.context.format_id));
    crash.config = (struct journal_config){
        .device = &crash.device.device,
        .environment = environment,
        .log = &crash.log,
        .clock = &crash.clock,
        .callbacks = &journal_format_callbacks,
        .context = &crash.context,
        .start_block = geometry_journal_block(&image->g, 0),
        .block_count = image->g.journal_block_count,
        .slot = 0,
    };
    memcpy(crash.config.format_id, image->g.format_id, sizeof(crash.config.format_id));
    environment_tool_run(environment, change_and_die, &crash);
    environment_tool_free(environment);
}
