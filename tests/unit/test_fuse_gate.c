// SPDX-License-Identifier: Apache-2.0
// Requests that wait: at the gate, for other nodes, when their process is killed, at the end.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fs/fuse_mount.h"
#include "tests/unit/fuse_world.h"

// --- the gate ------------------------------------------------------------------------------------

static unsigned gate_phase;

// Shuts the gate; once both requests wait there, opens it again.
static void shut_and_open_gate(struct fuse_world *w)
{
    struct fuse_server_counters counters;
    fuse_server_counters(w->server, &counters);
    if (gate_phase == 0 && w->is_live) {
        atomic_store(&w->fake.gate.state, GATE_SUSPENDED);
        gate_phase = 1;
    } else if (gate_phase == 1 && counters.requests_at_gate >= 1) {
        atomic_store(&w->fake.gate.state, GATE_RUNNING);
        gate_phase = 2;
    }
}

static void read_until_suspended(void)
{
    for (unsigned i = 0; i < 3000; i++) {
        int fd = open("lun", O_RDONLY);
        EXPECT(fd >= 0);
        fuse_client_check_lun(fd, 0, 4096);
        close(fd);
    }
}

static void test_suspended_waits(void **state)
{
    (void)state;
    gate_phase = 0;
    fuse_world_run(read_until_suspended, shut_and_open_gate);
    assert_int_equal(gate_phase, 2);
}

// --- requests of the killed ----------------------------------------------------------------------

// What the client's child and the world tell each other.
struct stage {
    pid_t victim;
    bool is_shut; // the gate
    unsigned phase;
    uint64_t interrupted_ns;
};

static struct stage *stage;

static void stage_set(void)
{
    stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(stage != MAP_FAILED);
}

static void ignore_signal(int number)
{
    (void)number;
}

// A signal that kills nobody comes first, and must not end the wait.
static void interrupt_then_kill(bool is_blocked)
{
    enum { LONGER_THAN_PATROLS_NS = 700 * 1000 * 1000 };
    uint64_t now = environment_event_now_ns();
    if (stage->phase == 0 && is_blocked && stage->victim != 0) {
        assert_int_equal(kill(stage->victim, SIGUSR1), 0);
        stage->interrupted_ns = now;
        stage->phase = 1;
    } else if (stage->phase == 1 && now > stage->interrupted_ns + LONGER_THAN_PATROLS_NS) {
        assert_true(is_blocked);
        assert_int_equal(kill(stage->victim, SIGKILL), 0);
        stage->phase = 2;
    }
}

// The victim dies though nothing else moves; the client's alarm bounds the wait for that.
static void expect_death(void (*blocks)(void))
{
    int status;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        signal(SIGUSR1, ignore_signal);
        stage->victim = getpid();
        blocks();
        _exit(1);
    }
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void shut_gate_then_kill(struct fuse_world *w)
{
    struct fuse_server_counters counters;
    fuse_server_counters(w->server, &counters);
    if (counters.handles > 0 && !stage->is_shut) {
        atomic_store(&w->fake.gate.state, GATE_SUSPENDED);
        stage->is_shut = true;
    }
    interrupt_then_kill(counters.requests_at_gate > 0);
}

static void open_lun(void)
{
    open("lun", O_RDONLY);
}

static void be_killed_at_gate(void)
{
    EXPECT(open("lun", O_RDONLY) >= 0);
    while (!stage->is_shut)
        sched_yield();
    expect_death(open_lun);
}

static void test_killed_at_gate(void **state)
{
    (void)state;
    stage_set();
    fuse_world_run(be_killed_at_gate, shut_gate_then_kill);
    assert_int_equal(stage->phase, 2);
}

static void kill_when_stalled(struct fuse_world *w)
{
    struct fuse_server_counters counters;
    fuse_server_counters(w->server, &counters);
    interrupt_then_kill(counters.requests_alive > 0 &&
                        !wait_queue_is_empty(&w->fake.stall_waiters));
}

static void look_at_stall(void)
{
    access("stall", F_OK);
}

static void be_killed_in_operation(void)
{
    expect_death(look_at_stall);
}

static void test_killed_in_operation(void **state)
{
    (void)state;
    stage_set();
    world.fake.is_stalled = true;
    fuse_world_run(be_killed_in_operation, kill_when_stalled);
    assert_int_equal(stage->phase, 2);
    assert_non_null(world.fake.interrupted);
}

static void end_gate(struct fuse_world *w)
{
    struct fuse_server_counters counters;
    fuse_server_counters(w->server, &counters);
    if (counters.handles > 0)
        atomic_store(&w->fake.gate.state, GATE_ENDED);
}

static void read_until_ended(void)
{
    char byte;
    int fd = open("lun", O_RDONLY);
    EXPECT(fd >= 0);
    while (pread(fd, &byte, 1, 0) == 1)
        sched_yield();
    EXPECT(errno == EIO);
    EXPECT(open("lun", O_RDONLY) < 0 && errno == EIO);
    EXPECT(close(fd) == 0);
}

static void test_ended_answers_eio(void **state)
{
    (void)state;
    fuse_world_run(read_until_ended, end_gate);
}

// --- the end -------------------------------------------------------------------------------------

static bool aborted;

static void abort_when_stalled(struct fuse_world *w)
{
    struct fuse_server_counters counters;
    fuse_server_counters(w->server, &counters);
    if (aborted || counters.requests_alive == 0 || counters.handles == 0)
        return;
    aborted = true;
    assert_int_equal(fuse_mount_abort(fuse_server_connection(w->server), w->mount), 0);
    w->fake.is_stalled = false;
    wait_queue_wake_all(w->fake.volume.scheduler, &w->fake.stall_waiters);
}

static void stall(void)
{
    int fd = open("lun", O_RDONLY);
    EXPECT(fd >= 0);
    EXPECT(access("stall", F_OK) != 0 && errno == ECONNABORTED);
    _exit(0);
}

static void test_abort_ends_everything(void **state)
{
    (void)state;
    aborted = false;
    world.fake.is_stalled = true;
    fuse_world_run(stall, abort_when_stalled);
    assert_true(aborted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FUSE_TEST(test_suspended_waits),       FUSE_TEST(test_killed_at_gate),
        FUSE_TEST(test_killed_in_operation),   FUSE_TEST(test_ended_answers_eio),
        FUSE_TEST(test_abort_ends_everything),
    };
    return fuse_world_run_tests("test_fuse_gate", tests);
}
