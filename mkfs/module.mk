# SPDX-License-Identifier: Apache-2.0
# mkfs_layout makes a volume on any block device: the program's, the tests', the simulator's.
LIBRARIES += mkfs_layout
mkfs_layout_PURE  := mkfs/geometry.c
mkfs_layout_SHELL := mkfs/write_layout.c

PROGRAMS += mkfs.lunfs
mkfs.lunfs_SOURCES   := mkfs/mkfs.c mkfs/options.c mkfs/occupied.c
mkfs.lunfs_LIBRARIES := mkfs_layout fs_structures journal dlm format base
mkfs.lunfs_LDLIBS    := -lblkid -ljson-c
