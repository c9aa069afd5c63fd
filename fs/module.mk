# SPDX-License-Identifier: Apache-2.0
# The file system. Append only: each library names its own files.
LIBRARIES += format
format_PURE := fs/format.c fs/format_decode.c fs/format_node.c fs/format_fields.c fs/format_text.c
