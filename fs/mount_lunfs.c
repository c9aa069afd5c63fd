// SPDX-License-Identifier: Apache-2.0
// mount.lunfs, as mount(8) calls it for `-t lunfs`, and umount.fuse.lunfs, as umount(8) calls it
// for what is mounted so: one program, told apart by its name.
//
//     mount.lunfs DEVICE|UUID=U|LABEL=L DIRECTORY [-sfnvrw] [-t TYPE] [-o OPTIONS]
//     umount.fuse.lunfs DIRECTORY [-flnrvs] [-t TYPE]
//
// The mount becomes lunfsd, which returns when the mount is live. The unmount returns when lunfsd
// has left the cluster, so that whoever comes next (fsck, a shutdown) finds a volume at rest.
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "fs/fuse_mount.h"
#include "fs/mount_options.h"
#include "fs/run_lock.h"
#include "fs/startup.h"
#include "fs/volume_probe.h"

enum { LEAVE_PATIENCE_MS = 60000, OPTIONS_BYTES_MAX = 4096 };

static int fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("mount.lunfs: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return exit_code;
}

// --- mount -----------------------------------------------------------------------------------

struct request {
    const char *what, *directory;
    struct text options; // comma-separated
    bool is_fake, is_verbose;
};

static int usage_mount(void)
{
    fputs("usage: mount.lunfs DEVICE|UUID=UUID|LABEL=LABEL DIRECTORY [-sfnvrw] [-o OPTIONS]\n"
          "Mounts a lunfs volume; usually called as: mount -t lunfs DEVICE DIRECTORY\n"
          "Examples:\n"
          "  mount -t lunfs /dev/mapper/lun0 /vm\n"
          "  mount -t lunfs UUID=4c6f... /vm -o noatime\n"
          "  mount -t lunfs LABEL=vmstore /vm -o local\n"
          "Options and exit codes: see mount.lunfs(8).\n",
          stderr);
    return MOUNT_EXIT_USAGE;
}

static void add_options(struct request *request, const char *options)
{
    text_add(&request->options, "%s%s", request->options.length > 0 ? "," : "", options);
}

// mount(8) puts the two names before the options; getopt moves them behind.
static int parse_mount(int argc, char **argv, struct request *request)
{
    int letter;
    while ((letter = getopt(argc, argv, "sfnvrwo:t:N:h")) != -1) {
        if (letter == 'o')
            add_options(request, optarg);
        else if (letter == 'r' || letter == 'w')
            add_options(request, letter == 'r' ? "ro" : "rw");
        else if (letter == 'f')
            request->is_fake = true;
        else if (letter == 'v')
            request->is_verbose = true;
        else if (letter == 'h' || letter == '?' || letter == 'N')
            return usage_mount();
    }
    if (argc - optind != 2)
        return usage_mount();
    if (request->options.truncated)
        return fail(MOUNT_EXIT_USAGE, "the options are longer than %d bytes", OPTIONS_BYTES_MAX);
    request->what = argv[optind];
    request->directory = argv[optind + 1];
    return MOUNT_EXIT_OK;
}

// lunfsd stands beside this program, in the build folder as in the system's.
static bool daemon_path(char path[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof("lunfsd"));
    if (length <= 0)
        return false;
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return false;
    text_copy(slash + 1, sizeof("lunfsd"), "lunfsd");
    return true;
}

static int become_daemon(const struct request *request, const char *device)
{
    char path[PATH_MAX];
    if (!daemon_path(path))
        return fail(MOUNT_EXIT_SYSTEM, "/proc/self/exe: %s", strerror(errno));
    if (request->is_verbose)
        fprintf(stderr, "mount.lunfs: %s -o %s %s %s\n", path, request->options.bytes, device,
                request->directory);
    execl(path, "lunfsd", "-o", request->options.bytes, "--", device, request->directory,
          (char *)NULL);
    return fail(MOUNT_EXIT_SYSTEM, "%s: %s", path, strerror(errno));
}

static int run_mount(int argc, char **argv)
{
    static char options[OPTIONS_BYTES_MAX];
    char device[PATH_MAX];
    struct mount_options parsed;
    struct request request = {0};
    TEXT(why, 512);
    text_init(&request.options, options, sizeof(options));
    int exit_code = parse_mount(argc, argv, &request);
    if (exit_code != MOUNT_EXIT_OK)
        return exit_code;
    mount_options_init(&parsed);
    if (!mount_options_parse(&parsed, options, &why) || !mount_options_verify(&parsed, &why))
        return fail(MOUNT_EXIT_USAGE, "%s", why.bytes);
    if (!volume_find(request.what, device, &why))
        return fail(MOUNT_EXIT_FAILURE, "%s", why.bytes);
    return request.is_fake ? MOUNT_EXIT_OK : become_daemon(&request, device);
}

// --- unmount ---------------------------------------------------------------------------------

static int usage_unmount(void)
{
    fputs("usage: umount.fuse.lunfs DIRECTORY [-flnrvs]\n", stderr);
    return MOUNT_EXIT_USAGE;
}

static int unmount(const char *directory, int flags)
{
    uint8_t format_id[16];
    bool has_daemon = run_lock_find(directory, format_id);
    if (umount2(directory, flags | UMOUNT_NOFOLLOW) != 0)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s", directory, strerror(errno));
    if (!has_daemon || (flags & MNT_DETACH) != 0)
        return MOUNT_EXIT_OK;
    if (run_lock_wait(format_id, LEAVE_PATIENCE_MS) != 0)
        return fail(MOUNT_EXIT_OK, "%s is unmounted; its lunfsd is still leaving the cluster",
                    directory);
    return MOUNT_EXIT_OK;
}

static int run_unmount(int argc, char **argv)
{
    char directory[PATH_MAX];
    int letter, flags = 0;
    while ((letter = getopt(argc, argv, "flnrvst:N:h")) != -1) {
        if (letter == 'f')
            flags |= MNT_FORCE;
        else if (letter == 'l')
            flags |= MNT_DETACH;
        else if (letter == 'h' || letter == '?' || letter == 'N')
            return usage_unmount();
    }
    if (argc - optind != 1)
        return usage_unmount();
    // Not through the mount itself, which may be dead: only its parent is resolved.
    if (!fuse_mount_is_lunfs(argv[optind], NULL, 0) && realpath(argv[optind], directory) == NULL)
        return fail(MOUNT_EXIT_FAILURE, "%s: %s", argv[optind], strerror(errno));
    if (fuse_mount_is_lunfs(argv[optind], NULL, 0))
        snprintf(directory, sizeof(directory), "%s", argv[optind]);
    return unmount(directory, flags);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash != NULL ? slash + 1 : argv[0];
    return strncmp(name, "umount", 6) == 0 ? run_unmount(argc, argv) : run_mount(argc, argv);
}
