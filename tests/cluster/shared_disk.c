// SPDX-License-Identifier: Apache-2.0
// One preallocated file that programs on two nodes write at the same time, as a cluster's disk in
// their guests: DIR_A and DIR_B are the same directory.
//   shared_disk blocks N DIR_A DIR_B    each node writes every other block N times, and looks at
//   the
//                                       other's
//   shared_disk mixed N DIR_A DIR_B     beside whole blocks parts of one block, reads through the
//                                       cache, and times
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/cluster/fight.h"

enum { BLOCK = 4096, BLOCKS = 512, NODES = 2, PART = 100, PARTS_BLOCK = BLOCKS };

struct writer {
    int index;
    int disk;   // what is written goes to the LUN at once
    int cached; // reads are kept by the kernel
    long amount;
};

// What was written last, for who looks after that.
static _Atomic uint64_t complete[BLOCKS];
static pthread_barrier_t both_are_ready;

static uint64_t *new_block(void)
{
    void *block = aligned_alloc(BLOCK, BLOCK);
    if (block == NULL)
        abort();
    return memset(block, 0, BLOCK);
}

static off_t at(long block)
{
    return (off_t)block * BLOCK;
}

static void write_block(const struct writer *writer, uint64_t *bytes, long block, uint64_t stamp)
{
    for (unsigned i = 0; i < BLOCK / sizeof(stamp); i++)
        bytes[i] = stamp;
    expect(pwrite(writer->disk, bytes, BLOCK, at(block)) == BLOCK, "write", block);
    atomic_store(&complete[block], stamp);
}

static void look(int file, uint64_t *bytes, long block)
{
    uint64_t least = atomic_load(&complete[block]);
    expect(pread(file, bytes, BLOCK, at(block)) == BLOCK, "read", block);
    expect(bytes[0] >= least, "a write was not seen, or lost", block);
}

// Blocks that this node alone writes, and one of the other's.
static void *write_blocks(void *argument)
{
    const struct writer *writer = argument;
    uint64_t *bytes = new_block();
    pthread_barrier_wait(&both_are_ready);
    for (long i = 0; i < writer->amount && !has_failed(); i++) {
        long mine = (i * 7 % (BLOCKS / NODES)) * NODES + writer->index;
        write_block(writer, bytes, mine, (uint64_t)i + 1);
        look(writer->disk, bytes, mine);
        look(writer->disk, bytes, mine ^ 1);
    }
    free(bytes);
    return NULL;
}

// Both nodes count in one block, each in its own part of it.
static void count(const struct writer *writer, uint64_t before)
{
    uint64_t value = 0;
    off_t place = at(PARTS_BLOCK) + (off_t)writer->index * PART;
    expect(pread(writer->cached, &value, sizeof(value), place) == sizeof(value), "read a part", 0);
    expect(value == before, "a part was lost", (long)before);
    value++;
    expect(pwrite(writer->disk, &value, sizeof(value), place) == sizeof(value), "write a part", 0);
}

static void *write_mixed(void *argument)
{
    const struct writer *writer = argument;
    uint64_t *bytes = new_block();
    uint64_t parts = 0;
    pthread_barrier_wait(&both_are_ready);
    for (long i = 0; i < writer->amount && !has_failed(); i++) {
        long mine = (i % (BLOCKS / NODES)) * NODES + writer->index;
        write_block(writer, bytes, mine, (uint64_t)i + 1);
        look(writer->disk, bytes, mine ^ 1);
        if (i % 8 == 0)
            look(writer->cached, bytes, mine ^ 1);
        if (i % 16 == 0)
            count(writer, parts++);
    }
    free(bytes);
    return NULL;
}

static void run(struct writer writers[NODES], void *(*body)(void *))
{
    pthread_t threads[NODES];
    pthread_barrier_init(&both_are_ready, NULL, NODES);
    for (int i = 0; i < NODES; i++) {
        if (pthread_create(&threads[i], NULL, body, &writers[i]) != 0)
            abort();
    }
    for (int i = 0; i < NODES; i++)
        pthread_join(threads[i], NULL);
}

// What one node wrote does not go back over a time that the other sets afterwards.
static void set_times(struct writer writers[NODES], int directory)
{
    const struct timespec old = {.tv_sec = 915148800};
    uint64_t *bytes = new_block();
    struct stat found;
    write_block(&writers[0], bytes, 0, UINT64_MAX);
    must(futimens(writers[1].disk, (struct timespec[2]){old, old}), "set times");
    must(fsync(writers[0].disk), "fsync");
    must(fsync(writers[1].disk), "fsync");
    must(fstatat(directory, "disk", &found, 0), "stat");
    expect(found.st_mtim.tv_sec == old.tv_sec, "the time of an earlier write came back",
           (long)found.st_mtim.tv_sec);
    must(fstat(writers[0].disk, &found), "stat");
    expect(found.st_mtim.tv_sec == old.tv_sec, "the node that wrote shows another time",
           (long)found.st_mtim.tv_sec);
    free(bytes);
}

static void check_all(struct writer writers[NODES])
{
    uint64_t *bytes = new_block();
    for (long block = 0; block < BLOCKS; block++) {
        for (int i = 0; i < NODES; i++) {
            look(writers[i].disk, bytes, block);
            for (unsigned word = 1; word < BLOCK / sizeof(*bytes); word++)
                expect(bytes[word] == bytes[0], "a block is not whole", block);
        }
    }
    free(bytes);
}

static void prepare(int directory)
{
    static char zeros[(BLOCKS + 1) * BLOCK];
    int file = openat(directory, "disk", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(file, "create");
    expect(write(file, zeros, sizeof(zeros)) == (ssize_t)sizeof(zeros), "fill", 0);
    must(fsync(file), "fsync");
    close(file);
}

int main(int argc, char **argv)
{
    struct writer writers[NODES];
    int directories[NODES];
    if (argc != 5)
        return 2;
    bool is_mixed = strcmp(argv[1], "mixed") == 0;
    for (int i = 0; i < NODES; i++)
        must(directories[i] = open(argv[3 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC), argv[3 + i]);
    prepare(directories[0]);
    for (int i = 0; i < NODES; i++) {
        writers[i] = (struct writer){.index = i, .amount = strtol(argv[2], NULL, 10)};
        must(writers[i].disk = openat(directories[i], "disk", O_RDWR | O_CLOEXEC), "open");
        must(writers[i].cached = openat(directories[i], "disk", O_RDONLY | O_CLOEXEC), "open");
    }
    run(writers, is_mixed ? write_mixed : write_blocks);
    check_all(writers);
    if (is_mixed)
        set_times(writers, directories[1]);
    for (int i = 0; i < NODES; i++) {
        close(writers[i].disk);
        close(writers[i].cached);
    }
    must(unlinkat(directories[1], "disk", 0), "unlink");
    return has_failed() ? 1 : 0;
}
