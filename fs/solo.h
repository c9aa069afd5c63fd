// SPDX-License-Identifier: Apache-2.0
// A local mount: one host, no corosync, the same code with a lock core of one member. The claim
// keeps every other user out; whoever left the volume in a crash is fenced through the LUN, as in
// a cluster, before its journal is replayed: it may be a host that hangs.
//
//   claim ─► survey ─► a slot, beating ─► notes to the slots in use, their leases over
//         ─► all their journals replayed together ─► running
#pragma once

#include <stdint.h>

#include "dlm/lease.h"
#include "fs/volume.h"

struct dlm_service;
struct solo;
struct text;

struct solo_config {
    struct environment *environment; // a real one
    struct log *log;
    struct volume *volume; // new, not started
    struct block_device *device;
    struct block_device *gated_device;
    int descriptor;
    int guard_socket; // -1: none
    struct lease_config lease;
    void *context;
    void (*ended)(void *context, int error); // the volume has failed by then
};

// Never NULL. To be freed by solo_leave or solo_abandon.
struct solo *solo_new(const struct solo_config *config);
// Once: 0 with the gate open; else the error, logged where it was born, and solo_abandon is what is
// left to do. Waits.
int solo_join(struct solo *solo);
// What it waits for, one line each; nothing when it does not. At any time.
void solo_status_to_text(const struct solo *solo, struct text *text);
uint32_t solo_slot(const struct solo *solo);
uint64_t solo_incarnation(const struct solo *solo);
struct dlm_service *solo_locks(struct solo *solo);
// After volume_stop: gives slot and claim back. Frees. 0 or an error. Waits.
int solo_leave(struct solo *solo);
// After a failure. Frees. Waits.
void solo_abandon(struct solo *solo);

// For a mount that only looks (`ro,norecovery`): a lock service without presence on the LUN.
struct dlm_service *solo_locks_alone(struct volume *volume);
