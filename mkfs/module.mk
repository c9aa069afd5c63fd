# SPDX-License-Identifier: Apache-2.0
LIBRARIES += mkfs_layout
mkfs_layout_PURE  := mkfs/geometry.c
