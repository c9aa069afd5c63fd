// SPDX-License-Identifier: Apache-2.0
// Walks down from the device that was opened: a partition to its disk, a device-mapper device to
// its slaves, a SCSI disk to its transport. The layers of one path add up; of several paths the
// slowest counts.
#include "fs/base/device_timeouts.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/base/device_multipath.h"

enum {
    FILE_IO_MS = 1000,   // a regular file: its own disk's retries are short
    SCSI_TIMEOUT_S = 30, // the kernel's defaults
    NVME_TIMEOUT_S = 30,
    NVME_LOSS_S = 600,
    UNKNOWN_S = 30,
    DEPTH_MAX = 8,
};

struct walk {
    const char *sys;
    struct text *layers;
    bool is_bounded;
    device_queues *queues;
};

// A path that does not fit is cut, and then does not exist.
static void join(char path[PATH_MAX], const char *directory, const char *name)
{
    struct text text;
    text_init(&text, path, PATH_MAX);
    text_add(&text, "%s/%s", directory, name);
}

// The number in a sysfs attribute; `otherwise` if there is none. -1 stands for "for ever".
static long read_number(const char *directory, const char *name, long otherwise)
{
    char path[PATH_MAX], line[64];
    join(path, directory, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return otherwise;
    long value = otherwise;
    if (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "off", 3) == 0)
            value = -1;
        else
            value = strtol(line, NULL, 10);
    }
    fclose(file);
    return value;
}

static bool read_line(const char *directory, const char *name, char *line, size_t size)
{
    char path[PATH_MAX];
    join(path, directory, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool found = fgets(line, (int)size, file) != NULL;
    fclose(file);
    return found;
}

static void say(struct walk *walk, const char *what, long seconds)
{
    const char *comma = walk->layers->length > 0 ? ", " : "";
    if (seconds < 0)
        text_add(walk->layers, "%s%s for ever", comma, what);
    else
        text_add(walk->layers, "%s%s %ld s", comma, what, seconds);
}

// Adds a layer that gives up after `seconds`, or never.
static long layer(struct walk *walk, const char *what, long seconds)
{
    say(walk, what, seconds);
    if (seconds < 0) {
        walk->is_bounded = false;
        return 0;
    }
    return seconds;
}

// The component of a sysfs path that begins with `prefix` ("session1", "rport-2:0-1").
static bool path_component(const char *path, const char *prefix, char *component, size_t size)
{
    const char *at = path;
    while ((at = strchr(at, '/')) != NULL) {
        at++;
        if (strncmp(at, prefix, strlen(prefix)) == 0) {
            size_t length = strcspn(at, "/");
            snprintf(component, size, "%.*s", (int)length, at);
            return true;
        }
    }
    return false;
}

// What the transport adds when a path is lost, seen from the SCSI disk's place in the tree.
static long transport_seconds(struct walk *walk, const char *device)
{
    char name[128], path[PATH_MAX], directory[PATH_MAX];
    if (path_component(device, "session", name, sizeof(name))) {
        join(path, walk->sys, "class/iscsi_session");
        join(directory, path, name);
        return layer(walk, "iSCSI recovery", read_number(directory, "recovery_tmo", 120));
    }
    if (path_component(device, "rport-", name, sizeof(name))) {
        join(path, walk->sys, "class/fc_remote_ports");
        join(directory, path, name);
        long fast = read_number(directory, "fast_io_fail_tmo", -1);
        if (fast >= 0)
            return layer(walk, "FC fast_io_fail", fast);
        return layer(walk, "FC dev_loss", read_number(directory, "dev_loss_tmo", 60));
    }
    return 0;
}

static long nvme_seconds(struct walk *walk, const char *device)
{
    char path[PATH_MAX];
    join(path, walk->sys, "module/nvme_core/parameters");
    long command = layer(walk, "NVMe command", read_number(path, "io_timeout", NVME_TIMEOUT_S));
    char transport[32];
    bool is_fabric = read_line(device, "transport", transport, sizeof(transport)) &&
                     strncmp(transport, "pcie", 4) != 0;
    if (!is_fabric)
        return command;
    return command +
           layer(walk, "NVMe controller loss", read_number(device, "ctrl_loss_tmo", NVME_LOSS_S));
}

static long block_seconds(struct walk *walk, const char *directory, int depth);

// A device-mapper device or RAID: as slow as its slowest part.
static long slaves_seconds(struct walk *walk, const char *directory, int depth)
{
    char path[PATH_MAX];
    join(path, directory, "slaves");
    DIR *slaves = opendir(path);
    long slowest = -1;
    const struct dirent *entry;
    while (slaves != NULL && (entry = readdir(slaves)) != NULL) {
        char slave[PATH_MAX];
        if (entry->d_name[0] == '.')
            continue;
        join(path, walk->sys, "class/block");
        join(slave, path, entry->d_name);
        long seconds = block_seconds(walk, slave, depth + 1);
        slowest = seconds > slowest ? seconds : slowest;
    }
    if (slaves != NULL)
        closedir(slaves);
    return slowest;
}

// What queueing adds when all paths are lost (device_multipath.h).
static long multipath_seconds(struct walk *walk, const char *directory)
{
    char uuid[160], number[32], path[PATH_MAX];
    unsigned major, minor;
    if (!read_line(directory, "dm/uuid", uuid, sizeof(uuid)) || strncmp(uuid, "mpath-", 6) != 0)
        return 0;
    bool has_number = read_line(directory, "dev", number, sizeof(number)) &&
                      sscanf(number, "%u:%u", &major, &minor) == 2;
    if (has_number && !walk->queues(makedev(major, minor)))
        return 0;
    join(path, walk->sys, "module/dm_multipath/parameters");
    long timeout = read_number(path, "queue_if_no_path_timeout_secs", 0);
    return layer(walk, "multipath queue", timeout > 0 ? timeout : -1);
}

static long disk_seconds(struct walk *walk, const char *directory)
{
    char path[PATH_MAX], device[PATH_MAX];
    join(path, directory, "device");
    if (realpath(path, device) == NULL)
        return layer(walk, "unknown device", UNKNOWN_S);
    if (strstr(device, "/nvme") != NULL)
        return nvme_seconds(walk, device);
    long timeout = read_number(device, "timeout", -2);
    if (timeout == -2)
        return layer(walk, "unknown device", UNKNOWN_S);
    return layer(walk, "SCSI command", timeout) + transport_seconds(walk, device);
}

static long block_seconds(struct walk *walk, const char *directory, int depth)
{
    char path[PATH_MAX], real[PATH_MAX];
    if (depth > DEPTH_MAX || realpath(directory, real) == NULL)
        return layer(walk, "unknown device", UNKNOWN_S);
    join(path, real, "partition");
    if (access(path, F_OK) == 0) {
        char *slash = strrchr(real, '/');
        *slash = '\0';
        return block_seconds(walk, real, depth + 1);
    }
    join(path, real, "loop");
    if (access(path, F_OK) == 0)
        return layer(walk, "loop device", FILE_IO_MS / 1000);
    long queue = multipath_seconds(walk, real);
    long below = slaves_seconds(walk, real, depth);
    return queue + (below >= 0 ? below : disk_seconds(walk, real));
}

void device_timeouts_read_in(const char *sys, dev_t device, device_queues *queues,
                             struct device_timeouts *timeouts, struct text *layers)
{
    struct walk walk = {.sys = sys, .layers = layers, .is_bounded = true, .queues = queues};
    char directory[PATH_MAX];
    snprintf(directory, sizeof(directory), "%s/dev/block/%u:%u", sys, major(device), minor(device));
    long seconds = block_seconds(&walk, directory, 0);
    timeouts->io_max_ms = (uint64_t)(seconds > 0 ? seconds : 1) * 1000;
    timeouts->is_bounded = walk.is_bounded;
}

void device_timeouts_read(int descriptor, struct device_timeouts *timeouts, struct text *layers)
{
    struct stat found;
    if (fstat(descriptor, &found) == 0 && S_ISBLK(found.st_mode)) {
        device_timeouts_read_in("/sys", found.st_rdev, device_multipath_queues, timeouts, layers);
        return;
    }
    text_add(layers, "a file");
    *timeouts = (struct device_timeouts){.is_bounded = true, .io_max_ms = FILE_IO_MS};
}
