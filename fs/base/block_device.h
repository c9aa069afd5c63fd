// SPDX-License-Identifier: Apache-2.0
// The seam to the LUN. Behind it: O_DIRECT + libaio for the daemon (block_device_aio.c), plain
// pread/pwrite for tools (block_device_file.c), the simulated disk (tests/sim). In front of it
// stands the contract, asserted here, so that what is behind can stay naive.
//
//   submit(request) ... complete(request)          a request belongs to the device in between
//
// Offsets and lengths are bytes, multiples of 512 and of the device's sector; buffers are aligned
// to 4096. "Durable" means: on the medium, the LUN's volatile cache flushed. The one durability
// barrier is BLOCK_FLUSH: what completed before it was submitted is durable when it completes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/coroutine.h"

enum { BLOCK_BYTES = 4096, BUFFER_ALIGNMENT = 4096 };

enum block_operation { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD };

struct block_device;

// Owned by the caller, alive until `complete` is called.
struct block_request {
    enum block_operation operation;
    uint64_t offset; // bytes on the device
    size_t length;   // bytes
    void *buffer;    // READ, WRITE only
    // Called on the core's thread, perhaps before submit returns. Result: 0 or -errno, never short.
    void (*complete)(struct block_request *request, int result);
    void *context;        // the caller's
    void *implementation; // the device's
};

struct block_device_operations {
    void (*submit)(struct block_device *device, struct block_request *request);
    void (*close)(struct block_device *device);
};

struct block_device {
    const struct block_device_operations *operations;
    uint64_t size_bytes;
    uint32_t sector_bytes;   // logical sector: 512 or 4096
    bool has_volatile_cache; // else a completed write is durable and flush costs nothing
    bool is_read_only;
    char name[256]; // for messages
};

// Asserts the contract, then hands the request on. Flush completes at once without a cache.
void block_device_submit(struct block_device *device, struct block_request *request);
void block_device_close(struct block_device *device);

// The same from a coroutine, which waits: 0 or -errno. With a device that completes at once they
// may be called outside of a coroutine too (tools).
int block_device_read(struct block_device *device, struct scheduler *scheduler, uint64_t offset,
                      void *buffer, size_t length);
int block_device_write(struct block_device *device, struct scheduler *scheduler, uint64_t offset,
                       const void *buffer, size_t length);
int block_device_flush(struct block_device *device, struct scheduler *scheduler);

// A zeroed buffer aligned for I/O, never NULL; release it with free().
void *block_buffer_new(size_t bytes);
