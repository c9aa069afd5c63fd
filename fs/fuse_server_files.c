// SPDX-License-Identifier: Apache-2.0
// Requests on open files that the core serves: open, create, release, sync, space, and the reads
// and writes that a lane had to hand on.
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/open_file.h"
#include "fs/volume.h"

// --- what the kernel keeps -------------------------------------------------------------------

// Who may write does so past the kernel's cache, as docs/caching.md says, and side by side with
// others. Times of access are exact only if each read is asked for.
static bool is_cached(const struct fuse_server *server, int flags)
{
    return server->keeps_pages && (flags & O_ACCMODE) == O_RDONLY && (flags & O_DIRECT) == 0 &&
           !server->volume->options.strict_atime;
}

// Pages that are not lent are not there: what is, is good for the next opener, too.
static uint32_t open_flags_of(const struct fuse_handle *handle)
{
    return handle->is_cached ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
}

// --- handles ---------------------------------------------------------------------------------

// `opened`: the file's attributes at the open.
static struct fuse_handle *handle_new(struct fuse_server *server, const struct attributes *opened,
                                      struct open_file *file, int flags)
{
    struct fuse_handle *handle = calloc(1, sizeof(*handle));
    CHECK(handle != NULL);
    *handle = (struct fuse_handle){
        .id = ++server->handle_id_last,
        .inode = opened->inode,
        .node = fuse_node_make(server, opened),
        .file = file,
        .pass = open_file_pass(file),
        .flags = flags,
        .is_cached = is_cached(server, flags),
    };
    operation_note_opened(server->volume, file, handle->is_cached);
    LIST_INSERT_HEAD(&server->handles, handle, link);
    atomic_fetch_add_explicit(&server->handle_count, 1, memory_order_relaxed);
    fuse_handle_note_opened(server, handle, opened);
    return handle;
}

int fuse_handle_release(struct fuse_server *server, struct fuse_handle *handle)
{
    if (handle->took_locks) {
        struct range_locks *locks = server->config.range_locks;
        locks->operations->release_handle(locks, handle->inode, handle->id);
        fuse_server_note_locks(server, handle, false);
    }
    LIST_REMOVE(handle, link);
    atomic_fetch_sub_explicit(&server->handle_count, 1, memory_order_relaxed);
    operation_note_closed(server->volume, handle->file, handle->is_cached);
    int result = operation_release(server->volume, handle->file);
    free(handle);
    return result;
}

// --- open, create, release -------------------------------------------------------------------

// The inode number may have got another file between the kernel's permission check and now. Once
// the file is open it can no longer be freed, so what is found then stays true.
static int check_opened(struct fuse_request *request, struct open_file *file)
{
    struct attributes *now = &request->out.attributes;
    int result =
        operation_get_attributes(request->server->volume, fuse_request_inode(request), now);
    result = fuse_node_check(request->server, request->node, result, now);
    // Before the data is touched: a crash must not leave it changed and as powerful as before.
    if (result == 0 && (request->in.make.flags & O_TRUNC) != 0)
        result = fuse_request_drop_privileges(request);
    if (result == 0 && (request->in.make.flags & O_TRUNC) != 0) {
        struct attributes empty = {.stat = {.st_size = 0}};
        result = operation_set_attributes(request->server->volume, fuse_request_inode(request),
                                          &empty, SET_SIZE | SET_MTIME_NOW, &empty);
    }
    if (result != 0)
        operation_release(request->server->volume, file);
    return result;
}

static int run_open(struct fuse_request *request)
{
    struct open_file *file;
    int flags = request->in.make.flags;
    int result = operation_open(request->server->volume, fuse_request_inode(request),
                                flags & ~O_TRUNC, &file);
    if (result == 0)
        result = check_opened(request, file);
    if (result != 0)
        return result;
    request->handle = handle_new(request->server, &request->out.attributes, file, flags);
    return 0;
}

static int create_file(struct fuse_request *request, struct open_file **file)
{
    struct volume *volume = request->server->volume;
    uint64_t parent = fuse_request_inode(request);
    int flags = request->in.make.flags & ~O_TRUNC;
    if (strcmp(request->name, FUSE_DIALECT_NO_NAME) == 0)
        return operation_create_unnamed(volume, parent, request->in.make.mode, &request->who, flags,
                                        &request->out.attributes, file);
    return operation_create(volume, parent, request->name, request->in.make.mode, 0, &request->who,
                            flags, &request->out.attributes, file);
}

static int run_create(struct fuse_request *request)
{
    struct open_file *file = NULL;
    int flags = request->in.make.flags;
    int result = create_file(request, &file);
    if (result != 0)
        return result;
    request->handle = handle_new(request->server, &request->out.attributes, file, flags);
    return 0;
}

// The kernel has not heard of the handle and will not send a RELEASE.
static void undo_open(struct fuse_request *request)
{
    fuse_handle_release(request->server, request->handle);
}

// The opener was killed meanwhile.
static int release_unwanted(struct fuse_request *request, int reply_result)
{
    if (reply_result == -ENOENT)
        undo_open(request);
    return reply_result;
}

// libfuse 3.14 has no name for parallel direct writes, so these two answers are written out by hand
// as <linux/fuse.h> lays them out.
static int reply_open(struct fuse_request *request)
{
    struct fuse_open_out reply = {
        .fh = (uintptr_t)request->handle,
        .open_flags = open_flags_of(request->handle),
    };
    int result = fuse_reply_buf(request->fuse, (const char *)&reply, sizeof(reply));
    return release_unwanted(request, result);
}

static void entry_out_from(const struct fuse_server *server, const struct attributes *from,
                           struct fuse_entry_out *out)
{
    const struct stat *stat = &from->stat;
    *out = (struct fuse_entry_out){
        .nodeid = fuse_node_make(server, from),
        .generation = from->generation,
        .attr =
            {
                .ino = stat->st_ino,
                .size = (uint64_t)stat->st_size,
                .blocks = (uint64_t)stat->st_blocks,
                .atime = (uint64_t)stat->st_atim.tv_sec,
                .mtime = (uint64_t)stat->st_mtim.tv_sec,
                .ctime = (uint64_t)stat->st_ctim.tv_sec,
                .atimensec = (uint32_t)stat->st_atim.tv_nsec,
                .mtimensec = (uint32_t)stat->st_mtim.tv_nsec,
                .ctimensec = (uint32_t)stat->st_ctim.tv_nsec,
                .mode = stat->st_mode,
                .nlink = (uint32_t)stat->st_nlink,
                .uid = stat->st_uid,
                .gid = stat->st_gid,
                .rdev = (uint32_t)stat->st_rdev,
                .blksize = (uint32_t)stat->st_blksize,
            },
    };
}

static int reply_create(struct fuse_request *request)
{
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } reply = {
        .open = {.fh = (uintptr_t)request->handle, .open_flags = open_flags_of(request->handle)}};
    entry_out_from(request->server, &request->out.attributes, &reply.entry);
    int result = fuse_reply_buf(request->fuse, (const char *)&reply, sizeof(reply));
    return release_unwanted(request, result);
}

static int run_release(struct fuse_request *request)
{
    return fuse_handle_release(request->server, request->handle);
}

// --- data that a lane could not serve --------------------------------------------------------

static int run_read(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    atomic_fetch_add_explicit(&server->core_reads, 1, memory_order_relaxed);
    struct open_file *file = request->handle->file;
    uint64_t offset = request->in.data.offset;
    size_t length = request->in.data.length;
    ssize_t result =
        request->in.data.is_page
            ? operation_fill(server->volume, file, request->node, offset, request->buffer, length)
            : operation_read(server->volume, file, offset, request->buffer, length);
    if (result < 0)
        return (int)result;
    request->out.bytes = (size_t)result;
    return 0;
}

static int take_written(struct fuse_request *request, ssize_t written)
{
    if (written < 0)
        return (int)written;
    request->out.bytes = (size_t)written;
    return 0;
}

// Whoever changed it in memory is not known any more, nor how the file was opened.
static int run_write_pages(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    atomic_fetch_add_explicit(&server->core_writes, 1, memory_order_relaxed);
    return take_written(request, operation_write_pages(server->volume, request->handle->file,
                                                       request->in.data.offset, request->buffer,
                                                       request->in.data.length));
}

static int run_write(struct fuse_request *request)
{
    struct fuse_server *server = request->server;
    struct open_file *file = request->handle->file;
    atomic_fetch_add_explicit(&server->core_writes, 1, memory_order_relaxed);
    open_file_set_flags(file, request->in.data.flags);
    int result = fuse_request_drop_privileges(request);
    if (result != 0)
        return result;
    result = take_written(request, operation_write(server->volume, file, request->in.data.offset,
                                                   request->buffer, request->in.data.length));
    if (result != 0 || (request->in.data.flags & O_DSYNC) == 0)
        return result;
    return operation_sync_file(server->volume, file, (request->in.data.flags & O_SYNC) != O_SYNC);
}

static int run_sync(struct fuse_request *request)
{
    return operation_sync_file(request->server->volume, request->handle->file,
                               request->in.data_only);
}

static int run_copy(struct fuse_request *request)
{
    struct volume *volume = request->server->volume;
    struct fuse_handle *to = request->handle;
    int result = fuse_request_drop_privileges(request);
    if (result != 0)
        return result;
    ssize_t copied =
        operation_copy(volume, request->in.copy.from->file, request->in.copy.from_offset, to->file,
                       request->in.copy.offset, request->in.copy.length);
    if (copied < 0)
        return (int)copied;
    request->out.bytes = (size_t)copied;
    if ((to->flags & O_DSYNC) == 0)
        return 0;
    return operation_sync_file(volume, to->file, (to->flags & O_SYNC) != O_SYNC);
}

static int run_allocate(struct fuse_request *request)
{
    int result = fuse_request_drop_privileges(request);
    if (result != 0)
        return result;
    return operation_allocate(request->server->volume, request->handle->file,
                              request->in.range.mode, request->in.range.offset,
                              request->in.range.length);
}

static int run_seek(struct fuse_request *request)
{
    request->out.offset = operation_seek(request->server->volume, request->handle->file,
                                         (off_t)request->in.range.offset, request->in.range.mode);
    return request->out.offset < 0 ? (int)request->out.offset : 0;
}

static int reply_seek(struct fuse_request *request)
{
    return fuse_reply_lseek(request->fuse, request->out.offset);
}

static const struct fuse_request_type open_type = {"open", run_open, reply_open, false, undo_open};
static const struct fuse_request_type create_type = {"create", run_create, reply_create, false,
                                                     undo_open};
static const struct fuse_request_type release_type = {"release", run_release, NULL, true, NULL};
static const struct fuse_request_type read_type = {"read", run_read, fuse_reply_request_buffer,
                                                   false, NULL};
static const struct fuse_request_type write_type = {"write", run_write, fuse_reply_request_count,
                                                    false, NULL};
static const struct fuse_request_type write_pages_type = {"write of pages", run_write_pages,
                                                          fuse_reply_request_count, false, NULL};
static const struct fuse_request_type sync_type = {"fsync", run_sync, NULL, false, NULL};
static const struct fuse_request_type copy_type = {"copy_file_range", run_copy,
                                                   fuse_reply_request_count, false, NULL};
static const struct fuse_request_type allocate_type = {"fallocate", run_allocate, NULL, false,
                                                       NULL};
static const struct fuse_request_type seek_type = {"lseek", run_seek, reply_seek, false, NULL};

// --- handlers: on a lane's thread ------------------------------------------------------------

static void handle_open(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info)
{
    struct fuse_request *request = fuse_request_new(fuse, &open_type, node, NULL, NULL);
    if (request == NULL)
        return;
    request->in.make.flags = info->flags;
    fuse_request_forward(request);
}

static void handle_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
                          struct fuse_file_info *info)
{
    struct fuse_request *request = fuse_request_new(fuse, &create_type, parent, name, NULL);
    if (request == NULL)
        return;
    request->in.make.mode = mode;
    request->in.make.flags = info->flags;
    fuse_request_forward(request);
}

static struct fuse_request *new_on_handle(fuse_req_t fuse, const struct fuse_request_type *type,
                                          fuse_ino_t node, struct fuse_file_info *info)
{
    struct fuse_request *request = fuse_request_new(fuse, type, node, NULL, NULL);
    if (request != NULL)
        request->handle = fuse_handle_of(info);
    return request;
}

static void handle_release(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info)
{
    struct fuse_request *request = new_on_handle(fuse, &release_type, node, info);
    if (request != NULL)
        fuse_request_forward(request);
}

static void handle_fsync(fuse_req_t fuse, fuse_ino_t node, int data_only,
                         struct fuse_file_info *info)
{
    struct fuse_request *request = new_on_handle(fuse, &sync_type, node, info);
    if (request == NULL)
        return;
    request->in.data_only = data_only != 0;
    fuse_request_forward(request);
}

static void forward_range(fuse_req_t fuse, const struct fuse_request_type *type, fuse_ino_t node,
                          struct fuse_file_info *info, int mode, off_t offset, off_t length)
{
    struct fuse_request *request = new_on_handle(fuse, type, node, info);
    if (request == NULL)
        return;
    request->in.range.mode = mode;
    request->in.range.offset = (uint64_t)offset;
    request->in.range.length = (uint64_t)length;
    fuse_request_forward(request);
}

static void handle_fallocate(fuse_req_t fuse, fuse_ino_t node, int mode, off_t offset, off_t length,
                             struct fuse_file_info *info)
{
    forward_range(fuse, &allocate_type, node, info, mode, offset, length);
}

static void handle_copy(fuse_req_t fuse, fuse_ino_t from, off_t from_offset,
                        struct fuse_file_info *from_info, fuse_ino_t node, off_t offset,
                        struct fuse_file_info *info, size_t length, int flags)
{
    (void)from, (void)flags;
    struct fuse_request *request = new_on_handle(fuse, &copy_type, node, info);
    if (request == NULL)
        return;
    request->in.copy.from = fuse_handle_of(from_info);
    request->in.copy.from_offset = (uint64_t)from_offset;
    request->in.copy.offset = (uint64_t)offset;
    request->in.copy.length = length;
    fuse_request_forward(request);
}

static void handle_lseek(fuse_req_t fuse, fuse_ino_t node, off_t offset, int whence,
                         struct fuse_file_info *info)
{
    forward_range(fuse, &seek_type, node, info, whence, offset, 0);
}

void fuse_files_forward_read(fuse_req_t fuse, fuse_ino_t node, uint64_t offset, size_t length,
                             const struct fuse_file_info *info, bool is_page)
{
    struct fuse_request *request = fuse_request_new_buffered(fuse, &read_type, node, NULL, length);
    if (request == NULL)
        return;
    request->handle = fuse_handle_of(info);
    request->in.data.offset = offset;
    request->in.data.length = length;
    request->in.data.is_page = is_page;
    fuse_request_forward(request);
}

void fuse_files_forward_write(fuse_req_t fuse, fuse_ino_t node, uint64_t offset, const void *data,
                              size_t length, const struct fuse_file_info *info)
{
    const struct fuse_request_type *type = info->writepage ? &write_pages_type : &write_type;
    struct fuse_request *request = fuse_request_new_buffered(fuse, type, node, NULL, length);
    if (request == NULL)
        return;
    memcpy(request->buffer, data, length);
    request->handle = fuse_handle_of(info);
    request->in.data.offset = offset;
    request->in.data.length = length;
    request->in.data.flags = info->flags;
    fuse_request_forward(request);
}

void fuse_server_add_files(struct fuse_lowlevel_ops *operations)
{
    operations->open = handle_open;
    operations->create = handle_create;
    operations->release = handle_release;
    operations->fsync = handle_fsync;
    operations->fallocate = handle_fallocate;
    operations->copy_file_range = handle_copy;
    operations->lseek = handle_lseek;
}
