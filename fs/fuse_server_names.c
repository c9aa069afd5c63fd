// SPDX-License-Identifier: Apache-2.0
// Requests on names: lookup, make, link, rename, unlink, and reading a symlink.
#include "fs/fuse_server_request.h"

#include <errno.h>

#include "fs/format.h"
#include "fs/volume.h"

// --- run: in a coroutine of the core ---------------------------------------------------------

static int run_lookup(struct fuse_request *request)
{
    int result = operation_lookup(request->server->volume, fuse_request_inode(request),
                                  request->name, &request->out.attributes);
    if (result == 0)
        request->loan_s = fuse_loan_s(request->server, request->node, LOAN_NAMES);
    return result;
}

static int run_make_node(struct fuse_request *request)
{
    return operation_create(request->server->volume, fuse_request_inode(request), request->name,
                            request->in.make.mode, request->in.make.device, &request->who, -1,
                            &request->out.attributes, NULL);
}

static int run_make_directory(struct fuse_request *request)
{
    return operation_make_directory(request->server->volume, fuse_request_inode(request),
                                    request->name, request->in.make.mode, &request->who,
                                    &request->out.attributes);
}

static int run_symlink(struct fuse_request *request)
{
    return operation_symlink(request->server->volume, fuse_request_inode(request), request->name,
                             request->second_name, &request->who, &request->out.attributes);
}

static int run_link(struct fuse_request *request)
{
    uint64_t parent = fuse_node_inode(request->server, request->in.move.parent);
    int result = operation_link(request->server->volume, fuse_request_inode(request), parent,
                                request->name, &request->out.attributes);
    // Another node removed it after the kernel had looked it up. For ESTALE the kernel looks once
    // more, and if it loses again tells that to a caller who knows only ENOENT.
    return result == -ESTALE ? -ENOENT : result;
}

static int run_unlink(struct fuse_request *request)
{
    return operation_unlink(request->server->volume, fuse_request_inode(request), request->name);
}

static int run_remove_directory(struct fuse_request *request)
{
    return operation_remove_directory(request->server->volume, fuse_request_inode(request),
                                      request->name);
}

static int run_rename(struct fuse_request *request)
{
    uint64_t new_parent = fuse_node_inode(request->server, request->in.move.parent);
    return operation_rename(request->server->volume, fuse_request_inode(request), request->name,
                            new_parent, request->second_name, request->in.move.flags);
}

static int run_read_link(struct fuse_request *request)
{
    return operation_read_link(request->server->volume, fuse_request_inode(request),
                               request->buffer);
}

static int reply_read_link(struct fuse_request *request)
{
    return fuse_reply_readlink(request->fuse, request->buffer);
}

static const struct fuse_request_type lookup_type = {"lookup", run_lookup, fuse_reply_request_entry,
                                                     false, NULL};
static const struct fuse_request_type make_node_type = {"mknod", run_make_node,
                                                        fuse_reply_request_entry, false, NULL};
static const struct fuse_request_type make_directory_type = {"mkdir", run_make_directory,
                                                             fuse_reply_request_entry, false, NULL};
static const struct fuse_request_type symlink_type = {"symlink", run_symlink,
                                                      fuse_reply_request_entry, false, NULL};
static const struct fuse_request_type link_type = {"link", run_link, fuse_reply_request_entry,
                                                   false, NULL};
static const struct fuse_request_type unlink_type = {"unlink", run_unlink, NULL, false, NULL};
static const struct fuse_request_type remove_directory_type = {"rmdir", run_remove_directory, NULL,
                                                               false, NULL};
static const struct fuse_request_type rename_type = {"rename", run_rename, NULL, false, NULL};
static const struct fuse_request_type read_link_type = {"readlink", run_read_link, reply_read_link,
                                                        false, NULL};

// --- handlers: on a lane's thread ------------------------------------------------------------

static void forward_name(fuse_req_t fuse, const struct fuse_request_type *type, fuse_ino_t parent,
                         const char *name)
{
    struct fuse_request *request = fuse_request_new(fuse, type, parent, name, NULL);
    if (request != NULL)
        fuse_request_forward(request);
}

static void handle_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    forward_name(fuse, &lookup_type, parent, name);
}

static void handle_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    forward_name(fuse, &unlink_type, parent, name);
}

static void handle_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    forward_name(fuse, &remove_directory_type, parent, name);
}

static void forward_make(fuse_req_t fuse, const struct fuse_request_type *type, fuse_ino_t parent,
                         const char *name, mode_t mode, dev_t device)
{
    struct fuse_request *request = fuse_request_new(fuse, type, parent, name, NULL);
    if (request == NULL)
        return;
    request->in.make.mode = mode;
    request->in.make.device = device;
    fuse_request_forward(request);
}

static void handle_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
                         dev_t device)
{
    forward_make(fuse, &make_node_type, parent, name, mode, device);
}

static void handle_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
    forward_make(fuse, &make_directory_type, parent, name, mode, 0);
}

static void handle_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name)
{
    struct fuse_request *request = fuse_request_new(fuse, &symlink_type, parent, name, target);
    if (request != NULL)
        fuse_request_forward(request);
}

static void handle_link(fuse_req_t fuse, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
    struct fuse_request *request = fuse_request_new(fuse, &link_type, node, name, NULL);
    if (request == NULL)
        return;
    request->in.move.parent = parent;
    fuse_request_mean(request, parent);
    fuse_request_forward(request);
}

static void handle_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name,
                          fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
    struct fuse_request *request = fuse_request_new(fuse, &rename_type, parent, name, new_name);
    if (request == NULL)
        return;
    request->in.move.parent = new_parent;
    fuse_request_mean(request, new_parent);
    request->in.move.flags = flags;
    fuse_request_forward(request);
}

static void handle_readlink(fuse_req_t fuse, fuse_ino_t node)
{
    struct fuse_request *request =
        fuse_request_new_buffered(fuse, &read_link_type, node, NULL, FORMAT_SYMLINK_BYTES_MAX + 1);
    if (request != NULL)
        fuse_request_forward(request);
}

void fuse_server_add_names(struct fuse_lowlevel_ops *operations)
{
    operations->lookup = handle_lookup;
    operations->mknod = handle_mknod;
    operations->mkdir = handle_mkdir;
    operations->symlink = handle_symlink;
    operations->link = handle_link;
    operations->unlink = handle_unlink;
    operations->rmdir = handle_rmdir;
    operations->rename = handle_rename;
    operations->readlink = handle_readlink;
}
