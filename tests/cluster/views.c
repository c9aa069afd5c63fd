// SPDX-License-Identifier: Apache-2.0
#include "tests/cluster/views.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/expect.h"

enum { CONTENT_BYTES_MAX = 4096 };

int views_setup(void **state)
{
    struct views *views = calloc(1, sizeof(*views));
    char path[4096];
    const char *mounts[2] = {expect_environment("TEST_MOUNT_A"),
                             expect_environment("TEST_MOUNT_B")};

    snprintf(path, sizeof(path), "%s/visibility", mounts[0]);
    if (mkdir(path, 0755) < 0)
        assert_int_equal(errno, EEXIST);
    views->a = MUST(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    snprintf(path, sizeof(path), "%s/visibility", mounts[1]);
    views->b = MUST(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    *state = views;
    return 0;
}

int views_teardown(void **state)
{
    struct views *views = *state;

    close(views->a);
    close(views->b);
    free(views);
    return 0;
}

int views_file(int directory, const char *name, const char *content)
{
    int file = MUST(openat(directory, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

    MUST_MOVE(pwrite(file, content, strlen(content), 0), strlen(content));
    return file;
}

struct stat views_stat(int directory, const char *name)
{
    struct stat attributes;

    MUST(fstatat(directory, name, &attributes, AT_SYMLINK_NOFOLLOW));
    return attributes;
}

void views_expect_content(int directory, const char *name, const char *content)
{
    char buffer[CONTENT_BYTES_MAX] = "";
    int file = MUST(openat(directory, name, O_RDONLY | O_CLOEXEC));

    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), strlen(content));
    assert_string_equal(buffer, content);
    close(file);
}

bool views_list(int directory, const char *name)
{
    DIR *stream = fdopendir(MUST(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    bool found = false;
    struct dirent *entry;

    assert_non_null(stream);
    while ((entry = readdir(stream)))
        found = found || strcmp(entry->d_name, name) == 0;
    closedir(stream);
    return found;
}
