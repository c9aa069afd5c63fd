// SPDX-License-Identifier: Apache-2.0
// The byte lock by which a worker's last I/O can be waited for (rule 9).
#include <errno.h>
#include <fcntl.h>

#include "fs/guard.h"

// Far behind the end of any LUN, where nothing else locks.
static const off_t slot_lock_base = (off_t)1 << 62;

int guard_slot_lock(int lun_descriptor, uint32_t slot)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = slot_lock_base + (off_t)slot,
        .l_len = 1,
    };
    if (fcntl(lun_descriptor, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}
