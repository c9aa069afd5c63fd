// SPDX-License-Identifier: Apache-2.0
//
// Data that kernels keep of one file on two nodes: caching_pages VERB AMOUNT DIRECTORY_A
// DIRECTORY_B
//
//   turns   AMOUNT rounds: one node reads, maps and sends a file until its kernel has the pages,
//   the
//           other node (or the same, past those pages) changes it in every way; what was complete
//           is seen at once
//   fight   AMOUNT seconds: on both nodes threads change a page that both have mapped, read it and
//           write beside it. No change may be lost, no operation take 2 s. Prints the number of
//           hand-overs a second and the longest operation in ms
//   killed  a process that has changed a mapped page is killed: the change is there all the same
//   dead    changes pages on A, says "ready", waits for a line: A's mount is dead by then. What it
//   changes
//           then is refused and nowhere to be seen
//   changed changes pages on A, says "ready", changes them again after a line and says "changed"
//
// Each DIRECTORY is one directory as another node sees it. Exit 0 when all held.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cluster/fight.h"

enum { PAGE = 4096, PAGES = 16 };

static int open_data(int directory, int flags)
{
    int file = openat(directory, "data", flags | O_CLOEXEC, 0600);

    must(file, "open");
    return file;
}

static volatile char *map_data(int file, int protection, int flags)
{
    void *map = mmap(NULL, (size_t)PAGES * PAGE, protection, flags, file, 0);

    if (map == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return map;
}

static void unmap(volatile char *map)
{
    munmap((void *)(uintptr_t)map, (size_t)PAGES * PAGE);
}

// --- turns -----------------------------------------------------------------------------------

// How a node sees the file: each in another way, all kept open over the whole of a round.
struct view {
    int file, direct, directory;
    volatile char *shared, *private;
    int pipe[2];
};

static void view_open(struct view *view, int directory)
{
    view->directory = directory;
    view->file = open_data(directory, O_RDONLY);
    view->direct = open_data(directory, O_RDONLY | O_DIRECT);
    view->shared = map_data(view->file, PROT_READ, MAP_SHARED);
    view->private = map_data(view->file, PROT_READ, MAP_PRIVATE);
    must(pipe(view->pipe), "pipe");
}

static void view_close(struct view *view)
{
    unmap(view->shared);
    unmap(view->private);
    close(view->file);
    close(view->direct);
    close(view->pipe[0]);
    close(view->pipe[1]);
}

static char read_one(int file, off_t at)
{
    char byte = 0;

    must(pread(file, &byte, 1, at), "read");
    return byte;
}

static char send_one(const struct view *view, int file, off_t at)
{
    char byte = 0;

    must(sendfile(view->pipe[1], file, &at, 1), "sendfile");
    must(read(view->pipe[0], &byte, 1), "read of a pipe");
    return byte;
}

static void see(const struct view *view, off_t at, char byte, const char *what, long round)
{
    char text[200];
    const struct {
        const char *how;
        char seen;
    } sights[] = {
        {"read", read_one(view->file, at)},
        {"shared mapping", view->shared[at]},
        {"private mapping", view->private[at]},
        {"sendfile", send_one(view, view->file, at)},
        {"sendfile of a direct file", send_one(view, view->direct, at)},
        {"direct read", read_one(view->direct, at)},
    };

    for (size_t i = 0; i < sizeof(sights) / sizeof(sights[0]); i++) {
        snprintf(text, sizeof(text), "%s: %s sees %d, not %d", what, sights[i].how, sights[i].seen,
                 byte);
        errno = 0;
        expect(sights[i].seen == byte, text, round);
    }
}

static void both_see(struct view views[2], off_t at, char byte, const char *what, long round)
{
    char text[80];

    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof(text), "%s, on %s", what, i == 0 ? "the same node" : "the other");
        see(&views[i], at, byte, text, round);
    }
}

static void write_one(int file, off_t at, char byte)
{
    must(pwrite(file, &byte, 1, at), "write");
}

// views[0] is on the node that writes.
static void writes(struct view views[2], int file, long round)
{
    static char block[PAGE] __attribute__((aligned(PAGE)));
    int direct = open_data(views[0].directory, O_WRONLY | O_DIRECT);

    for (int i = 1; i <= 5; i++) {
        write_one(file, 2 * PAGE + 5, (char)i);
        both_see(views, 2 * PAGE + 5, (char)i, "a write", round);
        memset(block, 10 + i, PAGE);
        must(pwrite(direct, block, PAGE, PAGE), "direct write");
        both_see(views, PAGE + 7, (char)(10 + i), "a direct write", round);
    }
    close(direct);
}

static void stores(struct view views[2], volatile char *map, long round)
{
    for (int i = 1; i <= 5; i++) {
        map[3 * PAGE] = (char)i;
        both_see(views, 3 * PAGE, (char)i, "a change of a mapped page", round);
        map[3 * PAGE + 1] = (char)(i + 1);
        both_see(views, 3 * PAGE + 1, (char)(i + 1), "the next one", round);
    }
}

static void beside_stores(struct view views[2], volatile char *map, int file, long round)
{
    map[4 * PAGE] = 1;
    write_one(file, 4 * PAGE + 1, 2);
    both_see(views, 4 * PAGE, 1, "a change with a write beside it", round);
    both_see(views, 4 * PAGE + 1, 2, "a write beside a change", round);
    map[4 * PAGE] = map[4 * PAGE + 1] = 0;
    both_see(views, 4 * PAGE + 1, 0, "a change over a write", round);
}

static void allocations(struct view views[2], int file, long round)
{
    write_one(file, 5 * PAGE, 77);
    both_see(views, 5 * PAGE, 77, "a write", round);
    must(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGE, PAGE), "punch");
    both_see(views, 5 * PAGE, 0, "a hole", round);
    write_one(file, 5 * PAGE, 78);
    both_see(views, 5 * PAGE, 78, "a write into a hole", round);
}

static void sizes(struct view views[2], int file, long round)
{
    off_t end = (off_t)PAGES * PAGE, cut = 6 * PAGE + 100;
    struct stat found;
    char byte;

    write_one(file, cut, 9);
    both_see(views, cut, 9, "a write", round);
    must(ftruncate(file, cut), "truncate");
    for (int i = 0; i < 2; i++) {
        expect(pread(views[i].file, &byte, 1, cut) == 0, "a read behind the new end", round);
        must(fstat(views[i].file, &found), "fstat");
        expect(found.st_size == cut, "an old size", round);
        expect(read_one(views[i].file, cut - 1) == 0, "the last byte", round);
    }
    write_one(file, cut, 10); // append
    for (int i = 0; i < 2; i++)
        expect(pread(views[i].file, &byte, 1, cut) == 1 && byte == 10, "an append", round);
    both_see(views, cut, 10, "an append", round);
    must(ftruncate(file, cut), "truncate");
    must(ftruncate(file, end), "truncate");
    both_see(views, cut, 0, "what was cut off and grown again", round);
}

static void turns(const int nodes[2], long amount)
{
    for (long round = 0; round < amount && !has_failed(); round++) {
        int writer = nodes[round & 1], other = nodes[~round & 1];
        struct view views[2];
        int file = open_data(writer, O_RDWR | O_CREAT);
        must(ftruncate(file, (off_t)PAGES * PAGE), "truncate");
        view_open(&views[0], writer);
        view_open(&views[1], other);
        both_see(views, PAGE - 1, 0, "a new file", round);
        writes(views, file, round);
        volatile char *map = map_data(file, PROT_READ | PROT_WRITE, MAP_SHARED);
        stores(views, map, round);
        beside_stores(views, map, file, round);
        writes(views, file, round);
        unmap(map);
        allocations(views, file, round);
        sizes(views, file, round);
        for (int i = 0; i < 2; i++)
            view_close(&views[i]);
        close(file);
        must(unlinkat(writer, "data", 0), "unlink");
    }
}

// --- fight -----------------------------------------------------------------------------------

enum { STORERS = 2, SLOTS = 2 * STORERS };

struct fighter {
    int directory;
    int slot; // its own counter in the page
};

static _Atomic long hand_overs;

// Nobody else changes the slot: it holds what was put there last. Those of the other node only
// grow.
static void *store(void *argument)
{
    const struct fighter *fighter = argument;
    int file = open_data(fighter->directory, O_RDWR);
    volatile uint64_t *slots =
        (volatile uint64_t *)map_data(file, PROT_READ | PROT_WRITE, MAP_SHARED);
    int other = fighter->slot ^ 1;
    uint64_t mine = 0, theirs = 0;

    while (fight_goes_on()) {
        int64_t begin_ms = clock_ms();
        expect(slots[fighter->slot] == mine, "a change was lost", (long)mine);
        slots[fighter->slot] = ++mine;
        uint64_t now = slots[other];
        expect(now >= theirs, "a change of the other node was lost", (long)now);
        if (now != theirs)
            atomic_fetch_add(&hand_overs, 1);
        theirs = now;
        fight_done(begin_ms);
    }
    unmap((volatile char *)slots);
    close(file);
    return NULL;
}

static void *read_along(void *argument)
{
    const struct fighter *fighter = argument;
    uint64_t slots[SLOTS], before[SLOTS] = {0};

    while (fight_goes_on()) {
        int64_t begin_ms = clock_ms();
        int file = open_data(fighter->directory, O_RDONLY);
        must(pread(file, slots, sizeof(slots), 0), "read");
        for (int i = 0; i < SLOTS; i++)
            expect(slots[i] >= before[i], "a read went back", i);
        memcpy(before, slots, sizeof(before));
        close(file);
        fight_done(begin_ms);
    }
    return NULL;
}

static void *write_along(void *argument)
{
    const struct fighter *fighter = argument;
    int file = open_data(fighter->directory, O_RDWR);
    off_t at = PAGE + 8 * fighter->slot; // a page that nobody changes where it is mapped

    for (uint64_t i = 0; fight_goes_on(); i++) {
        int64_t begin_ms = clock_ms();
        uint64_t found = 0;
        must(pread(file, &found, sizeof(found), at), "read");
        expect(found == i, "a write was lost", (long)i);
        found = i + 1;
        must(pwrite(file, &found, sizeof(found), at), "write");
        fight_done(begin_ms);
    }
    close(file);
    return NULL;
}

static void fight(const int nodes[2], long amount)
{
    static void *(*const bodies[])(void *) = {store, store, read_along, write_along};
    enum { THREADS = 2 * sizeof(bodies) / sizeof(bodies[0]) };
    struct fighter fighters[THREADS];
    pthread_t threads[THREADS];
    int file = open_data(nodes[0], O_RDWR | O_CREAT);

    must(ftruncate(file, (off_t)PAGES * PAGE), "truncate");
    close(file);
    fight_begin(amount);
    for (int i = 0; i < THREADS; i++) {
        fighters[i] = (struct fighter){nodes[i & 1], i};
        if (pthread_create(&threads[i], NULL, bodies[i / 2], &fighters[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    must(unlinkat(nodes[0], "data", 0), "unlink");
    printf("%ld operations, %ld hand-overs a second, the longest %ld ms\n", fight_operations(),
           atomic_load(&hand_overs) / amount, fight_longest_ms());
    expect(atomic_load(&hand_overs) > 0, "no hand-over", amount);
}

// --- killed ----------------------------------------------------------------------------------

static void change_and_wait(int directory)
{
    int file = open_data(directory, O_RDWR);
    volatile char *map = map_data(file, PROT_READ | PROT_WRITE, MAP_SHARED);

    for (int i = 0; i < PAGES; i++)
        map[i * PAGE] = (char)(i + 1);
    raise(SIGKILL);
}

static void killed(const int nodes[2])
{
    int file = open_data(nodes[1], O_RDWR | O_CREAT);

    must(ftruncate(file, (off_t)PAGES * PAGE), "truncate");
    pid_t child = fork();
    must(child, "fork");
    if (child == 0)
        change_and_wait(nodes[0]);
    must(waitpid(child, NULL, 0), "wait");
    for (int i = 0; i < PAGES; i++)
        expect(read_one(file, (off_t)i * PAGE) == i + 1, "a change of the killed is lost", i);
    close(file);
    must(unlinkat(nodes[0], "data", 0), "unlink");
}

// --- changed ---------------------------------------------------------------------------------

static void wait_for_line(void)
{
    char line[16];
    if (fgets(line, sizeof(line), stdin) == NULL)
        exit(1);
}

static void say(const char *what)
{
    puts(what);
    fflush(stdout);
}

static void changed(int directory)
{
    int file = open_data(directory, O_RDWR | O_CREAT);

    must(ftruncate(file, (off_t)PAGES * PAGE), "truncate");
    volatile char *map = map_data(file, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (int i = 0; i < PAGES; i++)
        map[i * PAGE] = 'a';
    say("ready");
    wait_for_line();
    for (int i = 0; i < PAGES; i++)
        map[i * PAGE] = 'b';
    say("changed");
    unmap(map);
    close(file);
}

// --- dead ------------------------------------------------------------------------------------

// What was put there on B since is there.
static void check_others(int file)
{
    for (int i = 0; i < PAGES; i++)
        expect(read_one(file, (off_t)i * PAGE) == 'b', "what the other node wrote", i);
}

static void dead(const int nodes[2])
{
    int files[2] = {open_data(nodes[0], O_RDWR | O_CREAT), -1};

    must(ftruncate(files[0], (off_t)PAGES * PAGE), "truncate");
    must(fsync(files[0]), "sync"); // the file itself outlives its node
    volatile char *map = map_data(files[0], PROT_READ | PROT_WRITE, MAP_SHARED);
    for (int i = 0; i < PAGES; i++)
        map[i * PAGE] = 'a';
    say("ready");
    wait_for_line();
    files[1] = open_data(nodes[1], O_RDWR);
    for (int i = 0; i < PAGES; i++)
        write_one(files[1], (off_t)i * PAGE, 'b');
    for (int i = 0; i < PAGES; i++)
        map[i * PAGE] = 'c';
    expect(msync((void *)(uintptr_t)map, (size_t)PAGES * PAGE, MS_SYNC) != 0,
           "msync on a dead mount", 0);
    check_others(files[1]);
    unmap(map);
    close(files[0]);
    check_others(files[1]);
    close(files[1]);
}

int main(int argc, char **argv)
{
    int nodes[2];

    if (argc != 5) {
        fputs(
            "usage: caching_pages turns|fight|killed|changed|dead AMOUNT DIRECTORY_A DIRECTORY_B\n",
            stderr);
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        nodes[i] = open(argv[3 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(nodes[i], argv[3 + i]);
    }
    if (strcmp(argv[1], "fight") == 0)
        fight(nodes, strtol(argv[2], NULL, 10));
    else if (strcmp(argv[1], "killed") == 0)
        killed(nodes);
    else if (strcmp(argv[1], "changed") == 0)
        changed(nodes[0]);
    else if (strcmp(argv[1], "dead") == 0)
        dead(nodes);
    else
        turns(nodes, strtol(argv[2], NULL, 10));
    return has_failed() ? 1 : 0;
}
