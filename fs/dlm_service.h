// SPDX-License-Identifier: Apache-2.0
// Connects the lock table and the byte-range locks of this node to the lock core (dlm/), and the
// core to whoever carries frames. With a view of one member no frame is ever sent: a local mount.
//
// Calls may come from inside the answers: events are queued and stepped in order. While the core is
// busy with a view change they wait, and it goes on a slice at a time between the turns of the
// event loop (rule P4).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dlm/dlm.h"
#include "fs/lock_service.h"

struct dlm_service;
struct environment;

struct dlm_service_config {
    struct dlm_node self;
    struct lamport_clock *clock; // outlives the service
    // Whose turns come between two slices. NULL: all slices are done in the call that begins them.
    struct environment *environment;
    // Carries a frame to a peer, once and in order with the others (dlm/session.h). May be NULL
    // when there are no peers. The bytes are valid during the call.
    void (*send)(void *context, struct dlm_node to, const uint8_t *bytes, size_t length);
    // A peer sent a frame that is no frame: cut it off and log. May be NULL.
    void (*bad_frame)(void *context, struct dlm_node from, int error);
    void *context;
};

struct dlm_service *dlm_service_new(const struct dlm_service_config *config);
void dlm_service_free(struct dlm_service *service);

// What lock_table_new takes.
struct lock_service *dlm_service_locks(struct dlm_service *service);

// From the transport and the membership, in the order they were delivered.
void dlm_service_frame(struct dlm_service *service, struct dlm_node from, const uint8_t *bytes,
                       size_t length);
void dlm_service_view(struct dlm_service *service, const struct dlm_view *view);
void dlm_service_recovered(struct dlm_service *service, struct dlm_node node);

// Byte ranges: see dlm_range_lock in dlm/dlm.h. `answer` is called once, perhaps before the call
// returns.
typedef void dlm_range_answer(void *context, const struct dlm_effect_range_result *result);

// `*cookie` is set before `answer` can be called: for dlm_service_range_cancel.
void dlm_service_range_lock(struct dlm_service *service, struct lock_name name,
                            const struct dlm_range *range, bool wait, uint64_t *cookie,
                            dlm_range_answer *answer, void *context);
void dlm_service_range_test(struct dlm_service *service, struct lock_name name,
                            const struct dlm_range *range, dlm_range_answer *answer, void *context);
void dlm_service_range_unlock(struct dlm_service *service, struct lock_name name,
                              const struct dlm_range *range, enum dlm_range_scope scope);
void dlm_service_range_cancel(struct dlm_service *service, struct lock_name name, uint64_t cookie);
// This node has ended, and no master owes it an answer any more: all that waits, and whatever is
// asked from now on, is answered with `error` (negative).
void dlm_service_range_fail(struct dlm_service *service, int error);

// For `lunfs locks` and the counters.
const struct dlm_core *dlm_service_core(const struct dlm_service *service);
