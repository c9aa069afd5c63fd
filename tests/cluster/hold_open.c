// SPDX-License-Identifier: Apache-2.0
//
// Holds a file as a running virtual machine would: hold_open FILE
// Opens it for writing, locks all of it, writes a block, says "held" and stays until it is killed.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int file = argc == 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;

    if (file < 0 || fcntl(file, F_OFD_SETLK, &lock) < 0 || pwrite(file, "held", 4, 0) != 4) {
        perror("hold_open");
        return 1;
    }
    puts("held");
    fflush(stdout);
    for (;;)
        pause();
}
