// SPDX-License-Identifier: Apache-2.0
// A repair that loses its power after any of its writes: the next fsck.lunfs puts everything right,
// and what the repair was not about is still there. One TAP line a case.
//
//   repair-cuts FILE        a populated volume; it is changed
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/environment_tool.h"
#include "fs/base/random.h"
#include "fsck/check.h"
#include "tests/wreck/image_device.h"
#include "tests/wreck/wrecks.h"

struct original {
    uint8_t *bytes;
    uint64_t size;
};

static void keep(struct original *original, const struct image *image)
{
    original->size = image->size_bytes;
    original->bytes = malloc(original->size);
    if (original->bytes == NULL)
        image_die("out of memory");
    memcpy(original->bytes, image->bytes, original->size);
}

static void restore(const struct original *original, struct image *image)
{
    memcpy(image->bytes, original->bytes, original->size);
}

// Whoever was cut off can beat no more; not to wait for that to show, say it at once.
static void drop_claim(struct image *image)
{
    image_set(image, FORMAT_CLAIM_BLOCK, "purpose", CLAIM_IDLE);
    for (uint32_t slot = 0; slot < image->g.slot_count; slot++)
        image_set(image, geometry_heartbeat_block(&image->g, slot), "state", HEARTBEAT_FREE);
}

// Runs a check; `writes_until` as image_device. The number of writes goes to `*write_count`.
static int check_image(struct image *image, uint64_t writes_until, FILE *out, uint64_t *write_count)
{
    struct image_device device;
    struct log log;
    struct fsck_options options = {.path = "volume"};
    struct check *check = calloc(1, sizeof(*check));
    if (check == NULL)
        image_die("out of memory");
    image_device_init(&device, image);
    device.writes_until = writes_until;
    log_init_null(&log);
    check->options = &options;
    check->device = &device.device;
    check->environment = environment_tool_new();
    check->log = &log;
    check->out = out;
    int status = check_run(check);
    environment_tool_free(check->environment);
    free(check);
    *write_count = device.write_count;
    return status;
}

static const char *cut_once(struct image *image, const struct original *original, uint64_t cut,
                            FILE *out, uint64_t *write_count)
{
    uint64_t ignored;
    restore(original, image);
    check_image(image, cut, out, write_count);
    drop_claim(image);
    int second = check_image(image, UINT64_MAX, out, &ignored);
    if (second != FSCK_EXIT_CORRECTED && second != FSCK_EXIT_CLEAN)
        return "the second run does not put it right";
    if (check_image(image, UINT64_MAX, out, &ignored) != FSCK_EXIT_CLEAN)
        return "the third run finds something";
    return NULL;
}

static bool cut_everywhere(struct image *image, const char *name, FILE *out, char **text)
{
    struct original original;
    uint64_t write_count = 1;
    const char *wrong = NULL;
    keep(&original, image);
    for (uint64_t cut = 0; cut <= write_count && wrong == NULL; cut++) {
        uint64_t count;
        rewind(out);
        wrong = cut_once(image, &original, cut, out, &count);
        if (wrong != NULL)
            fflush(out),
                printf("# cut after write %llu: %s\n%s\n", (unsigned long long)cut, wrong, *text);
        if (count == cut) // it wanted to write more
            write_count = cut + 1;
    }
    restore(&original, image);
    free(original.bytes);
    printf("%s %s: repair cut off after any of %llu writes\n", wrong == NULL ? "ok" : "not ok",
           name, (unsigned long long)write_count - 1);
    return wrong == NULL;
}

int main(int argc, char **argv)
{
    struct image image;
    struct places places;
    struct original original;
    char *text = NULL;
    size_t text_bytes = 0;
    bool all_passed = true;
    if (argc != 2)
        image_die("usage: repair-cuts FILE");
    FILE *out = open_memstream(&text, &text_bytes);
    image_open(&image, argv[1]);
    places_find(&image, &places);
    keep(&original, &image);
    const struct wreck *wreck;
    for (size_t i = 0; (wreck = wreck_at(i)) != NULL; i++) {
        if (strcmp(wreck->problem, "ORPHAN") != 0 && strcmp(wreck->problem, "FREE_COUNT") != 0 &&
            strcmp(wreck->problem, "JOURNAL_DIRTY") != 0)
            continue;
        restore(&original, &image);
        wreck->break_it(&image, &places);
        all_passed = cut_everywhere(&image, wreck->problem, out, &text) && all_passed;
    }
    fclose(out);
    free(text);
    free(original.bytes);
    image_close(&image);
    return all_passed ? 0 : 1;
}
