# SPDX-License-Identifier: Apache-2.0
# The check as a library, so that tests can run it over any block device.
LIBRARIES += fsck_check
fsck_check_PURE  := fsck/flipped_bit.c fsck/tree_build.c fsck/space.c fsck/overlaps.c fsck/inode_table.c fsck/quota_sums.c
fsck_check_SHELL := fsck/check.c fsck/check_context.c fsck/scrub.c fsck/problem.c fsck/progress.c fsck/block_reader.c fsck/chunk_cache.c \
                    fsck/tree_walk.c fsck/inode_items.c fsck/directory_entries.c \
                    fsck/pass0_superblock.c fsck/pass1_slots.c fsck/pass2_groups.c \
                    fsck/pass3_inodes.c fsck/pass4_directories.c fsck/pass5_space.c fsck/pass6_quotas.c fsck/quota_blocks.c \
                    fsck/change_log.c fsck/rebuild.c fsck/rebuild_entries.c fsck/repair.c \
                    fsck/repair_volume.c fsck/repair_inodes.c fsck/repair_trees.c \
                    fsck/repair_shared.c fsck/repair_names.c fsck/repair_links.c \
                    fsck/repair_orphans.c fsck/repair_groups.c fsck/repair_quotas.c fsck/superblocks.c \
                    fsck/undo_file.c fsck/undo.c fsck/commit.c

PROGRAMS += fsck.lunfs
fsck.lunfs_SOURCES   := fsck/fsck.c fsck/options.c
fsck.lunfs_LIBRARIES := fsck_check fs_structures journal dlm format base

.PHONY: problems-page
problems-page:
	@fsck/problems-page > docs/fsck-problems.md
