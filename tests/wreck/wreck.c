// SPDX-License-Identifier: Apache-2.0
// lunfs-wreck: breaks volumes on purpose.
//
//   lunfs-wreck populate FILE       fills a new volume with one of everything
//   lunfs-wreck list                one line for each way to break it: NUMBER PROBLEM
//   lunfs-wreck break NUMBER FILE   breaks it; prints "block N: PROBLEM:", which fsck.lunfs must
//   say lunfs-wreck mutate SEED FILE    changes some random bytes of metadata and seals the blocks
//   again
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/random.h"
#include "tests/wreck/wrecks.h"

static int list(void)
{
    const struct wreck *wreck;
    for (size_t i = 0; (wreck = wreck_at(i)) != NULL; i++)
        printf("%zu %s\n", i, wreck->problem);
    return 0;
}

static int break_volume(const char *number, const char *path)
{
    struct image image;
    struct places places;
    const struct wreck *wreck = wreck_at(strtoul(number, NULL, 10));
    if (wreck == NULL)
        image_die("there is no wreck %s", number);
    image_open(&image, path);
    places_find(&image, &places);
    uint64_t block = wreck->break_it(&image, &places);
    printf("block %llu: %s:\n", (unsigned long long)block, wreck->problem);
    image_close(&image);
    return 0;
}

static int populate_volume(const char *path)
{
    struct image image;
    image_open(&image, path);
    populate(&image);
    image_close(&image);
    return 0;
}

// --- random damage ---------------------------------------------------------------------------

static bool is_metadata(const struct image *image, uint64_t block)
{
    const struct block_header_disk *header = image_block(image, block);
    return le32_get(header->magic) == BLOCK_MAGIC;
}

// Small changes near the front, where heads and slots are, hurt most.
static void mutate_block(struct image *image, struct random *random, uint64_t block)
{
    uint8_t *bytes = image_block(image, block);
    for (uint64_t i = 1 + random_below(random, 4); i > 0; i--) {
        size_t at = sizeof(struct block_header_disk) +
                    random_below(random, random_one_in(random, 2) ? 600 : 4032);
        bytes[at] = random_one_in(random, 3) ? 0xff : (uint8_t)random_u64(random);
    }
    image_seal(image, block);
}

static int mutate_volume(const char *seed, const char *path)
{
    struct image image;
    struct random random;
    random_init(&random, strtoull(seed, NULL, 10));
    image_open(&image, path);
    uint64_t end = geometry_ag_first_block(&image.g, 1);
    for (uint64_t left = 1 + random_below(&random, 3); left > 0;) {
        uint64_t block = FORMAT_SUPERBLOCK_BLOCK + random_below(&random, end);
        if (block >= image.g.block_count || !is_metadata(&image, block))
            continue;
        mutate_block(&image, &random, block);
        left--;
    }
    image_close(&image);
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "list") == 0 && argc == 2)
        return list();
    if (strcmp(verb, "populate") == 0 && argc == 3)
        return populate_volume(argv[2]);
    if (strcmp(verb, "break") == 0 && argc == 4)
        return break_volume(argv[2], argv[3]);
    if (strcmp(verb, "mutate") == 0 && argc == 4)
        return mutate_volume(argv[2], argv[3]);
    fputs("usage: lunfs-wreck list | populate FILE | break NUMBER FILE | mutate SEED FILE\n",
          stderr);
    return 2;
}
