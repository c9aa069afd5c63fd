// SPDX-License-Identifier: Apache-2.0
//
// Listing a directory on one node while another changes it: what is there all the time is listed
// exactly once, and a place in the listing means the same on every node.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/cluster/views.h"
#include "tests/lib/expect.h"

enum { STABLE = 600, CHANGES_EACH = 3 };

static void name_make(char name[64], const char *kind, int number)
{
    snprintf(name, 64, "listing/%s-with-a-longer-name-%05d", kind, number);
}

static void file_add(int view, const char *kind, int number)
{
    char name[64];

    name_make(name, kind, number);
    close(MUST(openat(view, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
}

static void file_remove(int view, const char *kind, int number)
{
    char name[64];

    name_make(name, kind, number);
    unlinkat(view, name, 0);
}

static void directory_fill(struct views *v)
{
    MUST(mkdirat(v->a, "listing", 0755));
    for (int i = 0; i < STABLE; i++)
        file_add(i % 2 == 0 ? v->a : v->b, "stable", i);
}

static DIR *directory_open(int view)
{
    DIR *stream = fdopendir(MUST(openat(view, "listing", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));

    assert_non_null(stream);
    return stream;
}

static void directory_remove(struct views *v)
{
    DIR *stream = directory_open(v->b);
    struct dirent *entry;

    while ((entry = readdir(stream))) {
        if (entry->d_name[0] != '.')
            MUST(unlinkat(dirfd(stream), entry->d_name, 0));
    }
    closedir(stream);
    MUST(unlinkat(v->a, "listing", AT_REMOVEDIR));
}

static void note(const struct dirent *entry, unsigned char *seen)
{
    int number;

    if (sscanf(entry->d_name, "stable-with-a-longer-name-%d", &number) == 1)
        seen[number]++;
}

// The other node adds, removes and renames at each step.
static void change(int view, int step)
{
    char from[64], to[64];

    for (int i = 0; i < CHANGES_EACH; i++)
        file_add(view, "other", step * CHANGES_EACH + i);
    file_remove(view, "other", step * CHANGES_EACH - 5);
    name_make(from, "other", step * CHANGES_EACH);
    name_make(to, "moved", step);
    MUST(renameat(view, from, view, to));
}

static void listing_while_another_changes(void **state)
{
    struct views *v = *state;
    unsigned char seen[STABLE] = {0};
    struct dirent *entry;
    DIR *stream;
    int listed = 0;

    directory_fill(v);
    stream = directory_open(v->b);
    while ((entry = readdir(stream))) {
        note(entry, seen);
        if (++listed % 20 == 0 && listed < 2 * STABLE)
            change(v->a, listed);
    }
    closedir(stream);
    for (int i = 0; i < STABLE; i++)
        assert_int_equal(seen[i], 1);
    directory_remove(v);
}

// telldir on one node, changes on both, seekdir on the other: the rest, and nothing twice.
static void places_mean_the_same_everywhere(void **state)
{
    struct views *v = *state;
    unsigned char seen[STABLE] = {0};
    struct dirent *entry;
    DIR *first, *second;
    long place;

    directory_fill(v);
    first = directory_open(v->a);
    for (int i = 0; i < STABLE / 2; i++)
        note(readdir(first), seen);
    place = telldir(first);
    for (int i = 1; i < 20; i++)
        change(i % 2 == 0 ? v->a : v->b, i);
    second = directory_open(v->b);
    seekdir(second, place);
    while ((entry = readdir(second)))
        note(entry, seen);
    closedir(first);
    closedir(second);
    for (int i = 0; i < STABLE; i++)
        assert_int_equal(seen[i], 1);
    directory_remove(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listing_while_another_changes),
        cmocka_unit_test(places_mean_the_same_everywhere),
    };

    return cmocka_run_group_tests(tests, views_setup, views_teardown);
}
