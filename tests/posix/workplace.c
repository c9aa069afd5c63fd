// SPDX-License-Identifier: Apache-2.0
#include "tests/posix/workplace.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, FTW_DESCRIPTORS = 16 };

int workplace_setup(void **state)
{
    char *path = calloc(1, PATH_BYTES);

    assert_non_null(path);
    snprintf(path, PATH_BYTES, "%s/posix.XXXXXX", expect_environment("TEST_DIRECTORY"));
    if (!mkdtemp(path) || chdir(path) < 0) {
        print_error("%s: %s\n", path, strerror(errno));
        free(path);
        return -1;
    }
    *state = path;
    return 0;
}

static int remove_entry(const char *path, const struct stat *attributes, int type, struct FTW *ftw)
{
    (void)attributes;
    (void)type;
    (void)ftw;
    return remove(path);
}

int workplace_teardown(void **state)
{
    char *path = *state;
    int result = chdir("/");

    if (nftw(path, remove_entry, FTW_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0) {
        print_error("%s: not removed: %s\n", path, strerror(errno));
        result = -1;
    }
    free(path);
    return result;
}

bool workplace_is_lunfs(void)
{
    const char *value = getenv("TEST_LUNFS");

    return value && strcmp(value, "1") == 0;
}

int workplace_file(const char *name, const char *content)
{
    int file = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

    MUST_MOVE(pwrite(file, content, strlen(content), 0), strlen(content));
    return file;
}
