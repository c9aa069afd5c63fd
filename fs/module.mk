# SPDX-License-Identifier: Apache-2.0
# The file system. Append only: each library names its own files.
LIBRARIES += format
format_PURE := fs/format.c fs/format_decode.c fs/format_node.c fs/format_fields.c fs/format_text.c
format_SHELL := fs/format_find.c

# Cache, trees, free space, and what stands in inodes: blocks in, blocks out, all through the journal.
LIBRARIES += fs_structures
fs_structures_PURE  := fs/tree_node.c
fs_structures_SHELL := fs/cache.c fs/journal_format.c fs/tree.c fs/tree_change.c
