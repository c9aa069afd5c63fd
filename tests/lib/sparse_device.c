// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/sparse_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "fs/base/check.h"

struct sparse_block {
    uint64_t number;
    uint8_t bytes[BLOCK_BYTES];
    UT_hash_handle hh;
};

static struct sparse_block *find(const struct sparse_device *sparse, uint64_t number)
{
    struct sparse_block *block;
    HASH_FIND(hh, sparse->blocks, &number, sizeof(number), block);
    return block;
}

static void read_block(const struct sparse_device *sparse, uint64_t number, uint8_t *bytes)
{
    const struct sparse_block *block = find(sparse, number);
    if (block == NULL)
        memset(bytes, 0, BLOCK_BYTES);
    else
        memcpy(bytes, block->bytes, BLOCK_BYTES);
}

static void write_block(struct sparse_device *sparse, uint64_t number, const uint8_t *bytes)
{
    struct sparse_block *block = find(sparse, number);
    if (block == NULL) {
        block = calloc(1, sizeof(*block));
        CHECK(block != NULL);
        block->number = number;
        HASH_ADD(hh, sparse->blocks, number, sizeof(block->number), block);
    }
    memcpy(block->bytes, bytes, BLOCK_BYTES);
}

static int transfer(struct sparse_device *sparse, const struct block_request *request)
{
    bool is_write = request->operation == BLOCK_WRITE;
    CHECK(request->offset % BLOCK_BYTES == 0 && request->length % BLOCK_BYTES == 0);
    if (is_write) {
        if (sparse->write_count >= sparse->writes_until)
            return -EIO;
        sparse->write_count++;
        sparse->written_bytes += request->length;
    }
    for (size_t at = 0; at < request->length; at += BLOCK_BYTES) {
        uint64_t number = (request->offset + at) / BLOCK_BYTES;
        uint8_t *bytes = (uint8_t *)request->buffer + at;
        if (is_write)
            write_block(sparse, number, bytes);
        else
            read_block(sparse, number, bytes);
    }
    return 0;
}

static void submit(struct block_device *device, struct block_request *request)
{
    bool is_transfer = request->operation == BLOCK_READ || request->operation == BLOCK_WRITE;
    request->complete(request, is_transfer ? transfer((struct sparse_device *)device, request) : 0);
}

static void keep_open(struct block_device *device)
{
    (void)device;
}

void sparse_device_init(struct sparse_device *sparse, uint64_t size_bytes)
{
    static const struct block_device_operations operations = {
        .submit = submit,
        .close = keep_open,
    };
    *sparse = (struct sparse_device){
        .device = {.operations = &operations,
                   .size_bytes = size_bytes,
                   .sector_bytes = BLOCK_BYTES,
                   .has_volatile_cache = true,
                   .name = "memory"},
        .writes_until = UINT64_MAX,
    };
}

void sparse_device_deinit(struct sparse_device *sparse)
{
    struct sparse_block *block, *next;
    HASH_ITER (hh, sparse->blocks, block, next) {
        HASH_DEL(sparse->blocks, block);
        free(block);
    }
}
