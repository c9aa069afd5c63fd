// SPDX-License-Identifier: Apache-2.0
// What only sanitized builds do.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

// Reports memory that nothing points to any more, and ends the process if there is some. For
// processes that end by _exit, where nobody would look; the other threads should have ended.
static inline void sanitizer_check_leaks(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __lsan_do_leak_check();
#endif
}
