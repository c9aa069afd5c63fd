// SPDX-License-Identifier: Apache-2.0
// The slot table and the I/O of lives. A write lands between its submission and io_max after it,
// whatever becomes of the process that submitted it; its reply may come much later, or be an error
// though it has landed. Bad paths refuse everything.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "tests/sim/membership_world.h"

enum io_kind { IO_HEARTBEAT_MACHINE, IO_DATA };

// One I/O under way. It outlives its life.
struct disk_io {
    LIST_ENTRY(disk_io) link; // of all under way
    struct world_event lands, replies;
    struct sim_life *life;
    struct sim_life *on_behalf_of; // DATA of a replay: whose journal
    enum io_kind kind;
    struct heartbeat_io io;
    int result;
    bool will_land, has_landed, has_replied, is_write, is_late;
    uint8_t bytes[BLOCK_BYTES];
};

void disk_init(struct sim *sim)
{
    struct sim_slots *disk = &sim->disk;
    for (uint32_t slot = 0; slot < SIM_SLOTS; slot++) {
        struct heartbeat_content heartbeat = {.state = HEARTBEAT_FREE};
        struct mailbox_content mailbox = {0};
        heartbeat_encode(disk->heartbeats[slot], &sim->geometry, slot, &heartbeat);
        mailbox_encode(disk->mailboxes[slot], &sim->geometry, slot, &mailbox);
        memcpy(disk->other_heartbeats[slot], disk->heartbeats[slot], BLOCK_BYTES);
        memcpy(disk->other_mailboxes[slot], disk->mailboxes[slot], BLOCK_BYTES);
    }
}

bool disk_slot(struct sim *sim, uint32_t slot, struct heartbeat_content *content)
{
    return heartbeat_decode(sim->disk.heartbeats[slot], &sim->geometry, slot, content) == 0;
}

static uint8_t *block_of(const struct sim_life *life, const struct heartbeat_io *io)
{
    struct sim *sim = life->sim;
    bool is_mailbox = io->block == geometry_mailbox_block(&sim->geometry, io->slot);
    if (life->on_other_lun)
        return is_mailbox ? sim->disk.other_mailboxes[io->slot]
                          : sim->disk.other_heartbeats[io->slot];
    return is_mailbox ? sim->disk.mailboxes[io->slot] : sim->disk.heartbeats[io->slot];
}

static void io_free(struct disk_io *io)
{
    LIST_REMOVE(io, link);
    free(io);
}

void disk_deinit(struct sim *sim)
{
    while (!LIST_EMPTY(&sim->disk.under_way))
        io_free(LIST_FIRST(&sim->disk.under_way));
}

static void io_free_if_over(struct disk_io *io)
{
    if ((io->has_landed || !io->will_land) && io->has_replied)
        io_free(io);
}

static void note_landed(const struct disk_io *io)
{
    struct sim *sim = io->life->sim;
    sim->disk.mailbox_landed_ns[io->io.slot] = sim->world.now_ns;
    if (sim->totem.is_two_node && io->io.type == HEARTBEAT_IO_WRITE_NOTE)
        check_tie_break(io->life, io->io.slot);
}

static void io_lands(struct world_event *event)
{
    struct disk_io *io =
        (struct disk_io *)(void *)((char *)event - offsetof(struct disk_io, lands));
    struct sim *sim = io->life->sim;
    io->has_landed = true;
    if (io->is_write)
        io->life->in_flight--;
    if (io->kind == IO_DATA) {
        check_write_landed(io->life, io->on_behalf_of);
    } else if (io->is_write) {
        uint8_t *block = block_of(io->life, &io->io);
        if (io->io.type == HEARTBEAT_IO_WRITE_MAILBOX)
            check_mailbox_emptied(io->life);
        if (io->io.type == HEARTBEAT_IO_WRITE_BEAT && !io->life->on_other_lun)
            check_beat_lands(io->life);
        memcpy(block, io->bytes, BLOCK_BYTES);
        if (block == sim->disk.mailboxes[io->io.slot])
            note_landed(io);
    } else {
        memcpy(io->bytes, block_of(io->life, &io->io), BLOCK_BYTES);
    }
    io_free_if_over(io);
}

static void io_replies(struct world_event *event)
{
    struct disk_io *io =
        (struct disk_io *)(void *)((char *)event - offsetof(struct disk_io, replies));
    struct sim_life *life = io->life;
    if (life->is_alive && life->is_paused) {
        world_event_arm(&life->sim->world, event, life->sim->world.now_ns + 50 * MS);
        return;
    }
    io->has_replied = true;
    if (io->is_late && life->sim->cut == NULL) { // the node is cut off just then
        life->sim->cut = life->node;
        world_event_arm(&life->sim->world, &life->sim->cutting, life->sim->world.now_ns + 100 * MS);
    }
    if (life->is_alive && io->kind == IO_HEARTBEAT_MACHINE) {
        life->heartbeat_io_is_out = false;
        if (!io->is_write && io->result == 0)
            memcpy(life->buffer, io->bytes, BLOCK_BYTES);
        heartbeat_machine_completed(life->heartbeat, io->result, life_now(life));
        life_heartbeat_changed(life);
        disk_pump(life);
    }
    io_free_if_over(io);
}

static uint64_t draw_latency(struct sim *sim)
{
    if (sim->is_healing || !sim_one_in(sim, 40))
        return sim_between(sim, 200000, 10 * MS);
    if (sim_one_in(sim, 4))
        return sim_between(sim, 1500 * MS, 9000 * MS);
    return sim_between(sim, 50 * MS, 1500 * MS);
}

// One path of the node stalls, the one of its heartbeat's writes (rule 10a): the next beat lands at
// once and is answered late, later ones do not land. Data goes on over another path.
static bool is_stalled(struct disk_io *io, uint64_t *latency_ns)
{
    struct sim_life *life = io->life;
    struct sim *sim = life->sim;
    if (io->kind == IO_DATA || io->io.type != HEARTBEAT_IO_WRITE_BEAT || sim->is_healing ||
        sim->world.now_ns >= life->stall_until_ns)
        return false;
    if (life->stall_has_begun) {
        *latency_ns = 500 * MS;
        return true;
    }
    life->stall_has_begun = io->is_late = true;
    *latency_ns = sim_between(sim, 2500 * MS, 3900 * MS);
    return false;
}

static void io_submit(struct disk_io *io)
{
    struct sim *sim = io->life->sim;
    uint64_t now_ns = sim->world.now_ns, latency_ns = draw_latency(sim);
    bool fails = !sim->is_healing && (sim->disk.is_bad || sim_one_in(sim, 200));
    fails |= is_stalled(io, &latency_ns);
    if (now_ns < io->life->slow_until_ns)
        latency_ns = SIM_IO_MAX_NS;
    uint64_t longest_ns = latency_ns < SIM_IO_MAX_NS * 9 / 10 ? latency_ns : SIM_IO_MAX_NS * 9 / 10;
    bool is_stall = fails && io->life->stall_has_begun;
    io->will_land = !fails || (!is_stall && sim_one_in(sim, 2)); // an error may hide a success
    if (fails && !io->is_write)
        io->will_land = false;
    io->result = fails ? -EIO : 0;
    io->lands.fire = io_lands;
    io->replies.fire = io_replies;
    if (io->will_land) {
        world_event_arm(&sim->world, &io->lands, now_ns + sim_below(sim, longest_ns));
        if (io->is_write)
            io->life->in_flight++;
    }
    world_event_arm(&sim->world, &io->replies, now_ns + latency_ns);
}

static struct disk_io *io_new(struct sim_life *life, enum io_kind kind)
{
    struct disk_io *io = malloc(sizeof(*io));
    CHECK(io != NULL);
    memset(io, 0, offsetof(struct disk_io, bytes)); // most of them carry none
    io->life = life;
    io->kind = kind;
    LIST_INSERT_HEAD(&life->sim->disk.under_way, io, link);
    return io;
}

void disk_data_write(struct sim_life *life, struct sim_life *on_behalf_of)
{
    struct disk_io *io = io_new(life, IO_DATA);
    io->on_behalf_of = on_behalf_of;
    io->is_write = true;
    io_submit(io);
}

void disk_pump(struct sim_life *life)
{
    if (!life->is_alive || life->heartbeat == NULL || life->is_paused || life->heartbeat_io_is_out)
        return;
    struct sim *sim = life->sim;
    const struct heartbeat_io *next = heartbeat_machine_next(life->heartbeat, life_now(life));
    life_heartbeat_changed(life);
    if (!life->is_alive)
        return;
    if (next->type == HEARTBEAT_IO_NONE) {
        uint64_t at_ns = life_at(life, next->wake_ns);
        uint64_t longest_ns = sim->world.now_ns + 200 * MS;
        world_event_arm(&sim->world, &life->beat, at_ns < longest_ns ? at_ns + 1000 : longest_ns);
        return;
    }
    if (next->type == HEARTBEAT_IO_WRITE_BEAT && life->heartbeat->beat == 1 && !life->on_other_lun)
        check_slot_taken(life, life->slot);
    struct disk_io *io = io_new(life, IO_HEARTBEAT_MACHINE);
    io->io = *next;
    io->is_write = next->is_write;
    if (io->is_write)
        memcpy(io->bytes, life->buffer, BLOCK_BYTES);
    life->heartbeat_io_is_out = true;
    io_submit(io);
}
