// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fake_volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/cluster_lock.h"
#include "fs/live_inode.h"
#include "fs/open_file.h"
#include "fs/operation.h"

enum { FAKE_FILE_BYTES_MAX = 1 << 20 };

static struct fake_volume *fake_of(struct volume *volume)
{
    return (struct fake_volume *)volume;
}

// What stands for an inode here.
static struct fake_file *file_of(const struct open_file *file)
{
    return (struct fake_file *)file->inode;
}

static void nothing(struct pass *pass)
{
    (void)pass;
}

static struct fake_file *add_file(struct fake_volume *fake, const char *name, mode_t mode)
{
    for (unsigned i = 0; i < FAKE_FILES_MAX; i++) {
        struct fake_file *file = &fake->files[i];
        if (file->inode != 0)
            continue;
        *file = (struct fake_file){.inode = ++fake->inode_last, .generation = 7, .mode = mode};
        strncpy(file->name, name, sizeof(file->name) - 1);
        file->bytes = calloc(1, FAKE_FILE_BYTES_MAX);
        return file;
    }
    return NULL;
}

void fake_volume_init(struct fake_volume *fake, struct environment *environment, int backing,
                      uint64_t size)
{
    memset(fake, 0, sizeof(*fake));
    log_init_stderr(&fake->log, LOG_LEVEL_WARNING);
    fake->backing = backing;
    fake->inode_last = FAKE_ROOT;
    fake->volume.environment = environment;
    fake->volume.scheduler = environment->scheduler;
    fake->volume.gate = &fake->gate;
    fake->volume.log = &fake->log;
    fake->volume.device = &fake->device;
    fake->volume.geometry.root_inode = FAKE_ROOT;
    fake->device.sector_bytes = 512;
    atomic_store(&fake->gate.state, GATE_RUNNING);
    atomic_store(&fake->gate.lease_until_ns, UINT64_MAX);
    wait_queue_init(&fake->stall_waiters);
    struct fake_file *lun = add_file(fake, "lun", S_IFREG | 0600);
    CHECK(lun->inode == FAKE_LUN);
    free(lun->bytes);
    lun->bytes = NULL;
    lun->size = size;
    struct pass_extent whole = {0, 0, size / BLOCK_BYTES};
    pass_init(&lun->pass, nothing, NULL);
    pass_publish(&lun->pass, PASS_READ | PASS_WRITE, size, &whole, 1);
}

void fake_volume_deinit(struct fake_volume *fake)
{
    pass_deinit(&fake->files[0].pass);
    for (unsigned i = 0; i < FAKE_FILES_MAX; i++)
        free(fake->files[i].bytes);
}

static struct fake_file *by_name(struct fake_volume *fake, const char *name)
{
    for (unsigned i = 0; i < FAKE_FILES_MAX; i++) {
        if (fake->files[i].inode != 0 && strcmp(fake->files[i].name, name) == 0)
            return &fake->files[i];
    }
    return NULL;
}

static struct fake_file *by_inode(struct fake_volume *fake, uint64_t inode)
{
    for (unsigned i = 0; i < FAKE_FILES_MAX; i++) {
        if (fake->files[i].inode == inode)
            return &fake->files[i];
    }
    return NULL;
}

// The front end must say which life of the number the kernel means (fs/live_inode.h).
static void check_meant(const struct volume *volume, const struct fake_file *file)
{
    const struct live_inodes_meant *meant = coroutine_local(volume->scheduler);
    CHECK(meant != NULL && meant->count > 0 && meant->generation_mask > file->generation);
    CHECK(meant->of[0].number == file->inode && meant->of[0].generation == file->generation);
}

static void get_attributes(const struct fake_file *file, struct attributes *out)
{
    *out = (struct attributes){
        .inode = file != NULL ? file->inode : FAKE_ROOT,
        .generation = file != NULL ? file->generation : 1,
    };
    out->stat.st_ino = out->inode;
    out->stat.st_mode = file != NULL ? file->mode : (S_IFDIR | 0755);
    out->stat.st_nlink = 1;
    out->stat.st_size = file != NULL ? (off_t)file->size : 0;
    out->stat.st_blksize = BLOCK_BYTES;
}

// --- names -------------------------------------------------------------------------------------

int operation_lookup(struct volume *volume, uint64_t parent, const char *name,
                     struct attributes *out)
{
    struct fake_volume *fake = fake_of(volume);
    (void)parent;
    while (fake->is_stalled && fake->interrupted == NULL && strcmp(name, "stall") == 0)
        wait_queue_wait(volume->scheduler, &fake->stall_waiters);
    if (fake->interrupted == coroutine_current(volume->scheduler))
        return -EINTR;
    struct fake_file *file = by_name(fake, name);
    if (file == NULL)
        return -ENOENT;
    get_attributes(file, out);
    return 0;
}

bool operation_interrupt(struct volume *volume, const struct coroutine *coroutine)
{
    struct fake_volume *fake = fake_of(volume);
    struct scheduler *scheduler = volume->scheduler;
    if (!wait_queue_wake_this(scheduler, &fake->stall_waiters, (struct coroutine *)coroutine))
        return false;
    fake->interrupted = coroutine;
    return true;
}

int operation_get_attributes(struct volume *volume, uint64_t inode, struct attributes *out)
{
    struct fake_file *file = by_inode(fake_of(volume), inode);
    if (file == NULL && inode != FAKE_ROOT)
        return -ESTALE;
    get_attributes(file, out);
    return 0;
}

int operation_set_attributes(struct volume *volume, uint64_t inode, const struct attributes *wanted,
                             unsigned fields, struct attributes *out)
{
    struct fake_file *file = by_inode(fake_of(volume), inode);
    if (file == NULL)
        return -EPERM;
    check_meant(volume, file);
    if (fields & SET_MODE)
        file->mode = (file->mode & S_IFMT) | (wanted->stat.st_mode & 07777);
    if (fields & SET_KILL_SUID)
        file->mode &= ~(mode_t)(S_ISUID | S_ISGID);
    if ((fields & SET_SIZE) && file->bytes != NULL)
        file->size = (uint64_t)wanted->stat.st_size;
    get_attributes(file, out);
    return 0;
}

static struct open_file *open_one(struct fake_file *file, int flags)
{
    struct open_file *opened = calloc(1, sizeof(*opened));
    *opened = (struct open_file){(struct open_inode *)file, flags};
    file->handles++;
    return opened;
}

int operation_create(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                     dev_t rdev, const struct credentials *who, int open_flags,
                     struct attributes *out, struct open_file **file)
{
    struct fake_volume *fake = fake_of(volume);
    (void)parent, (void)rdev, (void)who;
    if (by_name(fake, name) != NULL)
        return -EEXIST;
    struct fake_file *created = fake->is_full ? NULL : add_file(fake, name, mode);
    if (created == NULL)
        return -ENOSPC;
    get_attributes(created, out);
    if (open_flags >= 0)
        *file = open_one(created, open_flags);
    return 0;
}

int operation_create_unnamed(struct volume *volume, uint64_t parent, mode_t mode,
                             const struct credentials *who, int open_flags, struct attributes *out,
                             struct open_file **file)
{
    return operation_create(volume, parent, "(no name)", mode, 0, who, open_flags, out, file);
}

int operation_make_directory(struct volume *volume, uint64_t parent, const char *name, mode_t mode,
                             const struct credentials *who, struct attributes *out)
{
    return operation_create(volume, parent, name, S_IFDIR | mode, 0, who, -1, out, NULL);
}

int operation_symlink(struct volume *volume, uint64_t parent, const char *name, const char *target,
                      const struct credentials *who, struct attributes *out)
{
    int result = operation_create(volume, parent, name, S_IFLNK | 0777, 0, who, -1, out, NULL);
    if (result == 0)
        strcpy((char *)by_name(fake_of(volume), name)->bytes, target);
    return result;
}

int operation_read_link(struct volume *volume, uint64_t inode, char *target)
{
    strcpy(target, (char *)by_inode(fake_of(volume), inode)->bytes);
    return 0;
}

int operation_link(struct volume *volume, uint64_t inode, uint64_t parent, const char *name,
                   struct attributes *out)
{
    (void)parent, (void)name, (void)out;
    check_meant(volume, by_inode(fake_of(volume), inode));
    return -EMLINK;
}

static void drop_if_unused(struct fake_file *file)
{
    if (file->name[0] != '\0' || file->handles > 0)
        return;
    free(file->bytes);
    *file = (struct fake_file){0};
}

int operation_unlink(struct volume *volume, uint64_t parent, const char *name)
{
    struct fake_file *file = by_name(fake_of(volume), name);
    (void)parent;
    if (file == NULL)
        return -ENOENT;
    file->name[0] = '\0';
    drop_if_unused(file);
    return 0;
}

int operation_remove_directory(struct volume *volume, uint64_t parent, const char *name)
{
    return operation_unlink(volume, parent, name);
}

int operation_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
                     const char *new_name, unsigned flags)
{
    struct fake_file *file = by_name(fake_of(volume), name);
    (void)parent, (void)new_parent;
    if (file == NULL)
        return -ENOENT;
    if (flags != 0 && by_name(fake_of(volume), new_name) != NULL)
        return -EEXIST;
    strncpy(file->name, new_name, sizeof(file->name) - 1);
    return 0;
}

int operation_read_directory(struct volume *volume, uint64_t inode, uint64_t cursor,
                             enum directory_listing kind,
                             bool (*emit)(void *context, const struct directory_entry *entry),
                             void *context)
{
    struct fake_volume *fake = fake_of(volume);
    (void)inode;
    for (uint64_t i = cursor; i < FAKE_FILES_MAX; i++) {
        const struct fake_file *file = &fake->files[i];
        struct attributes attributes;
        if (file->inode == 0 || file->name[0] == '\0')
            continue;
        get_attributes(file, &attributes);
        struct directory_entry entry = {
            .inode = file->inode,
            .generation = file->generation,
            .type = (uint8_t)IFTODT(file->mode),
            .cursor = i + 1,
            .name = file->name,
            .attributes = kind == LIST_ATTRIBUTES ? &attributes : NULL,
        };
        if (!emit(context, &entry))
            return 0;
    }
    return 0;
}

// --- extended attributes: one, "user.fake" -----------------------------------------------------

ssize_t operation_get_xattr(struct volume *volume, uint64_t inode, const char *name, void *value,
                            size_t size)
{
    (void)volume, (void)inode;
    if (strcmp(name, "user.fake") != 0)
        return -ENODATA;
    if (size != 0 && size < 5)
        return -ERANGE;
    memcpy(value, "value", size != 0 ? 5 : 0);
    return 5;
}

ssize_t operation_list_xattr(struct volume *volume, uint64_t inode, bool with_trusted, char *names,
                             size_t size)
{
    (void)volume, (void)inode, (void)with_trusted;
    if (size != 0)
        memcpy(names, "user.fake", 10);
    return 10;
}

int operation_set_xattr(struct volume *volume, uint64_t inode, const char *name, const void *value,
                        size_t size, int flags)
{
    (void)volume, (void)inode, (void)name, (void)flags;
    return size == 5 && memcmp(value, "value", 5) == 0 ? 0 : -EINVAL;
}

int operation_remove_xattr(struct volume *volume, uint64_t inode, const char *name)
{
    (void)volume, (void)inode, (void)name;
    return 0;
}

// --- files -------------------------------------------------------------------------------------

int operation_open(struct volume *volume, uint64_t inode, int flags, struct open_file **file)
{
    struct fake_file *found = by_inode(fake_of(volume), inode);
    if (found == NULL)
        return -ESTALE;
    *file = open_one(found, flags);
    return 0;
}

int operation_release(struct volume *volume, struct open_file *file)
{
    (void)volume;
    file_of(file)->handles--;
    drop_if_unused(file_of(file));
    free(file);
    return 0;
}

struct pass *open_file_pass(struct open_file *file)
{
    return file_of(file)->bytes == NULL ? &file_of(file)->pass : NULL;
}

void open_file_set_flags(struct open_file *file, int flags)
{
    file->flags = flags;
}

ssize_t operation_read(struct volume *volume, struct open_file *file, uint64_t offset, void *buffer,
                       size_t length)
{
    struct fake_file *from = file_of(file);
    if (offset >= from->size)
        return 0;
    if (length > from->size - offset)
        length = from->size - offset;
    if (from->bytes == NULL)
        return pread(fake_of(volume)->backing, buffer, length, (off_t)offset);
    memcpy(buffer, from->bytes + offset, length);
    return (ssize_t)length;
}

ssize_t operation_fill(struct volume *volume, struct open_file *file, uint64_t node,
                       uint64_t offset, void *buffer, size_t length)
{
    (void)node;
    return operation_read(volume, file, offset, buffer, length);
}

void operation_note_opened(struct volume *volume, struct open_file *file, bool is_cached)
{
    (void)volume, (void)file, (void)is_cached;
}

void operation_note_closed(struct volume *volume, struct open_file *file, bool is_cached)
{
    (void)volume, (void)file, (void)is_cached;
}

ssize_t operation_write_pages(struct volume *volume, struct open_file *file, uint64_t offset,
                              const void *buffer, size_t length)
{
    return operation_write(volume, file, offset, buffer, length);
}

ssize_t operation_write(struct volume *volume, struct open_file *file, uint64_t offset,
                        const void *buffer, size_t length)
{
    struct fake_file *to = file_of(file);
    if (to->bytes == NULL)
        return pwrite(fake_of(volume)->backing, buffer, length, (off_t)offset);
    if (file->flags & O_APPEND)
        offset = to->size;
    if (offset + length > FAKE_FILE_BYTES_MAX)
        return -ENOSPC;
    memcpy(to->bytes + offset, buffer, length);
    if (offset + length > to->size)
        to->size = offset + length;
    return (ssize_t)length;
}

ssize_t operation_copy(struct volume *volume, struct open_file *from, uint64_t from_offset,
                       struct open_file *to, uint64_t to_offset, uint64_t length)
{
    (void)volume, (void)from, (void)from_offset, (void)to, (void)to_offset, (void)length;
    return -EOPNOTSUPP;
}

int operation_allocate(struct volume *volume, struct open_file *file, int mode, uint64_t offset,
                       uint64_t length)
{
    (void)volume;
    if (mode == 0 && offset + length > file_of(file)->size)
        file_of(file)->size = offset + length;
    return 0;
}

off_t operation_seek(struct volume *volume, struct open_file *file, off_t offset, int whence)
{
    (void)volume;
    return whence == SEEK_DATA ? offset : (off_t)file_of(file)->size;
}

int operation_sync_file(struct volume *volume, struct open_file *file, bool data_only)
{
    (void)file, (void)data_only;
    fake_of(volume)->syncs++;
    return 0;
}

int operation_sync_volume(struct volume *volume)
{
    fake_of(volume)->syncs++;
    return 0;
}

bool operation_lend(struct volume *volume, uint64_t inode, uint64_t node, unsigned loans)
{
    struct fake_volume *fake = fake_of(volume);
    (void)inode;
    if (volume->borrower == NULL || !fake->lends)
        return false;
    fake->lent_node = node;
    fake->loans |= loans;
    return true;
}

void operation_recall(struct volume *volume, uint64_t inode)
{
    struct fake_volume *fake = fake_of(volume);
    (void)inode;
    if (volume->borrower != NULL && fake->loans != 0)
        volume->borrower->recall(
            volume->borrower, &(struct loan_recall){.node = fake->lent_node, .loans = fake->loans});
}

void cluster_lock_recall_is_stuck(struct cluster_lock *lock)
{
    (void)lock;
}

bool operation_reclaim(struct volume *volume)
{
    struct fake_volume *fake = fake_of(volume);
    fake->reclaims++;
    if (!fake->has_unlinked)
        return false;
    fake->has_unlinked = fake->is_full = false;
    return true;
}

int operation_statfs(struct volume *volume, struct statvfs *out)
{
    (void)volume;
    *out = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1000, .f_namemax = 255};
    return 0;
}

int operation_statfs_of(struct volume *volume, uint64_t inode, struct statvfs *out)
{
    (void)inode;
    return operation_statfs(volume, out);
}

// --- range locks -------------------------------------------------------------------------------

static bool conflicts(const struct range_lock *a, const struct range_lock *b)
{
    return a->inode == b->inode && a->space == b->space && a->owner != b->owner &&
           a->start <= b->end && b->start <= a->end && (a->is_exclusive || b->is_exclusive);
}

static const struct range_lock *find_conflict(const struct fake_locks *locks,
                                              const struct range_lock *wanted)
{
    for (unsigned i = 0; i < 64; i++) {
        if (locks->held[i].is_used && conflicts(&locks->held[i].lock, wanted))
            return &locks->held[i].lock;
    }
    return NULL;
}

static void hold(struct fake_locks *locks, const struct range_lock *lock)
{
    unsigned i = 0;
    while (locks->held[i].is_used)
        CHECK(++i < 64);
    locks->held[i].is_used = true;
    locks->held[i].lock = *lock;
}

static void fake_lock(struct range_locks *self, struct range_lock_request *request)
{
    struct fake_locks *locks = (struct fake_locks *)self;
    if (find_conflict(locks, &request->lock) == NULL) {
        hold(locks, &request->lock);
        request->done(request, 0);
    } else if (!request->waits) {
        request->done(request, -EAGAIN);
    } else {
        unsigned i = 0;
        while (locks->waiting[i] != NULL)
            CHECK(++i < 64);
        locks->waiting[i] = request;
    }
}

static void fake_test(struct range_locks *self, struct range_lock_request *request)
{
    const struct range_lock *conflict = find_conflict((struct fake_locks *)self, &request->lock);
    if (conflict != NULL)
        request->conflict = *conflict;
    request->done(request, conflict != NULL ? -EAGAIN : 0);
}

static void fake_cancel(struct range_locks *self, struct range_lock_request *request)
{
    struct fake_locks *locks = (struct fake_locks *)self;
    for (unsigned i = 0; i < 64 && !locks->ignores_cancel; i++) {
        if (locks->waiting[i] != request)
            continue;
        locks->waiting[i] = NULL;
        request->done(request, -EINTR);
        return;
    }
}

static void grant_waiting(struct fake_locks *locks)
{
    for (unsigned i = 0; i < 64; i++) {
        struct range_lock_request *request = locks->waiting[i];
        if (request == NULL || find_conflict(locks, &request->lock) != NULL)
            continue;
        locks->waiting[i] = NULL;
        hold(locks, &request->lock);
        request->done(request, 0);
    }
}

static void drop(struct fake_locks *locks, uint64_t inode, bool by_handle, uint64_t id, int space)
{
    for (unsigned i = 0; i < 64; i++) {
        const struct range_lock *lock = &locks->held[i].lock;
        uint64_t have = by_handle ? lock->handle : lock->owner;
        if (locks->held[i].is_used && lock->inode == inode && have == id &&
            (space < 0 || (int)lock->space == space))
            locks->held[i].is_used = false;
    }
    grant_waiting(locks);
}

static void fake_unlock(struct range_locks *self, const struct range_lock *lock)
{
    drop((struct fake_locks *)self, lock->inode, false, lock->owner, (int)lock->space);
}

static void fake_release_owner(struct range_locks *self, uint64_t inode, uint64_t owner,
                               enum range_lock_space space)
{
    drop((struct fake_locks *)self, inode, false, owner, (int)space);
}

static void fake_release_handle(struct range_locks *self, uint64_t inode, uint64_t handle)
{
    drop((struct fake_locks *)self, inode, true, handle, -1);
}

void fake_locks_init(struct fake_locks *locks)
{
    static const struct range_locks_operations operations = {
        fake_lock, fake_test, fake_cancel, fake_unlock, fake_release_owner, fake_release_handle,
    };
    *locks = (struct fake_locks){.locks.operations = &operations};
}

unsigned fake_locks_held(const struct fake_locks *locks)
{
    unsigned count = 0;
    for (unsigned i = 0; i < 64; i++)
        count += locks->held[i].is_used;
    return count;
}

void volume_fail(struct volume *volume, int error, const char *where)
{
    (void)where;
    volume->failure = error;
}
