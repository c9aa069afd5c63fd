// SPDX-License-Identifier: Apache-2.0
#include "fs/guard_watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <unistd.h>

int guard_watchdog_open(struct guard_watchdog *watchdog, const char *path, uint32_t timeout_ms)
{
    int seconds = (int)((timeout_ms + 999) / 1000);
    int error = 0;
    watchdog->descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (watchdog->descriptor < 0)
        return -errno;
    // Some have one timeout for good (EOPNOTSUPP), some know no such request at all.
    if (ioctl(watchdog->descriptor, WDIOC_SETTIMEOUT, &seconds) != 0)
        error = -errno;
    watchdog->keeps_timeout = error == -EOPNOTSUPP || error == -ENOTTY;
    if (error != 0 && !watchdog->keeps_timeout) {
        guard_watchdog_close(watchdog, true);
        return error;
    }
    watchdog->period_ms = 500;
    watchdog->next_pet_ms = 0;
    return 0;
}

void guard_watchdog_pet(struct guard_watchdog *watchdog, uint64_t now_ms)
{
    if (watchdog->descriptor < 0 || now_ms < watchdog->next_pet_ms)
        return;
    ssize_t written = write(watchdog->descriptor, "", 1); // any byte but a V
    (void)written;
    watchdog->next_pet_ms = now_ms + watchdog->period_ms;
}

// The letter is what tells the driver that the close is meant.
void guard_watchdog_close(struct guard_watchdog *watchdog, bool disarms)
{
    if (watchdog->descriptor < 0)
        return;
    ssize_t written = disarms ? write(watchdog->descriptor, "V", 1) : 0;
    (void)written;
    close(watchdog->descriptor);
    watchdog->descriptor = -1;
}
