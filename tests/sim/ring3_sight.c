// SPDX-License-Identifier: Apache-2.0
// What a life sees of others, and what those who work on it see of the life.
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/cluster_state.h"
#include "fs/volume.h"
#include "tests/sim/ring3.h"

// --- what it sees of others ------------------------------------------------------------------

static const struct membership_view *view_of(const struct ring3_life *life)
{
    if (life->is_killed || life->cluster == NULL || life->cluster->membership == NULL)
        return NULL;
    return membership_view_get(life->cluster->membership);
}

enum ring3_phase ring3_life_phase(const struct ring3_life *life)
{
    const struct membership_view *view = view_of(life);
    enum ring3_phase phase = RING3_QUIET;
    for (uint32_t i = 0; view != NULL && i < view->dead_count; i++) {
        if (view->dead[i].phase == MEMBERSHIP_FENCED)
            return RING3_REPLAYING;
        if (view->dead[i].phase == MEMBERSHIP_DEAD)
            phase = RING3_FENCING;
    }
    return phase;
}

bool ring3_life_replays(const struct ring3_life *life)
{
    const struct membership_view *view = view_of(life);
    for (uint32_t i = 0; view != NULL && i < view->dead_count; i++) {
        if (view->dead[i].phase == MEMBERSHIP_FENCED &&
            view->dead[i].recoverer_incarnation == life->incarnation)
            return true;
    }
    return false;
}

bool ring3_life_has_fenced(const struct ring3_life *life, const struct ring3_life *other)
{
    const struct membership_view *view = view_of(life);
    for (uint32_t i = 0; view != NULL && i < view->dead_count; i++) {
        if (view->dead[i].phase != MEMBERSHIP_DEAD &&
            view->dead[i].node_id == other->machine->node_id &&
            view->dead[i].incarnation == other->incarnation)
            return true;
    }
    return false;
}

// --- for those who work on it --------------------------------------------------------------------

// False: it never will be open again, or the mount is over.
static bool pass_gate(struct ring3_life *life, bool may_refuse)
{
    for (;;) {
        if (life->is_killed || life->volume == NULL || volume_check(life->volume) != 0 ||
            gate_has_ended(&life->gate))
            return false;
        if (gate_is_open(&life->gate, environment_boot_ns(&life->world_node.environment)))
            return true;
        if (may_refuse && !life->is_mounted)
            return false;
        environment_sleep(&life->world_node.environment, 20 * RING3_MS);
    }
}

bool ring3_life_begin(struct ring3_life *life)
{
    if (!life->is_mounted)
        return false;
    life->user_count++;
    if (pass_gate(life, true))
        return true;
    ring3_life_end(life);
    return false;
}

bool ring3_life_may_answer(struct ring3_life *life)
{
    return pass_gate(life, false);
}

void ring3_life_end(struct ring3_life *life)
{
    CHECK(life->user_count > 0);
    if (--life->user_count == 0)
        ring3_life_moved(life);
}

struct ring3_handle *ring3_handle_new(struct ring3_life *life, struct open_file *open,
                                      struct ring3_object *object, int flags)
{
    struct ring3_handle *handle = calloc(1, sizeof(*handle));
    CHECK(handle != NULL);
    *handle = (struct ring3_handle){.life = life, .open = open, .object = object, .flags = flags};
    LIST_INSERT_HEAD(&life->handles, handle, link);
    return handle;
}

void ring3_handle_free(struct ring3_handle *handle)
{
    LIST_REMOVE(handle, link);
    free(handle);
}
