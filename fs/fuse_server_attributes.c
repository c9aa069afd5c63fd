// SPDX-License-Identifier: Apache-2.0
// Requests on attributes: stat, chmod and its kin, extended attributes, free space.
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>

#include "fs/fuse_caller.h"
#include "fs/volume.h"

// --- run: in a coroutine of the core ---------------------------------------------------------

// The kernel asks for attributes before it checks a permission, unless it was lent them; so a node
// id whose number another file has now is found out here, before anything is done to that file.
static int run_get_attributes(struct fuse_request *request)
{
    struct attributes *out = &request->out.attributes;
    int result =
        operation_get_attributes(request->server->volume, fuse_request_inode(request), out);
    result = fuse_node_check(request->server, request->node, result, out);
    if (result == 0)
        request->loan_s = fuse_loan_s(request->server, request->node, LOAN_ATTRIBUTES);
    return result;
}

static int run_set_attributes(struct fuse_request *request)
{
    struct attributes *out = &request->out.attributes;
    int result = operation_set_attributes(request->server->volume, fuse_request_inode(request),
                                          &request->in.set.wanted, request->in.set.fields, out);
    if (result == 0 && (request->in.set.fields & SET_MODE) != 0)
        fuse_handles_note_mode(request->server, out->inode, out->stat.st_mode);
    return result;
}

static int run_statfs(struct fuse_request *request)
{
    return operation_statfs_of(request->server->volume, fuse_request_inode(request),
                               &request->out.space);
}

static int reply_statfs(struct fuse_request *request)
{
    return fuse_reply_statfs(request->fuse, &request->out.space);
}

static int take_count(struct fuse_request *request, ssize_t result)
{
    if (result < 0)
        return (int)result;
    request->out.bytes = (size_t)result;
    return 0;
}

// The kernel keeps no extended attributes, and `ls -l` asks for a label of every file. Told that
// there are none here, and not that this file has none, it asks no more for this listing.
static bool is_label(const struct fuse_request *request)
{
    return request->server->is_lending && strcmp(request->name, "security.selinux") == 0;
}

static int run_get_xattr(struct fuse_request *request)
{
    ssize_t result = operation_get_xattr(request->server->volume, fuse_request_inode(request),
                                         request->name, request->buffer, request->in.xattr.size);
    if (result == -ENODATA && is_label(request))
        result = -EOPNOTSUPP;
    return take_count(request, result);
}

static int run_list_xattr(struct fuse_request *request)
{
    return take_count(request,
                      operation_list_xattr(request->server->volume, fuse_request_inode(request),
                                           request->in.xattr.with_trusted, request->buffer,
                                           request->in.xattr.size));
}

_Static_assert((int)SET_XATTR_KILL_SGID == (int)FUSE_DIALECT_KILL_SGID, "passed on as it came");

static int run_set_xattr(struct fuse_request *request)
{
    uint64_t inode = fuse_request_inode(request);
    int result = operation_set_xattr(request->server->volume, inode, request->name, request->buffer,
                                     request->in.xattr.size, request->in.xattr.flags);
    if (result == 0 && strcmp(request->name, FUSE_CAPABILITY_NAME) == 0)
        fuse_handles_note_capability(request->server, inode, true);
    return result;
}

static int run_remove_xattr(struct fuse_request *request)
{
    return operation_remove_xattr(request->server->volume, fuse_request_inode(request),
                                  request->name);
}

// A caller that gave no room asks for the length.
static int reply_xattr(struct fuse_request *request)
{
    if (request->in.xattr.size == 0)
        return fuse_reply_xattr(request->fuse, request->out.bytes);
    return fuse_reply_request_buffer(request);
}

static int reply_statx(struct fuse_request *request)
{
    struct fuse_dialect_statx_out reply;
    fuse_dialect_fill_statx(&request->out.attributes, &reply);
    reply.valid_seconds = (uint64_t)request->loan_s;
    return fuse_reply_buf(request->fuse, (const char *)&reply, sizeof(reply));
}

static const struct fuse_request_type statx_type = {"statx", run_get_attributes, reply_statx, false,
                                                    NULL};
static const struct fuse_request_type get_attributes_type = {
    "getattr", run_get_attributes, fuse_reply_request_attributes, false, NULL};
static const struct fuse_request_type set_attributes_type = {
    "setattr", run_set_attributes, fuse_reply_request_attributes, false, NULL};
static const struct fuse_request_type statfs_type = {"statfs", run_statfs, reply_statfs, false,
                                                     NULL};
static const struct fuse_request_type get_xattr_type = {"getxattr", run_get_xattr, reply_xattr,
                                                        false, NULL};
static const struct fuse_request_type list_xattr_type = {"listxattr", run_list_xattr, reply_xattr,
                                                         false, NULL};
static const struct fuse_request_type set_xattr_type = {"setxattr", run_set_xattr, NULL, false,
                                                        NULL};
static const struct fuse_request_type remove_xattr_type = {"removexattr", run_remove_xattr, NULL,
                                                           false, NULL};

// --- handlers: on a lane's thread ------------------------------------------------------------

static void handle_getattr(fuse_req_t fuse, fuse_ino_t node, struct fuse_file_info *info)
{
    bool is_statx = info != NULL && info->fh == FUSE_DIALECT_STATX;
    struct fuse_request *request =
        fuse_request_new(fuse, is_statx ? &statx_type : &get_attributes_type, node, NULL, NULL);
    if (request != NULL)
        fuse_request_forward(request);
}

static unsigned fields_of(int to_set)
{
    static const struct {
        int fuse;
        unsigned field;
    } rows[] = {
        {FUSE_SET_ATTR_MODE, SET_MODE},
        {FUSE_SET_ATTR_UID, SET_UID},
        {FUSE_SET_ATTR_GID, SET_GID},
        {FUSE_SET_ATTR_SIZE, SET_SIZE},
        {FUSE_SET_ATTR_ATIME, SET_ATIME},
        {FUSE_SET_ATTR_MTIME, SET_MTIME},
        {FUSE_SET_ATTR_ATIME_NOW, SET_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME_NOW, SET_MTIME_NOW},
        {FUSE_SET_ATTR_CTIME, SET_CTIME},
    };
    unsigned fields = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (to_set & rows[i].fuse)
            fields |= rows[i].field;
    }
    return fields;
}

static void handle_setattr(fuse_req_t fuse, fuse_ino_t node, struct stat *wanted, int to_set,
                           struct fuse_file_info *info)
{
    (void)info;
    struct fuse_request *request = fuse_request_new(fuse, &set_attributes_type, node, NULL, NULL);
    if (request == NULL)
        return;
    request->in.set.wanted.stat = *wanted;
    request->in.set.fields = fields_of(to_set);
    fuse_request_forward(request);
}

static void handle_statfs(fuse_req_t fuse, fuse_ino_t node)
{
    struct fuse_request *request = fuse_request_new(fuse, &statfs_type, node, NULL, NULL);
    if (request != NULL)
        fuse_request_forward(request);
}

static void forward_xattr(fuse_req_t fuse, const struct fuse_request_type *type, fuse_ino_t node,
                          const char *name, size_t size)
{
    struct fuse_request *request = fuse_request_new_buffered(fuse, type, node, name, size);
    if (request == NULL)
        return;
    request->in.xattr.size = size;
    fuse_request_forward(request);
}

static void handle_getxattr(fuse_req_t fuse, fuse_ino_t node, const char *name, size_t size)
{
    forward_xattr(fuse, &get_xattr_type, node, name, size);
}

static void handle_listxattr(fuse_req_t fuse, fuse_ino_t node, size_t size)
{
    const struct fuse_ctx *who = fuse_req_ctx(fuse);
    struct fuse_request *request =
        fuse_request_new_buffered(fuse, &list_xattr_type, node, NULL, size);
    if (request == NULL)
        return;
    request->in.xattr.size = size;
    request->in.xattr.with_trusted = fuse_caller_is_capable(who->pid, who->uid, CAP_SYS_ADMIN);
    fuse_request_forward(request);
}

static void handle_removexattr(fuse_req_t fuse, fuse_ino_t node, const char *name)
{
    forward_xattr(fuse, &remove_xattr_type, node, name, 0);
}

static void handle_setxattr(fuse_req_t fuse, fuse_ino_t node, const char *name, const char *value,
                            size_t size, int flags)
{
    struct fuse_request *request =
        fuse_request_new_buffered(fuse, &set_xattr_type, node, name, size);
    if (request == NULL)
        return;
    memcpy(request->buffer, value, size);
    request->in.xattr.size = size;
    request->in.xattr.flags = flags;
    fuse_request_forward(request);
}

void fuse_server_add_attributes(struct fuse_lowlevel_ops *operations)
{
    operations->getattr = handle_getattr;
    operations->setattr = handle_setattr;
    operations->statfs = handle_statfs;
    operations->getxattr = handle_getxattr;
    operations->listxattr = handle_listxattr;
    operations->setxattr = handle_setxattr;
    operations->removexattr = handle_removexattr;
}
