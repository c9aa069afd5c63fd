// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/silent_masters.h"

#include <errno.h>

#include "fs/dlm_service.h"
#include "fs/lock_types.h"

struct silent_masters silent_masters;

static bool is_silent(struct lock_name name)
{
    uint64_t hash = (name.id * 31 + name.type) * UINT64_C(0x9E3779B97F4A7C15);
    bool is_number = name.type == LOCK_INODE || name.type == LOCK_OPEN;
    if (name.type == LOCK_AG)
        return silent_masters.are_groups_silent;
    if (silent_masters.silent_until != 0 &&
        (name.id < silent_masters.silent_from || name.id >= silent_masters.silent_until))
        return false;
    return is_number && (hash >> 32) % 3 < silent_masters.silent_of_3;
}

static void request(struct lock_service *service, uint64_t cookie, struct lock_name name,
                    enum lock_right right, bool no_wait)
{
    if (!is_silent(name)) {
        silent_masters.real->request(service, cookie, name, right, no_wait);
        return;
    }
    assert_true(silent_masters.kept_count < SILENT_MASTERS_KEPT_MAX);
    silent_masters.kept[silent_masters.kept_count++] =
        (struct silent_request){cookie, name, right, no_wait};
    silent_masters.kept_ever++;
}

static void convert(struct lock_service *service, uint64_t cookie, enum lock_right right,
                    bool no_wait)
{
    silent_masters.real->convert(service, cookie, right, no_wait);
}

static void release(struct lock_service *service, uint64_t cookie)
{
    silent_masters.real->release(service, cookie);
}

static void cancel(struct lock_service *service, uint64_t cookie)
{
    for (size_t i = 0; i < silent_masters.kept_count; i++) {
        if (silent_masters.kept[i].cookie != cookie)
            continue;
        silent_masters.kept[i] = silent_masters.kept[--silent_masters.kept_count];
        service->client->denied(service->client, cookie, -ECANCELED);
        return;
    }
    silent_masters.real->cancel(service, cookie);
}

static const struct lock_service_operations operations = {
    .request = request, .convert = convert, .release = release, .cancel = cancel};

void silent_masters_set(struct operation_world *w, unsigned silent_of_3)
{
    silent_masters.silent_of_3 = silent_of_3;
    silent_masters.are_groups_silent = false;
    silent_masters.service = dlm_service_locks(w->node.locks);
    if (silent_masters.service->operations == &operations)
        return;
    silent_masters.kept_count = silent_masters.kept_ever = 0;
    silent_masters.silent_from = silent_masters.silent_until = 0;
    silent_masters.real = silent_masters.service->operations;
    silent_masters.service->operations = &operations;
}

void silent_masters_answer(struct operation_world *w)
{
    silent_masters_set(w, 0);
    for (size_t i = 0; i < silent_masters.kept_count; i++) {
        struct silent_request *kept = &silent_masters.kept[i];
        silent_masters.real->request(silent_masters.service, kept->cookie, kept->name, kept->right,
                                     kept->no_wait);
    }
    silent_masters.kept_count = 0;
}
