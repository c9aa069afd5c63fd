// SPDX-License-Identifier: Apache-2.0
// Links between lives. A connection keeps its order; different links know nothing of each other.
// A cut loses what is under way; the sessions make up for it when the link is connected again.
#include "tests/sim/lock_world.h"

#include "fs/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { UNACKED_BYTES_MAX = 1 << 24 };

static struct sim_link *link_of(struct world *world, uint32_t a, uint32_t b)
{
    struct sim_link **link = a < b ? &world->links[a][b] : &world->links[b][a];

    if (*link)
        return *link;
    *link = calloc(1, sizeof(**link));
    CHECK(*link != NULL);
    const struct session_config config = {.unacked_bytes_max = UNACKED_BYTES_MAX};
    for (int i = 0; i < 2; i++) {
        (*link)->ends[i] = session_new(&config);
        CHECK(session_connect((*link)->ends[i], 0) == 0);
    }
    (*link)->is_up = true;
    (*link)->is_slow = world_one_in(world, 8);
    return *link;
}

static void arrive(struct world *world, const struct sim_event *event);

// Mostly quick, at times very late: that is what lets views overtake messages.
static uint64_t draw_delay(struct world *world, const struct sim_link *link)
{
    if (link->is_slow)
        return world_between(world, 1, 300);
    if (world_one_in(world, 24))
        return world_between(world, 1, 120);
    return world_between(world, 1, world->delay_max);
}

// Writes on the connection whatever the session of `from` has to say.
static void pump(struct world *world, uint32_t from, uint32_t to)
{
    struct sim_link *link = link_of(world, from, to);
    int side = from > to;
    struct session_frame_wire header;
    const uint8_t *payload;
    size_t length;

    while (session_next(link->ends[side], &header, &payload, &length)) {
        uint64_t at = world->now + draw_delay(world, link);
        if (at < link->arrival[side])
            at = link->arrival[side];
        link->arrival[side] = at;
        uint8_t *bytes = NULL;
        if (length) {
            bytes = malloc(length);
            CHECK(bytes != NULL);
            memcpy(bytes, payload, length);
        }
        struct sim_event *event = world_schedule(world, at - world->now, arrive);
        event->life = to;
        event->peer = from;
        event->number = link->generation;
        event->header = header;
        event->bytes = bytes;
        event->length = length;
    }
}

static void arrive(struct world *world, const struct sim_event *event)
{
    struct sim_link *link = link_of(world, event->life, event->peer);
    struct sim_life *life = &world->lives[event->life];
    struct session *session = link->ends[event->life > event->peer];

    if (!life_is_up(life) || event->number != link->generation)
        return;
    size_t length;
    int result = session_frame_verify(&event->header, &length);
    if (result == 0 && length == event->length)
        result = session_receive(session, &event->header);
    if (result < 0) {
        world_fail(world, "the session n%u - n%u is lost", life->node.node_id,
                   world->lives[event->peer].node.node_id);
        return;
    }
    if (result == 1) {
        struct dlm_event frame = {
            .type = DLM_EVENT_FRAME,
            .frame = {world->lives[event->peer].node, event->bytes, event->length},
        };
        life_step(world, event->life, &frame, 1);
    }
    if (life_is_up(life))
        pump(world, event->life, event->peer);
}

void network_send(struct world *world, uint32_t from, uint32_t to, const uint8_t *bytes,
                  size_t length)
{
    struct sim_link *link;

    if (to == UINT32_MAX) {
        world_fail(world, "a frame for nobody");
        return;
    }
    link = link_of(world, from, to);
    if (session_send(link->ends[from > to], bytes, length) < 0) {
        world_fail(world, "too much unconfirmed on one session");
        return;
    }
    pump(world, from, to);
}

void network_cut(struct world *world, uint32_t a, uint32_t b)
{
    struct sim_link *link = link_of(world, a, b);

    if (!link->is_up)
        return;
    world_trace(world, "cut n%u - n%u", world->lives[a].node.node_id, world->lives[b].node.node_id);
    link->is_up = false;
    link->generation++;
    link->arrival[0] = link->arrival[1] = 0;
    for (int i = 0; i < 2; i++)
        session_disconnect(link->ends[i]);
}

void network_connect(struct world *world, uint32_t a, uint32_t b)
{
    struct sim_link *link = link_of(world, a, b);
    uint64_t received[2];

    if (link->is_up || !life_is_up(&world->lives[a]) || !life_is_up(&world->lives[b]))
        return;
    world_trace(world, "connect n%u - n%u", world->lives[a].node.node_id,
                world->lives[b].node.node_id);
    link->is_up = true;
    for (int i = 0; i < 2; i++)
        received[i] = session_received(link->ends[i]);
    for (int i = 0; i < 2; i++)
        if (session_connect(link->ends[i], received[1 - i]) < 0)
            world_fail(world, "a session cannot be resumed");
    pump(world, a, b);
    pump(world, b, a);
}

void network_deinit(struct world *world)
{
    for (uint32_t a = 0; a < world->life_count; a++) {
        for (uint32_t b = a + 1; b < world->life_count; b++) {
            struct sim_link *link = world->links[a][b];
            if (!link)
                continue;
            session_free(link->ends[0]);
            session_free(link->ends[1]);
            free(link);
        }
    }
}
