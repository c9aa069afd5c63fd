// SPDX-License-Identifier: Apache-2.0
// Whole volumes under right checksums: some fields or bytes of metadata are changed, the blocks
// sealed again, and a node mounts the volume, looks at all it can reach, changes some of it and
// unmounts; fsck.lunfs -n judges it before and after. Errors are what a user gets; a broken
// invariant, a crash, a wait that never ends (also a loop) or a leak (with SAN=address) is a bug.
// A copy is repaired by fsck.lunfs -y: what it has put right is clean, is mounted and used, and is
// clean after that.
//
//   image-fuzz --images N [--first S] [--verbose]
//
// Image S is always the same one. Each is worked on in a child that goes on to the next one, so
// that a crash names its image and the rest is still tried.
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "fs/format_text.h"
#include "tests/fuzz/image_change.h"
#include "tests/fuzz/image_use.h"
#include "tests/sim/ring2_fsck.h"
#include "tests/sim/ring2_node.h"

enum { VOLUME_BYTES = 36 << 20, JOURNAL_BYTES = 8 << 20, SLOT_COUNT = 2, SECONDS_MAX = 20 };
enum { OUTPUT_BYTES = 4000, FAILURES_MAX = 20 };

// What the child tells its parent.
struct progress {
    uint64_t image;
    uint64_t mounted, refused, fsck_clean, fsck_damaged, fsck_refused;
    uint64_t repaired, beyond_repair;
};

struct fuzz {
    struct scheduler *scheduler;
    struct world world;
    struct sim_disk *clean, *crashed; // volumes to start from
    struct image_blocks clean_blocks, crashed_blocks;
    struct progress *progress;
    bool is_verbose;
};

// --- the volumes -----------------------------------------------------------------------------

static void fuzz_init(struct fuzz *fuzz)
{
    struct sim_disk_options options = {
        .size_bytes = VOLUME_BYTES, .sector_bytes = 512, .latency_ns_min = 1, .latency_ns_max = 9};
    struct ring2_geometry geometry = {VOLUME_BYTES, SLOT_COUNT, JOURNAL_BYTES};
    struct ring2_node node;
    fuzz->scheduler = scheduler_new();
    world_init(&fuzz->world, 1, fuzz->scheduler);
    fuzz->clean = sim_disk_new(&fuzz->world, &options);
    ring2_format(&fuzz->world, fuzz->clean, &geometry);
    CHECK(ring2_mount(&node, 1, &fuzz->world, fuzz->clean, false) == 0);
    image_fill(&node);
    fuzz->crashed = sim_disk_clone(fuzz->clean, &fuzz->world, NULL);
    CHECK(ring2_unmount(&node, 1) == 0);
    image_blocks_find(&fuzz->clean_blocks, fuzz->clean, VOLUME_BYTES);
    image_blocks_find(&fuzz->crashed_blocks, fuzz->crashed, VOLUME_BYTES);
}

static void fuzz_deinit(struct fuzz *fuzz)
{
    image_blocks_deinit(&fuzz->clean_blocks);
    image_blocks_deinit(&fuzz->crashed_blocks);
    sim_disk_free(fuzz->clean);
    sim_disk_free(fuzz->crashed);
    world_deinit(&fuzz->world);
    scheduler_free(fuzz->scheduler);
}

// --- one image -------------------------------------------------------------------------------

static void judge(struct fuzz *fuzz, struct world *world, struct sim_disk *disk)
{
    char output[OUTPUT_BYTES];
    switch (ring2_fsck_run(world, disk, output, sizeof(output))) {
    case 0:
        fuzz->progress->fsck_clean++;
        break;
    case 4:
        fuzz->progress->fsck_damaged++;
        break;
    case 8:
        fuzz->progress->fsck_refused++;
        break;
    default:
        CHECK(!"a verdict of fsck.lunfs");
        break;
    }
    if (fuzz->is_verbose)
        fputs(output, stdout);
}

// Whether a node could be mounted on it.
static bool use(struct fuzz *fuzz, struct world *world, struct sim_disk *disk, uint64_t seed)
{
    struct ring2_node node;
    if (ring2_mount(&node, 1, world, disk, fuzz->is_verbose) != 0)
        return false;
    image_use(&node, seed);
    ring2_unmount(&node, 1);
    return true;
}

static bool is_clean(struct fuzz *fuzz, struct world *world, struct sim_disk *disk)
{
    char output[OUTPUT_BYTES];
    int status = ring2_fsck_run(world, disk, output, sizeof(output));
    if (status != 0 || fuzz->is_verbose)
        fputs(output, stdout);
    return status == 0;
}

static void repair(struct fuzz *fuzz, const struct sim_disk *damaged, struct world *world,
                   uint64_t seed)
{
    char output[OUTPUT_BYTES];
    struct sim_disk *disk = sim_disk_clone(damaged, world, NULL);
    int status = ring2_fsck_repair(world, disk, output, sizeof(output));
    if (fuzz->is_verbose)
        fputs(output, stdout);
    CHECK(status == 0 || status == 1 || status == 4 || status == 8);
    if (status > 1) {
        fuzz->progress->beyond_repair++;
    } else {
        fuzz->progress->repaired += status == 1;
        CHECK(is_clean(fuzz, world, disk));
        CHECK(use(fuzz, world, disk, seed));
        CHECK(is_clean(fuzz, world, disk));
    }
    sim_disk_free(disk);
}

static void try_image(struct fuzz *fuzz, uint64_t seed)
{
    struct random random;
    struct world world;
    struct scheduler *scheduler = scheduler_new();
    bool is_crashed = seed % 3 == 0;
    random_init(&random, seed);
    world_init(&world, seed, scheduler);
    struct sim_disk *disk = sim_disk_clone(is_crashed ? fuzz->crashed : fuzz->clean, &world, NULL);
    image_change(is_crashed ? &fuzz->crashed_blocks : &fuzz->clean_blocks, disk, &random,
                 fuzz->is_verbose);
    judge(fuzz, &world, disk);
    repair(fuzz, disk, &world, seed);
    if (use(fuzz, &world, disk, seed))
        fuzz->progress->mounted++;
    else
        fuzz->progress->refused++;
    judge(fuzz, &world, disk);
    world_run(&world);
    sim_disk_free(disk);
    world_deinit(&world);
    scheduler_free(scheduler);
}

// --- children --------------------------------------------------------------------------------

// Of processor time: whoever waits for ever in this world is found by ring2_run, so only loops are
// left, and a busy machine is no reason.
static void limit_time(time_t seconds)
{
    struct itimerval limit = {.it_value = {.tv_sec = seconds}};
    CHECK(setitimer(ITIMER_PROF, &limit, NULL) == 0);
}

static _Noreturn void work(struct fuzz *fuzz, uint64_t first, uint64_t end)
{
    for (uint64_t seed = first; seed < end; seed++) {
        fuzz->progress->image = seed;
        limit_time(SECONDS_MAX);
        try_image(fuzz, seed);
    }
    limit_time(0);
    fuzz->progress->image = end;
    fuzz_deinit(fuzz);
    free(fuzz);
    exit(0); // not _exit: the sanitiser looks for leaks here
}

// Where a child ended: `end`, or the image that it died of.
static uint64_t run_child(struct fuzz *fuzz, uint64_t first, uint64_t end, unsigned *failures)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        work(fuzz, first, end);
    CHECK(waitpid(child, &status, 0) == child);
    uint64_t image = fuzz->progress->image;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return end;
    ++*failures;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
        printf("image %" PRIu64 ": no end within %d s of processor time\n", image, SECONDS_MAX);
    else if (image == end)
        printf("images %" PRIu64 " to %" PRIu64 ": a leak\n", first, end - 1);
    else
        printf("image %" PRIu64 ": %s %d\n", image, WIFSIGNALED(status) ? "signal" : "exit",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return image == end ? end : image + 1;
}

static int run(struct fuzz *fuzz, uint64_t first, uint64_t count)
{
    enum { IMAGES_A_CHILD = 500 };
    unsigned failures = 0;
    uint64_t end = first + count;
    for (uint64_t at = first; at < end && failures < FAILURES_MAX;) {
        uint64_t until = end - at < IMAGES_A_CHILD ? end : at + IMAGES_A_CHILD;
        at = run_child(fuzz, at, until, &failures);
    }
    const struct progress *sum = fuzz->progress;
    printf("%" PRIu64 " images: %" PRIu64 " mounted, %" PRIu64 " refused; fsck.lunfs: %" PRIu64
           " clean, %" PRIu64 " damaged, %" PRIu64 " refused, %" PRIu64 " repaired, %" PRIu64
           " beyond repair; %u failures\n",
           count, sum->mounted, sum->refused, sum->fsck_clean, sum->fsck_damaged, sum->fsck_refused,
           sum->repaired, sum->beyond_repair, failures);
    // A run in which all is refused, or nothing is damaged, has tried nothing.
    bool tried = count < 100 || (sum->mounted > count / 4 && sum->fsck_damaged > count / 4);
    return failures == 0 && tried ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, count = 0;
    struct fuzz *fuzz = calloc(1, sizeof(*fuzz));
    CHECK(fuzz != NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            fuzz->is_verbose = true;
        else if (strcmp(argv[i], "--images") == 0 && i + 1 < argc)
            count = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
    }
    if (count == 0) {
        fputs("usage: image-fuzz --images N [--first S] [--verbose]\n", stderr);
        return 2;
    }
    fuzz->progress = mmap(NULL, sizeof(*fuzz->progress), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(fuzz->progress != MAP_FAILED);
    fuzz_init(fuzz);
    int status = run(fuzz, first, count);
    fuzz_deinit(fuzz);
    free(fuzz);
    return status;
}
