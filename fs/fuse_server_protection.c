// SPDX-License-Identifier: Apache-2.0
// chattr and lsattr: the immutable and the append-only flag, a project's number and whether a
// directory hands it down. The kernel turns FS_IOC_GETFLAGS and its kin into requests of its own,
// after it has seen to CAP_LINUX_IMMUTABLE and to the owner; it does not obey the flags of a FUSE
// file itself, so the core does.
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/format.h"
#include "fs/fuse_caller.h"
#include "fs/volume.h"

// What the three worlds call it.
static const struct {
    uint32_t protection;
    uint32_t flag;  // of FS_IOC_GETFLAGS
    uint32_t xflag; // of FS_IOC_FSGETXATTR
} rows[] = {
    {INODE_FLAG_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
    {INODE_FLAG_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND},
};

static uint32_t down_flag(bool is_extended)
{
    return is_extended ? FS_XFLAG_PROJINHERIT : FS_PROJINHERIT_FL;
}

static uint32_t to_linux(const struct attributes *from, bool is_extended)
{
    uint32_t flags = from->hands_project_down ? down_flag(is_extended) : 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if ((from->protection & rows[i].protection) != 0)
            flags |= is_extended ? rows[i].xflag : rows[i].flag;
    }
    return flags;
}

// False if there is a flag that lunfs does not have.
static bool from_linux(uint32_t flags, bool is_extended, uint32_t *protection, bool *hands_down)
{
    *protection = 0;
    *hands_down = (flags & down_flag(is_extended)) != 0;
    flags &= ~down_flag(is_extended);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t flag = is_extended ? rows[i].xflag : rows[i].flag;
        if ((flags & flag) != 0)
            *protection |= rows[i].protection;
        flags &= ~flag;
    }
    return flags == 0;
}

// --- run: in a coroutine of the core -------------------------------------------------------------

static int run_get(struct fuse_request *request)
{
    return operation_get_attributes(request->server->volume, fuse_request_inode(request),
                                    &request->out.attributes);
}

// What is asked for and not so already.
static unsigned fields_to_set(const struct fuse_request *request, const struct attributes *now)
{
    unsigned fields = 0;
    if (now->protection != request->in.protect.protection)
        fields |= SET_PROTECTION;
    if (now->hands_project_down != request->in.protect.hands_project_down)
        fields |= SET_PROJECT_DOWN;
    if (request->in.protect.is_extended && now->project != request->in.protect.project)
        fields |= SET_PROJECT;
    return fields;
}

// Old kernels hand the ioctl on unseen.
static bool may_set(const struct fuse_request *request, const struct attributes *now,
                    unsigned fields)
{
    pid_t thread = fuse_req_ctx(request->fuse)->pid;
    uid_t uid = request->who.uid;
    if (uid != now->stat.st_uid && !fuse_caller_is_capable(thread, uid, CAP_FOWNER))
        return false;
    return (fields & SET_PROTECTION) == 0 ||
           fuse_caller_is_capable(thread, uid, CAP_LINUX_IMMUTABLE);
}

static int run_set(struct fuse_request *request)
{
    struct volume *volume = request->server->volume;
    uint64_t inode = fuse_request_inode(request);
    struct attributes now, wanted = {
                               .protection = request->in.protect.protection,
                               .project = request->in.protect.project,
                               .hands_project_down = request->in.protect.hands_project_down,
                           };
    int result = operation_get_attributes(volume, inode, &now);
    unsigned fields = result == 0 ? fields_to_set(request, &now) : 0;
    if (fields == 0)
        return result;
    if (!may_set(request, &now, fields))
        return -EPERM;
    result = operation_set_attributes(volume, inode, &wanted, fields, &now);
    if (result == 0)
        operation_recall(volume, inode); // an ioctl changes nothing that the kernel knows of
    return result;
}

static int reply_get(struct fuse_request *request)
{
    bool is_extended = request->in.protect.is_extended;
    uint32_t flags = to_linux(&request->out.attributes, is_extended);
    struct fsxattr extended = {.fsx_xflags = flags, .fsx_projid = request->out.attributes.project};
    if (is_extended)
        return fuse_reply_ioctl(request->fuse, 0, &extended, sizeof(extended));
    return fuse_reply_ioctl(request->fuse, 0, &flags, sizeof(flags));
}

static int reply_set(struct fuse_request *request)
{
    return fuse_reply_ioctl(request->fuse, 0, NULL, 0);
}

static const struct fuse_request_type get_type = {"getflags", run_get, reply_get, false, NULL};
static const struct fuse_request_type set_type = {"setflags", run_set, reply_set, false, NULL};

// --- handlers: on a lane's thread ----------------------------------------------------------------

static void forward_get(fuse_req_t fuse, fuse_ino_t node, bool is_extended)
{
    struct fuse_request *request = fuse_request_new(fuse, &get_type, node, NULL, NULL);
    if (request == NULL)
        return;
    request->in.protect.is_extended = is_extended;
    fuse_request_forward(request);
}

static void forward_set(fuse_req_t fuse, fuse_ino_t node, uint32_t flags, bool is_extended,
                        uint32_t project)
{
    uint32_t protection;
    bool hands_down;
    if (!from_linux(flags, is_extended, &protection, &hands_down)) {
        fuse_reply_err(fuse, EOPNOTSUPP);
        return;
    }
    struct fuse_request *request = fuse_request_new(fuse, &set_type, node, NULL, NULL);
    if (request == NULL)
        return;
    request->in.protect.protection = protection;
    request->in.protect.is_extended = is_extended;
    request->in.protect.project = project;
    request->in.protect.hands_project_down = hands_down;
    fuse_request_forward(request);
}

// Hints for extents are more than lunfs keeps.
static void forward_set_extended(fuse_req_t fuse, fuse_ino_t node, const void *bytes)
{
    struct fsxattr wanted;
    memcpy(&wanted, bytes, sizeof(wanted));
    if (wanted.fsx_extsize != 0 || wanted.fsx_cowextsize != 0)
        fuse_reply_err(fuse, EOPNOTSUPP);
    else
        forward_set(fuse, node, wanted.fsx_xflags, true, wanted.fsx_projid);
}

static void handle_ioctl(fuse_req_t fuse, fuse_ino_t node, unsigned command, void *argument,
                         struct fuse_file_info *info, unsigned how, const void *in, size_t in_bytes,
                         size_t out_bytes)
{
    uint32_t flags;
    (void)argument, (void)info, (void)how;
    if (command == FS_IOC_GETFLAGS && out_bytes >= sizeof(flags)) {
        forward_get(fuse, node, false);
    } else if (command == FS_IOC_FSGETXATTR && out_bytes >= sizeof(struct fsxattr)) {
        forward_get(fuse, node, true);
    } else if (command == FS_IOC_SETFLAGS && in_bytes >= sizeof(flags)) {
        memcpy(&flags, in, sizeof(flags));
        forward_set(fuse, node, flags, false, 0);
    } else if (command == FS_IOC_FSSETXATTR && in_bytes >= sizeof(struct fsxattr)) {
        forward_set_extended(fuse, node, in);
    } else {
        fuse_reply_err(fuse, ENOTTY);
    }
}

void fuse_server_add_protection(struct fuse_lowlevel_ops *operations)
{
    operations->ioctl = handle_ioctl;
}
