// SPDX-License-Identifier: Apache-2.0
// What only sanitized builds do.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#include <stddef.h>

// Reports memory that nothing points to any more, and ends the process if there is some. For
// processes that end by _exit, where nobody would look; the other threads should have ended.
static inline void sanitizer_check_leaks(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __lsan_do_leak_check();
#endif
}

// What ThreadSanitizer keeps for each stack that a thread may be on: which functions are being
// called there. `new` for each life of a coroutine; `enter` right before its stack, or the thread's
// own, is switched to (inlined: a call of its own would begin on one stack and end on the other).
static inline void *sanitizer_stack_new(void)
{
#if defined(__SANITIZE_THREAD__)
    return __tsan_create_fiber(0);
#else
    return NULL;
#endif
}

static inline void sanitizer_stack_free(void *stack)
{
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(stack);
#else
    (void)stack;
#endif
}

static inline void *sanitizer_stack_current(void)
{
#if defined(__SANITIZE_THREAD__)
    return __tsan_get_current_fiber();
#else
    return NULL;
#endif
}

static inline __attribute__((always_inline)) void sanitizer_stack_enter(void *stack)
{
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(stack, 0);
#else
    (void)stack;
#endif
}
