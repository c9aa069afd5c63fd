// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fuse_world.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fs/base/check.h"
#include "fs/fuse_mount.h"

enum { LANES = 3 };

struct fuse_world world;

// --- setup and teardown ------------------------------------------------------------------------

uint8_t fuse_client_lun_byte(uint64_t offset)
{
    return (uint8_t)(offset * 2654435761u >> 13);
}

static void fill_lun(void)
{
    static uint8_t bytes[LUN_BYTES];
    for (size_t i = 0; i < LUN_BYTES; i++)
        bytes[i] = fuse_client_lun_byte(i);
    CHECK(pwrite(world.backing, bytes, LUN_BYTES, 0) == LUN_BYTES);
}

static void on_live(void *context)
{
    struct fuse_world *w = context;
    w->is_live = true;
}

static void on_ended(void *context)
{
    struct fuse_world *w = context;
    fuse_server_counters(w->server, &w->counters);
    environment_event_stop(w->environment);
}

int fuse_world_setup(void **state)
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
    world.is_live = false;
    return 0;
}

int fuse_world_teardown(void **state)
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

// --- the client's run ----------------------------------------------------------------------------

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

// The client's end is what ends the mount.
static void unmount_after_client(void)
{
    bool was_busy;
    if (world.client == 0 || waitpid(world.client, &world.client_status, WNOHANG) == 0)
        return;
    world.client = 0;
    assert_int_equal(fuse_mount_detach(world.mount, &was_busy), 0);
    assert_false(was_busy);
}

static void on_timer(struct environment_timer *timer)
{
    (void)timer;
    if (world.beside != NULL)
        world.beside(&world);
    unmount_after_client();
    environment_timer_arm(world.environment, &world.timer, environment_event_now_ns() + 2000000);
}

void fuse_world_run(void (*client)(void), void (*beside)(struct fuse_world *world_beside))
{
    world.client = start_client(client);
    world.beside = beside;
    world.timer.fire = on_timer;
    on_timer(&world.timer);
    environment_event_run(world.environment);
    environment_timer_disarm(world.environment, &world.timer);
    while (world.client != 0) // an abort ends the session before the client
        unmount_after_client();
    fuse_server_free(world.server);
    assert_true(world.is_live);
    assert_true(WIFEXITED(world.client_status));
    assert_int_equal(WEXITSTATUS(world.client_status), 0);
    assert_int_equal(world.counters.requests_alive, 0);
    assert_int_equal(world.counters.handles, 0);
}

bool fuse_world_is_possible(const char *name)
{
    if (geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return true;
    printf("# SKIP %s: needs root and /dev/fuse\n", name);
    return false;
}

// --- what clients share --------------------------------------------------------------------------

void fuse_client_check_lun(int fd, uint64_t offset, size_t length)
{
    static uint8_t bytes[1 << 20];
    EXPECT(pread(fd, bytes, length, (off_t)offset) == (ssize_t)length);
    for (size_t i = 0; i < length; i++)
        EXPECT(bytes[i] == fuse_client_lun_byte(offset + i));
}

void fuse_client_write_as_nobody(void)
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
