// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/memory_device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/check.h"

static void submit(struct block_device *device, struct block_request *request)
{
    struct memory_device *memory = (struct memory_device *)device;
    CHECK(memory->queue_length < MEMORY_DEVICE_QUEUE_MAX);
    memory->queue[memory->queue_length++] = request;
}

static void close_nothing(struct block_device *device)
{
    (void)device;
}

static const struct block_device_operations operations = {submit, close_nothing};

void memory_device_init(struct memory_device *memory, uint64_t bytes, uint64_t seed)
{
    *memory = (struct memory_device){
        .device = {.operations = &operations,
                   .size_bytes = bytes,
                   .sector_bytes = 512,
                   .has_volatile_cache = true,
                   .name = "memory"},
        .failing_offset = UINT64_MAX,
        .held_offset = UINT64_MAX,
    };
    memory->bytes = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory->bytes != MAP_FAILED);
    random_init(&memory->random, seed);
}

void memory_device_deinit(struct memory_device *memory)
{
    CHECK(memory->queue_length == 0);
    munmap(memory->bytes, memory->device.size_bytes);
}

static int perform(struct memory_device *memory, struct block_request *request)
{
    uint8_t *place = memory->bytes + request->offset;
    switch (request->operation) {
    case BLOCK_READ:
        memory->read_count++;
        if (request->offset == memory->failing_offset)
            return -EIO;
        memcpy(request->buffer, place, request->length);
        return 0;
    case BLOCK_WRITE:
        memory->write_count++;
        memcpy(place, request->buffer, request->length);
        return 0;
    case BLOCK_FLUSH:
        memory->flush_count++;
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

static bool is_held(const struct memory_device *memory, const struct block_request *request)
{
    uint64_t held = memory->held_offset;
    return request->operation == BLOCK_WRITE && request->offset <= held &&
           held - request->offset < request->length;
}

bool memory_device_run(struct memory_device *memory)
{
    struct block_request *batch[MEMORY_DEVICE_QUEUE_MAX];
    unsigned count = 0, kept = 0;
    for (unsigned i = 0; i < memory->queue_length; i++) {
        if (is_held(memory, memory->queue[i]))
            memory->queue[kept++] = memory->queue[i];
        else
            batch[count++] = memory->queue[i];
    }
    memory->queue_length = kept;
    for (unsigned i = count; i > 1; i--) {
        unsigned other = (unsigned)random_below(&memory->random, i);
        struct block_request *swapped = batch[i - 1];
        batch[i - 1] = batch[other];
        batch[other] = swapped;
    }
    for (unsigned i = 0; i < count; i++)
        batch[i]->complete(batch[i], perform(memory, batch[i]));
    return count > 0;
}
