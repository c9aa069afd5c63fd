// SPDX-License-Identifier: Apache-2.0
#include "tests/wreck/image_device.h"

#include <errno.h>
#include <string.h>

static int transfer(struct image_device *device, const struct block_request *request)
{
    uint8_t *place = device->image->bytes + request->offset;
    if (request->operation == BLOCK_READ) {
        memcpy(request->buffer, place, request->length);
    } else if (request->operation == BLOCK_WRITE) {
        if (device->write_count >= device->writes_until)
            return -EIO;
        device->write_count++;
        if (device->before_write != NULL)
            device->before_write(device->context, request->offset, request->length);
        memcpy(place, request->buffer, request->length);
    }
    return 0;
}

static void submit(struct block_device *device, struct block_request *request)
{
    request->complete(request, transfer((struct image_device *)device, request));
}

static void keep_open(struct block_device *device)
{
    (void)device;
}

void image_device_init(struct image_device *device, struct image *image)
{
    static const struct block_device_operations operations = {
        .submit = submit,
        .close = keep_open,
    };
    *device = (struct image_device){
        .device = {.operations = &operations,
                   .size_bytes = image->size_bytes,
                   .sector_bytes = BLOCK_BYTES,
                   .name = "image"},
        .image = image,
        .writes_until = UINT64_MAX,
    };
}
