// SPDX-License-Identifier: Apache-2.0
#include "fs/fuse_caller.h"

#include <stdio.h>
#include <string.h>

enum { MAP_BYTES = 512 };

// False if it is not there.
static bool read_capabilities(pid_t thread, unsigned long long *effective)
{
    char path[32], line[128];
    bool is_found = false;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    FILE *status = fopen(path, "re");
    if (status == NULL)
        return false;
    while (!is_found && fgets(line, sizeof(line), status) != NULL)
        is_found = sscanf(line, "CapEff: %llx", effective) == 1;
    fclose(status);
    return is_found;
}

static size_t read_map(const char *path, char map[MAP_BYTES])
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size_t length = fread(map, 1, MAP_BYTES, file);
    fclose(file);
    return length;
}

// Capabilities count in the namespace of users of whoever has them: the root of a container has all
// of them there. Another namespace has another map of user numbers; one that maps all of them to
// themselves was made by somebody who may do all that.
static bool is_in_our_namespace(pid_t thread)
{
    char path[32], ours[MAP_BYTES], theirs[MAP_BYTES];
    snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)thread);
    size_t length = read_map("/proc/self/uid_map", ours);
    return length > 0 && length < MAP_BYTES && read_map(path, theirs) == length &&
           memcmp(ours, theirs, length) == 0;
}

bool fuse_caller_is_capable(pid_t thread, uid_t uid, unsigned capability)
{
    unsigned long long effective;
    if (thread == 0 || !read_capabilities(thread, &effective))
        return uid == 0;
    return (effective >> capability & 1) != 0 && is_in_our_namespace(thread);
}
