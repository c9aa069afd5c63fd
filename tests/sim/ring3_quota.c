// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/ring3_quota.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/base/check.h"
#include "fs/base/coroutine.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "fs/quota.h"
#include "fs/volume.h"

enum { GROW_BLOCKS_MAX = 64, FILE_BLOCKS = 2000 };

static const struct quota_owner owner = {QUOTA_USER, RING3_QUOTA_UID};

struct worker {
    struct ring3_quota *quota;
    struct ring3_quota_file *file;
    struct random random;
};

static uint64_t draw(struct worker *worker, uint64_t bound)
{
    return random_below(&worker->random, bound);
}

static void rest(struct ring3 *ring3, uint64_t ns)
{
    environment_sleep(&ring3->client_node.environment, ns);
}

// --- set up --------------------------------------------------------------------------------------

static void turn_on(struct ring3 *ring3, struct volume *volume)
{
    struct quota_status status;
    CHECK(quota_switch(volume->quota, true) == 0);
    do {
        rest(ring3, 5 * RING3_MS);
        CHECK(quota_get_status(volume->quota, &status) == 0);
    } while (status.phase == QUOTA_TURNS_ON);
    if (status.ended != 0)
        ring3_fail(ring3, "quotas: not turned on: %s", error_text(status.ended));
}

static void make_files(struct ring3_quota *quota, struct volume *volume)
{
    struct credentials who = {.uid = RING3_QUOTA_UID, .gid = RING3_QUOTA_UID};
    for (unsigned i = 0; i < RING3_QUOTA_FILES; i++) {
        struct attributes made;
        char name[16];
        snprintf(name, sizeof(name), "quota%u", i);
        CHECK(operation_create(volume, volume->geometry.root_inode, name, S_IFREG | 0600, 0, &who,
                               -1, &made, NULL) == 0);
        quota->files[i].inode = made.inode;
    }
}

void ring3_quota_set_up(struct ring3 *ring3, struct ring3_life *life)
{
    if (ring3->options.seed % 2 != 0)
        return;
    struct random random;
    struct ring3_quota *quota = calloc(1, sizeof(*quota));
    CHECK(quota != NULL);
    random_init(&random, ring3->options.seed);
    quota->ring3 = ring3;
    quota->limit = 100 + random_below(&random, 900);
    struct quota_limits limits = {.block_hard = quota->limit};
    make_files(quota, life->volume);
    turn_on(ring3, life->volume);
    CHECK(quota_set(life->volume->quota, owner, QUOTA_SET_BLOCK_HARD, &limits) == 0);
    ring3->quota = quota;
}

void ring3_quota_free(struct ring3 *ring3)
{
    free(ring3->quota);
    ring3->quota = NULL;
}

// --- a worker ------------------------------------------------------------------------------------

static struct ring3_life *choose_life(struct worker *worker)
{
    struct ring3 *ring3 = worker->quota->ring3;
    struct ring3_life *life = ring3->machines[draw(worker, ring3->machine_count)].life;
    bool may_work = life != NULL && life->is_mounted && !life->is_killed;
    return may_work && ring3_life_begin(life) ? life : NULL;
}

// What the file has now, if the node may say so.
static void look(struct worker *worker, struct ring3_life *life, unsigned deaths)
{
    struct attributes found;
    int result = operation_get_attributes(life->volume, worker->file->inode, &found);
    if (result == 0 && ring3_life_may_answer(life))
        ring3_check_quota_known(worker->quota, worker->file, (uint64_t)found.stat.st_blocks / 8,
                                deaths);
}

static int grow(struct worker *worker, struct ring3_life *life, uint64_t blocks)
{
    struct open_file *file;
    uint64_t first = draw(worker, FILE_BLOCKS);
    int result = operation_open(life->volume, worker->file->inode, O_RDWR, &file);
    if (result != 0)
        return result;
    result = operation_allocate(life->volume, file, 0, first * BLOCK_BYTES, blocks * BLOCK_BYTES);
    operation_release(life->volume, file);
    return result;
}

static int shrink(struct worker *worker, struct ring3_life *life)
{
    struct attributes wanted = {0}, out;
    return operation_set_attributes(life->volume, worker->file->inode, &wanted, SET_SIZE, &out);
}

static void judge(struct worker *worker, struct ring3_life *life, int result)
{
    struct ring3 *ring3 = worker->quota->ring3;
    bool is_answered = ring3_life_may_answer(life);
    ring3_trace(ring3, "quota worker, life %u: %llu blocks: %s", life->number,
                (unsigned long long)worker->file->asked,
                !is_answered ? "no answer" : error_text(result));
    if (!is_answered || result == 0 || (result == -EIO && life->had_errors))
        return;
    if (result == -EDQUOT && worker->file->asked > 0)
        ring3_check_quota_refused(worker->quota, worker->file);
    else
        ring3_fail(ring3, "quotas: a worker was answered %d (%s)", result, error_text(result));
}

static void change(struct worker *worker, struct ring3_life *life)
{
    uint64_t asked = draw(worker, 6) == 0 ? 0 : 1 + draw(worker, GROW_BLOCKS_MAX);
    ring3_check_quota_begin(worker->quota, worker->file, asked);
    int result = asked > 0 ? grow(worker, life, asked) : shrink(worker, life);
    judge(worker, life, result);
    ring3_check_quota_end(worker->quota, worker->file);
}

// The same limit again: all shares come back.
static void set_again(struct worker *worker, struct ring3_life *life)
{
    struct quota_limits limits = {.block_hard = worker->quota->limit};
    int result = quota_set(life->volume->quota, owner, QUOTA_SET_BLOCK_HARD, &limits);
    bool is_allowed = result == 0 || (result == -EIO && life->had_errors);
    if (!is_allowed && ring3_life_may_answer(life))
        ring3_fail(worker->quota->ring3, "quotas: set answered %d (%s)", result,
                   error_text(result));
}

static void step(struct worker *worker, struct ring3_life *life)
{
    struct ring3 *ring3 = worker->quota->ring3;
    if (!worker->file->is_known || worker->file->deaths != ring3->deaths)
        look(worker, life, ring3->deaths);
    if (draw(worker, 25) == 0)
        set_again(worker, life);
    else if (worker->file->is_known && worker->file->deaths == ring3->deaths)
        change(worker, life);
}

static void work(void *argument)
{
    struct worker *worker = argument;
    struct ring3 *ring3 = worker->quota->ring3;
    while (!ring3->result.is_failed && ring3->operations_left > 0) {
        struct ring3_life *life = choose_life(worker);
        if (life != NULL) {
            step(worker, life);
            ring3_life_end(life);
        }
        rest(ring3, draw(worker, ring3->work_ns / 60));
    }
    free(worker);
    ring3->clients_at_work--;
}

void ring3_quota_start(struct ring3 *ring3)
{
    if (ring3->quota == NULL)
        return;
    for (unsigned i = 0; i < RING3_QUOTA_FILES; i++) {
        struct worker *worker = calloc(1, sizeof(*worker));
        CHECK(worker != NULL);
        worker->quota = ring3->quota;
        worker->file = &ring3->quota->files[i];
        random_init(&worker->random, ring3->options.seed * 31 + i);
        ring3->clients_at_work++;
        coroutine_start(ring3->scheduler, "quota worker", work, worker);
    }
}

// --- the end -------------------------------------------------------------------------------------

void ring3_quota_verify(struct ring3 *ring3, struct ring3_life *life)
{
    struct quota_row row;
    uint64_t sum = 0;
    if (ring3->quota == NULL || !ring3_life_begin(life))
        return;
    int result = quota_get(life->volume->quota, owner, &row);
    for (unsigned i = 0; i < RING3_QUOTA_FILES && result == 0; i++) {
        struct attributes found = {0};
        result = operation_get_attributes(life->volume, ring3->quota->files[i].inode, &found);
        sum += (uint64_t)found.stat.st_blocks / 8;
    }
    if (result != 0)
        ring3_fail(ring3, "quotas: the last look answered %d (%s)", result, error_text(result));
    else if (row.blocks != (int64_t)sum || row.inodes != RING3_QUOTA_FILES)
        ring3_fail(ring3, "quotas: life %u counts %lld blocks in %lld files, and there are %llu",
                   life->number, (long long)row.blocks, (long long)row.inodes,
                   (unsigned long long)sum);
    ring3_life_end(life);
}
