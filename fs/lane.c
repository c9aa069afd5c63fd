// SPDX-License-Identifier: Apache-2.0
#include "fs/lane.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "fs/base/block_device_open.h"
#include "fs/gate.h"
#include "fs/pass.h"

enum { BOUNCE_BYTES = LANE_TRANSFER_BYTES_MAX + 2 * LANE_ALIGNMENT };

// How stale the noted time of a read may be: readers of one file would else share a cache line that
// each of them writes.
static const uint64_t access_grain_ns = 1000000000;

int lane_init(struct lane *lane, const struct lane_volume *volume)
{
    void *bounce = mmap(NULL, BOUNCE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (bounce == MAP_FAILED)
        return -ENOMEM;
    // A fork would make the kernel copy a page that a DMA is writing to (rule 17).
    if (madvise(bounce, BOUNCE_BYTES, MADV_DONTFORK) != 0) {
        munmap(bounce, BOUNCE_BYTES);
        return -ENOMEM;
    }
    lane->volume = volume; // the rest is zero, and the counters may be read already
    lane->bounce = bounce;
    return 0;
}

void lane_deinit(struct lane *lane)
{
    munmap(lane->bounce, BOUNCE_BYTES);
    lane->bounce = NULL;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// One writer a counter: no need for an atomic addition.
static void count(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_relaxed);
}

// On true the caller is counted in the pass and the lease was good after that.
static bool enter(struct lane *lane, struct pass *pass, unsigned kind)
{
    if (!pass_enter(pass, kind))
        return false;
    if (gate_is_open(lane->volume->gate, clock_ns(CLOCK_BOOTTIME)))
        return true;
    pass_leave(pass);
    return false;
}

static int device_failed(struct lane *lane, int error)
{
    count(&lane->counters.errors, 1);
    lane->volume->failed(lane->volume->context, error);
    return error;
}

static int transfer(struct lane *lane, bool is_write, uint8_t *buffer, size_t length,
                    uint64_t volume_offset)
{
    int descriptor = lane->volume->descriptor;
    int error = is_write ? block_device_pwrite(descriptor, buffer, length, volume_offset)
                         : block_device_pread(descriptor, buffer, length, volume_offset);
    return error != 0 ? device_failed(lane, error) : 0;
}

// Reads or writes [offset, end) extent by extent; both are on sector boundaries, or `end` is at the
// size, whose sector is wholly ours. False: some of it is the core's.
static bool transfer_mapped(struct lane *lane, struct pass *pass, bool is_write, uint8_t *buffer,
                            uint64_t offset, uint64_t end, int *error)
{
    uint64_t sector = lane->volume->sector_bytes;
    *error = 0;
    while (offset < end) {
        uint64_t volume_offset, run;
        if (!pass_translate(pass, offset, &volume_offset, &run))
            return false;
        if (run > end - offset)
            run = end - offset;
        uint64_t rounded = (run + sector - 1) & ~(sector - 1);
        if (rounded != run && (is_write || offset + run < end))
            return false;
        *error = transfer(lane, is_write, buffer, rounded, volume_offset);
        if (*error != 0)
            return true;
        buffer += run;
        offset += run;
    }
    return true;
}

static void note_access(struct lane *lane, struct pass *pass)
{
    if (!lane->volume->tracks_access)
        return;
    uint64_t now = clock_ns(CLOCK_REALTIME);
    uint64_t noted = atomic_load_explicit(&pass->accessed_ns, memory_order_relaxed);
    if (now - noted >= access_grain_ns)
        atomic_store_explicit(&pass->accessed_ns, now, memory_order_relaxed);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// Sectors are read whole; only the size may cut the last one short.
static bool read_entered(struct lane *lane, struct pass *pass, uint64_t offset, size_t length,
                         const uint8_t **data, ssize_t *result)
{
    uint64_t sector_mask = lane->volume->sector_bytes - 1;
    uint64_t size = pass_size(pass);
    uint64_t end = smaller(offset + length, size);
    int error = 0;
    if (offset >= end) {
        *data = lane->bounce;
        *result = 0;
        return true;
    }
    uint64_t first = offset & ~sector_mask;
    uint64_t last = smaller((end + sector_mask) & ~sector_mask, size);
    if (!transfer_mapped(lane, pass, false, lane->bounce, first, last, &error))
        return false;
    *data = lane->bounce + (offset - first);
    *result = error != 0 ? error : (ssize_t)(end - offset);
    return true;
}

bool lane_read(struct lane *lane, struct pass *pass, unsigned kind, uint64_t offset, size_t length,
               const uint8_t **data, ssize_t *result)
{
    if (length > LANE_TRANSFER_BYTES_MAX || !enter(lane, pass, kind)) {
        count(&lane->counters.forwarded, 1);
        return false;
    }
    bool served = read_entered(lane, pass, offset, length, data, result);
    if (served)
        note_access(lane, pass);
    pass_leave(pass);
    count(served ? &lane->counters.reads : &lane->counters.forwarded, 1);
    if (served && *result > 0)
        count(&lane->counters.read_bytes, (uint64_t)*result);
    return served;
}

static bool is_whole_sectors(const struct lane *lane, uint64_t offset, size_t length)
{
    return ((offset | length) & (lane->volume->sector_bytes - 1)) == 0;
}

static uint8_t *aligned(struct lane *lane, const void *data, size_t length)
{
    if (((uintptr_t)data & (LANE_ALIGNMENT - 1)) == 0)
        return (uint8_t *)(uintptr_t)data;
    return memcpy(lane->bounce, data, length);
}

static bool write_entered(struct lane *lane, struct pass *pass, uint64_t offset, const void *data,
                          size_t length, ssize_t *result)
{
    int error;
    if (offset + length > pass_size(pass))
        return false;
    if (!transfer_mapped(lane, pass, true, aligned(lane, data, length), offset, offset + length,
                         &error))
        return false;
    *result = error != 0 ? error : (ssize_t)length;
    return true;
}

bool lane_write(struct lane *lane, struct pass *pass, uint64_t offset, const void *data,
                size_t length, ssize_t *result)
{
    if (length > LANE_TRANSFER_BYTES_MAX || !is_whole_sectors(lane, offset, length) ||
        !enter(lane, pass, PASS_WRITE)) {
        count(&lane->counters.forwarded, 1);
        return false;
    }
    bool served = write_entered(lane, pass, offset, data, length, result);
    // Before the pass is left: whoever drains it then finds the time of this write.
    if (served)
        atomic_store_explicit(&pass->modified_ns, clock_ns(CLOCK_REALTIME), memory_order_relaxed);
    pass_leave(pass);
    count(served ? &lane->counters.writes : &lane->counters.forwarded, 1);
    if (served && *result > 0)
        count(&lane->counters.written_bytes, (uint64_t)*result);
    return served;
}
