// SPDX-License-Identifier: Apache-2.0
#include "fs/gated_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"

struct gated_request {
    struct block_request inner; // first: its completion finds the rest
    struct gated_device *device;
    struct block_request *outer;
    struct gated_request *next; // free list
};

struct gated_device {
    struct block_device device; // first
    struct block_device *inner;
    struct gate *gate;
    enum gated_use use;
    struct environment *environment;
    struct block_request *waiting; // linked through `implementation`, oldest first
    struct block_request **waiting_last;
    struct gated_request *free_requests;
    unsigned in_flight;
    void (*shut_out)(void *context); // NULL: nobody wants to know
    void *context;
};

static void completed(struct block_request *inner, int result)
{
    struct gated_request *request = (struct gated_request *)inner;
    struct gated_device *device = request->device;
    struct block_request *outer = request->outer;
    device->in_flight--;
    request->next = device->free_requests;
    device->free_requests = request;
    if (result == -EBADE && device->shut_out != NULL)
        device->shut_out(device->context);
    outer->complete(outer, result);
}

static struct gated_request *request_take(struct gated_device *device)
{
    struct gated_request *request = device->free_requests;
    if (request != NULL) {
        device->free_requests = request->next;
        return request;
    }
    request = memory_new(sizeof(*request));
    request->device = device;
    return request;
}

static void pass_on(struct gated_device *device, struct block_request *outer)
{
    struct gated_request *request = request_take(device);
    request->outer = outer;
    request->inner = (struct block_request){
        .operation = outer->operation,
        .offset = outer->offset,
        .length = outer->length,
        .buffer = outer->buffer,
        .complete = completed,
    };
    device->in_flight++;
    block_device_submit(device->inner, &request->inner);
}

static bool is_open(struct gated_device *device)
{
    uint64_t now = environment_boot_ns(device->environment);
    return device->use == GATED_RECOVERY ? gate_is_open_to_recovery(device->gate, now)
                                         : gate_is_open(device->gate, now);
}

static void submit(struct block_device *block_device, struct block_request *request)
{
    struct gated_device *device = (struct gated_device *)block_device;
    if (gate_has_ended(device->gate)) {
        request->complete(request, -EIO);
        return;
    }
    if (device->waiting == NULL && is_open(device)) {
        pass_on(device, request);
        return;
    }
    request->implementation = NULL;
    *device->waiting_last = request;
    device->waiting_last = (struct block_request **)&request->implementation;
}

void gated_device_gate_moved(struct block_device *block_device)
{
    struct gated_device *device = (struct gated_device *)block_device;
    while (device->waiting != NULL) {
        bool has_ended = gate_has_ended(device->gate);
        if (!has_ended && !is_open(device))
            return;
        struct block_request *request = device->waiting;
        device->waiting = request->implementation;
        if (device->waiting == NULL)
            device->waiting_last = &device->waiting;
        if (has_ended)
            request->complete(request, -EIO);
        else
            pass_on(device, request);
    }
}

void gated_device_on_conflict(struct block_device *block_device, void (*shut_out)(void *context),
                              void *context)
{
    struct gated_device *device = (struct gated_device *)block_device;
    device->shut_out = shut_out;
    device->context = context;
}

unsigned gated_device_in_flight(const struct block_device *device)
{
    return ((const struct gated_device *)device)->in_flight;
}

static void close_gated(struct block_device *block_device)
{
    struct gated_device *device = (struct gated_device *)block_device;
    CHECK(device->waiting == NULL && device->in_flight == 0);
    struct gated_request *request;
    while ((request = device->free_requests) != NULL) {
        device->free_requests = request->next;
        free(request);
    }
    free(device);
}

struct block_device *gated_device_new(struct block_device *inner, struct gate *gate,
                                      struct environment *environment, enum gated_use use)
{
    static const struct block_device_operations operations = {.submit = submit,
                                                              .close = close_gated};
    struct gated_device *device = memory_new(sizeof(*device));
    device->device = *inner;
    device->device.operations = &operations;
    device->inner = inner;
    device->gate = gate;
    device->use = use;
    device->environment = environment;
    device->waiting_last = &device->waiting;
    return &device->device;
}
