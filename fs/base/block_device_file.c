// SPDX-License-Identifier: Apache-2.0
#include "fs/base/block_device_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/base/check.h"

struct block_device_file {
    struct block_device device; // first: a device is its file
    struct block_device_opened opened;
    uint64_t written_bytes;
};

static int perform(struct block_device_file *file, const struct block_request *request)
{
    switch (request->operation) {
    case BLOCK_READ:
        return block_device_pread(file->opened.fd, request->buffer, request->length,
                                  request->offset);
    case BLOCK_WRITE:
        file->written_bytes += request->length;
        return block_device_pwrite(file->opened.fd, request->buffer, request->length,
                                   request->offset);
    case BLOCK_FLUSH:
        return block_device_sync(file->opened.fd);
    case BLOCK_DISCARD:
        return block_device_discard(&file->opened, request->offset, request->length);
    }
    CHECK(!"unknown block operation");
}

static void file_submit(struct block_device *device, struct block_request *request)
{
    request->complete(request, perform((struct block_device_file *)device, request));
}

static void file_close(struct block_device *device)
{
    struct block_device_file *file = (struct block_device_file *)device;
    close(file->opened.fd);
    free(file);
}

static const struct block_device_operations file_operations = {
    .submit = file_submit,
    .close = file_close,
};

int block_device_file_open(const char *path, unsigned flags, struct block_device **device)
{
    struct block_device_opened opened;
    int result = block_device_open_path(path, flags, &opened);
    if (result < 0)
        return result;
    struct block_device_file *file = calloc(1, sizeof(*file));
    CHECK(file != NULL);
    file->opened = opened;
    file->device = (struct block_device){
        .operations = &file_operations,
        .size_bytes = opened.size_bytes,
        .sector_bytes = opened.sector_bytes,
        .has_volatile_cache = opened.has_volatile_cache || !opened.is_direct,
        .is_read_only = (flags & BLOCK_DEVICE_READ_ONLY) != 0,
    };
    snprintf(file->device.name, sizeof(file->device.name), "%s", path);
    *device = &file->device;
    return 0;
}

int block_device_file_descriptor(const struct block_device *device)
{
    return ((const struct block_device_file *)device)->opened.fd;
}

bool block_device_file_is_block_device(const struct block_device *device)
{
    return ((const struct block_device_file *)device)->opened.is_block_device;
}

uint64_t block_device_file_written_bytes(const struct block_device *device)
{
    return ((const struct block_device_file *)device)->written_bytes;
}
