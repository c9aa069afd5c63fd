// SPDX-License-Identifier: Apache-2.0
#include "fs/base/device_multipath.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "fs/base/cleanup.h"

enum { REPLY_BYTES = 65536, WORDS_MAX = 256 };

// "<count> <word>..." at the beginning of the table; a count that does not fit is no table.
bool device_multipath_table_queues(const char *table)
{
    static const char wanted[] = "queue_if_no_path";
    char *at;
    unsigned long count = strtoul(table, &at, 10);
    if (at == table || count > WORDS_MAX)
        return true;
    for (unsigned long i = 0; i < count; i++) {
        at += strspn(at, " ");
        size_t length = strcspn(at, " ");
        if (length == 0)
            return true;
        if (length == sizeof(wanted) - 1 && strncmp(at, wanted, length) == 0)
            return true;
        at += length;
    }
    return false;
}

// As the kernel's huge_encode_dev() lays a device number out.
static uint64_t encode(dev_t device)
{
    return (uint64_t)(minor(device) & 0xff) | (uint64_t)major(device) << 8 |
           (uint64_t)(minor(device) & ~0xffu) << 12;
}

// A target's line stands behind its spec; `next` is counted from the first spec.
static bool targets_queue(const struct dm_ioctl *reply)
{
    const char *first = (const char *)reply + reply->data_start;
    const char *end = (const char *)reply + reply->data_size;
    const char *at = first;
    for (uint32_t i = 0; i < reply->target_count; i++) {
        struct dm_target_spec spec;
        if (at < first || at + sizeof(spec) >= end)
            return true;
        memcpy(&spec, at, sizeof(spec));
        const char *line = at + sizeof(spec);
        if (memchr(line, '\0', (size_t)(end - line)) == NULL)
            return true;
        if (strncmp(spec.target_type, "multipath", sizeof(spec.target_type)) == 0 &&
            device_multipath_table_queues(line))
            return true;
        at = first + spec.next;
    }
    return false;
}

bool device_multipath_queues(dev_t device)
{
    CLEANUP_CLOSE int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    CLEANUP_FREE struct dm_ioctl *request = calloc(1, REPLY_BYTES);
    if (control < 0 || request == NULL)
        return true;
    request->version[0] = 4; // of the ioctl interface; the kernel takes any minor below its own
    request->data_size = REPLY_BYTES;
    request->data_start = sizeof(*request);
    request->dev = encode(device);
    request->flags = DM_STATUS_TABLE_FLAG;
    if (ioctl(control, DM_TABLE_STATUS, request) != 0)
        return true;
    bool is_cut = (request->flags & DM_BUFFER_FULL_FLAG) != 0;
    return is_cut || request->data_size > REPLY_BYTES || targets_queue(request);
}
