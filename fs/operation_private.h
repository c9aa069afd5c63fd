// SPDX-License-Identifier: Apache-2.0
// What the operation_*.c files share.
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/directory.h"
#include "fs/inode.h"
#include "fs/live_inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/operation.h"
#include "fs/transaction.h"

struct open_file;
struct open_inode;

enum { OPERATION_LINKS_MAX = INT32_MAX };

// An answer of a plan's second look: things have changed since the first, plan again.
enum { PLAN_CHANGED = 1 };

// What stat(2) shows of a loaded inode, with what is newer in memory.
void operation_fill_attributes(const struct inode *inode, struct attributes *out);

// A directory in which a name is looked for or changed: as live_inode_acquire, but -ENOENT if it is
// gone (a removed directory has no names), -ENOTDIR if it is none.
int operation_acquire_directory(struct inode *directory, struct lock_set *set,
                                struct volume *volume, uint64_t number, enum lock_mode mode);
// The same for one whose lock is held.
int operation_load_directory(struct inode *directory, struct volume *volume, uint64_t number);
// What the name stands for, as of now; takes LOCK_INODE of the directory for it. 0; -ENOENT.
int operation_look_up_name(struct volume *volume, uint64_t directory, const char *name,
                           struct directory_item *item);
// Under the locks of both, `planned` was found to name an inode that is none. PLAN_CHANGED if the
// name stands for something else by now; else the entry is damaged: -ERROR_CORRUPT_DIRECTORY,
// logged.
int operation_judge_dead_entry(struct inode *directory, const char *name,
                               const struct directory_item *planned);
// Times of a directory whose entries change.
void operation_touch_directory(const struct transaction *t, struct inode *directory);

// Whether an attribute of this name is an access control list.
bool operation_is_acl(const char *name);
// setxattr and removexattr (`value` NULL) of one: -EINVAL, -E2BIG, -EACCES, -EOPNOTSUPP.
int operation_set_acl(struct volume *volume, uint64_t inode, const char *name, const void *value,
                      size_t size, bool kills_sgid);

// Opens a regular file that may be open already; `*open` has a handle more. 0, -ESTALE, -EISDIR,
// -EINVAL for other types.
int operation_open_inode(struct volume *volume, uint64_t number, struct open_inode **open);
// Whether the range is to be written by the next, for a start: other nodes write the file, too, and
// the last write here was one in place.
bool operation_writes_together(const struct open_file *file, uint64_t offset, size_t length);
// Bytes written; 0 if it cannot be done in place, with nothing written that need not be written
// again; or an error.
ssize_t operation_write_together(struct open_file *file, uint64_t offset, const void *data,
                                 size_t length);
// As operation_read, under LOCK_INODE, the inode loaded.
ssize_t operation_read_locked(struct open_inode *open, struct inode *inode, uint64_t offset,
                              void *buffer, size_t length);
