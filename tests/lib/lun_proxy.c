// SPDX-License-Identifier: Apache-2.0
//
// A LUN's path that can fail, hang, slow down, and that remembers every write.
//
//     lun_proxy [-1] BACKING DIRECTORY LOG
//
// Mounts a FUSE file system with two files: `lun` is BACKING, opened with O_DIRECT; `control` takes
// one command a write:
//
//     pass          requests go through (at the start)
//     fail          every request gets EIO, as from a dead path
//     hang          requests wait until the next command, as under queue_if_no_path; those that
//                   still wait when `fail` comes fail for good, as when a device's timeout ends
//     delay MS      each write waits MS before it goes to BACKING
//
// LOG gets a line for each write that reached BACKING, `write BEGIN_MS END_MS OFFSET SIZE`, and one
// for each command, `mode MS COMMAND`, in CLOCK_BOOTTIME milliseconds; a line is whole in the file
// before the request is answered. One proxy a node makes one path a node: what a node writes, and
// when, is told from the storage's side, whatever the node believes. Ends with umount.
//
// With -1 there is one request at a time on its way to BACKING, for a BACKING that mixes up the
// data of several (tests/crashlog/logged_disk.sh).
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LUN_INODE = 2,
    CONTROL_INODE = 3,
    THREADS_MAX = 256, // all may hang, and control must still be served
    TRANSFER_BYTES_MAX = 1 << 20,
    ALIGNMENT_BYTES = 4096,
};

enum mode { MODE_PASS, MODE_FAIL, MODE_HANG };

struct proxy {
    int backing;
    int log;
    off_t size;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t mode_changed;
    enum mode mode;
    unsigned long failures; // how often `fail` was said
    long delay_ms;
};

static struct proxy *proxy_of(fuse_req_t request)
{
    return fuse_req_userdata(request);
}

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits while the path hangs. False: the path fails and the request gets EIO.
static bool path_is_open(struct proxy *proxy, long *delay_ms)
{
    unsigned long failures;
    bool is_open;

    pthread_mutex_lock(&proxy->lock);
    failures = proxy->failures;
    while (proxy->mode == MODE_HANG)
        pthread_cond_wait(&proxy->mode_changed, &proxy->lock);
    is_open = proxy->mode == MODE_PASS && proxy->failures == failures;
    *delay_ms = proxy->delay_ms;
    pthread_mutex_unlock(&proxy->lock);
    return is_open;
}

// The log is opened with O_APPEND: a line is one write, so lines of several threads do not mix.
static void log_append(struct proxy *proxy, const char *line, int length)
{
    if (write(proxy->log, line, (size_t)length) != length)
        abort();
}

static ssize_t proxied_write(struct proxy *proxy, const void *buffer, size_t size, off_t offset)
{
    int64_t begin_ms = clock_ms();
    ssize_t done = pwrite(proxy->backing, buffer, size, offset);
    char line[128];

    log_append(proxy, line,
               snprintf(line, sizeof(line), "write %" PRId64 " %" PRId64 " %" PRId64 " %zu\n",
                        begin_ms, clock_ms(), (int64_t)offset, size));
    return done < 0 ? -errno : done;
}

static int command_carry_out(struct proxy *proxy, const char *command)
{
    enum mode mode = MODE_PASS;
    long delay_ms = 0;
    char line[128];

    if (strcmp(command, "fail") == 0)
        mode = MODE_FAIL;
    else if (strcmp(command, "hang") == 0)
        mode = MODE_HANG;
    else if (strcmp(command, "pass") != 0 && sscanf(command, "delay %ld", &delay_ms) != 1)
        return -EINVAL;
    pthread_mutex_lock(&proxy->lock);
    proxy->mode = mode;
    proxy->failures += mode == MODE_FAIL;
    proxy->delay_ms = delay_ms;
    pthread_cond_broadcast(&proxy->mode_changed);
    pthread_mutex_unlock(&proxy->lock);
    log_append(proxy, line,
               snprintf(line, sizeof(line), "mode %" PRId64 " %.60s\n", clock_ms(), command));
    return 0;
}

static void attributes_of(const struct proxy *proxy, fuse_ino_t inode, struct stat *attributes)
{
    *attributes = (struct stat){.st_ino = inode, .st_nlink = 1, .st_blksize = ALIGNMENT_BYTES};
    attributes->st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
    if (inode == LUN_INODE) {
        attributes->st_size = proxy->size;
        attributes->st_blocks = proxy->size / 512;
    }
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.ino = 0};

    if (parent == FUSE_ROOT_ID && strcmp(name, "lun") == 0)
        entry.ino = LUN_INODE;
    else if (parent == FUSE_ROOT_ID && strcmp(name, "control") == 0)
        entry.ino = CONTROL_INODE;
    if (entry.ino == 0) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    attributes_of(proxy_of(request), entry.ino, &entry.attr);
    fuse_reply_entry(request, &entry);
}

static void op_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct stat attributes;

    (void)info;
    attributes_of(proxy_of(request), inode, &attributes);
    fuse_reply_attr(request, &attributes, 0);
}

// Shells open `control` with O_TRUNC.
static void op_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *wanted, int to_set,
                       struct fuse_file_info *info)
{
    (void)wanted;
    if (inode == LUN_INODE && (to_set & FUSE_SET_ATTR_SIZE))
        fuse_reply_err(request, EPERM);
    else
        op_getattr(request, inode, info);
}

// libfuse 3.14 has no name for FOPEN_PARALLEL_DIRECT_WRITES, so the reply is written out by hand.
static void op_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct fuse_open_out reply = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};

    (void)info;
    if (inode == FUSE_ROOT_ID)
        fuse_reply_err(request, EISDIR);
    else
        fuse_reply_buf(request, (const char *)&reply, sizeof(reply));
}

static void op_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                    struct fuse_file_info *info)
{
    struct proxy *proxy = proxy_of(request);
    void *buffer = NULL;
    ssize_t done;
    long delay_ms;

    (void)info;
    if (inode == CONTROL_INODE) {
        fuse_reply_buf(request, NULL, 0);
        return;
    }
    if (!path_is_open(proxy, &delay_ms)) {
        fuse_reply_err(request, EIO);
        return;
    }
    if (posix_memalign(&buffer, ALIGNMENT_BYTES, size) != 0)
        abort();
    done = pread(proxy->backing, buffer, size, offset);
    if (done < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, buffer, (size_t)done);
    free(buffer);
}

static void control_write(fuse_req_t request, const char *data, size_t size)
{
    char command[64];
    int result;

    snprintf(command, sizeof(command), "%.*s", (int)size, data);
    command[strcspn(command, "\n")] = '\0';
    result = command_carry_out(proxy_of(request), command);
    if (result < 0)
        fuse_reply_err(request, -result);
    else
        fuse_reply_write(request, size);
}

static void op_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t size,
                     off_t offset, struct fuse_file_info *info)
{
    struct proxy *proxy = proxy_of(request);
    void *buffer = NULL;
    ssize_t done;
    long delay_ms;

    (void)info;
    if (inode == CONTROL_INODE) {
        control_write(request, data, size);
        return;
    }
    if (!path_is_open(proxy, &delay_ms)) {
        fuse_reply_err(request, EIO);
        return;
    }
    usleep((useconds_t)delay_ms * 1000);
    if (posix_memalign(&buffer, ALIGNMENT_BYTES, size) != 0)
        abort();
    memcpy(buffer, data, size);
    done = proxied_write(proxy, buffer, size, offset);
    free(buffer);
    if (done < 0)
        fuse_reply_err(request, (int)-done);
    else
        fuse_reply_write(request, (size_t)done);
}

static void op_fsync(fuse_req_t request, fuse_ino_t inode, int only_data,
                     struct fuse_file_info *info)
{
    struct proxy *proxy = proxy_of(request);
    long delay_ms;

    (void)inode;
    (void)only_data;
    (void)info;
    if (!path_is_open(proxy, &delay_ms))
        fuse_reply_err(request, EIO);
    else
        fuse_reply_err(request, fdatasync(proxy->backing) < 0 ? errno : 0);
}

static void op_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length,
                         struct fuse_file_info *info)
{
    struct proxy *proxy = proxy_of(request);
    long delay_ms;

    (void)info;
    if (inode != LUN_INODE || !(mode & FALLOC_FL_KEEP_SIZE))
        fuse_reply_err(request, EOPNOTSUPP);
    else if (!path_is_open(proxy, &delay_ms))
        fuse_reply_err(request, EIO);
    else
        fuse_reply_err(request, fallocate(proxy->backing, mode, offset, length) < 0 ? errno : 0);
}

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
    (void)userdata;
    connection->max_write = TRANSFER_BYTES_MAX;
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
};

static int serve(struct fuse_session *session, bool is_serial)
{
    struct fuse_loop_config *config;
    int result;

    if (is_serial)
        return fuse_session_loop(session);
    config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
    fuse_loop_cfg_set_idle_threads(config, THREADS_MAX);
    result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return result;
}

static int run(struct proxy *proxy, const char *directory, bool is_serial)
{
    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    int result = 1;

    if (fuse_opt_add_arg(&arguments, "lun_proxy") == 0 &&
        fuse_opt_add_arg(&arguments, "-ofsname=lun_proxy,allow_other") == 0)
        session = fuse_session_new(&arguments, &operations, sizeof(operations), proxy);
    if (session && fuse_session_mount(session, directory) == 0) {
        if (fuse_daemonize(0) == 0)
            result = serve(session, is_serial) == 0 ? 0 : 1;
        fuse_session_unmount(session);
    }
    if (session)
        fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    return result;
}

int main(int argc, char **argv)
{
    struct proxy proxy = {.lock = PTHREAD_MUTEX_INITIALIZER,
                          .mode_changed = PTHREAD_COND_INITIALIZER};
    bool is_serial = argc > 1 && strcmp(argv[1], "-1") == 0;

    if (is_serial) {
        argc--;
        argv++;
    }
    if (argc != 4) {
        fputs("usage: lun_proxy [-1] BACKING DIRECTORY LOG\n", stderr);
        return 2;
    }
    proxy.backing = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
    proxy.log = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (proxy.backing < 0 || proxy.log < 0) {
        fprintf(stderr, "lun_proxy: %s or %s: %s\n", argv[1], argv[3], strerror(errno));
        return 1;
    }
    proxy.size = lseek(proxy.backing, 0, SEEK_END);
    return run(&proxy, argv[2], is_serial);
}
