// SPDX-License-Identifier: Apache-2.0
// What the kernel's FUSE can say and libfuse 3.14 has no word for. Such a request is put into the
// words of one that libfuse knows, in the buffer that it was read into and before libfuse looks at
// it; its handler knows it by a mark that nothing else bears:
//
//   kernel                     as libfuse sees it    mark
//   TMPFILE                    CREATE                the name FUSE_DIALECT_NO_NAME
//   STATX                      GETATTR of a handle   the handle FUSE_DIALECT_STATX
//   SETXATTR with more flags   SETXATTR              FUSE_DIALECT_KILL_SGID among its flags
//
// The last comes only if the answer to INIT asks for it, which libfuse cannot; so it is added to
// the answer on its way out, as is leave to map files that are opened for direct I/O. A kernel that
// knows none of this sends none of it. Pure.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attributes;

#define FUSE_DIALECT_NO_NAME "/"
#define FUSE_DIALECT_STATX   ((uint64_t)1) // handles are addresses

enum { FUSE_DIALECT_KILL_SGID = 1 << 16 }; // beside XATTR_CREATE and XATTR_REPLACE

// One a connection; zeroed at first. INIT is read and answered before any other request is sent.
struct fuse_dialect {
    uint64_t init_unique; // of the INIT request
    uint32_t init_flags;  // what the kernel offered
    uint32_t init_flags_more;
    bool maps_direct; // files opened for direct I/O may be mapped shared and writable, if the
                      // kernel can (7.39)
    _Atomic bool has_long_setxattr;
};

// A request of `bytes` bytes was read, whole or not. Its length now.
size_t fuse_dialect_translate(struct fuse_dialect *dialect, void *request, size_t bytes);
// An answer goes out: `header`, then `body_bytes` of `body`.
void fuse_dialect_amend(struct fuse_dialect *dialect, const void *header, size_t header_bytes,
                        void *body, size_t body_bytes);

// The answer to a STATX.
struct fuse_dialect_time {
    int64_t seconds;
    uint32_t nanoseconds;
    int32_t reserved;
};

struct fuse_dialect_statx_out {
    uint64_t valid_seconds; // 0: not to be kept
    uint32_t valid_nanoseconds;
    uint32_t flags;
    uint64_t spare[2];
    uint32_t mask; // 32: from here as struct statx
    uint32_t block_bytes;
    uint64_t attributes;
    uint32_t link_count;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t spare_mode;
    uint64_t inode;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    struct fuse_dialect_time accessed, created, changed, modified;
    uint32_t rdev_major, rdev_minor, device_major, device_minor;
    uint64_t spare_end[14];
};
_Static_assert(offsetof(struct fuse_dialect_statx_out, mask) == 32, "statx answer");
_Static_assert(offsetof(struct fuse_dialect_statx_out, accessed) == 96, "statx answer");
_Static_assert(sizeof(struct fuse_dialect_statx_out) == 288, "statx answer");

void fuse_dialect_fill_statx(const struct attributes *from, struct fuse_dialect_statx_out *out);
