// SPDX-License-Identifier: Apache-2.0
// /dev/watchdog in the guard's hands: a machine whose guard stops petting is reset by its hardware.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct guard_watchdog {
    int descriptor; // -1: none
    uint64_t next_pet_ms;
    uint32_t period_ms;
    bool keeps_timeout; // the device does not let its timeout be set
};

// Opens the device and sets its timeout to `timeout_ms`, rounded up to seconds, where it
// can be set. 0 or -errno.
int guard_watchdog_open(struct guard_watchdog *watchdog, const char *path, uint32_t timeout_ms);
// Pets it if it is time; to be called at least each second.
void guard_watchdog_pet(struct guard_watchdog *watchdog, uint64_t now_ms);
// `disarms`: nobody can write any more. Else the device goes on and resets the machine.
void guard_watchdog_close(struct guard_watchdog *watchdog, bool disarms);
