// SPDX-License-Identifier: Apache-2.0
#include "dlm/heartbeat_machine.h"

#include <stdio.h>
#include <string.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"

// What the round is at: one I/O leads to the next.
enum phase {
    PHASE_FIRST_MAILBOX,  // before our first beat: may a note be there already?
    PHASE_REPAIR_MAILBOX, // it is unreadable: nobody knows our incarnation yet, so none is lost
    PHASE_FIRST_SLOT,     // ... and is the slot nobody's?
    PHASE_IDLE,
    PHASE_READ_BACK, // of a beat whose reply was an error
    PHASE_MAILBOX,   // after an acknowledged beat
    PHASE_NOTE_BACK, // of a note
    PHASE_FREE_LOOK, // at a slot that is to be freed
    PHASE_FREE,
};

enum { RETRIES_PER_BEAT = 5 };

void heartbeat_machine_init(struct heartbeat_machine *machine,
                            const struct heartbeat_config *config, uint8_t *buffer, uint64_t now_ns)
{
    memset(machine, 0, sizeof(*machine));
    machine->config = *config;
    machine->buffer = buffer;
    machine->state = config->state;
    machine->state_durable = HEARTBEAT_FREE;
    machine->phase = SABOTAGE(heartbeat_clear_mailbox) ? PHASE_REPAIR_MAILBOX : PHASE_FIRST_MAILBOX;
    machine->started_ns = now_ns;
    machine->next_beat_ns = now_ns;
    machine->next_watch_ns = now_ns;
    lease_init(&machine->lease, &config->lease);
}

int heartbeat_end_error(enum heartbeat_end end)
{
    switch (end) {
    case HEARTBEAT_ALIVE:
        return 0;
    case HEARTBEAT_END_POISONED:
        return -ERROR_LEASE_POISONED;
    case HEARTBEAT_END_LEASE:
    case HEARTBEAT_END_SLOT:
    case HEARTBEAT_END_CORE:
        break;
    }
    return -ERROR_LEASE_LOST;
}

void heartbeat_machine_end(struct heartbeat_machine *machine, enum heartbeat_end end,
                           const char *reason)
{
    if (machine->end != HEARTBEAT_ALIVE)
        return;
    machine->end = end;
    snprintf(machine->end_reason, sizeof(machine->end_reason), "%s", reason);
    lease_end(&machine->lease);
}

// Whether this node may still write to the slots at all. Before the first lease: for as long as one
// would have lasted, because a slot that was assigned long ago may have been taken back.
static bool may_write(const struct heartbeat_machine *machine, uint64_t now_ns)
{
    uint64_t until_ns = machine->lease.until_ns;
    if (until_ns == 0)
        until_ns = machine->started_ns + machine->lease.lease_ns;
    return now_ns < until_ns || SABOTAGE(lease_revives);
}

static void check_lease(struct heartbeat_machine *machine, uint64_t now_ns)
{
    if (machine->end != HEARTBEAT_ALIVE || machine->is_silent)
        return;
    bool is_late = machine->lease.until_ns == 0 && !may_write(machine, now_ns);
    if (lease_has_run_out(&machine->lease, now_ns) || is_late)
        heartbeat_machine_end(machine, HEARTBEAT_END_LEASE,
                              "the heartbeat could not be written for the length of the lease");
}

// --- asking ----------------------------------------------------------------------------------

static const struct heartbeat_io *ask(struct heartbeat_machine *machine,
                                      enum heartbeat_io_type type, uint32_t slot, uint64_t now_ns)
{
    bool is_mailbox = type == HEARTBEAT_IO_READ_MAILBOX || type == HEARTBEAT_IO_WRITE_MAILBOX ||
                      type == HEARTBEAT_IO_WRITE_NOTE || type == HEARTBEAT_IO_READ_NOTE;
    machine->io_submitted_ns = now_ns;
    machine->io = (struct heartbeat_io){
        .type = type,
        .slot = slot,
        .block = is_mailbox ? geometry_mailbox_block(machine->config.geometry, slot)
                            : geometry_heartbeat_block(machine->config.geometry, slot),
        .buffer = machine->buffer,
        .is_write = type == HEARTBEAT_IO_WRITE_BEAT || type == HEARTBEAT_IO_WRITE_MAILBOX ||
                    type == HEARTBEAT_IO_WRITE_NOTE || type == HEARTBEAT_IO_WRITE_FREE,
    };
    return &machine->io;
}

static const struct heartbeat_io *ask_sleep(struct heartbeat_machine *machine, uint64_t wake_ns)
{
    machine->io = (struct heartbeat_io){.type = HEARTBEAT_IO_NONE, .wake_ns = wake_ns};
    return &machine->io;
}

static bool is_final(enum heartbeat_state state)
{
    return state == HEARTBEAT_FREE || state == HEARTBEAT_STOPPED;
}

static const struct heartbeat_io *ask_beat(struct heartbeat_machine *machine, uint64_t now_ns)
{
    const struct heartbeat_config *config = &machine->config;
    struct heartbeat_content content = {
        .incarnation = config->incarnation,
        .beat = ++machine->beat,
        .lamport = machine->lamport,
        .boot_ns = now_ns,
        .recovered_incarnation = config->recovered_incarnation,
        .version = machine->beat,
        .wall_ns = machine->wall_ns,
        .state = machine->state,
        .node_id = config->node_id,
        .lease_ms = (uint32_t)(config->lease.lease_ns / 1000000),
        .beat_ms = (uint32_t)(config->lease.beat_ns / 1000000),
    };
    memcpy(content.cluster_id, config->cluster_id, sizeof(content.cluster_id));
    memcpy(content.node_name, config->node_name, sizeof(content.node_name));
    heartbeat_encode(machine->buffer, config->geometry, config->slot, &content);
    machine->beat_state = machine->state;
    machine->beat_lamport = machine->lamport;
    machine->beat_submitted_ns = now_ns;
    machine->last_word_is_out = is_final(machine->state);
    return ask(machine, HEARTBEAT_IO_WRITE_BEAT, config->slot, now_ns);
}

static const struct heartbeat_io *ask_mailbox_repair(struct heartbeat_machine *machine,
                                                     uint64_t now_ns)
{
    struct mailbox_content empty = {.wall_ns = machine->wall_ns};
    mailbox_encode(machine->buffer, machine->config.geometry, machine->config.slot, &empty);
    return ask(machine, HEARTBEAT_IO_WRITE_MAILBOX, machine->config.slot, now_ns);
}

static const struct heartbeat_io *ask_note(struct heartbeat_machine *machine, uint32_t slot,
                                           uint64_t now_ns)
{
    struct mailbox_content note = {
        .victim_incarnation = machine->slots[slot].fence.incarnation,
        .writer_incarnation = machine->config.incarnation,
        .writer_slot = machine->config.slot,
        .writer_node_id = machine->config.node_id,
        .version = machine->beat,
        .wall_ns = machine->wall_ns,
    };
    memcpy(note.reason, machine->slots[slot].fence_reason, sizeof(note.reason));
    mailbox_encode(machine->buffer, machine->config.geometry, slot, &note);
    return ask(machine, HEARTBEAT_IO_WRITE_NOTE, slot, now_ns);
}

static const struct heartbeat_io *ask_free(struct heartbeat_machine *machine, uint32_t slot,
                                           uint64_t now_ns)
{
    struct heartbeat_content content;
    // The look just before has put the slot's block into the buffer.
    int result = heartbeat_decode(machine->buffer, machine->config.geometry, slot, &content);
    if (result != 0)
        content = (struct heartbeat_content){0};
    content.incarnation = machine->slots[slot].free_incarnation;
    content.recovered_incarnation = content.incarnation;
    content.state = HEARTBEAT_FREE;
    content.beat++;
    content.version++;
    content.wall_ns = machine->wall_ns;
    heartbeat_encode(machine->buffer, machine->config.geometry, slot, &content);
    return ask(machine, HEARTBEAT_IO_WRITE_FREE, slot, now_ns);
}

static bool note_is_due(const struct heartbeat_machine *machine, const struct heartbeat_slot *slot,
                        uint64_t now_ns)
{
    if (!slot->note_wanted)
        return false;
    if (slot->note_yields && SABOTAGE(heartbeat_no_yield))
        return true;
    if (now_ns < slot->note_at_ns)
        return false;
    bool has_looked = machine->mailbox_clean_ns >= slot->note_at_ns;
    return !slot->note_yields || has_looked || SABOTAGE(heartbeat_yield_unread);
}

// The orders of the core: notes first, a victim may be writing.
static const struct heartbeat_io *next_order(struct heartbeat_machine *machine, uint64_t now_ns)
{
    for (uint32_t i = 0; i < machine->config.geometry->slot_count; i++)
        if (note_is_due(machine, &machine->slots[i], now_ns))
            return ask_note(machine, i, now_ns);
    for (uint32_t i = 0; i < machine->config.geometry->slot_count; i++) {
        if (!machine->slots[i].frees || now_ns < machine->slots[i].free_at_ns)
            continue;
        machine->phase = PHASE_FREE_LOOK;
        return ask(machine, HEARTBEAT_IO_READ_SLOT, i, now_ns);
    }
    return NULL;
}

static const struct heartbeat_io *next_look(struct heartbeat_machine *machine, uint64_t now_ns)
{
    if (now_ns < machine->next_watch_ns)
        return NULL;
    while (machine->watch_cursor < machine->config.geometry->slot_count) {
        uint32_t slot = machine->watch_cursor++;
        if (machine->slots[slot].is_watched)
            return ask(machine, HEARTBEAT_IO_READ_SLOT, slot, now_ns);
    }
    machine->watch_cursor = 0;
    machine->next_watch_ns = now_ns + machine->config.watch_ns;
    return NULL;
}

static uint64_t wake_ns(const struct heartbeat_machine *machine)
{
    uint64_t at_ns = machine->next_beat_ns;
    if (machine->next_watch_ns < at_ns)
        at_ns = machine->next_watch_ns;
    for (uint32_t i = 0; i < machine->config.geometry->slot_count; i++) {
        const struct heartbeat_slot *slot = &machine->slots[i];
        if (slot->note_wanted && !slot->note_yields && slot->note_at_ns < at_ns)
            at_ns = slot->note_at_ns;
        if (slot->frees && slot->free_at_ns < at_ns)
            at_ns = slot->free_at_ns;
    }
    return at_ns;
}

// A beat that was answered with an error may still land, over the last word: not after this moment.
static uint64_t failed_may_land_ns(const struct heartbeat_machine *machine)
{
    return machine->failed_ns == 0 ? 0 : machine->failed_ns + machine->config.lease.io_max_ns;
}

// A last word is allowed to who has ended but whose lease would still run: 'stopped', once. Who has
// never beaten has nothing to end, and the slot may long be somebody else's:
//
//   81.3  n2 is given slot 1, and stands still before it hears of it
//   89.4  n2 is dead: note in the mailbox of slot 1 ── 98.1 recovered, slot 1 FREE
//   109.9 n2 wakes, looks into the mailbox, ends ── 'stopped' would show its life in slot 1 again
static const struct heartbeat_io *next_last_word(struct heartbeat_machine *machine, uint64_t now_ns)
{
    bool is_wanted = machine->state == HEARTBEAT_STOPPED && machine->end != HEARTBEAT_END_SLOT &&
                     machine->beat > 0;
    if (!is_wanted || !may_write(machine, now_ns))
        return NULL;
    if (now_ns < failed_may_land_ns(machine))
        return ask_sleep(machine, failed_may_land_ns(machine));
    return ask_beat(machine, now_ns);
}

// FREE and STOPPED are written once, whatever is answered: as soon as one of them has landed the
// slot may be given to another, on whose beat a second try would fall. Looking is harmless.
static const struct heartbeat_io *next_after_last_word(struct heartbeat_machine *machine,
                                                       uint64_t now_ns)
{
    if (machine->is_silent || !may_write(machine, now_ns))
        return ask_sleep(machine, UINT64_MAX);
    if (now_ns < machine->next_beat_ns)
        return ask_sleep(machine, machine->next_beat_ns);
    return ask(machine, HEARTBEAT_IO_READ_BEAT, machine->config.slot, now_ns);
}

const struct heartbeat_io *heartbeat_machine_next(struct heartbeat_machine *machine,
                                                  uint64_t now_ns)
{
    CHECK(machine->io.type == HEARTBEAT_IO_NONE);
    check_lease(machine, now_ns);
    const struct heartbeat_io *io = NULL;
    if (machine->last_word_is_out)
        return next_after_last_word(machine, now_ns);
    if (machine->end != HEARTBEAT_ALIVE || machine->is_silent) {
        io = next_last_word(machine, now_ns);
        return io ? io : ask_sleep(machine, UINT64_MAX);
    }
    switch ((enum phase)machine->phase) {
    case PHASE_FIRST_MAILBOX:
        if (now_ns < machine->next_beat_ns)
            return ask_sleep(machine, machine->next_beat_ns);
        return ask(machine, HEARTBEAT_IO_READ_MAILBOX, machine->config.slot, now_ns);
    case PHASE_REPAIR_MAILBOX:
        return ask_mailbox_repair(machine, now_ns);
    case PHASE_FIRST_SLOT:
        if (now_ns < machine->next_beat_ns)
            return ask_sleep(machine, machine->next_beat_ns);
        return ask(machine, HEARTBEAT_IO_READ_BEAT, machine->config.slot, now_ns);
    case PHASE_MAILBOX:
        return ask(machine, HEARTBEAT_IO_READ_MAILBOX, machine->config.slot, now_ns);
    case PHASE_READ_BACK:
        return ask(machine, HEARTBEAT_IO_READ_BEAT, machine->config.slot, now_ns);
    case PHASE_NOTE_BACK:
        return ask(machine, HEARTBEAT_IO_READ_NOTE, machine->order_slot, now_ns);
    case PHASE_FREE:
        return ask_free(machine, machine->order_slot, now_ns);
    case PHASE_FREE_LOOK:
    case PHASE_IDLE:
        break;
    }
    if (is_final(machine->state) && now_ns < failed_may_land_ns(machine))
        return ask_sleep(machine, failed_may_land_ns(machine));
    if (now_ns >= machine->next_beat_ns)
        return ask_beat(machine, now_ns);
    io = next_order(machine, now_ns);
    if (io == NULL)
        io = next_look(machine, now_ns);
    return io ? io : ask_sleep(machine, wake_ns(machine));
}

// --- judging ---------------------------------------------------------------------------------

static uint64_t retry_ns(const struct heartbeat_machine *machine, uint64_t now_ns)
{
    return now_ns + machine->config.lease.beat_ns / RETRIES_PER_BEAT;
}

static void beat_acknowledged(struct heartbeat_machine *machine, uint64_t now_ns)
{
    machine->failures = 0;
    machine->state_durable = machine->beat_state;
    machine->lamport_durable = machine->beat_lamport;
    machine->next_beat_ns = machine->beat_submitted_ns + machine->config.lease.beat_ns;
    if (machine->state != machine->beat_state)
        machine->next_beat_ns = now_ns; // changed while it was on its way
    lease_beat_acknowledged(&machine->lease, machine->beat_submitted_ns, now_ns);
    machine->phase = PHASE_MAILBOX;
    if (is_final(machine->state_durable))
        machine->is_silent = true; // the slot is no longer ours to write
}

static void beat_failed(struct heartbeat_machine *machine, uint64_t now_ns)
{
    machine->failures++;
    machine->failed_ns = machine->beat_submitted_ns;
    machine->next_beat_ns = retry_ns(machine, now_ns);
    machine->phase = PHASE_IDLE;
}

static void completed_beat(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    if (result != 0)
        machine->failed_ns = machine->beat_submitted_ns;
    if (result == 0)
        beat_acknowledged(machine, now_ns);
    else if (machine->last_word_is_out || machine->end != HEARTBEAT_ALIVE)
        beat_failed(machine, now_ns);
    else
        machine->phase = PHASE_READ_BACK;
}

static bool is_replaced(const struct heartbeat_machine *machine,
                        const struct heartbeat_content *content)
{
    return machine->config.replaced_incarnation != 0 &&
           content->incarnation == machine->config.replaced_incarnation;
}

// Who hears late of its slot may have been fenced, recovered, and followed by others, until the
// note against it is not there any more (rule 27):
//
//   n2 is given slot 1, and stands still before it hears of it
//   n2 is dead: note against n2 ── recovered, slot 1 FREE
//   n3 joins in slot 1 ── is dead: note against n3 over it ── recovered, FREE
//   n4 joins in slot 1, and runs
//   n2 wakes, finds no note against n2 ── its first beat would fall on n4's
static void completed_first_slot(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct heartbeat_content content;
    if (result != 0) {
        machine->next_beat_ns = retry_ns(machine, now_ns);
        return;
    }
    machine->phase = PHASE_IDLE;
    result =
        heartbeat_decode(machine->buffer, machine->config.geometry, machine->config.slot, &content);
    if (result == 0 && (content.state == HEARTBEAT_FREE || is_replaced(machine, &content)))
        return;
    // This look would undo what the second switch breaks.
    if (!SABOTAGE(heartbeat_slot_unread) && !SABOTAGE(membership_joiner_forgotten))
        heartbeat_machine_end(machine, HEARTBEAT_END_SLOT, "this node's slot is not free");
}

static void completed_read_back(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct heartbeat_content content;
    if (result == 0)
        result = heartbeat_decode(machine->buffer, machine->config.geometry, machine->config.slot,
                                  &content);
    if (result != 0) {
        beat_failed(machine, now_ns);
        return;
    }
    if (content.incarnation == machine->config.incarnation && content.beat == machine->beat) {
        beat_acknowledged(machine, now_ns);
        return;
    }
    if (content.incarnation != machine->config.incarnation && content.state != HEARTBEAT_FREE)
        heartbeat_machine_end(machine, HEARTBEAT_END_SLOT,
                              "another incarnation stands in this node's heartbeat block");
    beat_failed(machine, now_ns);
}

static bool note_is_ours(const struct heartbeat_machine *machine,
                         const struct mailbox_content *mailbox)
{
    return mailbox->victim_incarnation == machine->config.incarnation;
}

static void poisoned(struct heartbeat_machine *machine, const struct mailbox_content *mailbox)
{
    char reason[HEARTBEAT_REASON_BYTES];
    snprintf(reason, sizeof(reason), "fenced by node %u (slot %u): %.80s", mailbox->writer_node_id,
             mailbox->writer_slot, mailbox->reason);
    heartbeat_machine_end(machine, HEARTBEAT_END_POISONED, reason);
}

static void completed_first_mailbox(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    machine->phase = PHASE_FIRST_SLOT;
    if (error_is_check(result))
        machine->phase = PHASE_REPAIR_MAILBOX;
    else if (result < 0) {
        machine->phase = PHASE_FIRST_MAILBOX;
        machine->next_beat_ns = retry_ns(machine, now_ns);
    }
}

// A mailbox that cannot be read is not clean: the lease does not move.
static void completed_mailbox(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct mailbox_content mailbox;
    if (result == 0)
        result = mailbox_decode(machine->buffer, machine->config.geometry, machine->config.slot,
                                &mailbox);
    if (result == 0 && note_is_ours(machine, &mailbox) && !SABOTAGE(heartbeat_ignore_note)) {
        poisoned(machine, &mailbox);
        return;
    }
    if (machine->phase == PHASE_FIRST_MAILBOX) {
        completed_first_mailbox(machine, result, now_ns);
        return;
    }
    machine->phase = PHASE_IDLE;
    if (result != 0) {
        machine->next_beat_ns = retry_ns(machine, now_ns);
        return;
    }
    machine->mailbox_clean_ns = machine->io_submitted_ns;
    machine->mailbox_rounds++;
    lease_extend(&machine->lease, machine->io_submitted_ns, now_ns);
    check_lease(machine, now_ns);
}

static void completed_note(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    machine->order_slot = machine->io.slot;
    if (result == 0)
        machine->phase = PHASE_NOTE_BACK;
    else
        machine->slots[machine->io.slot].note_at_ns = retry_ns(machine, now_ns);
}

static void completed_note_back(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct heartbeat_slot *slot = &machine->slots[machine->io.slot];
    struct mailbox_content mailbox;
    machine->phase = PHASE_IDLE;
    if (!slot->note_wanted)
        return; // cancelled meanwhile
    if (result == 0)
        result =
            mailbox_decode(machine->buffer, machine->config.geometry, machine->io.slot, &mailbox);
    // Another fencer's note against the same life does as well as ours.
    if (result != 0 || mailbox.victim_incarnation != slot->fence.incarnation) {
        slot->note_at_ns = retry_ns(machine, now_ns);
        return;
    }
    slot->note_wanted = false;
    slot->note_written = true;
    lease_fence_note_durable(&slot->fence, now_ns);
}

static void judge_fence(struct heartbeat_machine *machine, struct heartbeat_slot *slot)
{
    if (!slot->fences || slot->fence_verdict != LEASE_FENCE_WAITING)
        return;
    slot->fence_verdict = lease_fence_judge(&slot->fence, &machine->config.lease, &slot->watch);
    if (slot->fence_verdict != LEASE_FENCE_WAITING)
        slot->note_wanted = false;
}

static void completed_look(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct heartbeat_slot *slot = &machine->slots[machine->io.slot];
    struct heartbeat_content content;
    struct lease_sighting sighting = {0};
    if (result != 0)
        return; // not seen is not silence: nothing is concluded from it
    if (heartbeat_decode(machine->buffer, machine->config.geometry, machine->io.slot, &content) ==
        0) {
        sighting = (struct lease_sighting){.incarnation = content.incarnation,
                                           .beat = content.beat,
                                           .version = content.version,
                                           .state = content.state,
                                           .node_id = content.node_id,
                                           .is_valid = true};
        memcpy(slot->node_name, content.node_name, sizeof(slot->node_name));
    }
    lease_watch_observe(&slot->watch, &sighting, machine->io_submitted_ns, now_ns);
    judge_fence(machine, slot);
}

// Before a slot is written FREE: it must still show the life that was recovered, or nothing valid.
// One that never beat has left the slot as it was.
static void completed_free_look(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct heartbeat_slot *slot = &machine->slots[machine->io.slot];
    struct heartbeat_content content;
    machine->phase = PHASE_IDLE;
    if (result != 0) {
        slot->free_at_ns = retry_ns(machine, now_ns);
        return;
    }
    bool is_valid = heartbeat_decode(machine->buffer, machine->config.geometry, machine->io.slot,
                                     &content) == 0;
    bool is_another = is_valid && content.incarnation != slot->free_incarnation;
    bool is_done = is_valid && content.incarnation == slot->free_incarnation &&
                   content.state == HEARTBEAT_FREE &&
                   content.recovered_incarnation == content.incarnation;
    if (is_another || is_done) {
        slot->frees = false;
        return;
    }
    machine->order_slot = machine->io.slot;
    machine->phase = PHASE_FREE;
}

static void completed_free(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    struct heartbeat_slot *slot = &machine->slots[machine->io.slot];
    machine->phase = PHASE_IDLE;
    if (result == 0)
        slot->frees = false;
    else
        slot->free_at_ns = retry_ns(machine, now_ns);
}

static void completed_mailbox_repair(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    machine->phase = PHASE_FIRST_MAILBOX; // look again: a note may have been on its way
    if (result != 0)
        machine->next_beat_ns = retry_ns(machine, now_ns);
}

void heartbeat_machine_completed(struct heartbeat_machine *machine, int result, uint64_t now_ns)
{
    enum heartbeat_io_type type = machine->io.type;
    CHECK(type != HEARTBEAT_IO_NONE);
    switch (type) {
    case HEARTBEAT_IO_NONE:
        break;
    case HEARTBEAT_IO_WRITE_BEAT:
        completed_beat(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_READ_BEAT:
        if (machine->phase == PHASE_FIRST_SLOT)
            completed_first_slot(machine, result, now_ns);
        else
            completed_read_back(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_READ_MAILBOX:
        completed_mailbox(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_WRITE_MAILBOX:
        completed_mailbox_repair(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_READ_SLOT:
        if (machine->phase == PHASE_FREE_LOOK)
            completed_free_look(machine, result, now_ns);
        else
            completed_look(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_WRITE_NOTE:
        completed_note(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_READ_NOTE:
        completed_note_back(machine, result, now_ns);
        break;
    case HEARTBEAT_IO_WRITE_FREE:
        completed_free(machine, result, now_ns);
        break;
    }
    machine->io.type = HEARTBEAT_IO_NONE;
}

// --- orders ----------------------------------------------------------------------------------

void heartbeat_machine_set_state(struct heartbeat_machine *machine, enum heartbeat_state state)
{
    if (machine->state == state)
        return;
    machine->state = state;
    machine->next_beat_ns = 0; // at once
    if (SABOTAGE(heartbeat_left_unwritten) && state == HEARTBEAT_FREE) {
        machine->state_durable = state;
        machine->is_silent = true;
    }
}

void heartbeat_machine_watch(struct heartbeat_machine *machine, uint32_t slot, bool on)
{
    CHECK(slot < machine->config.geometry->slot_count);
    if (machine->slots[slot].is_watched == on)
        return;
    machine->slots[slot].is_watched = on;
    lease_watch_init(&machine->slots[slot].watch);
    machine->next_watch_ns = 0;
    machine->watch_cursor = 0;
}

void heartbeat_machine_fence(struct heartbeat_machine *machine, uint32_t slot, uint64_t incarnation,
                             uint64_t yield_until_ns, const char *reason)
{
    struct heartbeat_slot *victim = &machine->slots[slot];
    CHECK(slot < machine->config.geometry->slot_count && slot != machine->config.slot);
    if (victim->fences && victim->fence.incarnation == incarnation)
        return;
    heartbeat_machine_watch(machine, slot, true);
    victim->fences = true;
    victim->fence_verdict = LEASE_FENCE_WAITING;
    victim->note_wanted = true;
    victim->note_written = false;
    victim->note_at_ns = yield_until_ns;
    victim->note_yields = yield_until_ns != 0;
    lease_fence_init(&victim->fence, incarnation);
    snprintf(victim->fence_reason, sizeof(victim->fence_reason), "%s", reason);
    machine->next_watch_ns = 0;
    machine->watch_cursor = 0;
}

void heartbeat_machine_fence_cancel(struct heartbeat_machine *machine, uint32_t slot)
{
    CHECK(slot < machine->config.geometry->slot_count);
    machine->slots[slot].fences = false;
    machine->slots[slot].note_wanted = false;
}

void heartbeat_machine_free(struct heartbeat_machine *machine, uint32_t slot, uint64_t incarnation)
{
    CHECK(slot < machine->config.geometry->slot_count && slot != machine->config.slot);
    machine->slots[slot].frees = true;
    machine->slots[slot].free_at_ns = 0;
    machine->slots[slot].free_incarnation = incarnation;
}

struct heartbeat_noticed heartbeat_machine_notice(const struct heartbeat_machine *machine)
{
    struct heartbeat_noticed noticed = {.rounds = machine->mailbox_rounds,
                                        .state = machine->state_durable};
    for (uint32_t i = 0; i < machine->config.geometry->slot_count; i++) {
        noticed.changes += machine->slots[i].watch.change_count;
        noticed.changes += machine->slots[i].watch.changed_ns != 0;
        noticed.verdicts += machine->slots[i].fences ? machine->slots[i].fence_verdict : 0;
        noticed.frees += machine->slots[i].frees;
    }
    return noticed;
}
