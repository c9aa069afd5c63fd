// SPDX-License-Identifier: Apache-2.0
// Requests on open directories. Opening one takes nothing: a cursor names a place that stays valid
// without a handle, so there is nothing for the core to open, and nothing to release.
#include "fs/fuse_server_request.h"

#include <dirent.h>
#include <errno.h>

#include "fs/volume.h"

enum { DIRECTORY_BYTES_MAX = 1 << 20 };

struct filler {
    struct fuse_request *request;
    char *buffer;
    size_t size, used;
};

static size_t add_plain(struct filler *filler, const struct directory_entry *entry)
{
    struct stat stat = {.st_ino = entry->inode, .st_mode = DTTOIF(entry->type)};
    return fuse_add_direntry(filler->request->fuse, filler->buffer + filler->used,
                             filler->size - filler->used, entry->name, &stat, (off_t)entry->cursor);
}

static size_t add_with_attributes(struct filler *filler, const struct directory_entry *entry)
{
    struct fuse_entry_param param = {
        .attr = {.st_ino = entry->inode, .st_mode = DTTOIF(entry->type)},
    };
    if (entry->attributes != NULL)
        fuse_entry_from_attributes(filler->request->server, entry->attributes, &param);
    return fuse_add_direntry_plus(filler->request->fuse, filler->buffer + filler->used,
                                  filler->size - filler->used, entry->name, &param,
                                  (off_t)entry->cursor);
}

// Both adders return the room that the entry needs, and write it only if it is there.
static bool emit(void *context, const struct directory_entry *entry)
{
    struct filler *filler = context;
    size_t bytes = filler->request->in.directory.with_attributes
                       ? add_with_attributes(filler, entry)
                       : add_plain(filler, entry);
    if (bytes > filler->size - filler->used)
        return false;
    filler->used += bytes;
    return true;
}

// A working directory or an open one outlives a removal on another node, and the number may have a
// new life since.
static int check_node(struct fuse_request *request)
{
    struct attributes now;
    int result =
        operation_get_attributes(request->server->volume, fuse_request_inode(request), &now);
    return fuse_node_check(request->server, request->node, result, &now);
}

// What the kernel may keep it asks for name by name, and an entry with attributes would end that:
// here it gets names, and the locks of their inodes are asked for ahead.
static enum directory_listing kind_of(const struct fuse_request *request)
{
    if (!request->in.directory.with_attributes)
        return LIST_NAMES;
    return request->server->is_lending ? LIST_NAMES_AHEAD : LIST_ATTRIBUTES;
}

static int run_read(struct fuse_request *request)
{
    struct filler filler = {request, request->buffer, request->in.directory.size, 0};
    int result = check_node(request);
    if (result != 0)
        return result;
    result =
        operation_read_directory(request->server->volume, fuse_request_inode(request),
                                 request->in.directory.cursor, kind_of(request), emit, &filler);
    request->out.bytes = filler.used;
    return result;
}

// Directories have no handle; what makes one durable is the commit of everything so far.
static int run_sync(struct fuse_request *request)
{
    return operation_sync_volume(request->server->volume);
}

static const struct fuse_request_type read_type = {"readdir", run_read, fuse_reply_request_buffer,
                                                   false, NULL};
static const struct fuse_request_type sync_type = {"fsyncdir", run_sync, NULL, false, NULL};

static void handle_opendir(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info)
{
    (void)node;
    info->fh = 0;
    fuse_reply_open(fuse, info);
}

static void handle_releasedir(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info)
{
    (void)node, (void)info;
    fuse_reply_err(fuse, 0);
}

static void forward_read(fuse_req_t fuse, fuse_ino_t node, size_t size, off_t cursor,
                         bool with_attributes)
{
    if (size > DIRECTORY_BYTES_MAX)
        size = DIRECTORY_BYTES_MAX;
    struct fuse_request *request = fuse_request_new_buffered(fuse, &read_type, node, NULL, size);
    if (request == NULL)
        return;
    request->in.directory.cursor = (uint64_t)cursor;
    request->in.directory.size = size;
    request->in.directory.with_attributes = with_attributes;
    fuse_request_forward(request);
}

static void handle_readdir(fuse_req_t fuse, fuse_ino_t node, size_t size, off_t cursor,
                           struct fuse_file_info *info)
{
    (void)info;
    forward_read(fuse, node, size, cursor, false);
}

static void handle_readdirplus(fuse_req_t fuse, fuse_ino_t node, size_t size, off_t cursor,
                               struct fuse_file_info *info)
{
    (void)info;
    forward_read(fuse, node, size, cursor, true);
}

static void handle_fsyncdir(fuse_req_t fuse, fuse_ino_t node, int data_only,
                            struct fuse_file_info *info)
{
    (void)data_only, (void)info;
    struct fuse_request *request = fuse_request_new(fuse, &sync_type, node, NULL, NULL);
    if (request != NULL)
        fuse_request_forward(request);
}

void fuse_server_add_directories(struct fuse_lowlevel_ops *operations)
{
    operations->opendir = handle_opendir;
    operations->releasedir = handle_releasedir;
    operations->readdir = handle_readdir;
    operations->readdirplus = handle_readdirplus;
    operations->fsyncdir = handle_fsyncdir;
}
