# SPDX-License-Identifier: Apache-2.0
# mkfs_layout makes a volume on any block device: the program's, the tests', the simulator's.
LIBRARIES += mkfs_layout
mkfs_layout_PURE  := mkfs/geometry.c
mkfs_layout_SHELL := mkfs/write_layout.c
