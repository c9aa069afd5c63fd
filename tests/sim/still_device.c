// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/still_device.h"

#include <errno.h>

#include "fs/base/check.h"
#include "tests/sim/disk.h"

static void submit(struct block_device *device, struct block_request *request)
{
    struct still_device *still = (struct still_device *)device;
    bool is_write = request->operation == BLOCK_WRITE || request->operation == BLOCK_DISCARD;
    if (is_write && still->writes_left == 0) {
        request->complete(request, -EIO);
        return;
    }
    if (is_write && still->writes_left != UINT64_MAX)
        still->writes_left--;
    CHECK(request->operation != BLOCK_DISCARD);
    if (request->operation == BLOCK_READ)
        sim_disk_peek(still->disk, request->offset, request->buffer, request->length);
    else if (request->operation == BLOCK_WRITE)
        sim_disk_poke(still->disk, request->offset, request->buffer, request->length);
    request->complete(request, 0);
}

static void do_nothing(struct block_device *device)
{
    (void)device;
}

void still_device_init(struct still_device *still, struct sim_disk *disk, uint64_t size_bytes,
                       uint32_t sector_bytes)
{
    static const struct block_device_operations operations = {.submit = submit,
                                                              .close = do_nothing};
    *still = (struct still_device){.device = {.operations = &operations,
                                              .size_bytes = size_bytes,
                                              .sector_bytes = sector_bytes,
                                              .name = "a copy"},
                                   .disk = disk,
                                   .writes_left = UINT64_MAX};
}
