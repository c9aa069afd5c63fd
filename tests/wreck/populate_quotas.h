// SPDX-License-Identifier: Apache-2.0
// Quotas of a populated volume, turned on: records of all owners, a hundred users with limits and
// without files, so that a bucket is a tree; and ledgers in which two slots' nodes have shares and
// have spent some.
#pragma once

#include "fsck/tree_build.h"
#include "tests/wreck/image.h"

// The user, the group and the project of `large`; all else is root's.
enum { POPULATE_USER = 1000, POPULATE_GROUP = 100, POPULATE_PROJECT = 7 };

// Writes the ledgers and sets the features.
void populate_ledgers(struct image *image);
// The records of a slot's bucket, after the inodes that group 0 holds and the ledgers: the caller's
// to release.
void populate_records(const struct image *image, uint32_t slot, struct tree_build_items *items);
// Puts an inode of root's into a ledger, as its node would when it makes it.
void populate_charge(struct image *image, uint64_t inode);
