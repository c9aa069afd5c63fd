// SPDX-License-Identifier: Apache-2.0
//
// Who may do what: access control lists, sticky and set-id bits, capabilities of files, and the
// name spaces of extended attributes.
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/workplace.h"

enum { USER = 12345, OTHER_USER = 12346, GROUP = 23456, OTHER_GROUP = 23457 };

#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

static struct stat attributes_of(const char *name)
{
    struct stat attributes;

    MUST(lstat(name, &attributes));
    return attributes;
}

static mode_t mode_of(const char *name)
{
    return attributes_of(name).st_mode & 07777;
}

// 0, or the errno of `action`, done by this user with these groups.
static int as_user(uid_t user, gid_t group, gid_t second_group, int (*action)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (setgroups(1, &second_group) < 0 || setgid(group) < 0 || setuid(user) < 0)
            _exit(255);
        errno = 0;
        _exit(action() < 0 ? errno : 0);
    }
    MUST(waitpid(child, &status, 0));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// The same by a user with this one capability.
static int as_capable(uid_t user, unsigned capability, int (*action)(void))
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    int status;
    pid_t child = fork();

    if (child == 0) {
        data[capability / 32].permitted = data[capability / 32].effective = 1u << capability % 32;
        if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(0, NULL) < 0 || setgid(user) < 0 ||
            setuid(user) < 0 || syscall(SYS_capset, &header, data) < 0)
            _exit(255);
        errno = 0;
        _exit(action() < 0 ? errno : 0);
    }
    MUST(waitpid(child, &status, 0));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int close_if_open(int file)
{
    return file < 0 ? file : close(file);
}

static int read_file(void)
{
    return close_if_open(open("directory/file", O_RDONLY));
}

static int write_file(void)
{
    return close_if_open(open("directory/file", O_WRONLY));
}

// --- access control lists --------------------------------------------------------------------

struct list {
    unsigned char bytes[4 + 8 * 6];
    size_t size;
};

static void list_add(struct list *list, unsigned tag, unsigned permissions, unsigned id)
{
    const unsigned parts[] = {tag & 255, tag >> 8,      permissions,    0,
                              id & 255,  id >> 8 & 255, id >> 16 & 255, id >> 24};

    for (int i = 0; i < 8; i++)
        list->bytes[list->size++] = (unsigned char)parts[i];
}

// Owner, one named user, group, mask, others.
static struct list list_make(unsigned owner, unsigned named, unsigned group, unsigned mask,
                             unsigned others)
{
    struct list list = {{2, 0, 0, 0}, 4};

    list_add(&list, 1, owner, ~0u);
    list_add(&list, 2, named, USER);
    list_add(&list, 4, group, ~0u);
    list_add(&list, 16, mask, ~0u);
    list_add(&list, 32, others, ~0u);
    return list;
}

static void list_set(const char *name, const char *kind, struct list list)
{
    MUST(setxattr(name, kind, list.bytes, list.size, 0));
}

static void list_expect(const char *name, const char *kind, struct list expected)
{
    unsigned char found[256];

    MUST_MOVE(getxattr(name, kind, found, sizeof(found)), expected.size);
    assert_memory_equal(found, expected.bytes, expected.size);
}

static void directory_make(void)
{
    MUST(chmod(".", 0755));
    MUST(mkdir("directory", 0755));
}

static void lists_are_obeyed(void **state)
{
    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    MUST(chmod("directory/file", 0600));
    assert_int_equal(as_user(USER, GROUP, GROUP, read_file), EACCES);
    list_set("directory/file", ACCESS, list_make(6, 6, 0, 4, 0));
    list_expect("directory/file", ACCESS, list_make(6, 6, 0, 4, 0));
    assert_int_equal(mode_of("directory/file"), 0640); // the mask
    assert_int_equal(as_user(USER, GROUP, GROUP, read_file), 0);
    assert_int_equal(as_user(USER, GROUP, GROUP, write_file), EACCES); // held down by the mask
    assert_int_equal(as_user(OTHER_USER, GROUP, GROUP, read_file), EACCES);
    list_set("directory/file", ACCESS, list_make(6, 6, 0, 6, 0));
    assert_int_equal(as_user(USER, GROUP, GROUP, write_file), 0);
    MUST(removexattr("directory/file", ACCESS));
    assert_int_equal(as_user(USER, GROUP, GROUP, read_file), EACCES);
}

static void mode_and_list_follow_each_other(void **state)
{
    struct list as_mode = {{2, 0, 0, 0}, 4};

    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    list_set("directory/file", ACCESS, list_make(7, 6, 4, 6, 1));
    assert_int_equal(mode_of("directory/file"), 0761);
    MUST(chmod("directory/file", 0640));
    list_expect("directory/file", ACCESS, list_make(6, 6, 4, 4, 0));
    list_add(&as_mode, 1, 7, ~0u);
    list_add(&as_mode, 4, 5, ~0u);
    list_add(&as_mode, 32, 1, ~0u);
    list_set("directory/file", ACCESS, as_mode);
    assert_int_equal(mode_of("directory/file"), 0751);
    MUST_FAIL(getxattr("directory/file", ACCESS, NULL, 0), ENODATA);
}

static void lists_are_inherited(void **state)
{
    mode_t before = umask(077);

    (void)state;
    directory_make();
    list_set("directory", DEFAULT, list_make(7, 6, 5, 7, 1));
    close(MUST(open("directory/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0664)));
    MUST(mkdir("directory/below", 0755));
    MUST(mkfifo("directory/fifo", 0666));
    MUST(symlink("file", "directory/link"));
    umask(before);
    // The umask does not count where a default list stands.
    assert_int_equal(mode_of("directory/file"), 0660);
    list_expect("directory/file", ACCESS, list_make(6, 6, 5, 6, 0));
    MUST_FAIL(getxattr("directory/file", DEFAULT, NULL, 0), ENODATA);
    assert_int_equal(mode_of("directory/below"), 0751);
    list_expect("directory/below", ACCESS, list_make(7, 6, 5, 5, 1));
    list_expect("directory/below", DEFAULT, list_make(7, 6, 5, 7, 1));
    assert_int_equal(mode_of("directory/fifo"), 0660);
    assert_int_equal(mode_of("directory/link"), 0777);
    MUST(removexattr("directory", DEFAULT));
    before = umask(027);
    close(workplace_file("directory/plain", "x"));
    umask(before);
    assert_int_equal(mode_of("directory/plain"), 0640);
}

static void unnamed_files_inherit(void **state)
{
    int file;
    struct stat attributes;

    (void)state;
    directory_make();
    list_set("directory", DEFAULT, list_make(7, 6, 5, 7, 1));
    file = open("directory", O_TMPFILE | O_RDWR, 0664);
    if (file < 0 && errno == EOPNOTSUPP)
        skip();
    MUST(fstat(file, &attributes));
    assert_int_equal(attributes.st_mode & 07777, 0660);
    close(file);
}

static void lists_that_are_refused(void **state)
{
    struct list list = list_make(7, 6, 5, 7, 1);

    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    MUST_FAIL(setxattr("directory/file", DEFAULT, list.bytes, list.size, 0), EACCES);
    MUST_FAIL(setxattr("directory/file", ACCESS, list.bytes, list.size - 3, 0), EINVAL);
    MUST_FAIL(setxattr("directory/file", ACCESS, list.bytes, list.size - 8, 0), EINVAL);
    list.bytes[4] = 3;
    MUST_FAIL(setxattr("directory/file", ACCESS, list.bytes, list.size, 0), EINVAL);
    MUST_FAIL(getxattr("directory/file", ACCESS, NULL, 0), ENODATA);
}

static int set_list_on_file(void)
{
    struct list list = list_make(7, 6, 5, 7, 1);

    return setxattr("directory/file", ACCESS, list.bytes, list.size, 0);
}

// Who is not in the owning group loses the set-group-id bit; a second group is as good as the
// first.
static void lists_drop_set_group_id(void **state)
{
    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    MUST(chown("directory/file", USER, OTHER_GROUP));
    MUST(chmod("directory/file", 02755));
    assert_int_equal(as_user(USER, GROUP, OTHER_GROUP, set_list_on_file), 0);
    assert_int_equal(mode_of("directory/file"), 02771);
    assert_int_equal(as_user(USER, GROUP, GROUP, set_list_on_file), 0);
    assert_int_equal(mode_of("directory/file"), 0771);
    assert_int_equal(as_user(OTHER_USER, GROUP, GROUP, set_list_on_file), EPERM);
}

// --- sticky and set-id bits ------------------------------------------------------------------

static int unlink_file(void)
{
    return unlink("directory/file");
}

static int rename_file(void)
{
    return rename("directory/file", "directory/other");
}

static int replace_file(void)
{
    return rename("directory/mine", "directory/file");
}

static void sticky_directories(void **state)
{
    (void)state;
    directory_make();
    MUST(chmod("directory", 01777));
    close(workplace_file("directory/file", "x"));
    MUST(chown("directory/file", USER, GROUP));
    close(workplace_file("directory/mine", "x"));
    MUST(chown("directory/mine", OTHER_USER, GROUP));
    assert_int_equal(as_user(OTHER_USER, GROUP, GROUP, unlink_file), EPERM);
    assert_int_equal(as_user(OTHER_USER, GROUP, GROUP, rename_file), EPERM);
    assert_int_equal(as_user(OTHER_USER, GROUP, GROUP, replace_file), EPERM);
    assert_int_equal(as_user(USER, GROUP, GROUP, unlink_file), 0);
}

static int chown_file(void)
{
    return chown("directory/file", (uid_t)-1, OTHER_GROUP);
}

static int chmod_set_group_id(void)
{
    return chmod("directory/file", 02755);
}

static int truncate_file(void)
{
    return truncate("directory/file", 0);
}

static int open_and_truncate(void)
{
    return close_if_open(open("directory/file", O_WRONLY | O_TRUNC));
}

static int allocate_file(void)
{
    int file = open("directory/file", O_WRONLY);
    int result = file < 0 ? -1 : fallocate(file, 0, 0, 100000);

    close(file);
    return result;
}

static int write_a_byte(void)
{
    int file = open("directory/file", O_WRONLY);
    long result = file < 0 ? -1 : pwrite(file, "y", 1, 0);

    close(file);
    return result == 1 ? 0 : -1;
}

static void changes_drop_set_id_bits(void **state)
{
    static int (*const changes[])(void) = {truncate_file, open_and_truncate, allocate_file,
                                           write_a_byte};

    (void)state;
    directory_make();
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        close(workplace_file("directory/file", "content"));
        MUST(chmod("directory/file", 06777));
        assert_int_equal(as_user(USER, GROUP, GROUP, changes[i]), 0);
        assert_int_equal(mode_of("directory/file"), 0777);
    }
    MUST(chown("directory/file", USER, GROUP));
    MUST(chmod("directory/file", 06777));
    assert_int_equal(as_user(USER, GROUP, OTHER_GROUP, chown_file), 0);
    assert_int_equal(mode_of("directory/file"), 0777);
    MUST(chown("directory/file", USER, OTHER_GROUP));
    assert_int_equal(as_user(USER, GROUP, GROUP, chmod_set_group_id), 0);
    assert_int_equal(mode_of("directory/file"), 0755);
}

// --- extended attributes ---------------------------------------------------------------------

static int find_trusted(void)
{
    char names[256];
    ssize_t size = listxattr("directory/file", names, sizeof(names));

    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
        if (strcmp(names + at, "trusted.secret") == 0)
            return 0;
    }
    errno = ENODATA;
    return -1;
}

static int get_trusted(void)
{
    char value[16];

    return (int)getxattr("directory/file", "trusted.secret", value, sizeof(value));
}

static int set_trusted(void)
{
    return setxattr("directory/file", "trusted.other", "x", 1, 0);
}

static int set_user(void)
{
    return setxattr("directory/file", "user.other", "x", 1, 0);
}

static void trusted_is_for_administrators(void **state)
{
    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    MUST(chmod("directory/file", 0644));
    MUST(setxattr("directory/file", "trusted.secret", "s", 1, 0));
    MUST(setxattr("directory/file", "user.open", "o", 1, 0));
    MUST(setxattr("directory/file", "security.label", "l", 1, 0));
    assert_int_equal(find_trusted(), 0);
    assert_int_equal(as_user(USER, GROUP, GROUP, find_trusted), ENODATA);
    assert_int_equal(as_user(USER, GROUP, GROUP, get_trusted), ENODATA);
    assert_int_equal(as_user(USER, GROUP, GROUP, set_trusted), EPERM);
    assert_int_equal(as_user(USER, GROUP, GROUP, set_user), EACCES);
    MUST(symlink("file", "directory/link"));
    MUST_FAIL(lsetxattr("directory/link", "user.a", "x", 1, 0), EPERM);
}

// Administrators are who has the capability, and not who is user 0.
static void trusted_goes_by_capability(void **state)
{
    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    MUST(chmod("directory/file", 0644));
    MUST(setxattr("directory/file", "trusted.secret", "s", 1, 0));
    assert_int_equal(as_capable(USER, CAP_SYS_ADMIN, find_trusted), 0);
    assert_int_equal(as_capable(USER, CAP_SYS_ADMIN, set_trusted), 0);
    assert_int_equal(as_capable(USER, CAP_NET_RAW, find_trusted), ENODATA);
    assert_int_equal(as_capable(0, CAP_DAC_OVERRIDE, find_trusted), ENODATA);
    assert_int_equal(as_capable(0, CAP_DAC_OVERRIDE, set_trusted), EPERM);
}

static int make_immutable(void)
{
    unsigned flags = 0;
    int file = open("directory/file", O_RDONLY | O_CLOEXEC);
    int result = ioctl(file, FS_IOC_GETFLAGS, &flags);

    flags ^= FS_IMMUTABLE_FL;
    if (result == 0)
        result = ioctl(file, FS_IOC_SETFLAGS, &flags);
    close(file);
    return result;
}

static void immutable_goes_by_capability(void **state)
{
    (void)state;
    directory_make();
    close(workplace_file("directory/file", "x"));
    MUST(chown("directory/file", USER, GROUP));
    assert_int_equal(as_capable(USER, CAP_NET_RAW, make_immutable), EPERM);
    assert_int_equal(as_capable(0, CAP_FOWNER, make_immutable), EPERM);
    assert_int_equal(as_capable(USER, CAP_LINUX_IMMUTABLE, make_immutable), 0);
    MUST(make_immutable()); // and back
}

// The capabilities of a program are gone once its bytes are changed, whoever changes them.
static void changes_drop_capabilities(void **state)
{
    static int (*const changes[])(void) = {truncate_file, open_and_truncate, allocate_file,
                                           write_a_byte};
    const struct vfs_cap_data capabilities = {
        .magic_etc = VFS_CAP_REVISION_2,
        .data = {{.permitted = 1 << CAP_NET_RAW}},
    };

    (void)state;
    directory_make();
    for (size_t i = 0; i < 2 * sizeof(changes) / sizeof(changes[0]); i++) {
        close(workplace_file("directory/file", "content"));
        MUST(chmod("directory/file", 0777));
        MUST(setxattr("directory/file", "security.capability", &capabilities, XATTR_CAPS_SZ_2, 0));
        if (i % 2 == 0)
            assert_int_equal(as_user(USER, GROUP, GROUP, changes[i / 2]), 0);
        else
            MUST(changes[i / 2]());
        MUST_FAIL(getxattr("directory/file", "security.capability", NULL, 0), ENODATA);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORKPLACE_TEST(lists_are_obeyed),
        WORKPLACE_TEST(mode_and_list_follow_each_other),
        WORKPLACE_TEST(lists_are_inherited),
        WORKPLACE_TEST(unnamed_files_inherit),
        WORKPLACE_TEST(lists_that_are_refused),
        WORKPLACE_TEST(lists_drop_set_group_id),
        WORKPLACE_TEST(sticky_directories),
        WORKPLACE_TEST(changes_drop_set_id_bits),
        WORKPLACE_TEST(trusted_is_for_administrators),
        WORKPLACE_TEST(trusted_goes_by_capability),
        WORKPLACE_TEST(immutable_goes_by_capability),
        WORKPLACE_TEST(changes_drop_capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
