// SPDX-License-Identifier: Apache-2.0
// Writes a repair to the disk:
//
//   undo file ──► mark NEEDS_FSCK ──► replay, empty bad journals ──► changes ──► unmark
//
// Between the marks the volume cannot be mounted. What is cut off is run again: the journals are
// replayed as often as it takes, and each object is as it was or as it will be (fsck/repair.c).
#pragma once

struct check;

// 0 or a negative error, and then the reason was printed.
int commit(struct check *check);
