// SPDX-License-Identifier: Apache-2.0
// The FUSE front end over a fake volume: a real mount in a mount namespace of its own. Each test
// runs its client in a child process, so that a hanging request hangs the child and not the core.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/check.h"
#include "fs/base/environment_event.h"
#include "fs/fuse_mount.h"
#include "fs/fuse_server.h"
#include "fs/operation.h"
#include "tests/unit/fake_volume.h"

enum { LUN_BYTES = 4 << 20, LANES = 3 };

struct world {
    char directory[32], mount[64], lun[64];
    int backing;
    struct environment *environment;
    struct fake_volume fake;
    struct fake_locks locks;
    struct fuse_server *server;
    struct fuse_server_counters counters;   // as they stood at the end
    void (*meanwhile)(struct world *world); // on the core, each time the timer fires
    struct environment_timer timer;
    bool is_live;
};

static struct world world;

// --- the world ---------------------------------------------------------------------------------

static uint8_t lun_byte(uint64_t offset)
{
    return (uint8_t)(offset * 2654435761u >> 13);
}

static void fill_lun(void)
{
    static uint8_t bytes[LUN_BYTES];
    for (size_t i = 0; i < LUN_BYTES; i++)
        bytes[i] = lun_byte(i);
    CHECK(pwrite(world.backing, bytes, LUN_BYTES, 0) == LUN_BYTES);
}

static void on_live(void *context)
{
    struct world *w = context;
    w->is_live = true;
}

static void on_ended(void *context)
{
    struct world *w = context;
    fuse_server_counters(w->server, &w->counters);
    environment_event_stop(w->environment);
}

static void on_timer(struct environment_timer *timer)
{
    (void)timer;
    if (world.meanwhile != NULL)
        world.meanwhile(&world);
    environment_timer_arm(world.environment, &world.timer, environment_event_now_ns() + 2000000);
}

static int setup(void **state)
{
    (void)state;
    strcpy(world.directory, "/tmp/lunfs-unit-XXXXXX");
    assert_non_null(mkdtemp(world.directory));
    snprintf(world.mount, sizeof(world.mount), "%s/m", world.directory);
    snprintf(world.lun, sizeof(world.lun), "%s/lun", world.directory);
    assert_int_equal(chmod(world.directory, 0755), 0);
    assert_int_equal(mkdir(world.mount, 0755), 0);
    world.backing = open(world.lun, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(world.backing >= 0);
    fill_lun();
    world.environment = environment_event_new(scheduler_new());
    fake_volume_init(&world.fake, world.environment, world.backing, LUN_BYTES);
    fake_locks_init(&world.locks);
    world.meanwhile = NULL;
    world.is_live = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct scheduler *scheduler = world.environment->scheduler;
    fake_volume_deinit(&world.fake);
    environment_event_free(world.environment);
    assert_int_equal(scheduler_alive(scheduler), 0);
    scheduler_free(scheduler);
    close(world.backing);
    assert_int_equal(unlink(world.lun), 0);
    assert_int_equal(rmdir(world.mount), 0);
    assert_int_equal(rmdir(world.directory), 0);
    return 0;
}

// A client's failed expectation: says where and ends the child.
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
                    errno);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static pid_t start_client(void (*client)(void))
{
    int go[2];
    char byte;
    CHECK(pipe2(go, O_CLOEXEC) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(go[1]);
        alarm(60);
        EXPECT(read(go[0], &byte, 1) == 0); // the mount stands when the parent closes its end
        EXPECT(chdir(world.mount) == 0);
        client();
        _exit(0);
    }
    close(go[0]);
    struct fuse_server_config config = {
        .volume = &world.fake.volume,
        .range_locks = &world.locks.locks,
        .lun_descriptor = world.backing,
        .directory = world.mount,
        .lane_count = LANES,
        .live = on_live,
        .ended = on_ended,
        .context = &world,
    };
    assert_int_equal(fuse_mount_attach(world.lun, world.mount, MS_NOSUID, &config.descriptor,
                                       &config.connection),
                     0);
    assert_int_equal(fuse_server_start(&config, &world.server), 0);
    close(go[1]);
    return child;
}

static pid_t client_process;
static int client_status;

// The client's end is what ends the mount.
static void unmount_after_client(struct world *w)
{
    bool was_busy;
    if (client_process == 0 || waitpid(client_process, &client_status, WNOHANG) == 0)
        return;
    client_process = 0;
    assert_int_equal(fuse_mount_detach(w->mount, &was_busy), 0);
    assert_false(was_busy);
}

static void (*beside)(struct world *world);

static void meanwhile(struct world *w)
{
    if (beside != NULL)
        beside(w);
    unmount_after_client(w);
}

// Runs the client to its end against a fresh mount.
static void run_client(void (*client)(void))
{
    client_process = start_client(client);
    world.meanwhile = meanwhile;
    world.timer.fire = on_timer;
    on_timer(&world.timer);
    environment_event_run(world.environment);
    environment_timer_disarm(world.environment, &world.timer);
    while (client_process != 0) // an abort ends the session before the client
        unmount_after_client(&world);
    fuse_server_free(world.server);
    assert_true(world.is_live);
    assert_true(WIFEXITED(client_status));
    assert_int_equal(WEXITSTATUS(client_status), 0);
    assert_int_equal(world.counters.requests_alive, 0);
    assert_int_equal(world.counters.handles, 0);
    beside = NULL;
}

// --- data --------------------------------------------------------------------------------------

static void check_lun(int fd, uint64_t offset, size_t length)
{
    static uint8_t bytes[1 << 20];
    EXPECT(pread(fd, bytes, length, (off_t)offset) == (ssize_t)length);
    for (size_t i = 0; i < length; i++)
        EXPECT(bytes[i] == lun_byte(offset + i));
}

static void read_and_write_lun(void)
{
    uint8_t block[8192];
    int fd = open("lun", O_RDWR);
    EXPECT(fd >= 0);
    check_lun(fd, 0, 4096);
    check_lun(fd, 777, 5000); // neither end on a sector
    check_lun(fd, LUN_BYTES - 100, 100);
    check_lun(fd, 0, 1 << 20);
    EXPECT(pread(fd, block, 4096, LUN_BYTES - 10) == 10);
    EXPECT(pread(fd, block, 4096, LUN_BYTES) == 0);
    EXPECT(pread(fd, block, 4096, LUN_BYTES + 4096) == 0);
    memset(block, 'w', sizeof(block));
    EXPECT(pwrite(fd, block, 8192, 65536) == 8192);
    EXPECT(pread(fd, block, 1, 65535) == 1 && block[0] == lun_byte(65535));
    EXPECT(pread(fd, block, 1, 65536) == 1 && block[0] == 'w');
    EXPECT(close(fd) == 0);
}

static void test_lane_serves_mapped_data(void **state)
{
    (void)state;
    run_client(read_and_write_lun);
    // I5: nothing of it went through the core.
    assert_int_equal(world.counters.core_reads, 0);
    assert_int_equal(world.counters.core_writes, 0);
    assert_true(world.counters.lane_reads >= 8);
    assert_true(world.counters.lane_writes >= 1);
    assert_int_equal(world.counters.lane_errors, 0);
}

static void write_what_lanes_may_not(void)
{
    char bytes[600] = {0};
    int fd = open("lun", O_RDWR);
    EXPECT(pwrite(fd, bytes, 100, 512) == 100);       // part of a sector
    EXPECT(pwrite(fd, bytes, 512, LUN_BYTES) == 512); // behind the size
    EXPECT(fcntl(fd, F_SETFL, O_APPEND) == 0);
    EXPECT(write(fd, bytes, 512) == 512);
    close(fd);
    fd = open("lun", O_RDWR | O_DSYNC);
    EXPECT(pwrite(fd, bytes, 512, 0) == 512);
    close(fd);
}

static void test_core_gets_the_rest(void **state)
{
    (void)state;
    run_client(write_what_lanes_may_not);
    assert_int_equal(world.counters.core_writes, 4);
    assert_int_equal(world.counters.lane_writes, 0);
    assert_int_equal(world.fake.syncs, 1); // O_DSYNC
}

static void read_without_pass(void)
{
    int fd = open("lun", O_RDONLY);
    check_lun(fd, 4096, 4096);
    close(fd);
}

static void test_revoked_pass_goes_to_core(void **state)
{
    (void)state;
    pass_revoke(&world.fake.files[0].pass, PASS_READ);
    run_client(read_without_pass);
    assert_int_equal(world.counters.lane_reads, 0);
    assert_int_equal(world.counters.core_reads, 1);
}

static void write_as_nobody(void)
{
    char bytes[512] = {0};
    struct stat found;
    int fd = open("lun", O_RDWR);
    EXPECT(fchmod(fd, 04666) == 0);
    EXPECT(pwrite(fd, bytes, 512, 0) == 512); // root may
    EXPECT(fstat(fd, &found) == 0 && (found.st_mode & S_ISUID) != 0);
    EXPECT(setuid(65534) == 0);
    EXPECT(pwrite(fd, bytes, 512, 0) == 512);
    EXPECT(fstat(fd, &found) == 0 && (found.st_mode & S_ISUID) == 0);
    EXPECT(pwrite(fd, bytes, 512, 0) == 512); // nothing to drop any more: a lane's again
}

static void test_write_drops_set_id(void **state)
{
    (void)state;
    run_client(write_as_nobody);
    assert_int_equal(world.counters.core_writes, 1);
    assert_int_equal(world.counters.lane_writes, 2);
}

// --- names, attributes, directories --------------------------------------------------------------

static void use_names(void)
{
    char text[64];
    struct stat found;
    int fd = open("new", O_RDWR | O_CREAT | O_EXCL, 0640);
    EXPECT(fd >= 0);
    EXPECT(write(fd, "hello", 5) == 5);
    EXPECT(pread(fd, text, sizeof(text), 1) == 4 && memcmp(text, "ello", 4) == 0);
    EXPECT(fstat(fd, &found) == 0 && found.st_size == 5 && (found.st_mode & 0777) == 0640);
    EXPECT(open("new", O_RDWR | O_CREAT | O_EXCL, 0640) < 0 && errno == EEXIST);
    EXPECT(rename("new", "renamed") == 0);
    EXPECT(access("new", F_OK) != 0 && errno == ENOENT);
    EXPECT(unlink("renamed") == 0);
    EXPECT(pread(fd, text, sizeof(text), 0) == 5); // unlinked and open
    EXPECT(close(fd) == 0);
    EXPECT(symlink("some/target", "link") == 0);
    EXPECT(readlink("link", text, sizeof(text)) == 11);
    EXPECT(mkdir("folder", 0700) == 0 && stat("folder", &found) == 0 && S_ISDIR(found.st_mode));
    EXPECT(link("lun", "other") != 0 && errno == EMLINK);
}

static void test_names(void **state)
{
    (void)state;
    run_client(use_names);
}

static void use_attributes(void)
{
    char value[16];
    struct stat found;
    int fd = open("a", O_RDWR | O_CREAT, 0600);
    EXPECT(write(fd, "0123456789", 10) == 10);
    EXPECT(ftruncate(fd, 4) == 0 && fstat(fd, &found) == 0 && found.st_size == 4);
    EXPECT(fchmod(fd, 0604) == 0 && fstat(fd, &found) == 0 && (found.st_mode & 0777) == 0604);
    EXPECT(close(fd) == 0);
    EXPECT((fd = open("a", O_RDWR | O_TRUNC)) >= 0);
    EXPECT(fstat(fd, &found) == 0 && found.st_size == 0);
    EXPECT(fallocate(fd, 0, 0, 5000) == 0 && fstat(fd, &found) == 0 && found.st_size == 5000);
    EXPECT(lseek(fd, 0, SEEK_HOLE) == 5000);
    EXPECT(fsync(fd) == 0);
    EXPECT(fsetxattr(fd, "user.fake", "value", 5, 0) == 0);
    EXPECT(fgetxattr(fd, "user.fake", value, sizeof(value)) == 5);
    EXPECT(fgetxattr(fd, "user.fake", NULL, 0) == 5);
    EXPECT(fgetxattr(fd, "user.fake", value, 2) < 0 && errno == ERANGE);
    EXPECT(flistxattr(fd, value, sizeof(value)) == 10);
    EXPECT(fgetxattr(fd, "system.posix_acl_access", value, 1) < 0 && errno == ENODATA);
    EXPECT(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED &&
           errno == ENODEV);
    EXPECT(close(fd) == 0);
}

static void test_attributes(void **state)
{
    (void)state;
    run_client(use_attributes);
    assert_int_equal(world.fake.syncs, 1);
}

static void list_directory(void)
{
    char name[16];
    unsigned seen = 0;
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "file%u", i);
        EXPECT(close(open(name, O_CREAT | O_WRONLY, 0600)) == 0);
    }
    DIR *directory = opendir(".");
    EXPECT(directory != NULL);
    while (readdir(directory) != NULL)
        seen++;
    EXPECT(seen == 21); // with "lun"; the fake has no dots
    EXPECT(fsync(dirfd(directory)) == 0);
    closedir(directory);
}

static void test_directory(void **state)
{
    (void)state;
    run_client(list_directory);
}

// A node id whose number got another file: refused, not served.
static void reuse_number(struct world *w)
{
    if (w->fake.files[1].inode != 0 && w->fake.files[1].size == 1)
        w->fake.files[1].generation = 8;
}

static void use_stale_directory(void)
{
    int fd = open("x", O_RDWR | O_CREAT, 0600);
    int path = open("x", O_PATH);
    char again[64];
    EXPECT(fd >= 0 && path >= 0);
    EXPECT(write(fd, "1", 1) == 1);
    snprintf(again, sizeof(again), "/proc/self/fd/%d", path);
    while (open(again, O_RDONLY) >= 0) // until the core has changed the generation
        sched_yield();
    EXPECT(errno == ESTALE);
}

static void test_stale_node(void **state)
{
    (void)state;
    beside = reuse_number;
    run_client(use_stale_directory);
}

// A removed directory that is open still: no names, and not stale.
static void use_removed_directory(void)
{
    EXPECT(mkdir("d", 0700) == 0);
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    EXPECT(fd >= 0);
    EXPECT(rmdir("d") == 0);
    EXPECT(openat(fd, "f", O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOENT);
    EXPECT(mkdirat(fd, "e", 0700) < 0 && errno == ENOENT);
}

static void test_removed_directory(void **state)
{
    (void)state;
    run_client(use_removed_directory);
}

// --- a full volume -------------------------------------------------------------------------------

static void create_when_full(void)
{
    EXPECT(close(open("fits", O_CREAT | O_WRONLY, 0600)) == 0);
}

static void test_reclaims_before_enospc(void **state)
{
    (void)state;
    world.fake.is_full = world.fake.has_unlinked = true;
    run_client(create_when_full);
    assert_int_equal(world.fake.reclaims, 1);
}

static void create_in_vain(void)
{
    EXPECT(open("fits-not", O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOSPC);
}

static void test_enospc(void **state)
{
    (void)state;
    world.fake.is_full = true;
    run_client(create_in_vain);
    assert_int_equal(world.fake.reclaims, 1);
}

// --- the gate ------------------------------------------------------------------------------------

static unsigned gate_phase;

// Shuts the gate; once both requests wait there, opens it again.
static void shut_and_open_gate(struct world *w)
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
        check_lun(fd, 0, 4096);
        close(fd);
    }
}

static void test_suspended_waits(void **state)
{
    (void)state;
    gate_phase = 0;
    beside = shut_and_open_gate;
    run_client(read_until_suspended);
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

static void shut_gate_then_kill(struct world *w)
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
    beside = shut_gate_then_kill;
    run_client(be_killed_at_gate);
    assert_int_equal(stage->phase, 2);
}

static void kill_when_stalled(struct world *w)
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
    beside = kill_when_stalled;
    run_client(be_killed_in_operation);
    assert_int_equal(stage->phase, 2);
    assert_non_null(world.fake.interrupted);
}

static void end_gate(struct world *w)
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
    beside = end_gate;
    run_client(read_until_ended);
}

// --- locks ---------------------------------------------------------------------------------------

static int lock_range(int fd, int command, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &lock);
}

static void use_locks(void)
{
    int a = open("lun", O_RDWR), b = open("lun", O_RDWR);
    struct flock found = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    EXPECT(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    EXPECT(lock_range(b, F_OFD_SETLK, F_WRLCK, 5, 10) != 0 && errno == EAGAIN);
    EXPECT(lock_range(b, F_OFD_SETLK, F_WRLCK, 10, 0) == 0);
    EXPECT(fcntl(b, F_OFD_GETLK, &found) == 0 && found.l_type == F_WRLCK && found.l_start == 0 &&
           found.l_len == 10);
    EXPECT(lock_range(a, F_OFD_SETLK, F_UNLCK, 0, 10) == 0);
    EXPECT(lock_range(b, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    EXPECT(close(b) == 0); // drops what it took: the trap of FUSE stores
    EXPECT(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
    EXPECT(flock(a, LOCK_EX | LOCK_NB) == 0);
    b = open("lun", O_RDWR);
    EXPECT(flock(b, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    EXPECT(flock(a, LOCK_UN) == 0 && flock(b, LOCK_SH | LOCK_NB) == 0);
}

static void test_locks(void **state)
{
    (void)state;
    run_client(use_locks);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

// POSIX: closing any descriptor of the file drops the process's locks on it.
static void close_drops_posix(void)
{
    int a = open("lun", O_RDWR), b = open("lun", O_RDWR);
    EXPECT(lock_range(a, F_SETLK, F_WRLCK, 0, 10) == 0);
    EXPECT(close(b) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(lock_range(a, F_SETLK, F_WRLCK, 0, 10) == 0 ? 0 : 1);
    int status;
    EXPECT(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 0);
}

static void test_close_drops_posix_locks(void **state)
{
    (void)state;
    run_client(close_drops_posix);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

static void nothing_on_signal(int signal_number)
{
    (void)signal_number;
}

static void interrupt_wait(void)
{
    struct sigaction action = {.sa_handler = nothing_on_signal};
    struct itimerval soon = {.it_value.tv_usec = 100000, .it_interval.tv_usec = 100000};
    int a = open("lun", O_RDWR), b = open("lun", O_RDWR);
    EXPECT(lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    EXPECT(lock_range(b, F_OFD_SETLKW, F_WRLCK, 0, 10) != 0 && errno == EINTR);
}

static void test_wait_is_interrupted(void **state)
{
    (void)state;
    run_client(interrupt_wait);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

// The master does not answer the cancellation (it is being recovered): EINTR comes all the same,
// and when the grant comes at last it is given back.
static void grant_late(struct world *w)
{
    if (client_process == 0)
        return;
    int status;
    if (waitpid(client_process, &status, WNOHANG) == 0)
        return;
    client_status = status;
    client_process = 0;
    w->locks.ignores_cancel = false;
    for (unsigned i = 0; i < 64; i++) {
        struct range_lock_request *request = w->locks.waiting[i];
        if (request == NULL)
            continue;
        w->locks.waiting[i] = NULL;
        w->locks.held[63].is_used = true;
        w->locks.held[63].lock = request->lock;
        request->done(request, 0);
    }
    bool was_busy;
    assert_int_equal(fuse_mount_detach(w->mount, &was_busy), 0);
}

static void test_wait_is_interrupted_in_recovery(void **state)
{
    (void)state;
    world.locks.ignores_cancel = true;
    beside = grant_late;
    run_client(interrupt_wait);
    assert_int_equal(fake_locks_held(&world.locks), 0);
}

// --- the end -------------------------------------------------------------------------------------

static bool aborted;

static void abort_when_stalled(struct world *w)
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
    beside = abort_when_stalled;
    run_client(stall);
    assert_true(aborted);
}

// --- loans ---------------------------------------------------------------------------------------

enum { LOOKS = 200 };

static void look_often(void)
{
    struct stat found;
    for (int i = 0; i < LOOKS; i++)
        EXPECT(stat("lun", &found) == 0 && found.st_size == LUN_BYTES);
}

static void test_lends(void **state)
{
    (void)state;
    world.fake.volume.options.keep_names = world.fake.lends = true;
    run_client(look_often);
    assert_true(world.counters.core_requests < LOOKS / 10);
    assert_int_equal(world.counters.loans, 3); // the name, attributes of the file and of the root
    assert_int_equal(world.counters.recalls, 0);
}

static void test_lends_nothing_unasked(void **state)
{
    (void)state;
    world.fake.lends = true;
    run_client(look_often);
    assert_true(world.counters.core_requests >= LOOKS);
    assert_int_equal(world.counters.loans, 0);
}

static void call_in(void *argument)
{
    operation_recall(argument, FAKE_LUN);
}

// As another node would, once the client has made the name "go".
static void change_when_told(struct world *w)
{
    if (w->fake.inode_last == FAKE_LUN || w->fake.files[0].mode == (S_IFREG | 0604))
        return;
    w->fake.files[0].mode = S_IFREG | 0604;
    coroutine_start(w->fake.volume.scheduler, "recall", call_in, &w->fake.volume);
}

// The loan of a volume without a lease is good for an hour: only the recall ends it.
static void look_until_changed(void)
{
    struct stat found;
    EXPECT(stat("lun", &found) == 0 && (found.st_mode & 0777) != 0604);
    EXPECT(stat("lun", &found) == 0);
    EXPECT(close(open("go", O_CREAT | O_WRONLY, 0600)) == 0);
    do {
        EXPECT(stat("lun", &found) == 0);
    } while ((found.st_mode & 0777) != 0604); // else the alarm ends it
}

static void test_recall(void **state)
{
    (void)state;
    world.fake.volume.options.keep_names = world.fake.lends = true;
    beside = change_when_told;
    run_client(look_until_changed);
    assert_int_equal(world.counters.recalls, 1);
}

static void test_recalls_dropped_set_id(void **state)
{
    (void)state;
    world.fake.volume.options.keep_names = world.fake.lends = true;
    run_client(write_as_nobody);
    assert_int_equal(world.counters.recalls, 1);
}

static bool enter_namespace(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

int main(void)
{
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0 || !enter_namespace()) {
        puts("# SKIP test_fuse_server: needs root and /dev/fuse");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lane_serves_mapped_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_core_gets_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revoked_pass_goes_to_core, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_drops_set_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attributes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reclaims_before_enospc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_enospc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_suspended_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_at_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_in_operation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ended_answers_eio, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_drops_posix_locks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wait_is_interrupted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wait_is_interrupted_in_recovery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort_ends_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lends_nothing_unasked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recall, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recalls_dropped_set_id, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
