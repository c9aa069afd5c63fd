// SPDX-License-Identifier: Apache-2.0
// Stacks come from mmap, with a guard page below, and are kept for the next coroutine. A switch
// saves the callee-saved registers on the old stack and takes them from the new one (System V ABI,
// AMD64 supplement 1.0, section 3.2.1): no system call, unlike swapcontext().
#include "fs/base/coroutine.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/check.h"
#include "fs/base/sanitizer.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

enum {
    STACK_BYTES = 256 << 10, // touched pages only cost memory
    GUARD_BYTES = 4 << 10,
    POOL_MAX = 64, // unless scheduler_keep says otherwise
};

struct context {
#if defined(__x86_64__)
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    void *fake_stack;      // AddressSanitizer's
    void *sanitizer_stack; // ThreadSanitizer's
};

struct coroutine {
    TAILQ_ENTRY(coroutine) link; // ready list or pool
    struct context context;
    uint8_t *stack; // the mapping, guard page first
    const char *name;
    void (*function)(void *argument);
    void *argument;
    const void *local;
    bool is_waiting;
};

TAILQ_HEAD(coroutine_list, coroutine);

struct scheduler {
    struct coroutine_list ready;
    struct coroutine_list pool;
    size_t pool_count, pool_max;
    size_t alive;
    struct coroutine *current;
    struct coroutine *finished; // to be recycled once its stack is left
    struct context main;
    const void *main_stack; // AddressSanitizer's
    size_t main_stack_bytes;
};

struct wait_entry {
    TAILQ_ENTRY(wait_entry) link;
    struct coroutine *coroutine;
    bool is_queued;
};

// --- switching -------------------------------------------------------------------------------

#if defined(__x86_64__)

// void context_swap(void **save_stack_pointer, void *stack_pointer)
void context_swap(void **save_stack_pointer, void *stack_pointer);
__asm__(".text\n"
        ".p2align 4\n"
        ".globl context_swap\n"
        ".type context_swap, @function\n"
        "context_swap:\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size context_swap, .-context_swap\n");

#endif

static void switch_begin(struct context *from, const void *stack, size_t stack_bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(from ? &from->fake_stack : NULL, stack, stack_bytes);
#else
    (void)from, (void)stack, (void)stack_bytes;
#endif
}

static void switch_end(struct context *to, const void **old_stack, size_t *old_bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(to->fake_stack, old_stack, old_bytes);
#else
    (void)to, (void)old_stack, (void)old_bytes;
#endif
}

static void context_switch(struct context *from, struct context *to)
{
    sanitizer_stack_enter(to->sanitizer_stack);
#if defined(__x86_64__)
    context_swap(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->context, &to->context);
#endif
}

static uint8_t *stack_lowest(const struct coroutine *coroutine)
{
    return coroutine->stack + GUARD_BYTES;
}

static void leave_to_main(struct scheduler *scheduler, struct coroutine *coroutine, bool for_good)
{
    switch_begin(for_good ? NULL : &coroutine->context, scheduler->main_stack,
                 scheduler->main_stack_bytes);
    context_switch(&coroutine->context, &scheduler->main);
    switch_end(&coroutine->context, &scheduler->main_stack, &scheduler->main_stack_bytes);
}

static void run(struct scheduler *scheduler, struct coroutine *coroutine)
{
    scheduler->current = coroutine;
    scheduler->main.sanitizer_stack = sanitizer_stack_current();
    switch_begin(&scheduler->main, stack_lowest(coroutine), STACK_BYTES);
    context_switch(&scheduler->main, &coroutine->context);
    switch_end(&scheduler->main, NULL, NULL);
    scheduler->current = NULL;
}

static void coroutine_body(struct scheduler *scheduler)
{
    struct coroutine *self = scheduler->current;
    switch_end(&self->context, &scheduler->main_stack, &scheduler->main_stack_bytes);
    self->function(self->argument);
    scheduler->finished = self;
    leave_to_main(scheduler, self, true);
    CHECK(!"a finished coroutine was resumed");
}

#if defined(__x86_64__)

// The first switch "returns" here with the scheduler in a callee-saved register.
__asm__(".text\n"
        ".p2align 4\n"
        ".type coroutine_trampoline, @function\n"
        "coroutine_trampoline:\n"
        "    endbr64\n"
        "    movq %rbx, %rdi\n"
        "    call *%r12\n"
        "    ud2\n"
        ".size coroutine_trampoline, .-coroutine_trampoline\n");
void coroutine_trampoline(void);

static void context_prepare(struct coroutine *coroutine, struct scheduler *scheduler)
{
    uint64_t *top = (uint64_t *)(stack_lowest(coroutine) + STACK_BYTES);
    // At the trampoline's entry the stack must be 16-byte aligned (its call makes it odd again).
    uint64_t frame[] = {
        0,                             // r15
        0,                             // r14
        0,                             // r13
        (uint64_t)coroutine_body,      // r12
        (uint64_t)scheduler,           // rbx
        0,                             // rbp: ends a debugger's walk
        (uint64_t)coroutine_trampoline // return address
    };
    top -= 2; // keeps the alignment after the frame is popped
    memcpy(top - sizeof(frame) / 8, frame, sizeof(frame));
    coroutine->context.stack_pointer = top - sizeof(frame) / 8;
}

#else

static void body_from_halves(unsigned low, unsigned high)
{
    coroutine_body((struct scheduler *)((uintptr_t)low | (uintptr_t)high << 32));
}

static void context_prepare(struct coroutine *coroutine, struct scheduler *scheduler)
{
    ucontext_t *context = &coroutine->context.context;
    getcontext(context);
    context->uc_stack.ss_sp = stack_lowest(coroutine);
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = NULL;
    uintptr_t p = (uintptr_t)scheduler;
    makecontext(context, (void (*)(void))body_from_halves, 2, (unsigned)p,
                (unsigned)((uint64_t)p >> 32));
}

#endif

// --- life ------------------------------------------------------------------------------------

struct scheduler *scheduler_new(void)
{
    struct scheduler *scheduler = calloc(1, sizeof(*scheduler));
    CHECK(scheduler != NULL);
    TAILQ_INIT(&scheduler->ready);
    TAILQ_INIT(&scheduler->pool);
    scheduler->pool_max = POOL_MAX;
    return scheduler;
}

void scheduler_keep(struct scheduler *scheduler, size_t stack_count_max)
{
    scheduler->pool_max = stack_count_max;
}

static void coroutine_destroy(struct coroutine *coroutine)
{
    munmap(coroutine->stack, GUARD_BYTES + STACK_BYTES);
    free(coroutine);
}

void scheduler_free(struct scheduler *scheduler)
{
    CHECK(scheduler->alive == 0);
    struct coroutine *coroutine;
    while ((coroutine = TAILQ_FIRST(&scheduler->pool)) != NULL) {
        TAILQ_REMOVE(&scheduler->pool, coroutine, link);
        coroutine_destroy(coroutine);
    }
    free(scheduler);
}

static struct coroutine *coroutine_create(void)
{
    struct coroutine *coroutine = calloc(1, sizeof(*coroutine));
    CHECK(coroutine != NULL);
    coroutine->stack = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(coroutine->stack != MAP_FAILED);
    CHECK(mprotect(coroutine->stack, GUARD_BYTES, PROT_NONE) == 0);
    return coroutine;
}

static struct coroutine *coroutine_from_pool(struct scheduler *scheduler)
{
    struct coroutine *coroutine = TAILQ_FIRST(&scheduler->pool);
    if (coroutine == NULL)
        return coroutine_create();
    TAILQ_REMOVE(&scheduler->pool, coroutine, link);
    scheduler->pool_count--;
    coroutine->context.fake_stack = NULL;
    return coroutine;
}

static void recycle_finished(struct scheduler *scheduler)
{
    struct coroutine *coroutine = scheduler->finished;
    if (coroutine == NULL)
        return;
    scheduler->finished = NULL;
    scheduler->alive--;
    sanitizer_stack_free(coroutine->context.sanitizer_stack);
    if (scheduler->pool_count >= scheduler->pool_max) {
        coroutine_destroy(coroutine);
        return;
    }
    TAILQ_INSERT_HEAD(&scheduler->pool, coroutine, link);
    scheduler->pool_count++;
}

struct coroutine *coroutine_start(struct scheduler *scheduler, const char *name,
                                  void (*function)(void *argument), void *argument)
{
    struct coroutine *coroutine = coroutine_from_pool(scheduler);
    coroutine->name = name;
    coroutine->function = function;
    coroutine->argument = argument;
    coroutine->local = NULL;
    coroutine->is_waiting = false;
    context_prepare(coroutine, scheduler);
    coroutine->context.sanitizer_stack = sanitizer_stack_new();
    scheduler->alive++;
    TAILQ_INSERT_TAIL(&scheduler->ready, coroutine, link);
    return coroutine;
}

void scheduler_run(struct scheduler *scheduler)
{
    CHECK(scheduler->current == NULL);
    struct coroutine *coroutine;
    while ((coroutine = TAILQ_FIRST(&scheduler->ready)) != NULL) {
        TAILQ_REMOVE(&scheduler->ready, coroutine, link);
        run(scheduler, coroutine);
        recycle_finished(scheduler);
    }
}

bool scheduler_has_ready(const struct scheduler *scheduler)
{
    return !TAILQ_EMPTY(&scheduler->ready);
}

size_t scheduler_alive(const struct scheduler *scheduler)
{
    return scheduler->alive;
}

struct coroutine *coroutine_current(const struct scheduler *scheduler)
{
    return scheduler->current;
}

void coroutine_set_local(struct scheduler *scheduler, const void *local)
{
    CHECK(scheduler->current != NULL);
    scheduler->current->local = local;
}

const void *coroutine_local(const struct scheduler *scheduler)
{
    return scheduler->current != NULL ? scheduler->current->local : NULL;
}

void coroutine_wait(struct scheduler *scheduler)
{
    struct coroutine *self = scheduler->current;
    CHECK(self != NULL);
    self->is_waiting = true;
    leave_to_main(scheduler, self, false);
}

void coroutine_wake(struct scheduler *scheduler, struct coroutine *coroutine)
{
    CHECK(coroutine->is_waiting);
    coroutine->is_waiting = false;
    TAILQ_INSERT_TAIL(&scheduler->ready, coroutine, link);
}

void coroutine_pause(struct scheduler *scheduler)
{
    struct coroutine *self = scheduler->current;
    CHECK(self != NULL);
    TAILQ_INSERT_TAIL(&scheduler->ready, self, link);
    leave_to_main(scheduler, self, false);
}

// --- wait queues -----------------------------------------------------------------------------

void wait_queue_init(struct wait_queue *queue)
{
    TAILQ_INIT(&queue->waiting);
}

bool wait_queue_is_empty(const struct wait_queue *queue)
{
    return TAILQ_EMPTY(&queue->waiting);
}

void wait_queue_wait(struct scheduler *scheduler, struct wait_queue *queue)
{
    struct wait_entry entry = {.coroutine = scheduler->current, .is_queued = true};
    TAILQ_INSERT_TAIL(&queue->waiting, &entry, link);
    coroutine_wait(scheduler);
    CHECK(!entry.is_queued);
}

static void wake_entry(struct scheduler *scheduler, struct wait_queue *queue,
                       struct wait_entry *entry)
{
    TAILQ_REMOVE(&queue->waiting, entry, link);
    entry->is_queued = false;
    coroutine_wake(scheduler, entry->coroutine);
}

void wait_queue_wake_one(struct scheduler *scheduler, struct wait_queue *queue)
{
    struct wait_entry *entry = TAILQ_FIRST(&queue->waiting);
    if (entry != NULL)
        wake_entry(scheduler, queue, entry);
}

void wait_queue_wake_all(struct scheduler *scheduler, struct wait_queue *queue)
{
    struct wait_entry *entry;
    while ((entry = TAILQ_FIRST(&queue->waiting)) != NULL)
        wake_entry(scheduler, queue, entry);
}

bool wait_queue_wake_this(struct scheduler *scheduler, struct wait_queue *queue,
                          struct coroutine *coroutine)
{
    struct wait_entry *entry;
    TAILQ_FOREACH (entry, &queue->waiting, link) {
        if (entry->coroutine == coroutine) {
            wake_entry(scheduler, queue, entry);
            return true;
        }
    }
    return false;
}
