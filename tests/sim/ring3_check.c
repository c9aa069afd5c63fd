// SPDX-License-Identifier: Apache-2.0
// When what is looked at: writes as they land, rights every so many steps, journals whenever
// somebody has a dead node fenced that nobody had before.
#include "tests/sim/ring3_check.h"

#include "fs/cluster_state.h"
#include "tests/sim/disk.h"

enum { STEPS_BETWEEN_RIGHTS = 512 };

// The life whose write it is; NULL if it has not joined yet, or is none.
static const struct ring3_life *writer_of(const struct ring3 *ring3,
                                          const struct sim_disk_write *write)
{
    const struct ring3_life *life;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (life->path == write->path || life->beat_path == write->path)
            return life->incarnation != 0 ? life : NULL;
    }
    return NULL;
}

static void landed(void *context, const struct sim_disk_write *write)
{
    struct ring3 *ring3 = context;
    ring3->result.writes++;
    const struct ring3_life *writer = writer_of(ring3, write);
    if (writer == NULL)
        return;
    ring3->result.late_writes += writer->is_killed;
    ring3_check_fenced(ring3, writer, write);
    ring3_check_frozen(ring3, writer, write);
}

void ring3_check_start(struct ring3 *ring3)
{
    sim_disk_set_hook(ring3->disk, landed, ring3);
}

// Whether nobody had it fenced so far.
static bool is_newly_fenced(struct ring3 *ring3, const struct membership_dead *dead)
{
    struct ring3_fenced *fenced = &ring3->fenced;
    for (unsigned i = 0; i < fenced->count; i++) {
        if (fenced->incarnations[i] == dead->incarnation && fenced->slots[i] == dead->slot)
            return false;
    }
    if (fenced->count == RING3_FENCED_MAX)
        return false;
    fenced->incarnations[fenced->count] = dead->incarnation;
    fenced->slots[fenced->count++] = dead->slot;
    return true;
}

static void look_at_journals(struct ring3 *ring3, const struct ring3_life *life,
                             const struct membership_dead *dead)
{
    struct ring3_copy copy;
    ring3_copy_init(&copy, ring3, &life->geometry);
    ring3_check_journals(ring3, &copy);
    ring3_check_replay(ring3, &copy, dead);
    ring3_copy_deinit(&copy);
}

static void look_at_view(struct ring3 *ring3, const struct ring3_life *life)
{
    if (life->is_killed || life->cluster == NULL || life->cluster->membership == NULL)
        return;
    const struct membership_view *view = membership_view_get(life->cluster->membership);
    for (uint32_t i = 0; i < view->dead_count; i++) {
        if (view->dead[i].phase != MEMBERSHIP_FENCED || !is_newly_fenced(ring3, &view->dead[i]))
            continue;
        look_at_journals(ring3, life, &view->dead[i]);
        ring3_check_rights(ring3);
    }
}

void ring3_check_step(struct ring3 *ring3)
{
    for (unsigned i = 0; i < ring3->machine_count; i++) {
        if (ring3->machines[i].life != NULL)
            look_at_view(ring3, ring3->machines[i].life);
    }
    if (ring3->result.steps % STEPS_BETWEEN_RIGHTS == 0)
        ring3_check_rights(ring3);
}
