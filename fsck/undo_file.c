// SPDX-License-Identifier: Apache-2.0
#include "fsck/undo_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"

enum { UNDO_FORMAT_VERSION = 1 };

// --- bytes -----------------------------------------------------------------------------------

static int write_at(int fd, const void *bytes, size_t length, uint64_t offset)
{
    const uint8_t *from = bytes;
    while (length > 0) {
        ssize_t written = pwrite(fd, from, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        from += written;
        offset += (uint64_t)written;
        length -= (size_t)written;
    }
    return 0;
}

static int read_at(int fd, void *bytes, size_t length, uint64_t offset)
{
    uint8_t *to = bytes;
    while (length > 0) {
        ssize_t count = pread(fd, to, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? -errno : -ERROR_BLOCK_CHECKSUM; // cut short
        to += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return 0;
}

static size_t index_bytes(size_t count)
{
    size_t bytes = count * sizeof(struct undo_entry_disk);
    return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static uint64_t block_offset(const struct undo_file *file, size_t number)
{
    return BLOCK_BYTES + index_bytes(file->count) + (uint64_t)number * BLOCK_BYTES;
}

static uint32_t header_checksum(const struct undo_header_disk *header)
{
    struct undo_header_disk copy = *header;
    copy.header_checksum = le32_make(0);
    return crc32c(0, &copy, sizeof(copy));
}

// --- making one ------------------------------------------------------------------------------

// The name is durable too, or the file might be gone when it is needed.
static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    CHECK(copy != NULL);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    free(copy);
    return result;
}

int undo_file_create(struct undo_file *file, const char *path, const uint8_t format_id[16],
                     size_t count)
{
    *file = (struct undo_file){.fd = -1, .count = count};
    file->index = calloc(1, index_bytes(count));
    CHECK(file->index != NULL);
    memcpy(file->header.magic, UNDO_MAGIC, sizeof(UNDO_MAGIC));
    memcpy(file->header.format_id, format_id, 16);
    file->header.format_version = le32_make(UNDO_FORMAT_VERSION);
    file->header.count = le64_make(count);
    file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return file->fd < 0 ? -errno : sync_folder(path);
}

int undo_file_write_block(struct undo_file *file, size_t number, const void *bytes)
{
    file->index[number].old_checksum = le32_make(crc32c(0, bytes, BLOCK_BYTES));
    return write_at(file->fd, bytes, BLOCK_BYTES, block_offset(file, number));
}

int undo_file_write_index(struct undo_file *file, enum undo_state state)
{
    size_t bytes = index_bytes(file->count);
    int result = write_at(file->fd, file->index, bytes, BLOCK_BYTES);
    if (result == 0 && fdatasync(file->fd) != 0)
        result = -errno;
    if (result < 0)
        return result;
    file->header.state = le32_make((uint32_t)state);
    file->header.index_checksum = le32_make(crc32c(0, file->index, bytes));
    file->header.header_checksum = le32_make(header_checksum(&file->header));
    result = write_at(file->fd, &file->header, sizeof(file->header), 0);
    return result == 0 && fsync(file->fd) != 0 ? -errno : result;
}

// --- reading one -----------------------------------------------------------------------------

static int read_header(struct undo_file *file)
{
    const struct undo_header_disk *header = &file->header;
    int result = read_at(file->fd, &file->header, sizeof(file->header), 0);
    if (result < 0)
        return result;
    if (memcmp(header->magic, UNDO_MAGIC, sizeof(header->magic)) != 0)
        return -ERROR_BLOCK_MAGIC;
    if (le32_get(header->header_checksum) != header_checksum(header))
        return -ERROR_BLOCK_CHECKSUM;
    if (le32_get(header->format_version) != UNDO_FORMAT_VERSION)
        return -ERROR_BLOCK_FORMAT_VERSION;
    off_t size = lseek(file->fd, 0, SEEK_END);
    if (size < 0 || le64_get(header->count) > (uint64_t)size / BLOCK_BYTES)
        return -ERROR_BLOCK_CHECKSUM;
    file->count = le64_get(header->count);
    return 0;
}

int undo_file_open(struct undo_file *file, const char *path)
{
    *file = (struct undo_file){.fd = open(path, O_RDWR | O_CLOEXEC)};
    int result = file->fd < 0 ? -errno : read_header(file);
    if (result < 0)
        return result;
    size_t bytes = index_bytes(file->count);
    file->index = calloc(1, bytes + 1);
    CHECK(file->index != NULL);
    result = read_at(file->fd, file->index, bytes, BLOCK_BYTES);
    if (result == 0 && le32_get(file->header.index_checksum) != crc32c(0, file->index, bytes))
        result = -ERROR_BLOCK_CHECKSUM;
    return result;
}

int undo_file_read_block(const struct undo_file *file, size_t number, void *bytes)
{
    int result = read_at(file->fd, bytes, BLOCK_BYTES, block_offset(file, number));
    if (result == 0 && crc32c(0, bytes, BLOCK_BYTES) != le32_get(file->index[number].old_checksum))
        result = -ERROR_BLOCK_CHECKSUM;
    return result;
}

void undo_file_close(struct undo_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->index);
}
