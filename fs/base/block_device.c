// SPDX-License-Identifier: Apache-2.0
#include "fs/base/block_device.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"

static void check_contract(const struct block_device *device, const struct block_request *request)
{
    CHECK(request->complete != NULL);
    if (request->operation == BLOCK_FLUSH)
        return;
    CHECK(request->length > 0 && request->length % device->sector_bytes == 0);
    CHECK(request->offset % device->sector_bytes == 0);
    CHECK(request->offset + request->length >= request->offset);
    CHECK(request->offset + request->length <= device->size_bytes);
    CHECK(request->operation == BLOCK_DISCARD ||
          (uintptr_t)request->buffer % BUFFER_ALIGNMENT == 0);
    CHECK(request->operation == BLOCK_READ || !device->is_read_only);
}

void block_device_submit(struct block_device *device, struct block_request *request)
{
    check_contract(device, request);
    if (request->operation == BLOCK_FLUSH && !device->has_volatile_cache) {
        request->complete(request, 0);
        return;
    }
    device->operations->submit(device, request);
}

void block_device_close(struct block_device *device)
{
    device->operations->close(device);
}

struct block_waiter {
    struct scheduler *scheduler;
    struct coroutine *coroutine; // set while it waits
    int result;
    bool is_done;
};

static void wake_waiter(struct block_request *request, int result)
{
    struct block_waiter *waiter = request->context;
    waiter->result = result;
    waiter->is_done = true;
    if (waiter->coroutine != NULL)
        coroutine_wake(waiter->scheduler, waiter->coroutine);
}

static int submit_and_wait(struct block_device *device, struct scheduler *scheduler,
                           struct block_request *request)
{
    struct block_waiter waiter = {.scheduler = scheduler};
    request->complete = wake_waiter;
    request->context = &waiter;
    block_device_submit(device, request);
    if (!waiter.is_done) {
        waiter.coroutine = coroutine_current(scheduler);
        CHECK(waiter.coroutine != NULL);
        coroutine_wait(scheduler);
    }
    return waiter.result;
}

int block_device_read(struct block_device *device, struct scheduler *scheduler, uint64_t offset,
                      void *buffer, size_t length)
{
    struct block_request request = {
        .operation = BLOCK_READ, .offset = offset, .length = length, .buffer = buffer};
    return submit_and_wait(device, scheduler, &request);
}

int block_device_write(struct block_device *device, struct scheduler *scheduler, uint64_t offset,
                       const void *buffer, size_t length)
{
    struct block_request request = {
        .operation = BLOCK_WRITE, .offset = offset, .length = length, .buffer = (void *)buffer};
    return submit_and_wait(device, scheduler, &request);
}

int block_device_flush(struct block_device *device, struct scheduler *scheduler)
{
    struct block_request request = {.operation = BLOCK_FLUSH};
    return submit_and_wait(device, scheduler, &request);
}

void *block_buffer_new(size_t bytes)
{
    void *buffer = NULL;
    int failed = posix_memalign(&buffer, BUFFER_ALIGNMENT, bytes);
    CHECK(failed == 0);
    memset(buffer, 0, bytes);
    return buffer;
}
