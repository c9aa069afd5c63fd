// SPDX-License-Identifier: Apache-2.0
// The guard's side of corosync: it is in a group of its own, so that a guard that outlives its
// worker is no member of the workers' group, and says one thing there.
#include "dlm/corosync_guards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "dlm/membership_corosync.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

struct corosync_guard {
    cpg_handle_t cpg;
    struct cpg_name group;
    struct membership_ring ring;
    bool has_ring;
};

void corosync_group_name(struct cpg_name *name, const uint8_t format_id[16], bool is_guards)
{
    struct text text;
    text_init(&text, name->value, sizeof(name->value));
    text_add(&text, "lunfs-");
    for (int i = 0; i < 16; i++)
        text_add(&text, "%02x", format_id[i]);
    text_add(&text, "%s", is_guards ? "-guards" : "");
    name->length = (uint32_t)text.length;
}

static void deliver(cpg_handle_t cpg, const struct cpg_name *group, uint32_t node_id, uint32_t pid,
                    void *bytes, size_t length)
{
    (void)cpg, (void)group, (void)node_id, (void)pid, (void)bytes, (void)length;
}

static void group_changed(cpg_handle_t cpg, const struct cpg_name *group,
                          const struct cpg_address *members, size_t member_count,
                          const struct cpg_address *left, size_t left_count,
                          const struct cpg_address *joined, size_t joined_count)
{
    (void)cpg, (void)group, (void)members, (void)member_count, (void)left, (void)left_count;
    (void)joined, (void)joined_count;
}

static void ring_changed(cpg_handle_t cpg, struct cpg_ring_id ring, uint32_t member_count,
                         const uint32_t *members)
{
    void *context = NULL;
    (void)member_count, (void)members;
    if (cpg_context_get(cpg, &context) != CS_OK)
        return;
    struct corosync_guard *guard = context;
    guard->ring = (struct membership_ring){.node_id = ring.nodeid, .sequence = ring.seq};
    guard->has_ring = true;
}

int corosync_guard_open(const uint8_t format_id[16], struct corosync_guard **out)
{
    struct corosync_guard *guard = calloc(1, sizeof(*guard));
    CHECK(guard != NULL);
    cpg_model_v1_data_t model = {
        .model = CPG_MODEL_V1,
        .cpg_deliver_fn = deliver,
        .cpg_confchg_fn = group_changed,
        .cpg_totem_confchg_fn = ring_changed,
        .flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
    };
    corosync_group_name(&guard->group, format_id, true);
    if (cpg_model_initialize(&guard->cpg, CPG_MODEL_V1, (cpg_model_data_t *)&model, guard) !=
        CS_OK) {
        free(guard);
        return -ERROR_COROSYNC;
    }
    if (cpg_join(guard->cpg, &guard->group) != CS_OK) {
        corosync_guard_close(guard);
        return -ERROR_COROSYNC;
    }
    *out = guard;
    return 0;
}

void corosync_guard_close(struct corosync_guard *guard)
{
    cpg_finalize(guard->cpg);
    free(guard);
}

int corosync_guard_fd(const struct corosync_guard *guard)
{
    int fd = -1;
    return cpg_fd_get(guard->cpg, &fd) == CS_OK ? fd : -1;
}

int corosync_guard_dispatch(struct corosync_guard *guard)
{
    cs_error_t error = cpg_dispatch(guard->cpg, CS_DISPATCH_ALL);
    return error == CS_OK || error == CS_ERR_TRY_AGAIN ? 0 : -ERROR_COROSYNC;
}

int corosync_guard_drained(struct corosync_guard *guard, uint32_t slot, uint64_t incarnation)
{
    if (!guard->has_ring)
        return -EAGAIN;
    struct guard_drained_wire wire = {
        .magic = le32_make(GUARD_DRAINED_MAGIC),
        .version = le32_make(1),
        .slot = le32_make(slot),
        .ring_node_id = le32_make(guard->ring.node_id),
        .ring_sequence = le64_make(guard->ring.sequence),
        .incarnation = le64_make(incarnation),
    };
    struct iovec part = {&wire, sizeof(wire)};
    cs_error_t error = cpg_mcast_joined(guard->cpg, CPG_TYPE_AGREED, &part, 1);
    if (error == CS_ERR_TRY_AGAIN)
        return -EAGAIN;
    return error == CS_OK ? 0 : -ERROR_COROSYNC;
}
