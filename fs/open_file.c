// SPDX-License-Identifier: Apache-2.0
#include "fs/open_file.h"

#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/open_inode.h"

struct open_file *open_file_new(struct open_inode *inode, int flags)
{
    struct open_file *file = malloc(sizeof(*file));
    CHECK(file != NULL && inode->handles > 0);
    *file = (struct open_file){.inode = inode, .flags = flags};
    return file;
}

struct open_inode *open_file_free(struct open_file *file)
{
    struct open_inode *inode = file->inode;
    free(file);
    return inode;
}

struct pass *open_file_pass(struct open_file *file)
{
    return &file->inode->pass;
}

void open_file_set_flags(struct open_file *file, int flags)
{
    file->flags = flags;
}
