// SPDX-License-Identifier: Apache-2.0
// Operations on a volume that is damaged under right checksums: the operation that meets the damage
// fails with a named error, and ends.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/error.h"
#include "fs/format.h"
#include "tests/unit/operation_world.h"

// A world has no room of its own for a test.
static uint64_t inode_of_a;

static void make_names(void *argument)
{
    struct operation_world *w = argument;
    struct attributes made;
    assert_int_equal(make_file(w, "a", &made), 0);
    inode_of_a = made.inode;
    assert_int_equal(make_file(w, "b", &made), 0);
}

// Behind the back of everybody: the node is not mounted meanwhile.
static void set_links(struct operation_world *world, uint64_t inode, uint32_t link_count)
{
    _Alignas(8) struct inode_disk disk;
    assert_int_equal(ring2_unmount(&world->node, 1), 0);
    sim_disk_peek(world->disk, inode * BLOCK_BYTES, &disk, sizeof(disk));
    disk.link_count = le32_make(link_count);
    format_block_seal(&disk, le64_get(disk.header.version));
    sim_disk_poke(world->disk, inode * BLOCK_BYTES, &disk, sizeof(disk));
    assert_int_equal(ring2_mount(&world->node, 1, &world->world, world->disk, false), 0);
    world->volume = world->node.volume;
}

// Both once looked again for ever: it seemed that another node had just changed the name.
static void use_dead_entry(void *argument)
{
    struct operation_world *w = argument;
    struct open_file *file = NULL;
    struct attributes out;
    assert_int_equal(operation_unlink(w->volume, w->root, "a"), -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(operation_rename(w->volume, w->root, "a", w->root, "c", 0),
                     -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(operation_rename(w->volume, w->root, "b", w->root, "a", 0),
                     -ERROR_CORRUPT_DIRECTORY);
    assert_int_equal(operation_create(w->volume, w->root, "a", S_IFREG | 0644, 0, &test_user,
                                      O_RDWR, &out, &file),
                     -ESTALE);
    assert_int_equal(operation_unlink(w->volume, w->root, "b"), 0);
}

static void test_entry_of_a_dead_inode(void **state)
{
    struct operation_world *world = *state;
    operation_world_run(world, make_names);
    set_links(world, inode_of_a, 0);
    operation_world_run(world, use_dead_entry);
    assert_true(world->node.log.error_count > 0);
    set_links(world, inode_of_a, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPERATION_TEST(test_entry_of_a_dead_inode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
