// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/merge_rivals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_state.h"
#include "fs/base/check.h"
#include "fs/base/random.h"

enum { MEMBERS = 3, JOINERS = 3, RINGS = 6, SLOTS = MEMBERS + JOINERS, GENERATION = 7 };

struct rivals {
    struct random random;
    struct membership_state members[MEMBERS]; // what each of them knows
    uint32_t beats_in[JOINERS];               // MEMBERSHIP_NO_SLOT: it may not beat yet
    char *failure;
    bool is_failed;
};

static void fail(struct rivals *rivals, const char *what, uint32_t node_id)
{
    if (!rivals->is_failed)
        snprintf(rivals->failure, MERGE_RIVALS_FAILURE_BYTES, "n%u %s", node_id, what);
    rivals->is_failed = true;
}

static uint32_t joiner_id(unsigned joiner)
{
    return MEMBERS + 1 + joiner;
}

static struct membership_member member_of(uint32_t node_id, uint32_t slot)
{
    return (struct membership_member){
        .node_id = node_id, .pid = 100 + node_id, .incarnation = 1000 + node_id, .slot = slot};
}

static struct membership_joiner *find(struct membership_state *state, unsigned joiner)
{
    return membership_state_joiner(state, joiner_id(joiner), 1000 + joiner_id(joiner));
}

static void begin(struct rivals *rivals)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct membership_state *state = &rivals->members[i];
        state->generation = GENERATION;
        state->slot_count = SLOTS;
        state->view.epoch = GENERATION;
        for (uint32_t j = 0; j < MEMBERS; j++)
            state->view.members[state->view.member_count++] = member_of(j + 1, j);
    }
    for (unsigned i = 0; i < JOINERS; i++)
        rivals->beats_in[i] = MEMBERSHIP_NO_SLOT;
}

// --- what must hold --------------------------------------------------------------------------

static void check_slots(struct rivals *rivals, struct membership_state *state)
{
    bool is_taken[SLOTS] = {true, true, true};
    for (uint32_t i = 0; i < state->joiner_count; i++) {
        uint32_t slot = state->joiners[i].member.slot;
        if (slot >= SLOTS || is_taken[slot])
            fail(rivals, "has a slot that is another's", state->joiners[i].member.node_id);
        else
            is_taken[slot] = true;
    }
    for (unsigned i = 0; i < JOINERS; i++) {
        const struct membership_joiner *joiner = find(state, i);
        bool may_beat = rivals->beats_in[i] != MEMBERSHIP_NO_SLOT;
        if (may_beat && (joiner == NULL || joiner->member.slot != rivals->beats_in[i]))
            fail(rivals, "may beat in a slot that is not its own any more", joiner_id(i));
    }
}

static void check_known(struct rivals *rivals, struct membership_state *state, uint32_t ring)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        for (unsigned j = 0; ring >> i & 1 && j < JOINERS; j++) {
            if (find(&rivals->members[i], j) != NULL && find(state, j) == NULL)
                fail(rivals, "was heard, and is forgotten", joiner_id(j));
        }
    }
}

// --- rings -----------------------------------------------------------------------------------

static uint32_t draw_ring(struct rivals *rivals)
{
    uint32_t without = (uint32_t)random_below(&rivals->random, MEMBERS + 1);
    return without == MEMBERS ? 7u : 7u & ~(1u << without);
}

// All in the ring begin with what its lowest member knows, and add what the others know.
static void merge(struct rivals *rivals, uint32_t ring)
{
    struct membership_state state = rivals->members[__builtin_ctz(ring)];
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (ring >> i & 1)
            membership_state_merge(&state, &rivals->members[i]);
    }
    check_slots(rivals, &state);
    check_known(rivals, &state, ring);
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (ring >> i & 1)
            rivals->members[i] = state;
    }
}

// Some ask for a slot. The ring may break before all have heard it: then one or another alone has.
static bool hear_joins(struct rivals *rivals, uint32_t ring)
{
    bool is_whole = random_one_in(&rivals->random, 2);
    uint32_t heard = is_whole ? ring : ring & (uint32_t)random_below(&rivals->random, 8);
    struct membership_state *first = &rivals->members[__builtin_ctz(ring)];
    unsigned joiner = (unsigned)random_below(&rivals->random, JOINERS);
    if (find(first, joiner) != NULL)
        return is_whole;
    uint32_t slot = membership_state_free_slot(first, MEMBERSHIP_NO_SLOT);
    for (unsigned i = 0; i < MEMBERS && slot != MEMBERSHIP_NO_SLOT; i++) {
        struct membership_state *state = &rivals->members[i];
        if (heard >> i & 1)
            state->joiners[state->joiner_count++] =
                (struct membership_joiner){.member = member_of(joiner_id(joiner), slot)};
    }
    return is_whole;
}

// The next state, which offers each its slot, is prepared; once all have acknowledged it, those who
// heard all of them may beat.
static void offer(struct rivals *rivals, uint32_t ring, uint64_t generation)
{
    bool is_whole = random_one_in(&rivals->random, 2);
    uint32_t prepared = is_whole ? ring : ring & (uint32_t)random_below(&rivals->random, 8);
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct membership_state *state = &rivals->members[i];
        for (uint32_t j = 0; prepared >> i & 1 && j < state->joiner_count; j++)
            state->joiners[j].offered = generation;
    }
    struct membership_state *first = &rivals->members[__builtin_ctz(ring)];
    for (unsigned j = 0; is_whole && j < JOINERS; j++) {
        const struct membership_joiner *joiner = find(first, j);
        if (joiner != NULL && random_one_in(&rivals->random, 2))
            rivals->beats_in[j] = joiner->member.slot;
    }
}

bool merge_rivals_run(uint64_t seed, char failure[MERGE_RIVALS_FAILURE_BYTES])
{
    struct rivals *rivals = calloc(1, sizeof(*rivals));
    CHECK(rivals != NULL);
    rivals->failure = failure;
    failure[0] = '\0';
    random_init(&rivals->random, seed);
    begin(rivals);
    for (unsigned i = 1; i <= RINGS && !rivals->is_failed; i++) {
        uint32_t ring = draw_ring(rivals);
        merge(rivals, ring);
        if (hear_joins(rivals, ring))
            offer(rivals, ring, 100 * i);
    }
    bool is_failed = rivals->is_failed;
    free(rivals);
    return is_failed;
}
