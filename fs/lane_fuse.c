// SPDX-License-Identifier: Apache-2.0
// READ and WRITE of the FUSE mount on a lane's thread: through the file's pass if it can be, else
// to the core. Nothing is allocated on the way that a lane serves.
#include "fs/fuse_server_request.h"

#include <errno.h>
#include <fcntl.h>

#include "fs/pass.h"

static void answer_data(fuse_req_t fuse, const uint8_t *data, ssize_t result)
{
    if (result < 0)
        fuse_reply_err(fuse, (int)-result);
    else
        fuse_reply_buf(fuse, (const char *)data, (size_t)result);
}

// A direct read says for whom it is; what the kernel reads into pages is for nobody yet, whichever
// way the file was opened: to be mapped, sent, or read ahead.
static bool fills_pages(const struct fuse_file_info *info)
{
    return info->lock_owner == 0;
}

static void handle_read(fuse_req_t fuse, fuse_ino_t node, size_t length, off_t offset,
                        struct fuse_file_info *info)
{
    struct fuse_handle *handle = fuse_handle_of(info);
    struct lane *lane = fuse_server_lane(fuse_server_of(fuse));
    const uint8_t *data;
    ssize_t result;
    bool is_page = fills_pages(info);
    unsigned kind = is_page && fuse_server_of(fuse)->keeps_pages ? PASS_FILL : PASS_READ;
    if (handle->pass != NULL && lane != NULL &&
        lane_read(lane, handle->pass, kind, (uint64_t)offset, length, &data, &result))
        answer_data(fuse, data, result);
    else
        fuse_files_forward_read(fuse, node, (uint64_t)offset, length, info, is_page);
}

// The core places an append behind the size that it finds under the lock, makes durable what was
// opened O_SYNC, and drops set-id bits. The flags are those of now, as fcntl(F_SETFL) or RWF_DSYNC
// left them.
static bool is_plain(fuse_req_t fuse, const struct fuse_file_info *info)
{
    const struct fuse_handle *handle = fuse_handle_of(info);
    if ((info->flags & (O_APPEND | O_DSYNC)) != 0)
        return false;
    if (atomic_load_explicit(&handle->has_capability, memory_order_relaxed))
        return false;
    return fuse_req_ctx(fuse)->uid == 0 ||
           !atomic_load_explicit(&handle->has_set_id, memory_order_relaxed);
}

static void handle_write(fuse_req_t fuse, fuse_ino_t node, const char *data, size_t length,
                         off_t offset, struct fuse_file_info *info)
{
    struct fuse_handle *handle = fuse_handle_of(info);
    struct lane *lane = fuse_server_lane(fuse_server_of(fuse));
    ssize_t result;
    if (handle->pass == NULL || lane == NULL || !is_plain(fuse, info) ||
        !lane_write(lane, handle->pass, (uint64_t)offset, data, length, &result))
        fuse_files_forward_write(fuse, node, (uint64_t)offset, data, length, info);
    else if (result < 0)
        fuse_reply_err(fuse, (int)-result);
    else
        fuse_reply_write(fuse, (size_t)result);
}

void fuse_server_add_lanes(struct fuse_lowlevel_ops *operations)
{
    operations->read = handle_read;
    operations->write = handle_write;
}
