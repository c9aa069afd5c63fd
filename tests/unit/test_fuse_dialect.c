// SPDX-License-Identifier: Apache-2.0
// Requests that libfuse has no word for, put into its words; all others are left alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include <linux/fuse.h>

#include "fs/fuse_dialect.h"
#include "fs/operation.h"

enum { STATX_OPCODE = 52, REQUEST_BYTES = 256 };

static union {
    struct fuse_in_header header;
    uint8_t bytes[REQUEST_BYTES];
} request;

static size_t begin(uint32_t opcode, const void *body, size_t body_bytes, const char *tail,
                    size_t tail_bytes)
{
    memset(&request, 0, sizeof(request));
    size_t length = sizeof(request.header) + body_bytes + tail_bytes;
    request.header = (struct fuse_in_header){
        .len = (uint32_t)length, .opcode = opcode, .unique = 7, .nodeid = 9};
    memcpy(request.bytes + sizeof(request.header), body, body_bytes);
    if (tail_bytes > 0)
        memcpy(request.bytes + sizeof(request.header) + body_bytes, tail, tail_bytes);
    return length;
}

static void *body_of_request(void)
{
    return request.bytes + sizeof(request.header);
}

static void test_tmpfile(void **state)
{
    struct fuse_dialect dialect = {0};
    struct fuse_create_in in = {.flags = 1, .mode = 0100644, .umask = 022};
    size_t length = begin(FUSE_TMPFILE, &in, sizeof(in), "#1", 3);
    (void)state;
    assert_int_equal(fuse_dialect_translate(&dialect, &request, length), length);
    assert_int_equal(request.header.opcode, FUSE_CREATE);
    assert_memory_equal(body_of_request(), &in, sizeof(in));
    assert_string_equal((char *)body_of_request() + sizeof(in), FUSE_DIALECT_NO_NAME);
}

static void test_statx(void **state)
{
    struct fuse_dialect dialect = {0};
    uint8_t in[24] = {0};
    size_t length = begin(STATX_OPCODE, in, sizeof(in), NULL, 0);
    const struct fuse_getattr_in *out = body_of_request();
    (void)state;
    assert_int_equal(fuse_dialect_translate(&dialect, &request, length), length);
    assert_int_equal(request.header.opcode, FUSE_GETATTR);
    assert_int_equal(out->getattr_flags & FUSE_GETATTR_FH, FUSE_GETATTR_FH);
    assert_int_equal(out->fh, FUSE_DIALECT_STATX);
}

static void negotiate(struct fuse_dialect *dialect, uint32_t offered, uint32_t *answered)
{
    struct fuse_init_in in = {.major = 7, .minor = 38, .flags = offered};
    struct fuse_out_header header = {.unique = 7};
    struct fuse_init_out out = {.major = 7, .minor = 38, .flags = FUSE_ASYNC_READ};
    size_t length = begin(FUSE_INIT, &in, sizeof(in), NULL, 0);
    *dialect = (struct fuse_dialect){0};
    assert_int_equal(fuse_dialect_translate(dialect, &request, length), length);
    // Answers to others are left alone.
    header.unique = 8;
    fuse_dialect_amend(dialect, &header, sizeof(header), &out, sizeof(out));
    assert_int_equal(out.flags, FUSE_ASYNC_READ);
    header.unique = 7;
    fuse_dialect_amend(dialect, &header, sizeof(header), &out, sizeof(out));
    *answered = out.flags;
}

static void test_init(void **state)
{
    struct fuse_dialect dialect;
    uint32_t answered;
    (void)state;
    negotiate(&dialect, FUSE_SETXATTR_EXT | FUSE_ASYNC_READ, &answered);
    assert_int_equal(answered, FUSE_SETXATTR_EXT | FUSE_ASYNC_READ);
    negotiate(&dialect, FUSE_ASYNC_READ, &answered);
    assert_int_equal(answered, FUSE_ASYNC_READ);
}

static uint32_t negotiate_more(bool wants, uint32_t offered)
{
    enum { DIRECT_IO_MAPS = 1 << 4 };
    struct fuse_init_in in = {.major = 7, .minor = 39, .flags = offered, .flags2 = DIRECT_IO_MAPS};
    struct fuse_out_header header = {.unique = 7};
    struct fuse_init_out out = {.major = 7, .minor = 38};
    struct fuse_dialect dialect = {.maps_direct = wants};
    size_t length = begin(FUSE_INIT, &in, sizeof(in), NULL, 0);
    assert_int_equal(fuse_dialect_translate(&dialect, &request, length), length);
    fuse_dialect_amend(&dialect, &header, sizeof(header), &out, sizeof(out));
    assert_int_equal(out.flags2 != 0, (out.flags & FUSE_INIT_EXT) != 0);
    return out.flags2;
}

// Bits behind the 32nd count only if both say that there are any.
static void test_maps_direct(void **state)
{
    (void)state;
    assert_int_equal(negotiate_more(true, FUSE_INIT_EXT), 1 << 4);
    assert_int_equal(negotiate_more(true, 0), 0);
    assert_int_equal(negotiate_more(false, FUSE_INIT_EXT), 0);
}

static void expect_short(struct fuse_dialect *dialect, uint32_t more_flags, uint32_t expected)
{
    struct fuse_setxattr_in in = {.size = 3, .flags = 2, .setxattr_flags = more_flags};
    size_t length = begin(FUSE_SETXATTR, &in, sizeof(in), "user.a\0abc", 10);
    struct fuse_setxattr_in *out = body_of_request();
    assert_int_equal(fuse_dialect_translate(dialect, &request, length), length - 8);
    assert_int_equal(request.header.len, length - 8);
    assert_int_equal(out->size, 3);
    assert_int_equal(out->flags, expected);
    assert_memory_equal((char *)out + FUSE_COMPAT_SETXATTR_IN_SIZE, "user.a\0abc", 10);
}

static void test_setxattr(void **state)
{
    struct fuse_dialect dialect;
    struct fuse_setxattr_in in = {.size = 3};
    uint32_t answered;
    (void)state;
    negotiate(&dialect, FUSE_SETXATTR_EXT, &answered);
    expect_short(&dialect, 0, 2);
    expect_short(&dialect, FUSE_SETXATTR_ACL_KILL_SGID, 2 | FUSE_DIALECT_KILL_SGID);
    // A kernel that was not asked for the long form sends the short one.
    negotiate(&dialect, 0, &answered);
    size_t length =
        begin(FUSE_SETXATTR, &in, FUSE_COMPAT_SETXATTR_IN_SIZE, "user.abcdefgh\0abc", 17);
    assert_int_equal(fuse_dialect_translate(&dialect, &request, length), length);
}

// I7: what is too short for its kind is left to libfuse, which refuses it.
static void test_cut_off(void **state)
{
    static const uint32_t opcodes[] = {FUSE_INIT, FUSE_TMPFILE, STATX_OPCODE, FUSE_SETXATTR,
                                       FUSE_GETATTR};
    struct fuse_dialect dialect;
    uint32_t answered;
    (void)state;
    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        negotiate(&dialect, FUSE_SETXATTR_EXT, &answered);
        begin(opcodes[i], "", 0, "", 0);
        for (size_t length = 0; length <= sizeof(request.header); length++)
            assert_int_equal(fuse_dialect_translate(&dialect, &request, length), length);
        assert_int_equal(request.header.opcode, opcodes[i]);
    }
}

static void test_statx_answer(void **state)
{
    struct attributes from = {
        .stat = {.st_mode = 0100644, .st_size = 5, .st_rdev = makedev(300, 70000)},
        .created = {.tv_sec = -5, .tv_nsec = 6},
    };
    struct fuse_dialect_statx_out out;
    (void)state;
    fuse_dialect_fill_statx(&from, &out);
    assert_int_equal(out.valid_seconds, 0);
    assert_int_equal(out.mode, 0100644);
    assert_int_equal(out.size, 5);
    assert_int_equal(out.created.seconds, -5);
    assert_int_equal(out.created.nanoseconds, 6);
    assert_int_equal(out.rdev_major, 300);
    assert_int_equal(out.rdev_minor, 70000);
    assert_int_equal(out.mask & 0x800, 0x800); // STATX_BTIME
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tmpfile),      cmocka_unit_test(test_statx),
        cmocka_unit_test(test_init),         cmocka_unit_test(test_maps_direct),
        cmocka_unit_test(test_setxattr),     cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_statx_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
