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
    watchdog->descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (watchdog->descriptor < 0)
        return -errno;
    if (ioctl(watchdog->descriptor, WDIOC_SETTIMEOUT, &seconds) != 0) {
        int error = -errno;
        guard_watchdog_close(watchdog);
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
    int unused = 0;
    ioctl(watchdog->descriptor, WDIOC_KEEPALIVE, &unused);
    watchdog->next_pet_ms = now_ms + watchdog->period_ms;
}

// The letter is what tells the driver that the close is meant.
void guard_watchdog_close(struct guard_watchdog *watchdog)
{
    if (watchdog->descriptor < 0)
        return;
    ssize_t written = write(watchdog->descriptor, "V", 1);
    (void)written;
    close(watchdog->descriptor);
    watchdog->descriptor = -1;
}
