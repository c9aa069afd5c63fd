// SPDX-License-Identifier: Apache-2.0
#include "tests/crashlog/block_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fs/base/cleanup.h"

static int map_file(struct block_log *log, const char *path)
{
    CLEANUP_CLOSE int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file < 0 || fstat(file, &found) < 0)
        return -errno;
    log->size = (size_t)found.st_size;
    if (log->size < sizeof(struct block_log_super_disk))
        return -EINVAL;
    log->bytes = mmap(NULL, log->size, PROT_READ, MAP_SHARED, file, 0);
    return log->bytes == MAP_FAILED ? -errno : 0;
}

static int read_super(struct block_log *log)
{
    struct block_log_super_disk super;
    memcpy(&super, log->bytes, sizeof(super));
    log->sector_bytes = le32_get(super.sector_bytes);
    log->entry_count = le64_get(super.entry_count);
    if (le64_get(super.magic) != BLOCK_LOG_MAGIC || le64_get(super.version) != BLOCK_LOG_VERSION)
        return -EINVAL;
    if (log->sector_bytes < 512 || (log->sector_bytes & (log->sector_bytes - 1)) != 0)
        return -EINVAL;
    return log->size < log->sector_bytes ? -EINVAL : 0;
}

// That all entries are there: the counter is written last, when the log is closed.
static int check_entries(const struct block_log *log)
{
    struct block_log_entry entry;
    uint64_t count = 0;
    for (uint64_t at = block_log_begin(log); block_log_read(log, at, &entry); at = entry.end)
        count++;
    return count == log->entry_count ? 0 : -EINVAL;
}

int block_log_open(struct block_log *log, const char *path)
{
    int result = map_file(log, path);
    if (result < 0)
        return result;
    result = read_super(log);
    if (result == 0)
        result = check_entries(log);
    if (result < 0)
        block_log_close(log);
    return result;
}

void block_log_close(struct block_log *log)
{
    munmap((void *)log->bytes, log->size);
    log->bytes = NULL;
}

uint64_t block_log_begin(const struct block_log *log)
{
    return log->sector_bytes;
}

bool block_log_read(const struct block_log *log, uint64_t position, struct block_log_entry *entry)
{
    struct block_log_entry_disk disk;
    uint64_t sector = log->sector_bytes;
    if (position > log->size || log->size - position < sector)
        return false;
    memcpy(&disk, log->bytes + position, sizeof(disk));
    *entry = (struct block_log_entry){.begin = position, .flags = le64_get(disk.flags)};
    uint64_t count = le64_get(disk.sector_count);
    bool has_data = count > 0 && (entry->flags & BLOCK_LOG_DISCARD) == 0;
    if ((entry->flags & BLOCK_LOG_MARK) != 0 || (has_data && count > log->size / sector))
        return false;
    entry->offset = le64_get(disk.first_sector) * sector;
    entry->length = count * sector;
    entry->end = position + sector + (has_data ? entry->length : 0);
    entry->data = has_data ? log->bytes + position + sector : NULL;
    return entry->end <= log->size;
}
