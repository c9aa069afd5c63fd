// SPDX-License-Identifier: Apache-2.0
// A history: a volume is made, nodes mount it, clients work while things go wrong; then all is
// well, everything must go on within a bounded time, be as the model says from every node, unmount
// cleanly, and be clean for fsck.
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/cluster.h"
#include "fs/operation.h"
#include "fs/volume.h"
#include "tests/sim/disk.h"
#include "tests/sim/ring2_fsck.h"
#include "tests/sim/ring2_node.h"
#include "tests/sim/ring3.h"
#include "tests/sim/ring3_quota.h"
#include "tests/sim/ring3_tree.h"

// --- what parts call ---------------------------------------------------------------------------

void ring3_fail(struct ring3 *ring3, const char *format, ...)
{
    va_list arguments;
    if (ring3->result.is_failed)
        return;
    ring3->result.is_failed = true;
    va_start(arguments, format);
    vsnprintf(ring3->result.failure, sizeof(ring3->result.failure), format, arguments);
    va_end(arguments);
    ring3_trace(ring3, "FAILED: %s", ring3->result.failure);
}

void ring3_trace(struct ring3 *ring3, const char *format, ...)
{
    va_list arguments;
    uint64_t now_ns = ring3->world->now_ns;
    ring3->result.digest = (ring3->result.digest ^ now_ns) * UINT64_C(0x9e3779b97f4a7c15);
    if (ring3->options.trace == NULL)
        return;
    fprintf(ring3->options.trace, "%10llu.%06llu ", (unsigned long long)(now_ns / RING3_MS),
            (unsigned long long)(now_ns % RING3_MS));
    va_start(arguments, format);
    vfprintf(ring3->options.trace, format, arguments);
    va_end(arguments);
    fputc('\n', ring3->options.trace);
}

uint64_t ring3_between(struct ring3 *ring3, uint64_t low_ns, uint64_t high_ns)
{
    return low_ns + random_below(&ring3->world->random, high_ns - low_ns + 1);
}

void ring3_arm_in(struct ring3 *ring3, struct world_event *event, uint64_t in_ns)
{
    world_event_arm(ring3->world, event, ring3->world->now_ns + in_ns);
}

// --- beginning ---------------------------------------------------------------------------------

// Plenty, so that who comes back needs not wait for its old one; or just enough, so that all can be
// left behind (fs/slot_takeover.h).
static uint32_t draw_slot_count(struct ring3 *ring3)
{
    struct random *random = &ring3->world->random;
    return random_one_in(random, 4) ? ring3->machine_count : 12 + (uint32_t)random_below(random, 8);
}

static void format_volume(struct ring3 *ring3)
{
    struct random *random = &ring3->world->random;
    uint64_t journal_bytes = (uint64_t)FORMAT_JOURNAL_BLOCKS_MIN * BLOCK_BYTES;
    struct ring2_geometry geometry = {
        .slot_count = draw_slot_count(ring3),
        .journal_bytes = journal_bytes,
    };
    geometry.size_bytes = geometry.slot_count * journal_bytes + (96u << 20);
    struct sim_disk_options options = {
        .size_bytes = geometry.size_bytes,
        .sector_bytes = random_one_in(random, 3) ? 4096 : 512,
        .has_volatile_cache = !random_one_in(random, 4),
        .latency_ns_min = 10000,
        .latency_ns_max = 800000,
        .late_ns_max = ring3->late_ns_max,
    };
    ring3->disk = sim_disk_new(ring3->world, &options);
    ring2_format(ring3->world, ring3->disk, &geometry);
}

// All must go on within twice what is promised.
static uint64_t bound_ns(const struct ring3 *ring3)
{
    return 2 * ring3->result.promised_ns;
}

// The protocol's times, one after the other, for somebody who is dead when the faults end, or dies
// of them: until a ring is made, and who is silent or cut off is expelled; until it is fenced, and
// its journal replayed; until it is on again, tries to mount again, and has the claim looked at.
static uint64_t promised_ns(const struct ring3 *ring3)
{
    struct lease_config lease = lease_config_of(ring3->lease_ns, ring3->io_max_ns);
    uint64_t link_ns = 3000 * RING3_MS;
    uint64_t expel_ns = lease.lease_ns > link_ns ? lease.lease_ns : link_ns;
    uint64_t fence_ns = lease_silence_ns(&lease) + 2 * lease.beat_ns;
    uint64_t claim_ns = 2 * lease.beat_ns + lease.io_max_ns;
    return RING3_RING_NS + expel_ns + fence_ns + RING3_MOUNT_NS + claim_ns;
}

static void begin(struct ring3 *ring3, const struct ring3_options *options)
{
    static const unsigned lease_ms[] = {1000, 2000, 5000};
    struct random random;
    ring3->options = *options;
    random_init(&random, options->seed);
    random_init(&ring3->work_random, random_u64(&random));
    random_init(&ring3->fault_random, random_u64(&random));
    uint64_t world_seed = random_u64(&random);
    unsigned machines = random_one_in(&random, 4) ? 2 + (unsigned)random_below(&random, 4) : 3;
    unsigned operations = options->is_short ? 40 + (unsigned)random_below(&random, 40)
                                            : 300 + (unsigned)random_below(&random, 200);
    unsigned faults = options->is_short ? 1 : 2 + (unsigned)random_below(&random, 4);
    ring3->work_ns = (options->is_short ? 3000 : 20000 + random_below(&random, 15000)) * RING3_MS;
    ring3->lease_ns = lease_ms[random_below(&random, options->is_short ? 1 : 3)] * RING3_MS;
    ring3->late_ns_max = (50 + random_below(&random, 900)) * RING3_MS;
    ring3->io_max_ns = ring3->late_ns_max + 50 * RING3_MS;
    ring3->has_fence_command = random_one_in(&random, 4);
    ring3->machine_count = options->machine_count > 0 ? options->machine_count : machines;
    if (options->operation_count == 0)
        ring3->options.operation_count = operations;
    ring3->operations_left = ring3->options.operation_count;
    ring3->operations_healed = random_below(&random, ring3->operations_left / 8 + 1);
    ring3->faults_left = options->fault_count == UINT_MAX ? faults : options->fault_count;
    ring3->client_count = ring3->machine_count < 4 ? 4 : ring3->machine_count;
    ring3->result.machine_count = ring3->machine_count;
    LIST_INIT(&ring3->lives);
    LIST_INIT(&ring3->sequels);
    ring3_memories_init(&ring3->memories);
    ring3->totem = ring3_totem_new(ring3, world_seed, ring3->scheduler);
    ring3->world = ring3_totem_world(ring3->totem);
    world_node_init(&ring3->client_node, ring3->world);
    format_volume(ring3);
    ring3->tree = ring3_tree_new(ring3->client_count);
    for (unsigned i = 0; i < ring3->machine_count; i++)
        ring3_machine_init(ring3, i);
    for (unsigned i = 0; i < ring3->client_count; i++)
        ring3->clients[i] = ring3_client_new(ring3, i);
    ring3_totem_reform(ring3);
    for (unsigned i = 0; i < ring3->machine_count; i++)
        ring3_machine_mount_in(&ring3->machines[i], ring3_between(ring3, 0, 1500 * RING3_MS));
    ring3->result.promised_ns = promised_ns(ring3);
    ring3_check_start(ring3);
}

// --- running -------------------------------------------------------------------------------------

static bool all_are_mounted(struct ring3 *ring3)
{
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        const struct ring3_life *life = ring3->machines[i].life;
        if (life == NULL || !life->is_mounted || ring3_life_phase(life) != RING3_QUIET)
            return false;
    }
    return true;
}

static void after_step(struct ring3 *ring3)
{
    uint64_t *mount_ns = &ring3->result.waits_ns[RING3_WAIT_mount];
    ring3->result.steps++;
    if (ring3->is_healing && !ring3->is_unmounting && !all_are_mounted(ring3))
        *mount_ns = ring3->world->now_ns - ring3->healed_ns;
    ring3_faults_look(ring3);
    ring3_check_step(ring3);
}

// Until the condition holds; false: it did not in so long.
static bool run_until(struct ring3 *ring3, uint64_t for_ns, bool (*holds)(struct ring3 *ring3))
{
    uint64_t until_ns = ring3->world->now_ns + for_ns;
    while (!ring3->result.is_failed && !holds(ring3)) {
        if (ring3->world->now_ns >= until_ns || !world_step(ring3->world))
            return false;
        after_step(ring3);
    }
    return !ring3->result.is_failed;
}

static bool never(struct ring3 *ring3)
{
    (void)ring3;
    return false;
}

static bool clients_are_done(struct ring3 *ring3)
{
    return ring3->clients_at_work == 0;
}

static bool all_is_well(struct ring3 *ring3)
{
    return clients_are_done(ring3) && all_are_mounted(ring3);
}

// The faults end while some operations are under way, and some have yet to come.
static bool faults_may_end(struct ring3 *ring3)
{
    return ring3->operations_left <= ring3->operations_healed && !ring3_faults_are_due(ring3);
}

static bool all_are_over(struct ring3 *ring3)
{
    const struct ring3_life *life;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (!life->is_over)
            return false;
    }
    return true;
}

static void say_who_waits(struct ring3 *ring3, const char *what)
{
    char text[280] = "";
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        const struct ring3_life *life = ring3->machines[i].life;
        struct cluster_status *status = calloc(1, sizeof(*status));
        CHECK(status != NULL);
        if (life != NULL && life->cluster != NULL)
            cluster_status_get(life->cluster, status);
        size_t length = strlen(text);
        snprintf(text + length, sizeof(text) - length, "; n%u %s: %.60s", i + 1,
                 life == NULL       ? "down"
                 : life->is_mounted ? "mounted"
                                    : "not mounted",
                 status->why);
        free(status);
    }
    const struct ring3_life *ghost;
    LIST_FOREACH (ghost, &ring3->lives, link) {
        size_t length = strlen(text);
        if (ghost->is_killed && !ghost->is_over)
            snprintf(text + length, sizeof(text) - length, "; life %u haunts", ghost->number);
    }
    for (char *end = strchr(text, '\n'); end != NULL; end = strchr(end, '\n'))
        *end = ' ';
    ring3_fail(ring3, "%s%s", what, text);
}

// In a coroutine.
struct job {
    struct ring3 *ring3;
    struct ring3_life *life;
    bool is_done;
};

static bool do_in_coroutine(struct ring3 *ring3, struct ring3_life *life, const char *what,
                            void (*body)(void *argument))
{
    struct job job = {.ring3 = ring3, .life = life};
    uint64_t until_ns = ring3->world->now_ns + bound_ns(ring3);
    coroutine_start(ring3->scheduler, what, body, &job);
    scheduler_run(ring3->scheduler);
    while (!job.is_done && ring3->world->now_ns < until_ns && world_step(ring3->world))
        after_step(ring3);
    if (!job.is_done)
        say_who_waits(ring3, what);
    return !ring3->result.is_failed;
}

static void make_shared(struct ring3 *ring3, struct volume *volume, enum ring3_kind kind,
                        const char *name)
{
    struct ring3_object *object = ring3_object_new(ring3->tree, kind, RING3_NOBODY);
    uint64_t parent = volume->geometry.root_inode;
    struct credentials who = {0, 0, 0};
    struct attributes made, wanted = {0};
    int result =
        kind == RING3_DIRECTORY
            ? operation_make_directory(volume, parent, name, 0777, &who, &made)
            : operation_create(volume, parent, name, S_IFREG | 0666, 0, &who, -1, &made, NULL);
    CHECK(result == 0);
    object->inode = made.inode;
    object->generation = made.generation;
    if (kind == RING3_DIRECTORY)
        return;
    wanted.stat.st_size = RING3_FILE_CELLS * RING3_CELL_BYTES;
    CHECK(operation_set_attributes(volume, made.inode, &wanted, SET_SIZE, &made) == 0);
    ring3_cell_set(&ring3->memories, &object->content->size, (uint64_t)wanted.stat.st_size);
}

static void set_up(void *argument)
{
    struct job *job = argument;
    struct volume *volume = job->life->volume;
    char name[16];
    for (unsigned i = 0; i < RING3_SHARED_DIRECTORIES; i++) {
        snprintf(name, sizeof(name), "shared%u", i);
        make_shared(job->ring3, volume, RING3_DIRECTORY, name);
    }
    for (unsigned i = 0; i < RING3_SHARED_FILES; i++) {
        snprintf(name, sizeof(name), "data%u", i);
        make_shared(job->ring3, volume, RING3_FILE, name);
    }
    ring3_quota_set_up(job->ring3, job->life);
    CHECK(operation_sync_volume(volume) == 0);
    job->is_done = true;
}

static void verify(void *argument)
{
    struct job *job = argument;
    ring3_verify(job->ring3, job->life);
    ring3_quota_verify(job->ring3, job->life);
    job->is_done = true;
}

// --- ending ------------------------------------------------------------------------------------

static bool unmount_all(struct ring3 *ring3)
{
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        ring3->machines[i].life->leaves_in_peace = true;
        ring3_life_leave(ring3->machines[i].life);
    }
    ring3->is_unmounting = true;
    uint64_t began_ns = ring3->world->now_ns;
    bool are_over = run_until(ring3, bound_ns(ring3), all_are_over);
    ring3->result.waits_ns[RING3_WAIT_umount] = ring3->world->now_ns - began_ns;
    if (!are_over) {
        say_who_waits(ring3, "all is well and a node does not end");
        return false;
    }
    const struct ring3_life *life;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (!life->has_left && life->leaves_in_peace)
            ring3_fail(ring3, "life %u did not leave cleanly: %s", life->number, life->first_error);
    }
    return !ring3->result.is_failed;
}

static void check_volume(struct ring3 *ring3)
{
    char output[RING3_FAILURE_BYTES - 60];
    int exit_code = ring2_fsck_run(ring3->world, ring3->disk, output, sizeof(output));
    if (exit_code != 0 || strstr(output, "DAMAGE_MET") != NULL) // nobody has damaged anything
        ring3_fail(ring3, "fsck exits %d: %s", exit_code, output);
}

// A ring is made within 1.3 s. The look at everything of a short history comes as early as it can.
static uint64_t settling_ns(const struct ring3 *ring3)
{
    return ring3->options.is_short ? ring3->lease_ns + 500 * RING3_MS
                                   : 2 * ring3->lease_ns + 3000 * RING3_MS;
}

static void run_parts(struct ring3 *ring3)
{
    if (!run_until(ring3, bound_ns(ring3), all_are_mounted)) {
        say_who_waits(ring3, "the first mounts");
        return;
    }
    if (!do_in_coroutine(ring3, ring3->machines[0].life, "making the shared files", set_up))
        return;
    uint64_t began_ns = ring3->world->now_ns;
    ring3->clients_at_work = ring3->client_count;
    for (unsigned i = 0; i < ring3->client_count; i++)
        coroutine_start(ring3->scheduler, "client", ring3_client_work, ring3->clients[i]);
    ring3_freezes_start(ring3);
    ring3_quota_start(ring3);
    ring3_faults_start(ring3);
    run_until(ring3, 4 * ring3->work_ns, faults_may_end);
    if (ring3->result.is_failed)
        return;
    ring3_heal(ring3);
    run_until(ring3, settling_ns(ring3), never); // what was under way still comes
    if (!run_until(ring3, bound_ns(ring3) - settling_ns(ring3), all_is_well)) {
        say_who_waits(ring3, "all is well and somebody waits for ever");
        return;
    }
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        if (!do_in_coroutine(ring3, ring3->machines[i].life, "the look at everything", verify))
            return;
    }
    ring3->result.virtual_ns = ring3->world->now_ns - began_ns;
    if (!unmount_all(ring3))
        return;
    check_volume(ring3);
    ring3_copies_check(ring3);
}

static void end(struct ring3 *ring3)
{
    struct ring3_life *life;
    ring3_faults_end(ring3);
    for (unsigned i = 0; i < ring3->client_count; i++)
        ring3_client_free(ring3->clients[i]);
    while ((life = LIST_FIRST(&ring3->lives)) != NULL)
        ring3_life_free(life);
    for (unsigned i = 0; i < ring3->machine_count; i++)
        ring3_machine_deinit(&ring3->machines[i]);
    ring3_tree_free(ring3->tree);
    ring3_memories_deinit(&ring3->memories);
    ring3_quota_free(ring3);
    sim_disk_free(ring3->disk);
    world_run(ring3->world); // frames under way find nobody
    ring3_totem_free(ring3->totem);
    CHECK(scheduler_alive(ring3->scheduler) == 0);
    free(ring3);
}

struct scheduler *ring3_scheduler_new(void)
{
    struct scheduler *scheduler = scheduler_new();
    scheduler_keep(scheduler, 1024);
    return scheduler;
}

// After a failure coroutines may be left: their world goes with the process.
void ring3_run(const struct ring3_options *options, struct ring3_result *result)
{
    struct ring3 *ring3 = calloc(1, sizeof(*ring3));
    CHECK(ring3 != NULL);
    ring3->scheduler = options->scheduler;
    begin(ring3, options);
    run_parts(ring3);
    *result = ring3->result;
    if (!result->is_failed)
        end(ring3);
}
