// SPDX-License-Identifier: Apache-2.0
#include "fs/tool_target.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/block_device_file.h"
#include "fs/base/error.h"
#include "fs/base/text.h"
#include "fs/control_client.h"
#include "fs/fuse_mount.h"
#include "fs/run_lock.h"
#include "fs/tool.h"
#include "fs/volume_probe.h"

static bool is_served(const uint8_t format_id[16])
{
    return run_lock_wait(format_id, 0) == -ETIMEDOUT;
}

static void set_mounted(struct tool_target *target, const uint8_t format_id[16])
{
    char path[RUN_PATH_BYTES];
    run_path(format_id, CONTROL_SOCKET_SUFFIX, path);
    snprintf(target->socket, sizeof(target->socket), "%s", path);
    target->is_mounted = true;
}

// The path from the root on, without looking at what it names.
static void make_absolute(const char *what, char path[PATH_MAX])
{
    char here[PATH_MAX] = "";
    bool is_relative = what[0] != '/' && getcwd(here, sizeof(here)) != NULL;
    int length =
        snprintf(path, PATH_MAX, "%.*s%s%s", PATH_MAX / 2, here, is_relative ? "/" : "", what);
    for (length = length < PATH_MAX ? length : PATH_MAX - 1; length > 1 && path[length - 1] == '/';
         length--)
        path[length - 1] = '\0';
}

static bool find_mount(const char *directory, struct tool_target *target)
{
    uint8_t format_id[16];
    if (!run_lock_find(directory, format_id))
        return false;
    set_mounted(target, format_id);
    return true;
}

static bool find_device(const char *what, struct tool_target *target, struct text *why)
{
    if (!volume_find(what, target->name, why))
        return false;
    int result = volume_probe(target->name, &target->geometry);
    if (result == -ENOTBLK) {
        text_add(why, "%s is neither a lunfs mount of this node nor a device", what);
        return false;
    }
    if (result != 0) {
        text_add(why, "%s: %s", target->name, error_text(result));
        return false;
    }
    if (is_served(target->geometry.format_id))
        set_mounted(target, target->geometry.format_id);
    return true;
}

static bool is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

// The lunfs mount that holds the path; the longest mount point is the one that is seen.
static bool find_enclosing(const char *path, struct tool_target *target)
{
    char line[8192], found[PATH_MAX] = "";
    struct mntent entry;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (mounts == NULL)
        return false;
    while (getmntent_r(mounts, &entry, line, sizeof(line)) != NULL) {
        if (strcmp(entry.mnt_type, FUSE_MOUNT_TYPE) == 0 && is_below(path, entry.mnt_dir) &&
            strlen(entry.mnt_dir) > strlen(found))
            snprintf(found, sizeof(found), "%s", entry.mnt_dir);
    }
    endmntent(mounts);
    snprintf(target->name, sizeof(target->name), "%s", found);
    return found[0] != '\0' && find_mount(found, target);
}

bool tool_target_find(const char *what, struct tool_target *target, struct text *why)
{
    char path[PATH_MAX], resolved[PATH_MAX];
    *target = (struct tool_target){0};
    make_absolute(what, path);
    snprintf(target->name, sizeof(target->name), "%s", path);
    if (find_mount(path, target) || find_enclosing(path, target))
        return true;
    if (find_device(what, target, why))
        return true;
    return realpath(what, resolved) != NULL && find_enclosing(resolved, target);
}

bool tool_target_only(struct tool_target *target, struct text *why)
{
    char line[8192];
    struct mntent entry;
    unsigned count = 0;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    *target = (struct tool_target){0};
    while (mounts != NULL && getmntent_r(mounts, &entry, line, sizeof(line)) != NULL) {
        if (strcmp(entry.mnt_type, FUSE_MOUNT_TYPE) != 0)
            continue;
        snprintf(target->name, sizeof(target->name), "%s", entry.mnt_dir);
        count += find_mount(entry.mnt_dir, target);
    }
    if (mounts != NULL)
        endmntent(mounts);
    if (count == 0)
        text_add(why, "no lunfs volume is mounted here");
    else if (count > 1)
        text_add(why, "several lunfs volumes are mounted here: say which");
    return count == 1;
}

struct json_object *tool_target_ask(const struct tool_target *target, const char *verb,
                                    struct json_object *arguments)
{
    struct json_object *result = NULL;
    TEXT(why, 512);
    int error = control_client_call(target->socket, verb, arguments, &result, &why);
    if (error == 0)
        return result;
    if (error_is_check(error))
        tool_fail(0, "%s: LUNFS-%04d: %s", target->name, -error, why.bytes);
    else
        tool_fail(0, "%s: %s", target->name, why.bytes);
    return NULL;
}

struct block_device *tool_target_open(const struct tool_target *target)
{
    struct block_device *device;
    int result = block_device_file_open(
        target->name, BLOCK_DEVICE_READ_ONLY | BLOCK_DEVICE_ALLOW_BUFFERED, &device);
    if (result == 0)
        return device;
    tool_fail(0, "%s: %s", target->name, error_text(result));
    return NULL;
}

bool tool_target_device(const char *what, char path[PATH_MAX])
{
    struct stat status;
    struct tool_target target;
    TEXT(why, 512);
    if (stat(what, &status) == 0 && (S_ISBLK(status.st_mode) || S_ISREG(status.st_mode))) {
        snprintf(path, PATH_MAX, "%s", what);
        return true;
    }
    bool is_found = tool_target_find(what, &target, &why) && !target.is_mounted;
    if (is_found)
        snprintf(path, PATH_MAX, "%s", target.name);
    else
        tool_fail(0, "%s", why.length > 0 ? why.bytes : "name the device, not its mount");
    return is_found;
}
