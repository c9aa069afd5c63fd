// SPDX-License-Identifier: Apache-2.0
//
// Names: creating, linking, renaming, removing, listing.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { MANY = 2000, NAME_BYTES_MAX = 255 };

static struct stat attributes_of(const char *name)
{
    struct stat attributes;

    MUST(lstat(name, &attributes));
    return attributes;
}

static void expect_content(const char *name, const char *content)
{
    char buffer[256] = "";
    int file = MUST(open(name, O_RDONLY | O_CLOEXEC));

    MUST_MOVE(read(file, buffer, sizeof(buffer) - 1), strlen(content));
    assert_string_equal(buffer, content);
    close(file);
}

static void create_exclusive(void **state)
{
    (void)state;
    close(MUST(open("file", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600)));
    MUST_FAIL(open("file", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
    MUST(symlink("nowhere", "dangling"));
    MUST_FAIL(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
    MUST_FAIL(open("missing", O_RDONLY), ENOENT);
    MUST_FAIL(open("file/below", O_RDONLY), ENOTDIR);
    MUST_FAIL(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR);
}

static void truncate_on_open(void **state)
{
    (void)state;
    close(workplace_file("file", "some content"));
    close(MUST(open("file", O_WRONLY | O_TRUNC | O_CLOEXEC)));
    assert_int_equal(attributes_of("file").st_size, 0);
    expect_content("file", "");
}

static void modes_and_umask(void **state)
{
    mode_t before = umask(027);

    (void)state;
    close(MUST(open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0666)));
    MUST(mkdir("directory", 0777));
    umask(before);
    assert_int_equal(attributes_of("file").st_mode, S_IFREG | 0640);
    assert_int_equal(attributes_of("directory").st_mode, S_IFDIR | 0750);
}

static void directories(void **state)
{
    nlink_t links = attributes_of(".").st_nlink;

    (void)state;
    MUST(mkdir("directory", 0755));
    MUST_FAIL(mkdir("directory", 0755), EEXIST);
    assert_int_equal(attributes_of("directory").st_nlink, 2);
    assert_int_equal(attributes_of(".").st_nlink, links + 1);
    assert_int_equal(attributes_of("directory/..").st_ino, attributes_of(".").st_ino);
    close(workplace_file("directory/file", "x"));
    MUST_FAIL(rmdir("directory"), ENOTEMPTY);
    MUST_FAIL(rmdir("directory/file"), ENOTDIR);
    MUST_FAIL(unlink("directory"), EISDIR);
    MUST(unlink("directory/file"));
    MUST(rmdir("directory"));
    MUST_FAIL(rmdir("directory"), ENOENT);
    assert_int_equal(attributes_of(".").st_nlink, links);
}

// A process may sit in a directory that is removed under it.
static void removed_current_directory(void **state)
{
    int directory, parent = MUST(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

    (void)state;
    MUST(mkdir("directory", 0755));
    directory = MUST(open("directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MUST(rmdir("directory"));
    MUST_FAIL(openat(directory, "file", O_CREAT | O_WRONLY, 0600), ENOENT);
    MUST_FAIL(mkdirat(directory, "below", 0700), ENOENT);
    close(directory);
    MUST(fchdir(parent));
    close(parent);
}

static void hard_links(void **state)
{
    (void)state;
    close(workplace_file("first", "shared"));
    MUST(link("first", "second"));
    MUST_FAIL(link("first", "second"), EEXIST);
    MUST_FAIL(link(".", "third"), EPERM);
    assert_int_equal(attributes_of("first").st_nlink, 2);
    assert_int_equal(attributes_of("first").st_ino, attributes_of("second").st_ino);
    MUST(unlink("first"));
    assert_int_equal(attributes_of("second").st_nlink, 1);
    expect_content("second", "shared");
}

static void symbolic_links(void **state)
{
    char target[PATH_MAX] = "", long_target[PATH_MAX];

    (void)state;
    close(workplace_file("file", "behind"));
    MUST(symlink("file", "link"));
    expect_content("link", "behind");
    assert_true(S_ISLNK(attributes_of("link").st_mode));
    assert_int_equal(attributes_of("link").st_size, 4);
    memset(long_target, 't', sizeof(long_target) - 1);
    long_target[sizeof(long_target) - 1] = '\0';
    MUST(symlink(long_target, "long"));
    MUST_MOVE(readlink("long", target, sizeof(target)), PATH_MAX - 1);
    assert_memory_equal(target, long_target, PATH_MAX - 1);
    MUST_FAIL(symlink("file", "link"), EEXIST);
    MUST_FAIL(readlink("file", target, sizeof(target)), EINVAL);
}

static void special_files(void **state)
{
    (void)state;
    MUST(mkfifo("fifo", 0600));
    MUST(mknod("device", S_IFBLK | 0600, makedev(7, 300)));
    MUST(mknod("socket", S_IFSOCK | 0600, 0));
    MUST(mknod("plain", S_IFREG | 0600, 0));
    assert_true(S_ISFIFO(attributes_of("fifo").st_mode));
    assert_true(S_ISBLK(attributes_of("device").st_mode));
    assert_int_equal(attributes_of("device").st_rdev, makedev(7, 300));
    assert_true(S_ISSOCK(attributes_of("socket").st_mode));
    assert_true(S_ISREG(attributes_of("plain").st_mode));
}

static void long_names(void **state)
{
    char name[NAME_BYTES_MAX + 2];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[NAME_BYTES_MAX] = '\0';
    close(workplace_file(name, "long"));
    expect_content(name, "long");
    MUST(rename(name, "short"));
    name[NAME_BYTES_MAX] = 'n';
    name[NAME_BYTES_MAX + 1] = '\0';
    MUST_FAIL(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
    // Any byte but '/' and 0 may stand in a name.
    close(workplace_file("\x01\xff\xfe \n*", "odd"));
    expect_content("\x01\xff\xfe \n*", "odd");
}

static void rename_plain(void **state)
{
    (void)state;
    close(workplace_file("from", "from"));
    MUST(rename("from", "to"));
    MUST_FAIL(access("from", F_OK), ENOENT);
    close(workplace_file("over", "over"));
    MUST(rename("to", "over"));
    expect_content("over", "from");
    MUST(link("over", "same"));
    MUST(rename("over", "same")); // two names of one file: nothing happens
    MUST(access("over", F_OK));
    MUST_FAIL(rename("missing", "any"), ENOENT);
}

static void rename_directories(void **state)
{
    (void)state;
    MUST(mkdir("one", 0755));
    MUST(mkdir("two", 0755));
    MUST(mkdir("one/child", 0755));
    close(workplace_file("file", "x"));
    MUST_FAIL(rename("one", "one/child/below"), EINVAL);
    MUST_FAIL(rename("one", "file"), ENOTDIR);
    MUST_FAIL(rename("file", "one"), EISDIR);
    MUST_FAIL(rename("two", "one"), ENOTEMPTY);
    MUST(rename("one/child", "two/child"));
    assert_int_equal(attributes_of("one").st_nlink, 2);
    assert_int_equal(attributes_of("two").st_nlink, 3);
    assert_int_equal(attributes_of("two/child/..").st_ino, attributes_of("two").st_ino);
    MUST(rename("two", "one")); // onto an empty directory
    MUST(access("one/child", F_OK));
}

static void rename_flags(void **state)
{
    (void)state;
    close(workplace_file("file", "file"));
    MUST(mkdir("directory", 0755));
    MUST_FAIL(renameat2(AT_FDCWD, "file", AT_FDCWD, "directory", RENAME_NOREPLACE), EEXIST);
    MUST(renameat2(AT_FDCWD, "file", AT_FDCWD, "new", RENAME_NOREPLACE));
    MUST(renameat2(AT_FDCWD, "new", AT_FDCWD, "directory", RENAME_EXCHANGE));
    expect_content("directory", "file");
    assert_true(S_ISDIR(attributes_of("new").st_mode));
    MUST_FAIL(renameat2(AT_FDCWD, "new", AT_FDCWD, "missing", RENAME_EXCHANGE), ENOENT);
    MUST_FAIL(renameat2(AT_FDCWD, "new", AT_FDCWD, "directory", RENAME_EXCHANGE | RENAME_NOREPLACE),
              EINVAL);
}

static void unlinked_while_open(void **state)
{
    int file = workplace_file("file", "lives on");
    char buffer[32] = "";
    struct stat attributes;

    (void)state;
    MUST(unlink("file"));
    MUST_FAIL(access("file", F_OK), ENOENT);
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_nlink, 0);
    MUST_MOVE(pwrite(file, "!", 1, 8), 1);
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 9);
    assert_string_equal(buffer, "lives on!");
    MUST(ftruncate(file, 3));
    MUST(fchmod(file, 0600));
    MUST(fsync(file));
    close(file);
}

// Replaced by a rename, a file that is open lives on, too.
static void replaced_while_open(void **state)
{
    int file = workplace_file("victim", "victim");
    char buffer[32] = "";

    (void)state;
    close(workplace_file("new", "new"));
    MUST(rename("new", "victim"));
    MUST_MOVE(pread(file, buffer, sizeof(buffer), 0), 6);
    assert_string_equal(buffer, "victim");
    expect_content("victim", "new");
    close(file);
}

// --- listing ---------------------------------------------------------------------------------

static void files_make(int count)
{
    char name[64];

    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "entry-with-a-longer-name-%05d", i);
        close(MUST(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
    }
}

// Notes the entry in `seen` by its number; . and .. count at the end of the array.
static void note(const struct dirent *entry, unsigned char *seen)
{
    int number;

    if (strcmp(entry->d_name, ".") == 0)
        number = MANY;
    else if (strcmp(entry->d_name, "..") == 0)
        number = MANY + 1;
    else
        assert_int_equal(sscanf(entry->d_name, "entry-with-a-longer-name-%d", &number), 1);
    assert_in_range(number, 0, MANY + 1);
    seen[number]++;
}

static void list_many(void **state)
{
    unsigned char seen[MANY + 2] = {0};
    DIR *directory;
    struct dirent *entry;

    (void)state;
    files_make(MANY);
    directory = opendir(".");
    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        assert_true(entry->d_type == DT_REG || entry->d_name[0] == '.');
        note(entry, seen);
    }
    closedir(directory);
    for (int i = 0; i < MANY + 2; i++)
        assert_int_equal(seen[i], 1);
}

// What is there all the time is listed exactly once, whatever comes and goes meanwhile.
static void list_while_changing(void **state)
{
    unsigned char seen[MANY + 2] = {0};
    char name[64];
    DIR *directory;
    struct dirent *entry;
    int listed = 0;

    (void)state;
    files_make(MANY);
    directory = opendir(".");
    while ((entry = readdir(directory))) {
        if (strncmp(entry->d_name, "other", 5) == 0)
            continue;
        note(entry, seen);
        if (++listed % 10 != 0)
            continue;
        snprintf(name, sizeof(name), "other-%d", listed);
        close(MUST(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
        snprintf(name, sizeof(name), "other-%d", listed - 30);
        unlink(name);
    }
    closedir(directory);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(seen[i], 1);
}

// telldir's cookies stay good in the same and in another open directory.
static void list_from_a_cursor(void **state)
{
    DIR *directory, *other;
    char name[NAME_BYTES_MAX + 1];
    long cursor;

    (void)state;
    files_make(MANY);
    directory = opendir(".");
    other = opendir(".");
    for (int i = 0; i < MANY / 2; i++)
        assert_non_null(readdir(directory));
    cursor = telldir(directory);
    snprintf(name, sizeof(name), "%s", readdir(directory)->d_name);
    for (int i = 0; i < 100; i++)
        assert_non_null(readdir(directory));
    seekdir(directory, cursor);
    assert_string_equal(readdir(directory)->d_name, name);
    seekdir(other, cursor);
    assert_string_equal(readdir(other)->d_name, name);
    rewinddir(other);
    assert_non_null(readdir(other));
    closedir(directory);
    closedir(other);
}

static void remove_while_listing(void **state)
{
    DIR *directory;
    struct dirent *entry;
    int removed = 0;

    (void)state;
    files_make(MANY);
    directory = opendir(".");
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        MUST(unlink(entry->d_name));
        removed++;
    }
    closedir(directory);
    assert_int_equal(removed, MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(create_exclusive),
        WORKPLACE_TEST(truncate_on_open),
        WORKPLACE_TEST(modes_and_umask),
        WORKPLACE_TEST(directories),
        WORKPLACE_TEST(removed_current_directory),
        WORKPLACE_TEST(hard_links),
        WORKPLACE_TEST(symbolic_links),
        WORKPLACE_TEST(special_files),
        WORKPLACE_TEST(long_names),
        WORKPLACE_TEST(rename_plain),
        WORKPLACE_TEST(rename_directories),
        WORKPLACE_TEST(rename_flags),
        WORKPLACE_TEST(unlinked_while_open),
        WORKPLACE_TEST(replaced_while_open),
        WORKPLACE_TEST(list_many),
        WORKPLACE_TEST(list_while_changing),
        WORKPLACE_TEST(list_from_a_cursor),
        WORKPLACE_TEST(remove_while_listing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
