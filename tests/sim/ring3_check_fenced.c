// SPDX-License-Identifier: Apache-2.0
// I1, I4: nothing of a life lands once a living node takes it for fenced.
#include "tests/sim/disk.h"
#include "tests/sim/ring3_check.h"

void ring3_check_fenced(struct ring3 *ring3, const struct ring3_life *writer,
                        const struct sim_disk_write *write)
{
    const struct ring3_life *other;
    LIST_FOREACH (other, &ring3->lives, link) {
        if (other != writer && ring3_life_has_fenced(other, writer))
            ring3_fail(ring3, "a write of life %u to %llu landed; life %u takes it for fenced",
                       writer->number, (unsigned long long)write->offset, other->number);
    }
}
