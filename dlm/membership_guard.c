// SPDX-License-Identifier: Apache-2.0
// The guard's connection to corosync: it only listens for ring ids and says drained() once.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "dlm/membership_corosync.h"
#include "dlm/membership_guard_message.h"
#include "fs/base/check.h"
#include "fs/base/error.h"

#define GUARD_DRAINED_MAGIC 0x44524e55u

enum { JOIN_TRIES = 500, JOIN_TRY_NS = 20000000 };

struct corosync_guard {
    cpg_handle_t handle;
    int fd;
    bool has_ring;
    struct membership_ring ring;
};

struct guard_drained_wire guard_drained_make(uint32_t slot, uint64_t incarnation,
                                             struct membership_ring ring)
{
    return (struct guard_drained_wire){
        .magic = le32_make(GUARD_DRAINED_MAGIC),
        .slot = le32_make(slot),
        .incarnation = le64_make(incarnation),
        .ring_node_id = le32_make(ring.node_id),
        .ring_sequence = le64_make(ring.sequence),
    };
}

int guard_drained_decode(const void *bytes, size_t length, struct membership_node *node,
                         struct membership_ring *ring)
{
    struct guard_drained_wire wire;
    if (length != sizeof(wire))
        return -ERROR_MESSAGE_FIELD;
    memcpy(&wire, bytes, sizeof(wire));
    if (le32_get(wire.magic) != GUARD_DRAINED_MAGIC || le32_get(wire.slot) >= MEMBERSHIP_SLOTS_MAX)
        return -ERROR_MESSAGE_FIELD;
    *node = (struct membership_node){.slot = le32_get(wire.slot),
                                     .incarnation = le64_get(wire.incarnation)};
    *ring = (struct membership_ring){le32_get(wire.ring_node_id), le64_get(wire.ring_sequence)};
    return 0;
}

struct cpg_name corosync_group_name(const uint8_t format_id[16], bool is_guards)
{
    static const char prefix[] = "lunfs-", suffix[] = "-guards", digits[] = "0123456789abcdef";
    struct cpg_name name = {0};
    memcpy(name.value, prefix, sizeof(prefix) - 1);
    size_t length = sizeof(prefix) - 1;
    for (size_t i = 0; i < 16; i++) {
        name.value[length++] = digits[format_id[i] >> 4];
        name.value[length++] = digits[format_id[i] & 15];
    }
    if (is_guards) {
        memcpy(name.value + length, suffix, sizeof(suffix) - 1);
        length += sizeof(suffix) - 1;
    }
    name.length = (uint32_t)length;
    return name;
}

static void heard(cpg_handle_t handle, const struct cpg_name *group, uint32_t node_id, uint32_t pid,
                  void *bytes, size_t length)
{
    (void)handle, (void)group, (void)node_id, (void)pid, (void)bytes, (void)length;
}

static void changed(cpg_handle_t handle, const struct cpg_name *group,
                    const struct cpg_address *members, size_t member_count,
                    const struct cpg_address *left, size_t left_count,
                    const struct cpg_address *joined, size_t joined_count)
{
    (void)handle, (void)group, (void)members, (void)member_count;
    (void)left, (void)left_count, (void)joined, (void)joined_count;
}

static void ring_changed(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t count,
                         const uint32_t *nodes)
{
    void *context = NULL;
    (void)count, (void)nodes;
    CHECK(cpg_context_get(handle, &context) == CS_OK);
    struct corosync_guard *guard = context;
    guard->has_ring = true;
    guard->ring = (struct membership_ring){ring.nodeid, ring.seq};
}

int corosync_guard_open(const uint8_t format_id[16], struct corosync_guard **out)
{
    cpg_model_v1_data_t model = {.model = CPG_MODEL_V1,
                                 .cpg_deliver_fn = heard,
                                 .cpg_confchg_fn = changed,
                                 .cpg_totem_confchg_fn = ring_changed,
                                 .flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF};
    const struct timespec pause = {.tv_nsec = JOIN_TRY_NS};
    struct cpg_name name = corosync_group_name(format_id, true);
    struct corosync_guard *guard = calloc(1, sizeof(*guard));
    CHECK(guard != NULL);
    if (cpg_model_initialize(&guard->handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, guard) !=
        CS_OK) {
        free(guard);
        return -ERROR_COROSYNC;
    }
    cs_error_t result = cpg_fd_get(guard->handle, &guard->fd);
    if (result == CS_OK)
        result = cpg_join(guard->handle, &name);
    for (int i = 0; i < JOIN_TRIES && result == CS_ERR_TRY_AGAIN; i++) {
        nanosleep(&pause, NULL);
        result = cpg_join(guard->handle, &name);
    }
    if (result != CS_OK) {
        corosync_guard_close(guard);
        return -ERROR_COROSYNC;
    }
    *out = guard;
    return 0;
}

void corosync_guard_close(struct corosync_guard *guard)
{
    cpg_finalize(guard->handle);
    free(guard);
}

int corosync_guard_fd(const struct corosync_guard *guard)
{
    return guard->fd;
}

int corosync_guard_dispatch(struct corosync_guard *guard)
{
    cs_error_t result = cpg_dispatch(guard->handle, CS_DISPATCH_ALL);
    return result == CS_OK || result == CS_ERR_TRY_AGAIN ? 0 : -ERROR_COROSYNC;
}

int corosync_guard_drained(struct corosync_guard *guard, uint32_t slot, uint64_t incarnation)
{
    if (!guard->has_ring)
        return -EAGAIN;
    struct guard_drained_wire wire = guard_drained_make(slot, incarnation, guard->ring);
    struct iovec vector = {.iov_base = &wire, .iov_len = sizeof(wire)};
    cs_error_t result = cpg_mcast_joined(guard->handle, CPG_TYPE_AGREED, &vector, 1);
    if (result == CS_ERR_TRY_AGAIN)
        return -EAGAIN;
    return result == CS_OK ? 0 : -ERROR_COROSYNC;
}
