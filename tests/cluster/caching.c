// SPDX-License-Identifier: Apache-2.0
//
// Nodes whose kernels keep names and attributes: caching VERB AMOUNT DIRECTORY_A DIRECTORY_B
//
//   turns   AMOUNT rounds: one node's kernel is made to keep what it can, the other node changes
//           it, the first must see the change at once; and the other way round
//   fight   AMOUNT seconds: on both nodes threads rename between two directories, in both
//           directions, look at the names, and write and map one file. Prints the number of
//           operations and the longest in ms; one above 2 s fails
//
// Each DIRECTORY is one directory as another node sees it. Exit 0 when all held.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/cluster/fight.h"

enum { BLOCK = 4096, FIGHT_NAMES = 4, THREADS = 3 };

// --- turns -----------------------------------------------------------------------------------

static struct stat look(int directory, const char *name)
{
    struct stat found = {0};

    must(fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW), name);
    return found;
}

// The second look is the kernel's own.
static struct stat warm(int directory, const char *name)
{
    look(directory, name);
    return look(directory, name);
}

static bool is_there(int directory, const char *name)
{
    struct stat found;

    return fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) == 0;
}

static void make(int directory, const char *name)
{
    int file = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    must(file, name);
    close(file);
}

static void attributes(int a, int b, long round)
{
    mode_t mode = 0600 | (mode_t)(round & 077);

    warm(b, "file");
    must(fchmodat(a, "file", mode, 0), "chmod");
    expect((look(b, "file").st_mode & 0777) == mode, "an old mode", round);
    warm(b, "file");
    must(fchownat(a, "file", (uid_t)round, (gid_t)round, 0), "chown");
    expect(look(b, "file").st_uid == (uid_t)round, "an old owner", round);
}

static void sizes(int a, int b, long round)
{
    off_t before = warm(b, "file").st_size;
    int file = openat(a, "file", O_WRONLY | O_APPEND | O_CLOEXEC);

    must(file, "open");
    must(write(file, "x", 1), "append");
    expect(look(b, "file").st_size == before + 1, "an old size", round);
    close(file);
    expect(warm(b, "file").st_size == before + 1, "an old size after the close", round);
    if (before < 100)
        return;
    file = openat(a, "file", O_WRONLY | O_TRUNC | O_CLOEXEC);
    must(file, "truncate");
    expect(look(b, "file").st_size == 0, "the size before a truncation", round);
    close(file);
}

static void links(int a, int b, long round)
{
    warm(b, "file");
    must(linkat(a, "file", a, "second", 0), "link");
    expect(look(b, "file").st_nlink == 2, "an old link count", round);
    warm(b, "second");
    must(unlinkat(a, "second", 0), "unlink");
    expect(!is_there(b, "second"), "a name that was removed", round);
    expect(look(b, "file").st_nlink == 1, "the link count before an unlink", round);
}

// The node's own kernel does not know that this changes the file.
static void protection(int a, long round)
{
    struct timespec before = warm(a, "file").st_ctim;
    int file = openat(a, "file", O_RDONLY | O_CLOEXEC), flags = FS_APPEND_FL;

    must(file, "open");
    must(ioctl(file, FS_IOC_SETFLAGS, &flags), "chattr +a");
    struct timespec after = look(a, "file").st_ctim;
    expect(before.tv_sec != after.tv_sec || before.tv_nsec != after.tv_nsec, "an old time", round);
    flags = 0;
    must(ioctl(file, FS_IOC_SETFLAGS, &flags), "chattr -a");
    close(file);
}

static void names(int a, int b, long round)
{
    make(a, "name");
    ino_t first = warm(b, "name").st_ino;
    make(a, "other");
    ino_t second = warm(b, "other").st_ino;
    must(renameat(a, "other", a, "name"), "rename");
    expect(!is_there(b, "other"), "a name that was renamed", round);
    expect(look(b, "name").st_ino == second && first != second, "a file that was replaced", round);
    must(unlinkat(a, "name", 0), "unlink");
    make(b, "name"); // what is kept of the name must not stand in its way
    warm(a, "name");
    must(unlinkat(b, "name", 0), "unlink");
    expect(!is_there(a, "name"), "a name that was removed", round);
}

static void directories(int a, int b, long round)
{
    struct stat parent;

    must(mkdirat(a, "directory", 0755), "mkdir");
    make(a, "directory/file");
    warm(b, "directory/file");
    int open_directory = openat(b, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(open_directory, "open");
    must(fstat(open_directory, &parent), "fstat");
    must(mkdirat(a, "directory/below", 0755), "mkdir");
    must(fstat(open_directory, &parent), "fstat");
    expect(parent.st_nlink == 3, "an old link count of an open directory", round);
    must(renameat(a, "directory/file", a, "moved"), "rename");
    expect(!is_there(open_directory, "file"), "a name that was moved", round);
    must(unlinkat(a, "directory/below", AT_REMOVEDIR), "rmdir");
    must(unlinkat(a, "directory", AT_REMOVEDIR), "rmdir");
    expect(!is_there(b, "directory"), "a directory that was removed", round);
    expect(fstat(open_directory, &parent) != 0, "attributes of a removed directory", round);
    close(open_directory);
    must(unlinkat(b, "moved", 0), "unlink");
}

static void turns(const int nodes[2], long amount)
{
    make(nodes[0], "file");
    for (long round = 0; round < amount && !has_failed(); round++) {
        int a = nodes[round & 1], b = nodes[~round & 1];
        attributes(a, b, round);
        sizes(a, b, round);
        links(a, b, round);
        protection(a, round);
        names(a, b, round);
        directories(a, b, round);
    }
    must(unlinkat(nodes[0], "file", 0), "unlink");
}

// --- fight -----------------------------------------------------------------------------------

static const char *const sides[2] = {"left", "right"};

// Whatever loses a race finds the name gone.
static void *rename_across(void *argument)
{
    int directory = *(const int *)argument;
    char from[32], to[32];

    for (long i = 0; fight_goes_on(); i++) {
        int64_t begin_ms = clock_ms();
        snprintf(from, sizeof(from), "%s/%ld", sides[i / FIGHT_NAMES & 1], i % FIGHT_NAMES);
        snprintf(to, sizeof(to), "%s/%ld", sides[~(i / FIGHT_NAMES) & 1], i % FIGHT_NAMES);
        expect(renameat(directory, from, directory, to) == 0 || errno == ENOENT, "rename", i);
        fight_done(begin_ms);
    }
    return NULL;
}

static void *look_around(void *argument)
{
    int directory = *(const int *)argument;
    struct stat found;
    char name[32];

    for (long i = 0; fight_goes_on(); i++) {
        int64_t begin_ms = clock_ms();
        snprintf(name, sizeof(name), "%s/%ld", sides[i & 1], i / 2 % FIGHT_NAMES);
        expect(fstatat(directory, name, &found, 0) == 0 || errno == ENOENT, "stat", i);
        fight_done(begin_ms);
    }
    return NULL;
}

static void map_and_write(int file, long i)
{
    char block[64];
    volatile char seen;

    memset(block, 'a' + (int)(i % 26), sizeof(block));
    expect(pwrite(file, block, sizeof(block), 0) == sizeof(block), "write", i);
    char *map = mmap(NULL, BLOCK, PROT_READ, MAP_PRIVATE, file, 0);
    expect(map != MAP_FAILED, "mmap", i);
    if (map == MAP_FAILED)
        return;
    seen = map[0];
    (void)seen;
    munmap(map, BLOCK);
}

static void *use_file(void *argument)
{
    int directory = *(const int *)argument;
    struct stat found;

    for (long i = 0; fight_goes_on(); i++) {
        int64_t begin_ms = clock_ms();
        int file = openat(directory, "mapped", O_RDWR | O_CLOEXEC);
        expect(file >= 0, "open", i);
        if (file < 0)
            break;
        map_and_write(file, i);
        close(file);
        expect(fstatat(directory, "mapped", &found, 0) == 0, "stat", i);
        fight_done(begin_ms);
    }
    return NULL;
}

static void prepare_fight(int directory)
{
    char name[32];
    int file = openat(directory, "mapped", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    must(file, "mapped");
    must(ftruncate(file, BLOCK), "mapped");
    close(file);
    for (int side = 0; side < 2; side++)
        must(mkdirat(directory, sides[side], 0755), sides[side]);
    for (int i = 0; i < FIGHT_NAMES; i++) {
        snprintf(name, sizeof(name), "left/%d", i);
        make(directory, name);
    }
}

static int count_names(int directory)
{
    char name[32];
    int count = 0;

    for (int i = 0; i < 2 * FIGHT_NAMES; i++) {
        snprintf(name, sizeof(name), "%s/%d", sides[i & 1], i / 2);
        count += is_there(directory, name);
    }
    return count;
}

static void fight(const int nodes[2], long amount)
{
    static void *(*const bodies[THREADS])(void *) = {rename_across, look_around, use_file};
    pthread_t threads[2 * THREADS];

    prepare_fight(nodes[0]);
    fight_begin(amount);
    for (int i = 0; i < 2 * THREADS; i++) {
        if (pthread_create(&threads[i], NULL, bodies[i / 2], (void *)(uintptr_t)&nodes[i & 1]) != 0)
            abort();
    }
    for (int i = 0; i < 2 * THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%ld operations, the longest %ld ms\n", fight_operations(), fight_longest_ms());
    expect(count_names(nodes[0]) == FIGHT_NAMES, "names were lost or doubled", amount);
    expect(count_names(nodes[1]) == FIGHT_NAMES, "names were lost or doubled", amount);
}

int main(int argc, char **argv)
{
    int nodes[2];

    if (argc != 5) {
        fputs("usage: caching turns|fight AMOUNT DIRECTORY_A DIRECTORY_B\n", stderr);
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        nodes[i] = open(argv[3 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(nodes[i], argv[3 + i]);
    }
    if (strcmp(argv[1], "fight") == 0)
        fight(nodes, strtol(argv[2], NULL, 10));
    else
        turns(nodes, strtol(argv[2], NULL, 10));
    return has_failed() ? 1 : 0;
}
