// SPDX-License-Identifier: Apache-2.0
// What must hold while a history goes on, one invariant a file; ring3_check.c says when it is
// looked at. What must hold of answers is the model's (ring3_model.h), and of the end
// ring3_history.c's.
//
//   ring3_check_fenced.c    I1, I4: nothing of a life lands once a living one takes it for fenced
//   ring3_check_frozen.c    rule 24: nothing lands on a frozen volume
//   ring3_check_quota.c     limits: nobody has more, or is refused less (ring3_quota.h)
//   ring3_check_rights.c    I1: no two living nodes hold rights that exclude each other
//   ring3_check_replay.c    I2: a replay that is cut off and repeated comes to the same as one
//   ring3_check_journals.c  I2: no block is live in two journals
#pragma once

#include "tests/sim/ring3.h"

struct journal_config;
struct journal_format_context;
struct lamport_clock;
struct membership_dead;
struct sim_disk_write;
struct still_device;

// A write of `writer` lands.
void ring3_check_fenced(struct ring3 *ring3, const struct ring3_life *writer,
                        const struct sim_disk_write *write);
void ring3_check_frozen(struct ring3 *ring3, const struct ring3_life *writer,
                        const struct sim_disk_write *write);
void ring3_check_rights(struct ring3 *ring3);

// A journal of a copy of the LUN, for the journal's own functions.
struct ring3_copy {
    struct sim_disk *disk;
    struct still_device *device;
    struct journal_format_context *context;
    struct lamport_clock *clock;
    struct world_node node;
    struct log *log;
    const struct geometry *geometry;
};
void ring3_copy_init(struct ring3_copy *copy, struct ring3 *ring3, const struct geometry *geometry);
void ring3_copy_deinit(struct ring3_copy *copy);
struct journal_config ring3_copy_journal(struct ring3_copy *copy, uint32_t slot);

// On a copy as it stands. It stays as it is.
void ring3_check_journals(struct ring3 *ring3, struct ring3_copy *copy);
// `dead` is fenced for somebody, and its journal has not been replayed. Changes the copy.
void ring3_check_replay(struct ring3 *ring3, struct ring3_copy *copy,
                        const struct membership_dead *dead);
