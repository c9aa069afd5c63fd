// SPDX-License-Identifier: Apache-2.0
#include "fs/data_io.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/volume.h"

struct transfer {
    struct scheduler *scheduler;
    struct coroutine *waiter; // set while it waits
    size_t in_flight;
    int result;
};

static void piece_completed(struct block_request *request, int result)
{
    struct transfer *transfer = request->context;
    if (result != 0 && transfer->result == 0)
        transfer->result = result;
    if (--transfer->in_flight == 0 && transfer->waiter != NULL)
        coroutine_wake(transfer->scheduler, transfer->waiter);
}

static int transfer_all(struct volume *volume, enum block_operation operation,
                        const struct data_piece *pieces, size_t count)
{
    struct transfer transfer = {.scheduler = volume->scheduler, .in_flight = count};
    struct block_request *requests = calloc(count, sizeof(*requests));
    CHECK(requests != NULL || count == 0);
    for (size_t i = 0; i < count; i++) {
        requests[i] = (struct block_request){
            .operation = operation,
            .offset = pieces[i].volume_block * BLOCK_BYTES,
            .length = pieces[i].block_count * BLOCK_BYTES,
            .buffer = pieces[i].buffer,
            .complete = piece_completed,
            .context = &transfer,
        };
        block_device_submit(volume->device, &requests[i]);
    }
    if (transfer.in_flight > 0) {
        transfer.waiter = coroutine_current(volume->scheduler);
        coroutine_wait(volume->scheduler);
    }
    free(requests);
    return transfer.result;
}

int data_io_read(struct volume *volume, const struct data_piece *pieces, size_t count)
{
    return transfer_all(volume, BLOCK_READ, pieces, count);
}

int data_io_write(struct volume *volume, const struct data_piece *pieces, size_t count)
{
    return transfer_all(volume, BLOCK_WRITE, pieces, count);
}
