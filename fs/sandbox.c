// SPDX-License-Identifier: Apache-2.0
// Why a trap and not an error from the filter itself: the handler is what can say which call it
// was.
#include "fs/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "fs/base/text.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

// --- the list --------------------------------------------------------------------------------

enum who { GUARD = 1 << SANDBOX_GUARD, WORKER = 1 << SANDBOX_WORKER, BOTH = GUARD | WORKER };

// Allowed is what `mask` leaves equal to `value` in argument `argument`.
struct test {
    unsigned argument;
    uint64_t mask, value;
};

enum { TESTS_MAX = 6 };

#define WHOLE 0xffffffffu // arguments of type int: what stands above them is not looked at

struct condition {
    bool is_missing;      // said not to be there
    bool of_this_process; // the test's value is its number
    unsigned test_count;  // each is enough; 0: always
    struct test tests[TESTS_MAX];
};

static const struct condition ALWAYS = {0};
static const struct condition SAID_TO_BE_MISSING = {.is_missing = true};
static const struct condition KNOWN_REQUESTS = {
    .test_count = 6,
    .tests = {{1, WHOLE, BLKGETSIZE64},
              {1, WHOLE, BLKSSZGET},
              {1, WHOLE, BLKDISCARD},
              {1, WHOLE, FUSE_DEV_IOC_CLONE},
              {1, WHOLE, FIONREAD},
              {1, WHOLE, TCGETS}},
};
static const struct condition NOT_WRITTEN_AND_RUN = {
    .test_count = 3,
    .tests = {{2, PROT_WRITE | PROT_EXEC, 0},
              {2, PROT_WRITE | PROT_EXEC, PROT_WRITE},
              {2, PROT_WRITE | PROT_EXEC, PROT_EXEC}},
};
static const struct condition NOT_MADE_CODE = {
    .test_count = 1,
    .tests = {{2, PROT_EXEC, 0}},
};
static const struct condition THREADS_ALONE = {
    .test_count = 1,
    .tests = {{0, CLONE_THREAD, CLONE_THREAD}},
};
static const struct condition NAMES_ALONE = {
    .test_count = 3,
    .tests = {{0, WHOLE, PR_SET_NAME}, {0, WHOLE, PR_GET_NAME}, {0, WHOLE, PR_SET_VMA}},
};
static const struct condition KNOWN_FAMILIES = {
    .test_count = 4,
    .tests = {{0, WHOLE, AF_UNIX},
              {0, WHOLE, AF_INET},
              {0, WHOLE, AF_INET6},
              {0, WHOLE, AF_NETLINK}},
};
static const struct condition LOCAL_FAMILY = {.test_count = 1, .tests = {{0, WHOLE, AF_UNIX}}};
static const struct condition LIMITS_READ = {.test_count = 1, .tests = {{2, UINT64_MAX, 0}}};
static const struct condition NO_SIGNAL = {.test_count = 1, .tests = {{1, WHOLE, 0}}};
static const struct condition OWN_THREADS = {
    .of_this_process = true,
    .test_count = 1,
    .tests = {{0, WHOLE, 0}},
};

struct call {
    int number;
    enum who who;
    const struct condition *condition;
};

#define SANDBOX_CALL(name, who, condition, why) {SCMP_SYS(name), who, &(condition)},
static const struct call calls[] = {
#include "fs/sandbox_calls.def"
};
#undef SANDBOX_CALL

// --- the filter ------------------------------------------------------------------------------

static int allow_tested(scmp_filter_ctx filter, int number, const struct test *test)
{
    struct scmp_arg_cmp compare =
        SCMP_CMP64(test->argument, SCMP_CMP_MASKED_EQ, test->mask, test->value);
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &compare);
}

static int add_call(scmp_filter_ctx filter, const struct call *call)
{
    const struct condition *condition = call->condition;
    if (condition->is_missing)
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call->number, 0);
    if (condition->test_count == 0)
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call->number, 0);
    int result = 0;
    for (unsigned i = 0; i < condition->test_count && result == 0; i++) {
        struct test test = condition->tests[i];
        if (condition->of_this_process)
            test.value = (uint64_t)getpid();
        result = allow_tested(filter, call->number, &test);
    }
    return result;
}

static int add_calls(scmp_filter_ctx filter, enum sandbox_process process)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if ((calls[i].who & 1u << process) == 0)
            continue;
        int result = add_call(filter, &calls[i]);
        if (result != 0)
            return result;
    }
    return 0;
}

// Sorted as a tree, because each call of a lane goes through it; threads that are there already are
// confined too; no new privileges comes with it.
static int set_filter(enum sandbox_process process)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    if (filter == NULL)
        return -ENOMEM;
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result == 0)
        result = add_calls(filter, process);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

// --- what is refused -------------------------------------------------------------------------

// A handler is told nothing but the signal: its process's words stand here, set once, before the
// filter. The simulator's nodes are never confined.
static struct sandbox_refused *refused_words;

static long refusal(int number)
{
    // What this list could not know of (the newest call of the headers it was made with).
    return number > SYS_set_mempolicy_home_node ? -ENOSYS : -EPERM;
}

static void set_result(ucontext_t *context, long result)
{
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = result;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = (unsigned long long)result;
#else
#error "where does this architecture keep the result of a system call?"
#endif
}

static void on_refused(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    unsigned number = (unsigned)info->si_syscall;
    if (number < SANDBOX_CALLS)
        atomic_fetch_or(&refused_words->asked[number / 64], (uint64_t)1 << number % 64);
    set_result(context, refusal(info->si_syscall));
}

static int catch_refusals(struct sandbox_refused *refused)
{
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigset_t trap;
    sigemptyset(&trap);
    sigaddset(&trap, SIGSYS);
    sigprocmask(SIG_UNBLOCK, &trap, NULL);
    refused_words = refused;
    return sigaction(SIGSYS, &action, NULL) == 0 ? 0 : -errno;
}

bool sandbox_next_refused(struct sandbox_refused *refused, char name[SANDBOX_CALL_BYTES])
{
    for (unsigned number = 0; number < SANDBOX_CALLS; number++) {
        uint64_t bit = (uint64_t)1 << number % 64;
        uint64_t news = atomic_load(&refused->asked[number / 64]) & ~refused->told[number / 64];
        if ((news & bit) == 0)
            continue;
        refused->told[number / 64] |= bit;
        char *known = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)number);
        snprintf(name, SANDBOX_CALL_BYTES, "%s (%u)", known != NULL ? known : "system call",
                 number);
        free(known);
        return true;
    }
    return false;
}

// --- capabilities ----------------------------------------------------------------------------

enum { CAPABILITIES = 64 };

// The guard: memory that it maps later is to be locked as well. The worker: that, and the
// heartbeat's priority.
static uint64_t kept_capabilities(enum sandbox_process process, uint16_t port)
{
    uint64_t kept = (uint64_t)1 << CAP_IPC_LOCK;
    if (process == SANDBOX_WORKER)
        kept |= (uint64_t)1 << CAP_SYS_NICE;
    if (port > 0 && port < 1024)
        kept |= (uint64_t)1 << CAP_NET_BIND_SERVICE;
    return kept;
}

// What it does not have, in a container perhaps, it does not get.
static int drop_capabilities(uint64_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    for (unsigned capability = 0; capability < CAPABILITIES; capability++) {
        if ((kept >> capability & 1) == 0)
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); // EINVAL behind the kernel's last one
    }
    if (syscall(SYS_capget, &header, sets) != 0)
        return -errno;
    for (unsigned i = 0; i < 2; i++) {
        sets[i].permitted &= (uint32_t)(kept >> 32 * i);
        sets[i].effective = sets[i].permitted;
        sets[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, sets) == 0 ? 0 : -errno;
}

int sandbox_enter(enum sandbox_process process, uint16_t port, struct sandbox_refused *refused)
{
    int result = drop_capabilities(kept_capabilities(process, port));
    if (result == 0)
        result = catch_refusals(refused);
    return result == 0 ? set_filter(process) : result;
}
