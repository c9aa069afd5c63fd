// SPDX-License-Identifier: Apache-2.0
// What the daemon leaves in files and pipes: the log, the run lock, the report of a start, and the
// search for a volume by UUID or label.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/block_device.h"
#include "fs/base/text.h"
#include "fs/format.h"
#include "fs/guard.h"
#include "fs/log_daemon.h"
#include "fs/run_lock.h"
#include "fs/startup.h"
#include "fs/volume_probe.h"

static char directory[32];

static int setup(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/lunfs-unit-XXXXXX");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

// --- log ---------------------------------------------------------------------------------------

static unsigned count_lines(const char *path, const char *part)
{
    char line[1024];
    unsigned count = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        count += strstr(line, part) != NULL;
    fclose(file);
    return count;
}

static void test_log_lines(void **state)
{
    (void)state;
    int descriptor = open(path_of("log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct log_daemon *daemon = log_daemon_new("/vm", descriptor, false);
    struct log *log = log_daemon_log(daemon);
    log_notice(log, "before the thread");
    assert_int_equal(log_daemon_start(daemon), 0);
    log_error(log, 1405, "with a code");
    log_debug(log, "not wanted");
    for (unsigned i = 0; i < 100; i++)
        log_warning(log, "many %u", i);
    log_daemon_free(daemon);
    assert_int_equal(count_lines(path_of("log"), "/vm: notice: before the thread"), 1);
    assert_int_equal(count_lines(path_of("log"), "/vm: error: LUNFS-1405: with a code"), 1);
    assert_int_equal(count_lines(path_of("log"), "not wanted"), 0);
    assert_int_equal(count_lines(path_of("log"), "many"), 100);
}

// A target that takes nothing: the writer hangs, nobody else does, and the loss is counted.
static void test_log_never_blocks(void **state)
{
    int pipes[2];
    char byte;
    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    struct log_daemon *daemon = log_daemon_new("/vm", pipes[1], false);
    assert_int_equal(log_daemon_start(daemon), 0);
    for (unsigned i = 0; i < 20000; i++)
        log_warning(log_daemon_log(daemon), "line %u of many that nobody reads", i);
    assert_true(log_daemon_dropped(daemon) > 0);
    assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
    while (read(pipes[0], &byte, 1) == 1 || errno == EAGAIN) {
        if (log_daemon_dropped(daemon) > 0 && byte == '\n')
            break;
    }
    close(pipes[0]); // the writer gets EPIPE from now on
    log_daemon_free(daemon);
}

// --- report --------------------------------------------------------------------------------------

static void test_report(void **state)
{
    struct startup_report report;
    int pipes[2];
    char longest[1000];
    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    startup_send(pipes[1], MOUNT_EXIT_FAILURE, "%s", longest);
    close(pipes[1]);
    assert_true(startup_receive(pipes[0], &report));
    assert_int_equal(report.exit_code, MOUNT_EXIT_FAILURE);
    assert_int_equal(strlen(report.sentence), sizeof(report.sentence) - 1);
    assert_false(startup_receive(pipes[0], &report)); // the other side is gone
    close(pipes[0]);
}

// --- run lock --------------------------------------------------------------------------------

static void test_run_lock(void **state)
{
    uint8_t id[16] = {0xab, 1, 2, 3}, found[16];
    struct run_lock_holder holder;
    (void)state;
    int lock = run_lock_take(id, "/", 0, &holder); // "/" is mounted, though not as lunfs
    assert_true(lock >= 0);
    assert_true(run_lock_find("/", found));
    assert_memory_equal(id, found, 16);
    assert_false(run_lock_find("/elsewhere", found));
    assert_int_equal(run_lock_wait(id, 0), -ETIMEDOUT);
    assert_int_equal(run_lock_take(id, "/b", 0, &holder), -EBUSY);
    assert_int_equal(holder.pid, getpid());
    assert_string_equal(holder.directory, "/");
    close(lock);
    assert_int_equal(run_lock_wait(id, 0), 0);
    assert_false(run_lock_find("/", found));
    lock = run_lock_take(id, "/b", 0, &holder);
    assert_true(lock >= 0);
    close(lock);
}

static void test_slot_lock(void **state)
{
    (void)state;
    int worker = open(path_of("lun"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int guard = open(path_of("lun"), O_RDWR | O_CLOEXEC);
    assert_int_equal(guard_slot_lock(worker, 3), 0);
    assert_int_equal(guard_slot_lock(guard, 3), -EAGAIN);
    assert_int_equal(guard_slot_lock(guard, 4), 0); // another slot's
    int copy = dup(worker);
    close(worker);
    assert_int_equal(guard_slot_lock(guard, 3), -EAGAIN); // the description still lives
    close(copy);
    assert_int_equal(guard_slot_lock(guard, 3), 0);
    close(guard);
}

// --- search ----------------------------------------------------------------------------------

static void make_volume(const char *name, uint8_t id, const char *label)
{
    struct geometry geometry = {
        .block_count = 65536,
        .slot_table_block = 20,
        .journal_block = 300,
        .ag_base_block = 300 + 2048,
        .root_inode = 300 + 2048 + 1,
        .slot_count = 1,
        .journal_block_count = 2048,
        .ag_block_shift = 12,
        .ag_count = (65536 - 1 - 2348 + 4095) / 4096,
        .ag_map_block_count = 1,
        .protocol_version = 1,
    };
    static struct superblock_disk block __attribute__((aligned(4096)));
    memset(geometry.format_id, id, 16);
    memset(geometry.uuid, id, 16);
    strcpy(geometry.label, label);
    format_superblock_encode(&block, &geometry, FORMAT_SUPERBLOCK_BLOCK);
    format_block_seal(&block, 1);
    int descriptor = open(path_of(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(descriptor, (off_t)geometry.block_count * BLOCK_BYTES), 0);
    assert_int_equal(
        pwrite(descriptor, &block, BLOCK_BYTES, (off_t)FORMAT_SUPERBLOCK_BLOCK * BLOCK_BYTES),
        BLOCK_BYTES);
    close(descriptor);
}

static bool find(const char *what, char path[PATH_MAX], char why[256])
{
    struct text text;
    char partitions[64];
    text_init(&text, why, 256);
    snprintf(partitions, sizeof(partitions), "%s/partitions", directory);
    return volume_find_in(directory, partitions, what, path, &text);
}

static void make_partitions(void)
{
    FILE *list = fopen(path_of("partitions"), "w");
    assert_non_null(list);
    fputs("major minor  #blocks  name\n\n   8  0  262144 a\n   8 16  262144 b\n"
          "   8 32  262144 c\n   8 48 10 missing\n",
          list);
    fclose(list);
}

static void test_search(void **state)
{
    char path[PATH_MAX], why[256];
    (void)state;
    make_volume("a", 0xaa, "one");
    make_volume("b", 0xbb, "two");
    make_partitions();
    assert_true(find("/some/device", path, why));
    assert_string_equal(path, "/some/device");
    assert_true(find("LABEL=two", path, why));
    assert_string_equal(path, path_of("b"));
    assert_true(find("UUID=AAAAAAAA-aaaa-aaaa-aaaa-aaaaaaaaaaaa", path, why));
    assert_string_equal(path, path_of("a"));
    assert_false(find("LABEL=three", path, why));
    assert_non_null(strstr(why, "LABEL=three"));
    make_volume("c", 0xcc, "two");
    assert_false(find("LABEL=two", path, why)); // two different volumes
    assert_non_null(strstr(why, "several"));
    make_volume("c", 0xbb, "two"); // the same one by another path
    assert_true(find("LABEL=two", path, why));
}

static void test_probe(void **state)
{
    struct geometry geometry;
    (void)state;
    make_volume("a", 0xaa, "one");
    assert_int_equal(volume_probe(path_of("a"), &geometry), 0);
    assert_string_equal(geometry.label, "one");
    assert_int_equal(volume_probe(path_of("nothing"), &geometry), -ENOENT);
    int descriptor = open(path_of("empty"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    close(descriptor);
    assert_true(volume_probe(path_of("empty"), &geometry) < 0);
}

// /run/lunfs of this process alone.
static bool enter_namespace(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("test", "/run", "tmpfs", 0, NULL) == 0;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); // as lunfsd does
    if (!enter_namespace()) {
        puts("# SKIP test_daemon_files: needs root");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_never_blocks, setup, teardown),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_run_lock),
        cmocka_unit_test_setup_teardown(test_slot_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search, setup, teardown),
        cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
