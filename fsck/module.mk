# SPDX-License-Identifier: Apache-2.0
PROGRAMS += fsck.lunfs
fsck.lunfs_SOURCES   := fsck/fsck.c fsck/options.c fsck/problem.c fsck/progress.c \
                        fsck/block_reader.c fsck/tree_walk.c fsck/tree_build.c fsck/space.c \
                        fsck/inode_table.c fsck/inode_items.c fsck/directory_entries.c \
                        fsck/pass0_superblock.c fsck/pass1_slots.c fsck/pass2_groups.c \
                        fsck/pass3_inodes.c fsck/pass4_directories.c fsck/pass5_space.c \
                        fsck/repair.c fsck/repair_groups.c fsck/repair_orphans.c
fsck.lunfs_LIBRARIES := fs_structures journal dlm format base
