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

// A volume as it was, and which blocks are not as they were: a copy of all of it for each cut would
// take most of the time.
struct original {
    uint8_t *bytes;
    uint64_t size;
    struct image *image;
    uint64_t *touched;
    size_t touched_count, touched_capacity;
};

static void touch(struct original *original, uint64_t block)
{
    if (original->touched_count == original->touched_capacity) {
        original->touched_capacity = original->touched_capacity * 2 + 64;
        original->touched =
            realloc(original->touched, original->touched_capacity * sizeof(uint64_t));
        if (original->touched == NULL)
            image_die("out of memory");
    }
    original->touched[original->touched_count++] = block;
}

static void keep(struct original *original, struct image *image)
{
    *original = (struct original){.size = image->size_bytes, .image = image};
    original->bytes = malloc(original->size);
    if (original->bytes == NULL)
        image_die("out of memory");
    memcpy(original->bytes, image->bytes, original->size);
}

static void restore(struct original *original)
{
    for (size_t i = 0; i < original->touched_count; i++) {
        uint64_t offset = original->touched[i] * BLOCK_BYTES;
        memcpy(original->image->bytes + offset, original->bytes + offset, BLOCK_BYTES);
    }
    original->touched_count = 0;
}

static void drop(struct original *original)
{
    free(original->bytes);
    free(original->touched);
}

static void before_write(void *context, uint64_t offset, size_t length)
{
    for (uint64_t block = offset / BLOCK_BYTES; block * BLOCK_BYTES < offset + length; block++)
        touch(context, block);
}

// Nobody else is there: what the claim waits for passes at once.
struct quick_clock {
    uint64_t waited_ns;
};

static uint64_t quick_boot_ns(void *context)
{
    const struct quick_clock *clock = context;
    struct claim_clock system = claim_clock_system();
    return system.boot_ns(system.context) + clock->waited_ns;
}

static void quick_wait_ns(void *context, uint64_t ns)
{
    struct quick_clock *clock = context;
    clock->waited_ns += ns;
}

// Runs a check with what -y or no option allows; `writes_until` as image_device. The number of
// writes goes to `*write_count`.
struct run {
    struct original *original;
    bool is_yes;
    FILE *out;
};

static int check_image(const struct run *run, uint64_t writes_until, uint64_t *write_count)
{
    struct image_device device;
    struct log log;
    struct quick_clock quick = {.waited_ns = 0};
    struct claim_clock clock = {
        .boot_ns = quick_boot_ns, .wait_ns = quick_wait_ns, .context = &quick};
    struct fsck_options options = {.path = "volume", .is_yes = run->is_yes};
    struct check *check = calloc(1, sizeof(*check));
    if (check == NULL)
        image_die("out of memory");
    image_device_init(&device, run->original->image);
    device.writes_until = writes_until;
    device.before_write = before_write;
    device.context = run->original;
    log_init_null(&log);
    check->options = &options;
    check->device = &device.device;
    check->environment = environment_tool_new();
    check->log = &log;
    check->out = run->out;
    check->watch_clock = &clock;
    int status = check_run(check);
    environment_tool_free(check->environment);
    free(check);
    *write_count = device.write_count;
    return status;
}

static const char *cut_once(const struct run *run, uint64_t cut, uint64_t *write_count)
{
    uint64_t ignored;
    restore(run->original);
    check_image(run, cut, write_count);
    int second = check_image(run, UINT64_MAX, &ignored);
    if (second != FSCK_EXIT_CORRECTED && second != FSCK_EXIT_CLEAN)
        return "the second run does not put it right";
    if (check_image(run, UINT64_MAX, &ignored) != FSCK_EXIT_CLEAN)
        return "the third run finds something";
    return NULL;
}

static bool cut_everywhere(const struct run *run, const char *name, char **text)
{
    uint64_t write_count = 1;
    const char *wrong = NULL;
    for (uint64_t cut = 0; cut <= write_count && wrong == NULL; cut++) {
        uint64_t count;
        rewind(run->out);
        wrong = cut_once(run, cut, &count);
        if (wrong != NULL) {
            fflush(run->out);
            printf("# cut after write %llu: %s\n%s\n", (unsigned long long)cut, wrong, *text);
        }
        if (count == cut) // it wanted to write more
            write_count = cut + 1;
    }
    restore(run->original);
    printf("%s %s: repair cut off after any of %llu writes\n", wrong == NULL ? "ok" : "not ok",
           name, (unsigned long long)write_count - 1);
    return wrong == NULL;
}

static bool is_safe(const char *name)
{
    static const char *const safe[] = {
#define PROBLEM(problem, number, severity, repair, stage, sentence, remedy)                        \
    [PROBLEM_##problem] = PROBLEM_REPAIR_##repair == PROBLEM_REPAIR_SAFE ? #problem : "",
#include "fsck/problems.def"
#undef PROBLEM
    };
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        if (strcmp(safe[i], name) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct image image;
    struct places places;
    struct original sound;
    char *text = NULL;
    size_t text_bytes = 0;
    bool all_passed = true;
    if (argc != 2)
        image_die("usage: repair-cuts FILE");
    FILE *out = open_memstream(&text, &text_bytes);
    image_open(&image, argv[1]);
    places_find(&image, &places);
    keep(&sound, &image);
    const struct wreck *wreck;
    for (size_t i = 0; (wreck = wreck_at(i)) != NULL; i++) {
        struct original broken;
        memcpy(image.bytes, sound.bytes, sound.size);
        wreck->break_it(&image, &places);
        keep(&broken, &image);
        struct run run = {.original = &broken, .is_yes = !is_safe(wreck->problem), .out = out};
        all_passed = cut_everywhere(&run, wreck->problem, &text) && all_passed;
        drop(&broken);
    }
    fclose(out);
    free(text);
    drop(&sound);
    image_close(&image);
    return all_passed ? 0 : 1;
}
