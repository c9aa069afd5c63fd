// SPDX-License-Identifier: Apache-2.0
// The undo file: what stood in each block that a repair writes to, saved before the first change.
//
//   block 0        magic, format_id, count, state, checksums
//   block 1 ...    index: number of a block, checksum of what stood there and of what stands now
//   then           the blocks themselves, as they were
//
// The journals' headers are always among them, so that a mount since the repair shows: then the
// file does not fit any more and is refused.
#pragma once

struct check;

// Before the first change. Does nothing without --undo. 0 or a negative error.
int undo_save(struct check *check);
// After the last change: notes what stands in the blocks now.
int undo_finish(struct check *check);
// Writes everything back. 0 or a negative error, and then the reason was printed. May be cut off
// and run again.
int undo_restore(struct check *check);
