// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse_dialect.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/operation.h"

// <linux/fuse.h> of Debian 12 knows protocol 7.38; STATX came with 7.39.
enum {
    OPCODE_TMPFILE = FUSE_TMPFILE,
    OPCODE_STATX = 52,
    DIRECT_IO_MAPS = 1 << 4, // of the upper 32 feature bits; also 7.39
};

// Its first 16 bytes are those of fuse_getattr_in.
struct statx_in {
    uint32_t getattr_flags;
    uint32_t reserved;
    uint64_t handle;
    uint32_t sx_flags;
    uint32_t sx_mask;
};
_Static_assert(offsetof(struct statx_in, handle) == offsetof(struct fuse_getattr_in, fh), "statx");

// --- requests ------------------------------------------------------------------------------------

static void note_init(struct fuse_dialect *dialect, const struct fuse_in_header *header,
                      size_t bytes)
{
    const struct fuse_init_in *in = (const struct fuse_init_in *)(header + 1);
    if (bytes < sizeof(*header) + offsetof(struct fuse_init_in, flags) + sizeof(in->flags))
        return;
    dialect->init_unique = header->unique;
    dialect->init_flags = in->flags;
    bool has_more = bytes >= sizeof(*header) + offsetof(struct fuse_init_in, flags2) + 4;
    if (has_more && (in->flags & FUSE_INIT_EXT) != 0)
        dialect->init_flags_more = in->flags2;
}

// The kernel sends the name of a directory entry that is none.
static void translate_tmpfile(struct fuse_in_header *header, size_t bytes)
{
    char *name = (char *)(header + 1) + sizeof(struct fuse_create_in);
    size_t head = sizeof(*header) + sizeof(struct fuse_create_in);
    if (bytes < head + sizeof(FUSE_DIALECT_NO_NAME))
        return;
    memcpy(name, FUSE_DIALECT_NO_NAME, sizeof(FUSE_DIALECT_NO_NAME));
    header->opcode = FUSE_CREATE;
}

static void translate_statx(struct fuse_in_header *header, size_t bytes)
{
    struct statx_in *in = (struct statx_in *)(header + 1);
    if (bytes < sizeof(*header) + sizeof(*in))
        return;
    header->opcode = FUSE_GETATTR;
    in->getattr_flags = FUSE_GETATTR_FH;
    in->handle = FUSE_DIALECT_STATX;
}

static size_t translate_setxattr(struct fuse_in_header *header, size_t bytes)
{
    struct fuse_setxattr_in *in = (struct fuse_setxattr_in *)(header + 1);
    size_t head = sizeof(*header) + sizeof(*in);
    if (bytes < head)
        return bytes;
    in->flags &= ~(uint32_t)FUSE_DIALECT_KILL_SGID;
    if ((in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0)
        in->flags |= FUSE_DIALECT_KILL_SGID;
    memmove((char *)in + FUSE_COMPAT_SETXATTR_IN_SIZE, in + 1, bytes - head);
    bytes -= sizeof(*in) - FUSE_COMPAT_SETXATTR_IN_SIZE;
    header->len = (uint32_t)bytes;
    return bytes;
}

size_t fuse_dialect_translate(struct fuse_dialect *dialect, void *request, size_t bytes)
{
    struct fuse_in_header *header = request;
    if (bytes < sizeof(*header))
        return bytes;
    switch (header->opcode) {
    case FUSE_INIT:
        note_init(dialect, header, bytes);
        return bytes;
    case OPCODE_TMPFILE:
        translate_tmpfile(header, bytes);
        return bytes;
    case OPCODE_STATX:
        translate_statx(header, bytes);
        return bytes;
    case FUSE_SETXATTR:
        return atomic_load(&dialect->has_long_setxattr) ? translate_setxattr(header, bytes) : bytes;
    default:
        return bytes;
    }
}

// --- answers -------------------------------------------------------------------------------------

void fuse_dialect_amend(struct fuse_dialect *dialect, const void *header, size_t header_bytes,
                        void *body, size_t body_bytes)
{
    const struct fuse_out_header *out = header;
    struct fuse_init_out *init = body;
    if (dialect->init_unique == 0 || header_bytes != sizeof(*out) ||
        out->unique != dialect->init_unique || out->error != 0)
        return;
    dialect->init_unique = 0;
    if (body_bytes < offsetof(struct fuse_init_out, flags2) + sizeof(init->flags2))
        return;
    if ((dialect->init_flags & FUSE_SETXATTR_EXT) != 0) {
        init->flags |= FUSE_SETXATTR_EXT;
        atomic_store(&dialect->has_long_setxattr, true);
    }
    if (dialect->maps_direct && (dialect->init_flags_more & DIRECT_IO_MAPS) != 0) {
        init->flags |= FUSE_INIT_EXT;
        init->flags2 |= DIRECT_IO_MAPS;
    }
}

static struct fuse_dialect_time time_from(struct timespec time)
{
    return (struct fuse_dialect_time){.seconds = time.tv_sec,
                                      .nanoseconds = (uint32_t)time.tv_nsec};
}

void fuse_dialect_fill_statx(const struct attributes *from, struct fuse_dialect_statx_out *out)
{
    const struct stat *stat = &from->stat;
    *out = (struct fuse_dialect_statx_out){
        .mask = STATX_BASIC_STATS | STATX_BTIME,
        .block_bytes = (uint32_t)stat->st_blksize,
        .link_count = (uint32_t)stat->st_nlink,
        .uid = stat->st_uid,
        .gid = stat->st_gid,
        .mode = (uint16_t)stat->st_mode,
        .inode = stat->st_ino,
        .size = (uint64_t)stat->st_size,
        .blocks = (uint64_t)stat->st_blocks,
        .accessed = time_from(stat->st_atim),
        .created = time_from(from->created),
        .changed = time_from(stat->st_ctim),
        .modified = time_from(stat->st_mtim),
        .rdev_major = major(stat->st_rdev),
        .rdev_minor = minor(stat->st_rdev),
    };
}
