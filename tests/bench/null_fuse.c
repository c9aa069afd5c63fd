// SPDX-License-Identifier: Apache-2.0
//
// The null FUSE file system: the ceiling that the benchmark holds lunfs against.
//
//     null_fuse [-t THREADS] [-f] BACKING DIRECTORY
//
// One directory with one file, `file`, whose offset N is offset N of BACKING: no translation, no
// locks, no metadata. Each of THREADS threads reads requests from its own clone of /dev/fuse and
// does plain O_DIRECT pread or pwrite through an aligned bounce buffer (FUSE's own buffers are not
// aligned). What lunfs loses against this program is its own cost; what this program loses against
// BACKING is FUSE's. Goes to the background once mounted (-f: stays); ends with umount.
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_INODE = 2,
    THREADS_DEFAULT = 4,
    TRANSFER_BYTES_MAX = 1 << 20,
    ALIGNMENT_BYTES = 4096,
    BACKGROUND_REQUESTS_MAX = 256,
};

static const char file_name[] = "file";

struct null_fuse {
    int backing;
    off_t size;
    pthread_key_t bounce_key; // each thread's bounce buffer of TRANSFER_BYTES_MAX
};

static struct null_fuse *null_fuse_of(fuse_req_t request)
{
    return fuse_req_userdata(request);
}

// The calling thread's bounce buffer, made on first use; NULL when memory is out.
static void *bounce_buffer(struct null_fuse *null)
{
    void *buffer = pthread_getspecific(null->bounce_key);

    if (buffer)
        return buffer;
    if (posix_memalign(&buffer, ALIGNMENT_BYTES, TRANSFER_BYTES_MAX) != 0)
        return NULL;
    pthread_setspecific(null->bounce_key, buffer);
    return buffer;
}

static void attributes_of(const struct null_fuse *null, fuse_ino_t inode, struct stat *attributes)
{
    *attributes = (struct stat){.st_ino = inode, .st_nlink = 1, .st_blksize = ALIGNMENT_BYTES};
    if (inode == FUSE_ROOT_ID) {
        attributes->st_mode = S_IFDIR | 0755;
        attributes->st_nlink = 2;
        return;
    }
    attributes->st_mode = S_IFREG | 0600;
    attributes->st_size = null->size;
    attributes->st_blocks = null->size / 512;
}

static void null_init(void *userdata, struct fuse_conn_info *connection)
{
    (void)userdata;
    connection->max_write = TRANSFER_BYTES_MAX;
    connection->max_background = BACKGROUND_REQUESTS_MAX;
    connection->congestion_threshold = BACKGROUND_REQUESTS_MAX;
    connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
}

static void null_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.ino = FILE_INODE};

    if (parent != FUSE_ROOT_ID || strcmp(name, file_name) != 0) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    attributes_of(null_fuse_of(request), FILE_INODE, &entry.attr);
    fuse_reply_entry(request, &entry);
}

static void null_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct stat attributes;

    (void)info;
    attributes_of(null_fuse_of(request), inode, &attributes);
    fuse_reply_attr(request, &attributes, 0);
}

// libfuse 3.14 has no name for FOPEN_PARALLEL_DIRECT_WRITES, so the reply is written out by hand.
static void null_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
    struct fuse_open_out reply = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES |
                                                FOPEN_NOFLUSH};

    (void)info;
    if (inode == FILE_INODE)
        fuse_reply_buf(request, (const char *)&reply, sizeof(reply));
    else
        fuse_reply_err(request, EISDIR);
}

static void null_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                      struct fuse_file_info *info)
{
    struct null_fuse *null = null_fuse_of(request);
    char *buffer = bounce_buffer(null);
    ssize_t done;

    (void)inode;
    (void)info;
    if (!buffer) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    done = pread(null->backing, buffer, size, offset);
    if (done < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, buffer, (size_t)done);
}

static void null_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t size,
                       off_t offset, struct fuse_file_info *info)
{
    struct null_fuse *null = null_fuse_of(request);
    char *buffer = bounce_buffer(null);
    ssize_t done;

    (void)inode;
    (void)info;
    if (!buffer || size > TRANSFER_BYTES_MAX) {
        fuse_reply_err(request, buffer ? EINVAL : ENOMEM);
        return;
    }
    memcpy(buffer, data, size);
    done = pwrite(null->backing, buffer, size, offset);
    if (done < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_write(request, (size_t)done);
}

static void null_fsync(fuse_req_t request, fuse_ino_t inode, int only_data,
                       struct fuse_file_info *info)
{
    int backing = null_fuse_of(request)->backing;
    int result = only_data ? fdatasync(backing) : fsync(backing);

    (void)inode;
    (void)info;
    fuse_reply_err(request, result < 0 ? errno : 0);
}

static void null_readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                         struct fuse_file_info *info)
{
    char buffer[256];
    size_t used = 0;
    struct stat attributes;

    (void)info;
    if (inode == FUSE_ROOT_ID && offset == 0) {
        attributes_of(null_fuse_of(request), FILE_INODE, &attributes);
        used = fuse_add_direntry(request, buffer, sizeof(buffer), file_name, &attributes, 1);
    }
    if (used > size)
        fuse_reply_err(request, EINVAL);
    else
        fuse_reply_buf(request, buffer, used);
}

static const struct fuse_lowlevel_ops null_operations = {
    .init = null_init,
    .lookup = null_lookup,
    .getattr = null_getattr,
    .open = null_open,
    .read = null_read,
    .write = null_write,
    .fsync = null_fsync,
    .readdir = null_readdir,
};

static int backing_open(struct null_fuse *null, const char *path)
{
    null->backing = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (null->backing < 0)
        return -errno;
    null->size = lseek(null->backing, 0, SEEK_END);
    return null->size < 0 ? -errno : 0;
}

// Serves requests with exactly `threads` threads until the mount goes; 0, or what libfuse says.
static int serve(struct fuse_session *session, unsigned threads)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int result;

    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, threads);
    fuse_loop_cfg_set_idle_threads(config, threads);
    result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return result;
}

// Mounts, serves until umount, unmounts; 0, or nonzero after libfuse has said why.
static int mount_and_serve(struct fuse_session *session, const char *directory, unsigned threads,
                           int foreground)
{
    int result = -1;

    if (fuse_set_signal_handlers(session) != 0)
        return -1;
    if (fuse_session_mount(session, directory) == 0) {
        if (fuse_daemonize(foreground) == 0)
            result = serve(session, threads);
        fuse_session_unmount(session);
    }
    fuse_remove_signal_handlers(session);
    return result;
}

static int run(struct null_fuse *null, const char *directory, unsigned threads, int foreground)
{
    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    int result = -1;

    if (fuse_opt_add_arg(&arguments, "null_fuse") == 0 &&
        fuse_opt_add_arg(&arguments, "-ofsname=null_fuse,default_permissions,allow_other") == 0)
        session = fuse_session_new(&arguments, &null_operations, sizeof(null_operations), null);
    if (session) {
        result = mount_and_serve(session, directory, threads, foreground);
        fuse_session_destroy(session);
    }
    fuse_opt_free_args(&arguments);
    return result;
}

static int usage(void)
{
    fputs("usage: null_fuse [-t THREADS] [-f] BACKING DIRECTORY\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct null_fuse null = {0};
    unsigned long threads = THREADS_DEFAULT;
    int foreground = 0, option, result;

    while ((option = getopt(argc, argv, "t:f")) != -1) {
        if (option == 't')
            threads = strtoul(optarg, NULL, 10);
        else if (option == 'f')
            foreground = 1;
        else
            return usage();
    }
    if (argc - optind != 2 || threads == 0 || threads > 64)
        return usage();
    result = backing_open(&null, argv[optind]);
    if (result < 0) {
        fprintf(stderr, "null_fuse: %s: %s\n", argv[optind], strerror(-result));
        return 1;
    }
    if (pthread_key_create(&null.bounce_key, free) != 0)
        return 1;
    return run(&null, argv[optind + 1], (unsigned)threads, foreground) == 0 ? 0 : 1;
}
