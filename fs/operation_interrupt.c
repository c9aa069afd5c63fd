// SPDX-License-Identifier: Apache-2.0
#include "fs/base/coroutine.h"
#include "fs/cluster_lock.h"
#include "fs/operation.h"
#include "fs/volume.h"

#include <errno.h>

bool operation_interrupt(struct volume *volume, const struct coroutine *coroutine)
{
    return volume->locks != NULL && lock_table_interrupt(volume->locks, coroutine, -EINTR);
}
