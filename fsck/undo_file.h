// SPDX-License-Identifier: Apache-2.0
// The undo file as a file: its parts, read and written whole.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/endian.h"

#define UNDO_MAGIC "lunfs undo file"

enum undo_state { UNDO_BEGUN = 1, UNDO_FINISHED = 2 };

struct undo_header_disk {
    uint8_t magic[16];      // 0   UNDO_MAGIC
    le32_t format_version;  // 16  1
    le32_t state;           // 20  enum undo_state
    uint8_t format_id[16];  // 24  of the volume
    le64_t count;           // 40  blocks
    le32_t index_checksum;  // 48  crc32c
    le32_t header_checksum; // 52  crc32c of the 4096 bytes with this field 0
    uint8_t reserved[4096 - 56];
};
_Static_assert(sizeof(struct undo_header_disk) == 4096, "undo header");

struct undo_entry_disk {
    le64_t block;
    le32_t old_checksum; // crc32c of the 4096 bytes
    le32_t new_checksum; // 0 until the repair is finished
};
_Static_assert(sizeof(struct undo_entry_disk) == 16, "undo entry");

struct undo_file {
    int fd;
    struct undo_header_disk header;
    struct undo_entry_disk *index;
    size_t count;
};

// A new file; -EEXIST if there is one of that name. The index is zeroed, to be filled in.
int undo_file_create(struct undo_file *file, const char *path, const uint8_t format_id[16],
                     size_t count);
// -ERROR_BLOCK_MAGIC, -ERROR_BLOCK_FORMAT_VERSION, -ERROR_BLOCK_CHECKSUM or -errno.
int undo_file_open(struct undo_file *file, const char *path);
void undo_file_close(struct undo_file *file);

// The number-th block as it was; `bytes` are 4096.
int undo_file_write_block(struct undo_file *file, size_t number, const void *bytes);
// Checks it against the index: -ERROR_BLOCK_CHECKSUM.
int undo_file_read_block(const struct undo_file *file, size_t number, void *bytes);
// Index and header; all of the file is durable when it returns.
int undo_file_write_index(struct undo_file *file, enum undo_state state);
