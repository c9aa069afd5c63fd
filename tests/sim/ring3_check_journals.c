// SPDX-License-Identifier: Apache-2.0
// I2, the replay rule: no block is live in two journals. A node that gave a lock up has retired its
// images, or written why nobody may replay them, before another one can have changed the block.
#include <stdlib.h>
#include <uthash.h>

#include "fs/base/check.h"
#include "journal/journal.h"
#include "tests/sim/ring3_check.h"

struct live_image {
    UT_hash_handle hash;
    uint64_t address;
    uint32_t slot;
};

static void check_image(struct ring3 *ring3, uint64_t address, uint32_t slot,
                        struct live_image **images)
{
    struct live_image *image;
    HASH_FIND(hash, *images, &address, sizeof(address), image);
    if (image != NULL) {
        ring3_fail(ring3, "block %llu is live in the journals of slots %u and %u",
                   (unsigned long long)address, image->slot, slot);
        return;
    }
    image = calloc(1, sizeof(*image));
    CHECK(image != NULL);
    image->address = address;
    image->slot = slot;
    HASH_ADD(hash, *images, address, sizeof(image->address), image);
}

void ring3_check_journals(struct ring3 *ring3, struct ring3_copy *copy)
{
    struct live_image *images = NULL, *image, *next;
    for (uint32_t slot = 0; slot < copy->geometry->slot_count; slot++) {
        struct journal_config config = ring3_copy_journal(copy, slot);
        struct journal_scan scan = {0};
        if (journal_scan(&config, 1, &scan) != 0)
            continue; // one that just begins, or is being replayed: it says nothing yet
        for (size_t i = 0; i < scan.image_count; i++)
            check_image(ring3, scan.images[i].address, slot, &images);
        journal_scan_deinit(&scan);
    }
    HASH_ITER (hash, images, image, next) {
        HASH_DELETE(hash, images, image);
        free(image);
    }
}
