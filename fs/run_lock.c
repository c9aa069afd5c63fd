// SPDX-License-Identifier: Apache-2.0
#include "fs/run_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/fuse_mount.h"

enum { POLL_MS = 20 };

void run_path(const uint8_t format_id[16], const char *suffix, char path[RUN_PATH_BYTES])
{
    char id[33];
    for (int i = 0; i < 16; i++)
        snprintf(id + 2 * i, 3, "%02x", format_id[i]);
    snprintf(path, RUN_PATH_BYTES, "%s/%s%s", RUN_DIRECTORY, id, suffix);
}

static int open_lock(const uint8_t format_id[16])
{
    char path[RUN_PATH_BYTES];
    if (mkdir(RUN_DIRECTORY, 0755) != 0 && errno != EEXIST)
        return -errno;
    run_path(format_id, ".lock", path);
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return descriptor < 0 ? -errno : descriptor;
}

static void read_holder(int descriptor, struct run_lock_holder *holder)
{
    char line[sizeof(holder->directory) + 32] = "";
    char *end;
    ssize_t got = pread(descriptor, line, sizeof(line) - 1, 0);
    line[got > 0 ? got : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    holder->pid = (pid_t)strtol(line, &end, 10);
    snprintf(holder->directory, sizeof(holder->directory), "%s", *end == ' ' ? end + 1 : "");
}

static void write_holder(int descriptor, const char *directory)
{
    if (ftruncate(descriptor, 0) == 0)
        dprintf(descriptor, "%d %s\n", (int)getpid(), directory);
}

static void sleep_ms(unsigned ms)
{
    struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&wait, NULL);
}

int run_lock_take(const uint8_t format_id[16], const char *directory, unsigned wait_ms,
                  struct run_lock_holder *holder)
{
    int descriptor = open_lock(format_id);
    if (descriptor < 0)
        return descriptor;
    for (unsigned waited_ms = 0;; waited_ms += POLL_MS) {
        if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
            write_holder(descriptor, directory);
            return descriptor;
        }
        read_holder(descriptor, holder);
        bool is_leaving =
            holder->directory[0] == '\0' || !fuse_mount_is_lunfs(holder->directory, NULL, 0);
        if (!is_leaving || waited_ms >= wait_ms)
            break;
        sleep_ms(POLL_MS);
    }
    close(descriptor);
    return -EBUSY;
}

// "<32 hex digits>.lock"
static bool parse_lock_name(const char *name, uint8_t format_id[16])
{
    if (strlen(name) != 37 || strcmp(name + 32, ".lock") != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        unsigned byte;
        if (sscanf(name + 2 * i, "%2x", &byte) != 1)
            return false;
        format_id[i] = (uint8_t)byte;
    }
    return true;
}

static bool is_held_for(const uint8_t format_id[16], const char *directory)
{
    struct run_lock_holder holder;
    CLEANUP_CLOSE int descriptor = open_lock(format_id);
    if (descriptor < 0 || flock(descriptor, LOCK_EX | LOCK_NB) == 0)
        return false;
    read_holder(descriptor, &holder);
    return strcmp(holder.directory, directory) == 0;
}

bool run_lock_find(const char *directory, uint8_t format_id[16])
{
    bool found = false;
    struct dirent *entry;
    DIR *folder = opendir(RUN_DIRECTORY);
    if (folder == NULL)
        return false;
    while (!found && (entry = readdir(folder)) != NULL)
        found = parse_lock_name(entry->d_name, format_id) && is_held_for(format_id, directory);
    closedir(folder);
    return found;
}

int run_lock_wait(const uint8_t format_id[16], unsigned wait_ms)
{
    CLEANUP_CLOSE int descriptor = open_lock(format_id);
    if (descriptor < 0)
        return descriptor;
    for (unsigned waited_ms = 0; waited_ms <= wait_ms; waited_ms += POLL_MS) {
        if (flock(descriptor, LOCK_EX | LOCK_NB) == 0)
            return 0;
        sleep_ms(POLL_MS);
    }
    return -ETIMEDOUT;
}
