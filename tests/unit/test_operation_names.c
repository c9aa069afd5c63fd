// SPDX-License-Identifier: Apache-2.0
// Names: create, link, unlink, rename, directories, symbolic links, listings.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/cluster_lock.h"
#include "fs/inode.h"
#include "fs/live_inode.h"
#include "fs/lock_set.h"
#include "fs/lock_types.h"
#include "fs/transaction.h"
#include "tests/unit/operation_world.h"

static uint64_t make_directory(struct operation_world *w, uint64_t parent, const char *name)
{
    struct attributes made;
    assert_int_equal(operation_make_directory(w->volume, parent, name, 0755, &test_user, &made), 0);
    return made.inode;
}

static uint64_t links_of(struct operation_world *w, uint64_t inode)
{
    struct attributes now;
    assert_int_equal(operation_get_attributes(w->volume, inode, &now), 0);
    return now.stat.st_nlink;
}

// --- create ----------------------------------------------------------------------------------

static void creating(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, found;
    char name[300];
    assert_int_equal(make_file(w, "a", &made), 0);
    assert_int_equal(make_file(w, "a", &found), -EEXIST);
    assert_int_equal(look_up(w, "a", &found), 0);
    assert_int_equal(found.inode, made.inode);
    assert_int_equal(found.generation, made.generation);
    assert_int_not_equal(made.generation, 0);
    assert_int_equal(found.stat.st_uid, 1000);
    assert_int_equal(found.stat.st_nlink, 1);
    assert_int_equal(look_up(w, "b", &found), -ENOENT);
    memset(name, 'n', sizeof(name));
    name[255] = '\0';
    assert_int_equal(make_file(w, name, &made), 0);
    assert_int_equal(look_up(w, name, &found), 0);
    name[255] = 'n';
    name[256] = '\0';
    assert_int_equal(make_file(w, name, &made), -ENAMETOOLONG);
    assert_int_equal(look_up(w, name, &found), -ENAMETOOLONG);
    assert_int_equal(
        operation_create(w->volume, found.inode, "x", S_IFREG, 0, &test_user, -1, &made, NULL),
        -ENOTDIR);
    assert_int_equal(operation_lookup(w->volume, found.inode, "x", &made), -ENOTDIR);
}

static void test_create(void **state)
{
    operation_world_run(*state, creating);
}

static void creating_special_files(void *argument)
{
    struct operation_world *w = argument;
    static const mode_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    struct attributes made, found;
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(operation_create(w->volume, w->root, name, types[i] | 0600, makedev(8, 17),
                                          &test_user, -1, &made, NULL),
                         0);
        assert_int_equal(look_up(w, name, &found), 0);
        assert_int_equal(found.stat.st_mode, types[i] | 0600);
        bool is_device = S_ISCHR(types[i]) || S_ISBLK(types[i]);
        assert_int_equal(found.stat.st_rdev, is_device ? makedev(8, 17) : 0);
    }
    assert_int_equal(
        operation_create(w->volume, w->root, "d", S_IFDIR | 0700, 0, &test_user, -1, &made, NULL),
        -EINVAL);
}

static void test_special_files(void **state)
{
    operation_world_run(*state, creating_special_files);
}

static void creating_and_opening(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, again;
    struct open_file *first, *second;
    assert_int_equal(operation_create(w->volume, w->root, "a", S_IFREG | 0600, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, &made, &first),
                     0);
    // Another node was faster: without O_EXCL the file is opened, with it the winner is known.
    assert_int_equal(operation_create(w->volume, w->root, "a", S_IFREG | 0600, 0, &test_user,
                                      O_RDWR | O_CREAT | O_EXCL, &again, &second),
                     -EEXIST);
    assert_int_equal(operation_create(w->volume, w->root, "a", S_IFREG | 0600, 0, &test_user,
                                      O_RDWR | O_CREAT, &again, &second),
                     0);
    assert_int_equal(again.inode, made.inode);
    assert_ptr_equal(open_file_pass(first), open_file_pass(second));
    assert_int_equal(operation_release(w->volume, first), 0);
    assert_int_equal(operation_release(w->volume, second), 0);
    make_directory(w, w->root, "d");
    assert_int_equal(operation_create(w->volume, w->root, "d", S_IFREG | 0600, 0, &test_user,
                                      O_RDWR | O_CREAT, &again, &second),
                     -EISDIR);
}

static void test_create_and_open(void **state)
{
    operation_world_run(*state, creating_and_opening);
}

static void inheriting(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, wanted = {.stat = {.st_mode = 02775, .st_gid = 77}};
    uint64_t directory = make_directory(w, w->root, "d");
    assert_int_equal(
        operation_set_attributes(w->volume, directory, &wanted, SET_MODE | SET_GID, &made), 0);
    assert_int_equal(
        operation_create(w->volume, directory, "f", S_IFREG | 0644, 0, &test_user, -1, &made, NULL),
        0);
    assert_int_equal(made.stat.st_gid, 77);
    assert_int_equal(made.stat.st_mode, S_IFREG | 0644);
    assert_int_equal(operation_make_directory(w->volume, directory, "s", 0755, &test_user, &made),
                     0);
    assert_int_equal(made.stat.st_gid, 77);
    assert_int_equal(made.stat.st_mode, S_IFDIR | 02755);
}

static void test_group_inheritance(void **state)
{
    operation_world_run(*state, inheriting);
}

static void linking_symbolically(void *argument)
{
    struct operation_world *w = argument;
    static const size_t lengths[] = {1, 1280, 1281, 3000, 4095};
    char target[4200], found[FORMAT_SYMLINK_BYTES_MAX + 1];
    struct attributes made;
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof(name), "l%d", i);
        memset(target, 'a' + i, sizeof(target));
        target[lengths[i]] = '\0';
        assert_int_equal(operation_symlink(w->volume, w->root, name, target, &test_user, &made), 0);
        assert_int_equal(made.stat.st_size, lengths[i]);
        assert_int_equal(made.stat.st_mode, S_IFLNK | 0777);
        assert_int_equal(operation_read_link(w->volume, made.inode, found), 0);
        assert_string_equal(found, target);
    }
    memset(target, 'x', sizeof(target));
    target[4096] = '\0';
    assert_int_equal(operation_symlink(w->volume, w->root, "l", target, &test_user, &made),
                     -ENAMETOOLONG);
    assert_int_equal(operation_symlink(w->volume, w->root, "l", "", &test_user, &made), -ENOENT);
    assert_int_equal(make_file(w, "f", &made), 0);
    assert_int_equal(operation_read_link(w->volume, made.inode, found), -EINVAL);
}

static void test_symbolic_links(void **state)
{
    operation_world_run(*state, linking_symbolically);
}

// --- link, unlink, directories ---------------------------------------------------------------

static void linking(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out;
    uint64_t directory = make_directory(w, w->root, "d");
    assert_int_equal(make_file(w, "a", &made), 0);
    assert_int_equal(operation_link(w->volume, made.inode, directory, "b", &out), 0);
    assert_int_equal(out.stat.st_nlink, 2);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "a", &out), -EEXIST);
    assert_int_equal(operation_link(w->volume, directory, w->root, "x", &out), -EPERM);
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), 0);
    assert_int_equal(links_of(w, made.inode), 1);
    assert_int_equal(operation_unlink(w->volume, directory, "b"), 0);
    assert_int_equal(operation_unlink(w->volume, directory, "b"), -ENOENT);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "c", &out), -ESTALE);
}

static void test_hard_links(void **state)
{
    operation_world_run(*state, linking);
}

// --- numbers of an earlier life --------------------------------------------------------------

// What is asked of a number by who saw it in another life of it changes nothing there.
static void meaning_another_life(void *argument)
{
    struct operation_world *w = argument;
    struct credentials root = {0, 0, 0};
    struct attributes file, directory, out, wanted = {.stat = {.st_mode = 0600}};
    assert_int_equal(make_file(w, "a", &file), 0);
    assert_int_equal(operation_make_directory(w->volume, w->root, "d", 0755, &root, &directory), 0);
    struct live_inodes_meant meant = {.of = {{file.inode, file.generation & 0x7f},
                                             {directory.inode, directory.generation & 0x7f}},
                                      .count = 2,
                                      .generation_mask = 0x7f};
    live_inode_mean(w->volume->scheduler, &meant);
    assert_int_equal(operation_set_attributes(w->volume, file.inode, &wanted, SET_MODE, &out), 0);
    assert_int_equal(operation_link(w->volume, file.inode, directory.inode, "x", &out), 0);
    meant.of[0].generation ^= 1;
    assert_int_equal(operation_set_attributes(w->volume, file.inode, &wanted, SET_MODE, &out),
                     -ESTALE);
    assert_int_equal(operation_set_xattr(w->volume, file.inode, "user.x", "1", 1, 0), -ESTALE);
    assert_int_equal(operation_remove_xattr(w->volume, file.inode, "user.x"), -ESTALE);
    assert_int_equal(operation_link(w->volume, file.inode, directory.inode, "y", &out), -ESTALE);
    meant.of[0].generation ^= 1;
    meant.of[1].generation ^= 2;
    assert_int_equal(operation_link(w->volume, file.inode, directory.inode, "y", &out), -ENOENT);
    assert_int_equal(operation_unlink(w->volume, directory.inode, "x"), -ENOENT);
    assert_int_equal(operation_rename(w->volume, w->root, "a", directory.inode, "a", 0), -ENOENT);
    live_inode_mean(w->volume->scheduler, NULL);
    assert_int_equal(links_of(w, file.inode), 2);
    assert_int_equal(operation_unlink(w->volume, directory.inode, "x"), 0);
}

static void test_another_life_is_not_meant(void **state)
{
    operation_world_run(*state, meaning_another_life);
}

// Behind the operations' back, for limits that take too long to reach.
struct links_change {
    struct inode *inode;
    uint32_t count;
};

static int change_links(struct transaction *t, void *context)
{
    struct links_change *change = context;
    transaction_change_inode(t, change->inode);
    inode_set_link_count(change->inode, change->count);
    return 0;
}

static void set_links(struct operation_world *w, uint64_t number, uint32_t count)
{
    struct inode inode;
    struct links_change change = {&inode, count};
    struct transaction t;
    LOCK_SET(set);
    lock_set_add(&set, lock_name_inode(number), LOCK_EXCLUSIVE);
    assert_int_equal(lock_set_acquire(&set, w->volume), 0);
    assert_int_equal(inode_load(&inode, w->volume, number), 0);
    transaction_init(&t, w->volume, 0);
    transaction_add_credits(&t, 1);
    assert_int_equal(transaction_run(&t, change_links, &change), 0);
    inode_unload(&inode);
    lock_set_release(&set);
}

static void reaching_the_limit_of_links(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made, out;
    uint64_t directory = make_directory(w, w->root, "d"), other = make_directory(w, w->root, "o");
    assert_int_equal(make_file(w, "a", &made), 0);
    set_links(w, made.inode, INT32_MAX);
    set_links(w, directory, INT32_MAX);
    assert_int_equal(operation_link(w->volume, made.inode, w->root, "b", &out), -EMLINK);
    assert_int_equal(operation_make_directory(w->volume, directory, "s", 0755, &test_user, &out),
                     -EMLINK);
    make_directory(w, other, "sub");
    assert_int_equal(operation_rename(w->volume, other, "sub", directory, "sub", 0), -EMLINK);
    set_links(w, made.inode, 1);
    set_links(w, directory, 2);
}

static void test_too_many_links(void **state)
{
    operation_world_run(*state, reaching_the_limit_of_links);
}

static void removing_directories(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    uint64_t directory = make_directory(w, w->root, "d");
    assert_int_equal(links_of(w, w->root), 3);
    uint64_t inner = make_directory(w, directory, "inner");
    assert_int_equal(links_of(w, directory), 3);
    assert_int_equal(make_file(w, "f", &made), 0);
    assert_int_equal(operation_remove_directory(w->volume, w->root, "d"), -ENOTEMPTY);
    assert_int_equal(operation_remove_directory(w->volume, w->root, "f"), -ENOTDIR);
    assert_int_equal(operation_unlink(w->volume, w->root, "d"), -EISDIR);
    assert_int_equal(operation_remove_directory(w->volume, directory, "."), -EINVAL);
    assert_int_equal(operation_remove_directory(w->volume, directory, ".."), -ENOTEMPTY);
    assert_int_equal(operation_lookup(w->volume, inner, "..", &made), 0);
    assert_int_equal(made.inode, directory);
    assert_int_equal(operation_remove_directory(w->volume, directory, "inner"), 0);
    assert_int_equal(operation_remove_directory(w->volume, w->root, "d"), 0);
    assert_int_equal(links_of(w, w->root), 2);
    // Somebody's working directory: nothing can be made in it.
    assert_int_equal(
        operation_create(w->volume, directory, "x", S_IFREG, 0, &test_user, -1, &made, NULL),
        -ENOENT);
}

static void test_directories(void **state)
{
    operation_world_run(*state, removing_directories);
}

// --- rename ----------------------------------------------------------------------------------

static void renaming(void *argument)
{
    struct operation_world *w = argument;
    struct attributes a, b, found;
    uint64_t d = make_directory(w, w->root, "d"), e = make_directory(w, w->root, "e");
    assert_int_equal(make_file(w, "a", &a), 0);
    assert_int_equal(make_file(w, "b", &b), 0);
    assert_int_equal(operation_rename(w->volume, w->root, "a", d, "x", 0), 0);
    assert_int_equal(look_up(w, "a", &found), -ENOENT);
    assert_int_equal(operation_lookup(w->volume, d, "x", &found), 0);
    assert_int_equal(found.inode, a.inode);
    assert_int_equal(operation_rename(w->volume, w->root, "b", d, "x", 1 /* NOREPLACE */), -EEXIST);
    assert_int_equal(operation_rename(w->volume, w->root, "b", d, "x", 0), 0);
    assert_int_equal(operation_lookup(w->volume, d, "x", &found), 0);
    assert_int_equal(found.inode, b.inode);
    assert_int_equal(operation_get_attributes(w->volume, a.inode, &found), -ESTALE);
    assert_int_equal(operation_rename(w->volume, w->root, "no", d, "y", 0), -ENOENT);
    assert_int_equal(operation_rename(w->volume, d, "x", w->root, "e", 0), -EISDIR);
    assert_int_equal(operation_rename(w->volume, w->root, "e", d, "x", 0), -ENOTDIR);
    assert_int_equal(operation_rename(w->volume, w->root, "e", w->root, "d", 0), -ENOTEMPTY);
    assert_int_equal(operation_rename(w->volume, w->root, "e", w->root, "z", 64), -EINVAL);
    assert_int_equal(operation_rename(w->volume, w->root, "d", w->root, "e", 0), 0);
    assert_int_equal(operation_get_attributes(w->volume, e, &found), -ESTALE);
    assert_int_equal(links_of(w, w->root), 3);
    assert_int_equal(look_up(w, "e", &found), 0);
    assert_int_equal(found.inode, d);
}

static void test_rename(void **state)
{
    operation_world_run(*state, renaming);
}

static void renaming_two_names_of_one_file(void *argument)
{
    struct operation_world *w = argument;
    struct attributes a, found;
    assert_int_equal(make_file(w, "a", &a), 0);
    assert_int_equal(operation_link(w->volume, a.inode, w->root, "b", &found), 0);
    assert_int_equal(operation_rename(w->volume, w->root, "a", w->root, "b", 0), 0);
    assert_int_equal(look_up(w, "a", &found), 0);
    assert_int_equal(found.stat.st_nlink, 2);
    assert_int_equal(operation_rename(w->volume, w->root, "a", w->root, "a", 0), 0);
}

static void test_rename_onto_itself(void **state)
{
    operation_world_run(*state, renaming_two_names_of_one_file);
}

static void renaming_directories(void *argument)
{
    struct operation_world *w = argument;
    struct attributes found;
    uint64_t a = make_directory(w, w->root, "a"), b = make_directory(w, a, "b");
    uint64_t c = make_directory(w, b, "c"), d = make_directory(w, w->root, "d");
    assert_int_equal(operation_rename(w->volume, w->root, "a", c, "x", 0), -EINVAL);
    assert_int_equal(operation_rename(w->volume, w->root, "a", a, "x", 0), -EINVAL);
    assert_int_equal(operation_rename(w->volume, b, "c", w->root, "a", 0), -ENOTEMPTY);
    assert_int_equal(operation_rename(w->volume, a, "b", d, "moved", 0), 0);
    assert_int_equal(links_of(w, a), 2);
    assert_int_equal(links_of(w, d), 3);
    assert_int_equal(operation_lookup(w->volume, b, "..", &found), 0);
    assert_int_equal(found.inode, d);
    assert_int_equal(operation_rename(w->volume, w->root, "a", c, "x", 0), 0);
    assert_int_equal(links_of(w, w->root), 3);
}

static void test_rename_of_directories(void **state)
{
    operation_world_run(*state, renaming_directories);
}

static void exchanging(void *argument)
{
    struct operation_world *w = argument;
    struct attributes f, found;
    uint64_t d = make_directory(w, w->root, "d"), e = make_directory(w, d, "e");
    assert_int_equal(make_file(w, "f", &f), 0);
    assert_int_equal(operation_rename(w->volume, w->root, "f", d, "no", 2 /* EXCHANGE */), -ENOENT);
    assert_int_equal(operation_rename(w->volume, w->root, "f", d, "e", 2), 0);
    assert_int_equal(look_up(w, "f", &found), 0);
    assert_int_equal(found.inode, e);
    assert_int_equal(links_of(w, w->root), 4);
    assert_int_equal(links_of(w, d), 2);
    assert_int_equal(operation_lookup(w->volume, e, "..", &found), 0);
    assert_int_equal(found.inode, w->root);
    assert_int_equal(operation_rename(w->volume, w->root, "d", w->root, "f", 2), 0);
    make_directory(w, e, "deep");
    assert_int_equal(operation_rename(w->volume, e, "deep", w->root, "d", 2), -EINVAL);
}

static void test_exchange(void **state)
{
    operation_world_run(*state, exchanging);
}

// --- listings --------------------------------------------------------------------------------

enum { LISTED_MAX = 3000 };

struct listed {
    char names[LISTED_MAX][16];
    unsigned count, refuse_at;
    uint64_t cursor;
    bool wants_attributes;
};

static bool take_entry(void *context, const struct directory_entry *entry)
{
    struct listed *listed = context;
    if (listed->count == listed->refuse_at || strlen(entry->name) >= 16)
        return false;
    bool is_dot = entry->name[0] == '.';
    assert_true(is_dot || !listed->wants_attributes || entry->attributes != NULL);
    assert_true(is_dot || entry->attributes == NULL || entry->attributes->inode == entry->inode);
    strcpy(listed->names[listed->count++], entry->name);
    listed->cursor = entry->cursor;
    return true;
}

static bool has_name(const struct listed *listed, const char *name)
{
    unsigned found = 0;
    for (unsigned i = 0; i < listed->count; i++)
        found += strcmp(listed->names[i], name) == 0;
    assert_true(found <= 1);
    return found == 1;
}

// Files come and go between two parts of the listing; those that stay are listed once.
static void listing(void *argument)
{
    struct operation_world *w = argument;
    struct listed *listed = calloc(1, sizeof(*listed));
    struct attributes made;
    char name[16];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(make_file(w, name, &made), 0);
    }
    for (unsigned part = 0; part < 20; part++) {
        listed->wants_attributes = part % 2 == 0;
        listed->refuse_at = listed->count + 10 + part * 3;
        assert_int_equal(
            operation_read_directory(w->volume, w->root, listed->cursor,
                                     listed->wants_attributes ? LIST_ATTRIBUTES : LIST_NAMES,
                                     take_entry, listed),
            0);
        snprintf(name, sizeof(name), "f%u", part * 2);
        assert_int_equal(operation_unlink(w->volume, w->root, name), 0);
        snprintf(name, sizeof(name), "new%u", part);
        assert_int_equal(make_file(w, name, &made), 0);
    }
    assert_string_equal(listed->names[0], ".");
    assert_string_equal(listed->names[1], "..");
    for (int i = 40; i < 500; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_true(has_name(listed, name));
    }
    free(listed);
}

static void test_listing_while_it_changes(void **state)
{
    operation_world_run(*state, listing);
}

// --- times -----------------------------------------------------------------------------------

static int64_t ns_of(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct stat stat_of(struct operation_world *w, uint64_t inode)
{
    struct attributes now;
    assert_int_equal(operation_get_attributes(w->volume, inode, &now), 0);
    return now.stat;
}

static void pass_time(struct operation_world *w)
{
    environment_sleep(&w->node.world_node.environment, 1000000);
}

static void checking_times(void *argument)
{
    struct operation_world *w = argument;
    struct attributes f, out;
    uint64_t d = make_directory(w, w->root, "d");
    int64_t before = ns_of(stat_of(w, d).st_mtim);
    pass_time(w);
    assert_int_equal(
        operation_create(w->volume, d, "f", S_IFREG | 0600, 0, &test_user, -1, &f, NULL), 0);
    struct stat directory = stat_of(w, d);
    assert_true(ns_of(directory.st_mtim) > before);
    assert_int_equal(ns_of(directory.st_mtim), ns_of(directory.st_ctim));
    assert_int_equal(ns_of(directory.st_mtim), ns_of(f.stat.st_mtim));
    pass_time(w); // a link changes the inode and the directory
    assert_int_equal(operation_link(w->volume, f.inode, d, "g", &out), 0);
    struct stat file = stat_of(w, f.inode);
    assert_int_equal(ns_of(file.st_mtim), ns_of(f.stat.st_mtim));
    assert_true(ns_of(file.st_ctim) > ns_of(f.stat.st_ctim));
    pass_time(w); // a rename changes the moved one's ctime
    assert_int_equal(operation_rename(w->volume, d, "g", w->root, "h", 0), 0);
    assert_true(ns_of(stat_of(w, f.inode).st_ctim) > ns_of(file.st_ctim));
    assert_true(ns_of(stat_of(w, d).st_mtim) > ns_of(directory.st_mtim));
    pass_time(w); // chmod: ctime alone
    struct attributes wanted = {.stat = {.st_mode = 0640}};
    file = stat_of(w, f.inode);
    assert_int_equal(operation_set_attributes(w->volume, f.inode, &wanted, SET_MODE, &out), 0);
    assert_int_equal(ns_of(out.stat.st_mtim), ns_of(file.st_mtim));
    assert_true(ns_of(out.stat.st_ctim) > ns_of(file.st_ctim));
}

static void test_times_of_names(void **state)
{
    operation_world_run(*state, checking_times);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_create),
        OPERATION_TEST(test_special_files),
        OPERATION_TEST(test_create_and_open),
        OPERATION_TEST(test_group_inheritance),
        OPERATION_TEST(test_symbolic_links),
        OPERATION_TEST(test_hard_links),
        OPERATION_TEST(test_another_life_is_not_meant),
        OPERATION_TEST(test_too_many_links),
        OPERATION_TEST(test_directories),
        OPERATION_TEST(test_rename),
        OPERATION_TEST(test_rename_onto_itself),
        OPERATION_TEST(test_rename_of_directories),
        OPERATION_TEST(test_exchange),
        OPERATION_TEST(test_listing_while_it_changes),
        OPERATION_TEST(test_times_of_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
