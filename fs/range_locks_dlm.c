// SPDX-License-Identifier: Apache-2.0
#include "fs/range_locks_dlm.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/memory.h"
#include "fs/dlm_service.h"
#include "fs/lock_types.h"

struct range_locks_dlm {
    struct range_locks locks; // first
    struct dlm_service *service;
    uint32_t self_node_id;
};

static struct dlm_service *service_of(struct range_locks *locks)
{
    return ((struct range_locks_dlm *)locks)->service;
}

static struct dlm_range to_dlm(const struct range_lock *lock)
{
    return (struct dlm_range){
        .owner = lock->owner,
        .handle = lock->handle,
        .start = lock->start,
        .end = lock->end,
        .pid = (uint32_t)lock->pid,
        .space = lock->space == RANGE_LOCK_FLOCK ? DLM_RANGE_FLOCK : DLM_RANGE_POSIX,
        .type = lock->is_exclusive ? DLM_RANGE_EXCLUSIVE : DLM_RANGE_SHARED,
    };
}

// What a call in flight needs beside the front end's request.
struct range_call_context {
    struct range_locks_dlm *locks;
    struct range_lock_request *request;
    uint64_t cookie;
};

static void fill_conflict(const struct range_locks_dlm *locks, struct range_lock_request *request,
                          const struct dlm_effect_range_result *result)
{
    const struct dlm_range *found = &result->conflict;
    request->conflict = (struct range_lock){
        .inode = request->lock.inode,
        .owner = found->owner,
        .handle = found->handle,
        .start = found->start,
        .end = found->end,
        .pid = result->conflict_node.node_id == locks->self_node_id ? (pid_t)found->pid : 0,
        .space = request->lock.space,
        .is_exclusive = found->type == DLM_RANGE_EXCLUSIVE,
    };
}

static void answered(void *context, const struct dlm_effect_range_result *result)
{
    struct range_call_context *call = context;
    struct range_lock_request *request = call->request;
    if (result->error == -EAGAIN)
        fill_conflict(call->locks, request, result);
    request->implementation = NULL;
    free(call);
    request->done(request, result->error == -ECANCELED ? -EINTR : result->error);
}

static struct range_call_context *call_new(struct range_locks *locks,
                                           struct range_lock_request *request)
{
    struct range_call_context *call = calloc(1, sizeof(*call));
    CHECK(call != NULL);
    call->locks = (struct range_locks_dlm *)locks;
    call->request = request;
    request->implementation = call;
    return call;
}

static void range_lock(struct range_locks *locks, struct range_lock_request *request)
{
    struct range_call_context *call = call_new(locks, request);
    struct dlm_range range = to_dlm(&request->lock);
    dlm_service_range_lock(service_of(locks), lock_name_ranges(request->lock.inode), &range,
                           request->waits, &call->cookie, answered, call);
}

static void range_test(struct range_locks *locks, struct range_lock_request *request)
{
    struct range_call_context *call = call_new(locks, request);
    struct dlm_range range = to_dlm(&request->lock);
    dlm_service_range_test(service_of(locks), lock_name_ranges(request->lock.inode), &range,
                           answered, call);
}

static void range_cancel(struct range_locks *locks, struct range_lock_request *request)
{
    struct range_call_context *call = request->implementation;
    if (call != NULL)
        dlm_service_range_cancel(service_of(locks), lock_name_ranges(request->lock.inode),
                                 call->cookie);
}

static void range_unlock(struct range_locks *locks, const struct range_lock *lock)
{
    struct dlm_range range = to_dlm(lock);
    dlm_service_range_unlock(service_of(locks), lock_name_ranges(lock->inode), &range,
                             DLM_SCOPE_RANGE);
}

static void range_release_owner(struct range_locks *locks, uint64_t inode, uint64_t owner,
                                enum range_lock_space space)
{
    struct dlm_range range = {.owner = owner,
                              .end = UINT64_MAX,
                              .space =
                                  space == RANGE_LOCK_FLOCK ? DLM_RANGE_FLOCK : DLM_RANGE_POSIX};
    dlm_service_range_unlock(service_of(locks), lock_name_ranges(inode), &range, DLM_SCOPE_OWNER);
}

static void range_release_handle(struct range_locks *locks, uint64_t inode, uint64_t handle)
{
    struct dlm_range range = {.handle = handle, .end = UINT64_MAX};
    dlm_service_range_unlock(service_of(locks), lock_name_ranges(inode), &range, DLM_SCOPE_HANDLE);
}

static const struct range_locks_operations operations = {
    .lock = range_lock,
    .test = range_test,
    .cancel = range_cancel,
    .unlock = range_unlock,
    .release_owner = range_release_owner,
    .release_handle = range_release_handle,
};

struct range_locks *range_locks_dlm_new(struct dlm_service *service, uint32_t self_node_id)
{
    struct range_locks_dlm *locks = memory_new(sizeof(*locks));
    locks->locks.operations = &operations;
    locks->service = service;
    locks->self_node_id = self_node_id;
    return &locks->locks;
}

void range_locks_dlm_free(struct range_locks *locks)
{
    free(locks);
}
