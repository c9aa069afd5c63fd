// SPDX-License-Identifier: Apache-2.0
// What a file lends to whoever runs it: set-id bits and capabilities. Who changes the file takes
// them away; the kernel sees to it for chown and truncate, and leaves direct writes, fallocate and
// O_TRUNC to us. Capabilities go whoever writes, set-id bits unless root does.
#include "fs/fuse_server_request.h"

#include <errno.h>

#include "fs/volume.h"

static bool has_set_id(mode_t mode)
{
    return (mode & S_ISUID) != 0 || (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
}

void fuse_handles_note_mode(struct fuse_server *server, uint64_t inode, mode_t mode)
{
    struct fuse_handle *handle;
    LIST_FOREACH (handle, &server->handles, link) {
        if (handle->inode == inode)
            atomic_store(&handle->has_set_id, has_set_id(mode));
    }
}

void fuse_handles_note_capability(struct fuse_server *server, uint64_t inode, bool has_capability)
{
    struct fuse_handle *handle;
    LIST_FOREACH (handle, &server->handles, link) {
        if (handle->inode == inode)
            atomic_store(&handle->has_capability, has_capability);
    }
}

void fuse_handle_note_opened(struct fuse_server *server, struct fuse_handle *handle,
                             const struct attributes *opened)
{
    bool has_capability =
        opened->xattr_count > 0 &&
        operation_get_xattr(server->volume, opened->inode, FUSE_CAPABILITY_NAME, NULL, 0) >= 0;
    // Others may have noted something newer meanwhile; a bit too many only costs time.
    if (has_set_id(opened->stat.st_mode))
        atomic_store(&handle->has_set_id, true);
    if (has_capability)
        atomic_store(&handle->has_capability, true);
}

static int drop_set_id(struct fuse_request *request, struct attributes *now)
{
    int result =
        operation_set_attributes(request->server->volume, now->inode, now, SET_KILL_SUID, now);
    if (result != 0)
        return result;
    fuse_handles_note_mode(request->server, now->inode, now->stat.st_mode);
    operation_recall(request->server->volume, now->inode); // the kernel does not know of it
    return 0;
}

static int drop_capability(struct fuse_request *request, uint64_t inode)
{
    int result = operation_remove_xattr(request->server->volume, inode, FUSE_CAPABILITY_NAME);
    if (result == -ENODATA)
        result = 0;
    if (result == 0)
        fuse_handles_note_capability(request->server, inode, false);
    return result;
}

int fuse_request_drop_privileges(struct fuse_request *request)
{
    const struct fuse_handle *handle = request->handle;
    bool is_root = request->who.uid == 0;
    struct attributes now;
    if (is_root && handle != NULL && !atomic_load(&handle->has_capability))
        return 0;
    int result =
        operation_get_attributes(request->server->volume, fuse_request_inode(request), &now);
    if (result == 0 && !is_root && has_set_id(now.stat.st_mode))
        result = drop_set_id(request, &now);
    if (result == 0 && now.xattr_count > 0)
        result = drop_capability(request, now.inode);
    return result;
}
