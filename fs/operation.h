// SPDX-License-Identifier: Apache-2.0
// The operation entry: what front ends ask of a volume. Each function runs in a coroutine of the
// core, takes its locks, does its work in one transaction (or in rolling ones, if large) and lets
// go. Results are 0 (or a count) or a negative error; error_to_errno() gives the errno for it.
//
// Permission checks are the kernel's (default_permissions); what stays here are the rules that need
// the volume's state: sticky bits are checked by the kernel too, link and size limits here, and
// what is immutable or append-only (-EPERM).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

struct coroutine;
struct volume;
struct open_file; // a handle: one per open(2)

struct attributes {
    uint64_t inode;
    uint64_t generation;
    struct stat stat; // st_ino = inode, st_blocks in 512 bytes
    struct timespec created;
    uint32_t xattr_count;
    uint32_t protection; // of INODE_FLAGS_PROTECTING (fs/format.h)
    uint32_t project;
    bool hands_project_down; // a directory: what is made in it is of its project
};

struct credentials {
    uid_t uid;
    gid_t gid;
    mode_t umask; // what it takes from the mode of new files, unless their directory says more
};

// Which fields of `attributes.stat` operation_set_attributes changes.
enum {
    SET_MODE = 1u << 0,
    SET_UID = 1u << 1,
    SET_GID = 1u << 2,
    SET_SIZE = 1u << 3,
    SET_ATIME = 1u << 4,
    SET_MTIME = 1u << 5,
    SET_ATIME_NOW = 1u << 6,
    SET_MTIME_NOW = 1u << 7,
    SET_CTIME = 1u << 8,
    SET_KILL_SUID = 1u << 9, // drop setuid and setgid as a write or truncate does
    // The only change that a protected inode allows. -EOPNOTSUPP on volumes of older mkfs, and for
    // what is neither file nor directory.
    SET_PROTECTION = 1u << 10,
    // Also -EOPNOTSUPP on volumes of older mkfs; the second one for directories alone.
    SET_PROJECT = 1u << 11,      // -EINVAL for PROJECT_NONE
    SET_PROJECT_DOWN = 1u << 12, // hands_project_down
};

// What cannot be a project's number.
#define PROJECT_NONE UINT32_MAX

// Of operation_set_xattr, for an access list: the caller may not give the owning group away, so the
// set-group-id bit goes.
enum { SET_XATTR_KILL_SGID = 1 << 16 };

// --- names -----------------------------------------------------------------------------------

int operation_lookup(struct volume *volume, uint64_t parent, const char *name,
                     struct attributes *out);
int operation_get_attributes(struct volume *volume, uint64_t inode, struct attributes *out);
int operation_set_attributes(struct volume *volume, uint64_t inode, const struct attributes *wanted,
                             unsigned fields, struct attributes *out);
// Any file type but a directory's or symlink's special needs: mode carries the type. For a device
// node `rdev`. With `open_flags` >= 0 also opens (create + open in one step), `*file` is set.
int operation_create(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                     dev_t rdev, const struct credentials *who, int open_flags,
                     struct attributes *out, struct open_file **file);
// open(2)'s O_TMPFILE: a regular file without a name, open, gone with its last handle. Without
// O_EXCL among the flags operation_link may give it a name, on this node, once.
int operation_create_unnamed(struct volume *volume, uint64_t parent, mode_t mode,
                             const struct credentials *who, int open_flags, struct attributes *out,
                             struct open_file **file);
int operation_make_directory(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                             const struct credentials *who, struct attributes *out);
int operation_symlink(struct volume *volume, uint64_t parent, const char *name, const char *target,
                      const struct credentials *who, struct attributes *out);
// `target` has room for FORMAT_SYMLINK_BYTES_MAX + 1; terminated.
int operation_read_link(struct volume *volume, uint64_t inode, char *target);
// A directory that hands its project down takes in nothing of another: -EXDEV; so has rename.
int operation_link(struct volume *volume, uint64_t inode, uint64_t parent, const char *name,
                   struct attributes *out);
int operation_unlink(struct volume *volume, uint64_t parent, const char *name);
int operation_remove_directory(struct volume *volume, uint64_t parent, const char *name);
// flags: RENAME_NOREPLACE, RENAME_EXCHANGE (renameat2(2)); others -EINVAL.
int operation_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
                     const char *new_name, unsigned flags);

// --- directories -----------------------------------------------------------------------------

struct directory_entry {
    uint64_t inode;
    uint64_t generation;
    uint8_t type;                        // DT_*
    uint64_t cursor;                     // resume behind this entry; stable while the entry exists
    const char *name;                    // terminated
    const struct attributes *attributes; // only if asked for
};
enum directory_listing {
    LIST_NAMES,
    LIST_NAMES_AHEAD, // the locks of the entries' inodes are asked for, without waiting for them
    LIST_ATTRIBUTES,  // the entries have their attributes
};
// Entries behind `cursor` (0: from the start, "." and ".." first) until `emit` returns false (the
// entry it refused is not consumed).
int operation_read_directory(struct volume *volume, uint64_t inode, uint64_t cursor,
                             enum directory_listing kind,
                             bool (*emit)(void *context, const struct directory_entry *entry),
                             void *context);

// --- extended attributes ---------------------------------------------------------------------

// `size` 0 asks for the length. Flags of setxattr(2), and SET_XATTR_KILL_SGID. Lists of access
// (system.posix_acl_access, system.posix_acl_default) are checked (-EINVAL, -E2BIG; -EACCES for a
// default list of anything but a directory) and kept with the mode: each follows the other.
ssize_t operation_get_xattr(struct volume *volume, uint64_t inode, const char *name, void *value,
                            size_t size);
// The names in trusted. are for administrators alone.
ssize_t operation_list_xattr(struct volume *volume, uint64_t inode, bool with_trusted, char *names,
                             size_t size);
int operation_set_xattr(struct volume *volume, uint64_t inode, const char *name, const void *value,
                        size_t size, int flags);
int operation_remove_xattr(struct volume *volume, uint64_t inode, const char *name);

// --- files -----------------------------------------------------------------------------------

// O_TRUNC is honoured, O_CREAT and O_EXCL are not seen here (operation_create).
int operation_open(struct volume *volume, uint64_t inode, int flags, struct open_file **file);
// Frees an unlinked file when this was its last handle anywhere (rule 14).
int operation_release(struct volume *volume, struct open_file *file);

// The file is open in the kernel from now on; `is_cached`: it keeps what it reads through it. Its
// opener hears of it after this. And: it was closed, before operation_release. Both may wait.
void operation_note_opened(struct volume *volume, struct open_file *file, bool is_cached);
void operation_note_closed(struct volume *volume, struct open_file *file, bool is_cached);

// The slow paths of data: holes, unwritten extents, inline files, no lock held, partial blocks.
// Buffers are aligned for I/O and have room for whole blocks around the range; see fs/pass.h for
// the path that needs none of this. Return bytes, short only at the end of file (read) or on a full
// volume (write).
ssize_t operation_read(struct volume *volume, struct open_file *file, uint64_t offset, void *buffer,
                       size_t length);
// The same for pages that the kernel fills: on a mount that lends them it keeps them until they are
// called in from `node`, its name for the inode.
ssize_t operation_fill(struct volume *volume, struct open_file *file, uint64_t node,
                       uint64_t offset, void *buffer, size_t length);
// O_APPEND in the file's flags: `offset` is ignored and the end of file is taken under the lock.
ssize_t operation_write(struct volume *volume, struct open_file *file, uint64_t offset,
                        const void *buffer, size_t length);
// The kernel writes back pages that a process changed where they were mapped. They do not make the
// file longer: what lies behind its end is nobody's, and counts as written.
ssize_t operation_write_pages(struct volume *volume, struct open_file *file, uint64_t offset,
                              const void *buffer, size_t length);
// copy_file_range(2), by reading and writing; the two ranges do not overlap. Bytes, short at the
// end of `from`, on a full volume, or because more was asked for than is done at once.
ssize_t operation_copy(struct volume *volume, struct open_file *from, uint64_t from_offset,
                       struct open_file *to, uint64_t to_offset, uint64_t length);
// mode: 0, FALLOC_FL_KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; others -EOPNOTSUPP.
int operation_allocate(struct volume *volume, struct open_file *file, int mode, uint64_t offset,
                       uint64_t length);
// whence: SEEK_HOLE, SEEK_DATA.
off_t operation_seek(struct volume *volume, struct open_file *file, off_t offset, int whence);
// All that this node acknowledged for the file (or the volume) is durable when it returns.
int operation_sync_file(struct volume *volume, struct open_file *file, bool data_only);
int operation_sync_volume(struct volume *volume);

int operation_statfs(struct volume *volume, struct statvfs *out);
// The same as seen from a file or directory: below a directory that hands its project down, the
// limits of the project are the size, if it has any.
int operation_statfs_of(struct volume *volume, uint64_t inode, struct statvfs *out);
// After an operation's -ENOSPC or -EDQUOT: files that were deleted before are freed behind their
// unlink's back, and their space may be what was missing. True when there were some and it is free
// now: try again.
bool operation_reclaim(struct volume *volume);
// Ends an operation that `coroutine` is in with -EINTR, if it waits for other nodes (its locks, a
// number, free space) and has changed nothing yet, or like write whole pieces: true if so. May be
// tried again.
bool operation_interrupt(struct volume *volume, const struct coroutine *coroutine);

// What the kernel may keep of an answer, as long as this node keeps LOCK_INODE.

// Whether the kernel may keep the inode's attributes, or the names in the directory, as an
// operation has just returned them: nothing was waited for since. If so they are called in from
// `node` (the kernel's name of the inode) before another node can change them.
bool operation_lend(struct volume *volume, uint64_t inode, uint64_t node, unsigned loans);
// This node changed the inode with no request that the kernel knows to change it: the kernel has
// dropped what it kept when this returns. Waits.
void operation_recall(struct volume *volume, uint64_t inode);

// Finishes what `slot`'s orphan list holds (after a recovery or at mount): frees unlinked inodes
// that no node has open, completes truncates.
int operation_process_orphans(struct volume *volume, uint32_t slot);

// One extent of `lunfs stat`.
struct extent_report {
    uint64_t file_offset, volume_offset, length; // bytes
    bool is_unwritten;
};
int operation_list_extents(struct volume *volume, uint64_t inode,
                           void (*emit)(void *context, const struct extent_report *extent),
                           void *context);
