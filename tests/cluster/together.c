// SPDX-License-Identifier: Apache-2.0
//
// Several nodes at the same names at the same time: together VERB AMOUNT SEED DIRECTORY...
//
// Each DIRECTORY is one directory seen through another node's mount (tests/lib/cluster.sh:
// node_path); each gets a thread. Verbs, and what must hold afterwards:
//
//   excl    AMOUNT rounds: all open one new name with O_CREAT|O_EXCL, exactly one wins, the others
//           get EEXIST
//   append  AMOUNT records each, with O_APPEND: all are there, whole, each node's in its order
//   fight   AMOUNT seconds of create, link, rename, unlink and readdir of a few names: nothing
//           but the errors that a lost race gives, and as many names left as creates and links
//           less unlinks
//   fill    the last AMOUNT MiB of the volume, written by all until ENOSPC, which comes to all;
//   then
//           each removes its file, though the volume is full, and what came free can be written
//           again
//   cross   AMOUNT seconds of renames between two directories, both ways: the files stay the same
//           in number and every thread comes back
//
// Prints the seed, and one line of figures; exit 0 when all held, 1 when not.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
    NODES_MAX = 8,
    NAMES = 12,
    RECORD_BYTES = 64,
    CROSS_FILES = 6,
    FILL_ROUNDS = 2,
    FILL_CHUNK_BYTES = 64 << 10,
};

struct contest;

struct contestant {
    struct contest *contest;
    unsigned index;
    int directory;
    uint64_t random;
    pthread_t thread;
};

struct contest {
    long amount;
    unsigned count;
    pthread_barrier_t barrier;
    struct contestant contestants[NODES_MAX];
    _Atomic long names;   // fight: names that must be left
    _Atomic long done;    // operations that succeeded
    _Atomic long winners; // excl: of the running round
    _Atomic long filled;  // fill: chunks written in the running round
    atomic_bool failed;
};

struct verb {
    const char *name;
    void (*run)(struct contestant *self);
    void (*prepare)(struct contest *contest);
    void (*verify)(struct contest *contest);
};

static void complain(struct contestant *self, const char *what, const char *name)
{
    fprintf(stderr, "node %u: %s %s: %s\n", self->index + 1, what, name, strerror(errno));
    atomic_store(&self->contest->failed, true);
}

static uint64_t random_next(struct contestant *self, uint64_t bound)
{
    self->random ^= self->random << 13;
    self->random ^= self->random >> 7;
    self->random ^= self->random << 17;
    return (self->random >> 11) % bound;
}

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// How many entries, . and .. apart, the directory has through one mount; -1 on an error.
static long entries_count(int directory)
{
    DIR *stream = fdopendir(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *entry;
    long count = 0;

    if (!stream)
        return -1;
    errno = 0;
    while ((entry = readdir(stream)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (errno != 0)
        count = -1;
    closedir(stream);
    return count;
}

// --- excl ------------------------------------------------------------------------------------

static void excl_round(struct contestant *self, long round)
{
    struct contest *contest = self->contest;
    char name[32];
    int file;

    snprintf(name, sizeof(name), "excl-%ld", round);
    pthread_barrier_wait(&contest->barrier);
    file = openat(self->directory, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (file >= 0) {
        atomic_fetch_add(&contest->winners, 1);
        close(file);
    } else if (errno != EEXIST) {
        complain(self, "open O_EXCL", name);
    }
    pthread_barrier_wait(&contest->barrier);
    if (self->index != round % contest->count)
        return;
    if (atomic_exchange(&contest->winners, 0) != 1) {
        errno = 0;
        complain(self, "not exactly one winner of", name);
    }
    if (unlinkat(self->directory, name, 0) < 0)
        complain(self, "unlink", name);
}

static void excl_run(struct contestant *self)
{
    for (long round = 0; round < self->contest->amount; round++)
        excl_round(self, round);
}

// --- append ----------------------------------------------------------------------------------

static void append_run(struct contestant *self)
{
    int file = openat(self->directory, "appended", O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    char record[RECORD_BYTES + 1];

    pthread_barrier_wait(&self->contest->barrier);
    if (file < 0) {
        complain(self, "open", "appended");
        return;
    }
    for (long i = 0; i < self->contest->amount; i++) {
        snprintf(record, sizeof(record), "%-*u %-*ld\n", RECORD_BYTES / 2 - 1, self->index,
                 RECORD_BYTES / 2 - 1, i);
        if (write(file, record, RECORD_BYTES) != RECORD_BYTES)
            complain(self, "append to", "appended");
    }
    close(file);
}

static void append_verify(struct contest *contest)
{
    struct contestant *last = &contest->contestants[contest->count - 1];
    int file = openat(last->directory, "appended", O_RDONLY | O_CLOEXEC);
    long next[NODES_MAX] = {0}, records = contest->amount * (long)contest->count;
    char record[RECORD_BYTES + 1] = "";
    unsigned index;
    long number;

    errno = 0;
    for (long i = 0; i < records; i++) {
        if (pread(file, record, RECORD_BYTES, i * RECORD_BYTES) != RECORD_BYTES ||
            record[RECORD_BYTES - 1] != '\n' || sscanf(record, "%u %ld", &index, &number) != 2 ||
            index >= contest->count || number != next[index]++) {
            complain(last, "a record is lost, torn or out of order in", "appended");
            break;
        }
    }
    if (lseek(file, 0, SEEK_END) != records * RECORD_BYTES)
        complain(last, "the size is wrong of", "appended");
    close(file);
    unlinkat(last->directory, "appended", 0);
}

// --- fight -----------------------------------------------------------------------------------

static void fight_count(struct contestant *self, int result, long names, int allowed_a,
                        int allowed_b, const char *what, const char *name)
{
    if (result >= 0) {
        atomic_fetch_add(&self->contest->names, names);
        atomic_fetch_add(&self->contest->done, 1);
    } else if (errno != allowed_a && errno != allowed_b) {
        complain(self, what, name);
    }
}

static void fight_step(struct contestant *self)
{
    int directory = self->directory, result;
    char name[32], other[32];

    snprintf(name, sizeof(name), "name-%" PRIu64, random_next(self, NAMES));
    snprintf(other, sizeof(other), "name-%" PRIu64, random_next(self, NAMES));
    switch (random_next(self, 5)) {
    case 0:
        result = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        fight_count(self, result, 1, EEXIST, EEXIST, "create", name);
        if (result >= 0)
            close(result);
        break;
    case 1:
        result = linkat(directory, name, directory, other, 0);
        fight_count(self, result, 1, EEXIST, ENOENT, "link", name);
        break;
    case 2:
        // Without RENAME_NOREPLACE the victim's name could not be counted. One name onto itself
        // says EEXIST, too.
        result = renameat2(directory, name, directory, other, RENAME_NOREPLACE);
        fight_count(self, result, 0, EEXIST, ENOENT, "rename", name);
        break;
    case 3:
        result = unlinkat(directory, name, 0);
        fight_count(self, result, -1, ENOENT, ENOENT, "unlink", name);
        break;
    default:
        if (entries_count(directory) < 0)
            complain(self, "readdir", "the directory");
    }
}

static void fight_run(struct contestant *self)
{
    int64_t end_ms = clock_ms() + self->contest->amount * 1000;

    pthread_barrier_wait(&self->contest->barrier);
    while (clock_ms() < end_ms && !atomic_load(&self->contest->failed))
        fight_step(self);
}

static void fight_verify(struct contest *contest)
{
    for (unsigned i = 0; i < contest->count; i++) {
        long left = entries_count(contest->contestants[i].directory);

        if (left != atomic_load(&contest->names)) {
            fprintf(stderr, "%ld names by the count of operations, %ld listed\n", contest->names,
                    left);
            errno = 0;
            complain(&contest->contestants[i], "the wrong number of names in", "the directory");
        }
    }
    for (int i = 0; i < NAMES; i++) {
        char name[32];

        snprintf(name, sizeof(name), "name-%d", i);
        unlinkat(contest->contestants[0].directory, name, 0);
    }
}

// --- cross -----------------------------------------------------------------------------------

static void cross_name(char *name, size_t size, unsigned side, uint64_t number)
{
    snprintf(name, size, "side%u/file-%" PRIu64, side, number);
}

static void cross_prepare(struct contest *contest)
{
    int directory = contest->contestants[0].directory;
    char name[32];

    if (mkdirat(directory, "side0", 0700) < 0 || mkdirat(directory, "side1", 0700) < 0)
        complain(&contest->contestants[0], "mkdir", "side");
    for (uint64_t i = 0; i < CROSS_FILES; i++) {
        cross_name(name, sizeof(name), i & 1, i);
        close(openat(directory, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
}

static void cross_run(struct contestant *self)
{
    int64_t end_ms = clock_ms() + self->contest->amount * 1000;
    char from[32], to[32];

    pthread_barrier_wait(&self->contest->barrier);
    while (clock_ms() < end_ms) {
        unsigned side = (unsigned)random_next(self, 2);
        uint64_t number = random_next(self, CROSS_FILES);

        cross_name(from, sizeof(from), side, number);
        cross_name(to, sizeof(to), !side, number);
        if (renameat(self->directory, from, self->directory, to) == 0)
            atomic_fetch_add(&self->contest->done, 1);
        else if (errno != ENOENT)
            complain(self, "rename", from);
    }
}

static void cross_verify(struct contest *contest)
{
    for (unsigned i = 0; i < contest->count; i++) {
        int directory = contest->contestants[i].directory, left;
        int sides[2] = {openat(directory, "side0", O_RDONLY | O_DIRECTORY),
                        openat(directory, "side1", O_RDONLY | O_DIRECTORY)};

        left = (int)(entries_count(sides[0]) + entries_count(sides[1]));
        close(sides[0]);
        close(sides[1]);
        errno = 0;
        if (left != CROSS_FILES)
            complain(&contest->contestants[i], "files were lost or doubled in", "side0 and side1");
    }
    for (uint64_t i = 0; i < 2 * CROSS_FILES; i++) {
        char name[32];

        cross_name(name, sizeof(name), i & 1, i / 2);
        unlinkat(contest->contestants[0].directory, name, 0);
    }
    unlinkat(contest->contestants[0].directory, "side0", AT_REMOVEDIR);
    unlinkat(contest->contestants[0].directory, "side1", AT_REMOVEDIR);
}

// --- fill ------------------------------------------------------------------------------------

// Takes all but AMOUNT MiB away, so that the race for the last is short.
static void fill_prepare(struct contest *contest)
{
    struct contestant *first = &contest->contestants[0];
    int file = openat(first->directory, "ballast", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    struct statvfs space = {0};
    off_t length;

    if (file < 0 || fstatvfs(file, &space) < 0) {
        complain(first, "statvfs of", "ballast");
        return;
    }
    length = (off_t)(space.f_bavail * space.f_frsize) - ((off_t)contest->amount << 20);
    if (length > 0 && fallocate(file, 0, 0, length) < 0)
        complain(first, "fallocate of", "ballast");
    close(file);
}

// Writes until the volume is full.
static void fill_file(struct contestant *self, const char *name)
{
    static const char chunk[FILL_CHUNK_BYTES];
    int file = openat(self->directory, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ssize_t written;

    if (file < 0) {
        // The others may have taken the last block before this node came to it.
        if (errno != ENOSPC)
            complain(self, "open", name);
        return;
    }
    while ((written = write(file, chunk, sizeof(chunk))) == sizeof(chunk))
        atomic_fetch_add(&self->contest->filled, 1);
    // Part of a chunk fits, and says why not more when it is written on.
    if (written >= 0)
        written = write(file, chunk, sizeof(chunk));
    if (written >= 0 || errno != ENOSPC)
        complain(self, "the write that fills", name);
    if (fsync(file) < 0)
        complain(self, "fsync", name);
    close(file);
}

static void fill_run(struct contestant *self)
{
    struct contest *contest = self->contest;
    long least = contest->amount * (1 << 20) / FILL_CHUNK_BYTES * 3 / 4;
    char name[32];

    snprintf(name, sizeof(name), "fill-%u", self->index);
    for (int round = 0; round < FILL_ROUNDS; round++) {
        pthread_barrier_wait(&contest->barrier);
        fill_file(self, name);
        pthread_barrier_wait(&contest->barrier);
        if (self->index == 0) {
            printf("round %d: %ld chunks\n", round, contest->filled);
            atomic_fetch_add(&contest->done, contest->filled);
            errno = 0;
            if (atomic_exchange(&contest->filled, 0) < least)
                complain(self, "less was written than is free:", name);
        }
        pthread_barrier_wait(&contest->barrier);
        if (unlinkat(self->directory, name, 0) < 0 && errno != ENOENT)
            complain(self, "unlink on a full volume", name);
    }
}

static void fill_verify(struct contest *contest)
{
    if (unlinkat(contest->contestants[0].directory, "ballast", 0) < 0)
        complain(&contest->contestants[0], "unlink", "ballast");
}

// --- all -------------------------------------------------------------------------------------

static const struct verb verbs[] = {
    {"excl", excl_run, NULL, NULL},
    {"append", append_run, NULL, append_verify},
    {"fight", fight_run, NULL, fight_verify},
    {"cross", cross_run, cross_prepare, cross_verify},
    {"fill", fill_run, fill_prepare, fill_verify},
};

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int contest_open(struct contest *contest, char **paths, unsigned count, uint64_t seed)
{
    contest->count = count;
    if (pthread_barrier_init(&contest->barrier, NULL, count) != 0)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        struct contestant *self = &contest->contestants[i];

        *self = (struct contestant){.contest = contest, .index = i};
        self->random = (seed + i + 1) * UINT64_C(0x9E3779B97F4A7C15);
        self->directory = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (self->directory < 0) {
            complain(self, "open", paths[i]);
            return -1;
        }
    }
    return 0;
}

struct job {
    const struct verb *verb;
    struct contestant *self;
};

static void *job_run(void *argument)
{
    struct job *job = argument;

    job->verb->run(job->self);
    return NULL;
}

static void contest_run(struct contest *contest, const struct verb *verb)
{
    struct job jobs[NODES_MAX];

    for (unsigned i = 0; i < contest->count; i++) {
        jobs[i] = (struct job){verb, &contest->contestants[i]};
        if (pthread_create(&contest->contestants[i].thread, NULL, job_run, &jobs[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < contest->count; i++)
        pthread_join(contest->contestants[i].thread, NULL);
}

int main(int argc, char **argv)
{
    static const char usage[] =
        "usage: together excl|append|fight|cross|fill AMOUNT SEED DIRECTORY...\n";
    struct contest contest = {0};
    const struct verb *verb = argc > 4 ? verb_find(argv[1]) : NULL;
    int64_t begin_ms;

    if (!verb || argc - 4 > NODES_MAX) {
        fputs(usage, stderr);
        return 2;
    }
    contest.amount = strtol(argv[2], NULL, 10);
    printf("%s, seed %s\n", argv[1], argv[3]);
    if (contest_open(&contest, argv + 4, (unsigned)argc - 4, strtoull(argv[3], NULL, 10)) < 0)
        return 1;
    if (verb->prepare)
        verb->prepare(&contest);
    begin_ms = clock_ms();
    contest_run(&contest, verb);
    printf("%s: %ld operations succeeded in %" PRId64 " ms\n", verb->name, contest.done,
           clock_ms() - begin_ms);
    if (verb->verify)
        verb->verify(&contest);
    return atomic_load(&contest.failed) ? 1 : 0;
}
