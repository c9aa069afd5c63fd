// SPDX-License-Identifier: Apache-2.0
// Copying inside the volume: read and written here, so that the data does not travel through the
// kernel and back, and no page of it is kept there.
#include <stdlib.h>

#include "fs/base/block_device.h"
#include "fs/operation.h"

enum { PIECE_BYTES = 1 << 20 };

// Nobody can interrupt a copy, so it is done in parts of what a lane moves in some milliseconds.
static const uint64_t copy_bytes_max = 16 << 20;

static ssize_t copy_piece(struct volume *volume, struct open_file *from, uint64_t from_offset,
                          struct open_file *to, uint64_t to_offset, size_t length, uint8_t *buffer)
{
    ssize_t bytes = operation_read(volume, from, from_offset, buffer, length);
    return bytes <= 0 ? bytes : operation_write(volume, to, to_offset, buffer, (size_t)bytes);
}

ssize_t operation_copy(struct volume *volume, struct open_file *from, uint64_t from_offset,
                       struct open_file *to, uint64_t to_offset, uint64_t length)
{
    uint8_t *buffer = block_buffer_new(PIECE_BYTES + 2 * BLOCK_BYTES);
    uint64_t done = 0, asked = 0;
    ssize_t piece = 0;
    if (length > copy_bytes_max)
        length = copy_bytes_max;
    // A short piece is the last one: where a file is copied behind its own end, more comes by that.
    while (done < length && (uint64_t)piece == asked) {
        asked = length - done < PIECE_BYTES ? length - done : PIECE_BYTES;
        piece = copy_piece(volume, from, from_offset + done, to, to_offset + done, asked, buffer);
        if (piece > 0)
            done += (uint64_t)piece;
    }
    free(buffer);
    return done > 0 ? (ssize_t)done : piece;
}
