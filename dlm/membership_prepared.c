// SPDX-License-Identifier: Apache-2.0
// Prepared states whose fate this node does not know. It has said ACK, the ring broke before it
// heard all the others, and somebody may have heard them all. The answer may come several rings
// later, when this node has prepared something else meanwhile:
//
//      n6, and all of ring 56        n5 (heard one ACK more)
//      S0, prepares P1, ACK          S0, prepares P1, ACK, installs P1
//      ── ring 60: apart; ring 68 is quorate, without n5 ──
//      S0, prepares P2 (n5 is dead)
//      ── ring 72 breaks into it, before all ACKs: with n5 ──
//      S0: P2 is nobody's            P1, which is the base of ring 72
//      installs P1, goes on from it
//
// Forgetting P1 at P2 is what made n6 miss a view. If some n2 did hear all ACKs of P2 and is not in
// ring 72, then n2 goes the way of all who are left behind: P1 goes on without it, it is dead in
// the next view, and when it comes back it is not named and ends.
//
// Within one ring nothing needs to be kept: what voids a round there does so at the same place of
// the order for all. Whatever is installed settles all that was kept: P1 and P2 exclude each other.
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_machine.h"
#include "fs/base/check.h"
#include "fs/base/sabotage.h"

void membership_prepared_keep(struct membership *self)
{
    if (!self->is_prepared || !self->has_state)
        return;
    self->is_prepared = false;
    if (self->prepared->generation <= self->state->generation ||
        SABOTAGE(membership_forget_prepared))
        return; // it has changed nothing, or was installed
    struct membership_state *oldest = NULL;
    if (self->unsure_count == MEMBERSHIP_UNSURE_MAX) { // at worst a view is missed: this life ends
        oldest = self->unsure[0];
        memmove(self->unsure, self->unsure + 1,
                (MEMBERSHIP_UNSURE_MAX - 1) * sizeof(self->unsure[0]));
        self->unsure_count--;
    }
    self->unsure[self->unsure_count++] = self->prepared;
    self->prepared = oldest ? oldest : malloc(sizeof(*self->prepared));
    CHECK(self->prepared != NULL);
}

bool membership_prepared_find(struct membership *self, uint64_t generation)
{
    if (self->is_prepared && self->prepared->generation == generation)
        return true;
    for (uint32_t i = 0; i < self->unsure_count; i++) {
        if (self->unsure[i]->generation != generation)
            continue;
        struct membership_state *found = self->unsure[i];
        self->unsure[i] = self->prepared;
        self->prepared = found;
        self->is_prepared = true;
        return true;
    }
    return false;
}

bool membership_prepared_knows(const struct membership *self, uint32_t node_id,
                               uint64_t incarnation)
{
    if (self->is_prepared && membership_state_knows(self->prepared, node_id, incarnation))
        return true;
    for (uint32_t i = 0; i < self->unsure_count; i++)
        if (membership_state_knows(self->unsure[i], node_id, incarnation))
            return true;
    return false;
}

void membership_prepared_forget(struct membership *self)
{
    self->is_prepared = false;
    while (self->unsure_count > 0)
        free(self->unsure[--self->unsure_count]);
}
