// SPDX-License-Identifier: Apache-2.0
// I1, I4: nothing of a life lands once a living node takes it for fenced.
#include "tests/sim/disk.h"
#include "tests/sim/ring3_check.h"

void ring3_check_fenced(struct ring3 *ring3, const struct sim_disk_write *write)
{
    const struct ring3_life *life, *other;
    LIST_FOREACH (life, &ring3->lives, link) {
        if (life->path == write->path || life->beat_path == write->path)
            break;
    }
    if (life == NULL || life->incarnation == 0)
        return;
    ring3->result.late_writes += life->is_killed;
    LIST_FOREACH (other, &ring3->lives, link) {
        if (other != life && ring3_life_has_fenced(other, life))
            ring3_fail(ring3, "a write of life %u to %llu landed; life %u takes it for fenced",
                       life->number, (unsigned long long)write->offset, other->number);
    }
}
