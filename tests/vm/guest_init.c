// SPDX-License-Identifier: Apache-2.0
//
// The first and only program of the test guest: a witness of what its disk keeps.
//
// It mounts the ext4 file system of the first virtio disk on /data, checks the records that earlier
// boots left in /data/records, appends new ones with an fsync each, and says on the serial line
// what the disk has promised to keep:
//
//     GUEST READY                  user space reached
//     GUEST HIGHEST 41             records 1 to 41 are there and whole
//     GUEST ACK 42                 record 42 is written and its fsync has returned
//     GUEST DONE 141               asked-for records written, file system unmounted
//     GUEST FAILED what: why       anything else
//
// A record is 4 KiB: magic, its number (from 1, without gaps), a seed, a crc over number and
// payload. The number of records to write comes from the kernel command line: guest.records=N
// (0, the default, verifies only; -1 writes until the power goes).
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    RECORD_BYTES = 4096,
    DISK_WAIT_MS_MAX = 10000,
};

#define RECORD_MAGIC UINT64_C(0x6472636572736e75)

struct record {
    uint64_t magic;
    uint64_t number;
    uint32_t crc; // over the record with this field zero
    uint32_t zero;
    uint8_t payload[RECORD_BYTES - 24];
};
_Static_assert(sizeof(struct record) == RECORD_BYTES, "a record fills its block");

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void power_off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static void give_up(const char *what)
{
    say("GUEST FAILED %s: %s", what, strerror(errno));
    power_off();
}

static uint32_t crc32_of(const void *data, size_t size)
{
    const uint8_t *byte = data;
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++) {
        crc ^= byte[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

static uint32_t record_crc(const struct record *record)
{
    struct record copy = *record;

    copy.crc = 0;
    return crc32_of(&copy, sizeof(copy));
}

// The payload differs from record to record, so that one in another's place shows.
static void record_fill(struct record *record, uint64_t number)
{
    uint64_t state = number * UINT64_C(0x9E3779B97F4A7C15) + 1;

    memset(record, 0, sizeof(*record));
    record->magic = RECORD_MAGIC;
    record->number = number;
    for (size_t i = 0; i < sizeof(record->payload); i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        record->payload[i] = (uint8_t)state;
    }
    record->crc = record_crc(record);
}

static int record_is_whole(const struct record *record, uint64_t number)
{
    return record->magic == RECORD_MAGIC && record->number == number &&
           record->crc == record_crc(record);
}

// Loads the kernel modules that /modules/order lists; one that is built in is not in the list.
static void load_modules(void)
{
    char name[128], path[160];
    FILE *order = fopen("/modules/order", "r");

    if (!order)
        give_up("/modules/order");
    while (fscanf(order, "%127s", name) == 1) {
        int file;

        snprintf(path, sizeof(path), "/modules/%s", name);
        file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || (syscall(SYS_finit_module, file, "", 0) < 0 && errno != EEXIST))
            give_up(path);
        close(file);
    }
    fclose(order);
}

static void mount_kernel_folders(void)
{
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mkdir("/data", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) < 0)
        give_up("/proc");
    if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) < 0 && errno != EBUSY)
        give_up("/dev");
}

// The disk appears a moment after its driver.
static void mount_disk(void)
{
    for (int waited_ms = 0; access("/dev/vda", F_OK) != 0; waited_ms++) {
        if (waited_ms == DISK_WAIT_MS_MAX)
            give_up("/dev/vda");
        usleep(1000);
    }
    if (mount("/dev/vda", "/data", "ext4", MS_NOATIME, NULL) < 0)
        give_up("mount of /dev/vda");
}

// guest.records=N of the kernel command line, 0 without one.
static long records_asked_for(void)
{
    static const char option[] = "guest.records=";
    char line[2048] = "";
    const char *found;
    FILE *file = fopen("/proc/cmdline", "r");

    if (!file || !fgets(line, sizeof(line), file))
        give_up("/proc/cmdline");
    fclose(file);
    found = strstr(line, option);
    return found ? strtol(found + strlen(option), NULL, 10) : 0;
}

// How many whole records, from the first on, the file holds.
static uint64_t count_records(int file)
{
    struct record record;
    uint64_t number = 0;

    while (pread(file, &record, sizeof(record), (off_t)(number * RECORD_BYTES)) == RECORD_BYTES &&
           record_is_whole(&record, number + 1))
        number++;
    return number;
}

static void append_record(int file, uint64_t number)
{
    struct record record;

    record_fill(&record, number);
    if (pwrite(file, &record, sizeof(record), (off_t)((number - 1) * RECORD_BYTES)) != RECORD_BYTES)
        give_up("write");
    if (fsync(file) < 0)
        give_up("fsync");
    say("GUEST ACK %llu", (unsigned long long)number);
}

int main(void)
{
    uint64_t highest;
    long asked;
    int file;

    mount_kernel_folders();
    load_modules();
    say("GUEST READY");
    mount_disk();
    file = open("/data/records", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        give_up("/data/records");
    highest = count_records(file);
    say("GUEST HIGHEST %llu", (unsigned long long)highest);
    asked = records_asked_for();
    for (long written = 0; asked < 0 || written < asked; written++)
        append_record(file, ++highest);
    close(file);
    if (umount("/data") < 0)
        give_up("umount");
    say("GUEST DONE %llu", (unsigned long long)highest);
    power_off();
    return 0;
}
