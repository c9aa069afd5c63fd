// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sabotage_hunt.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sabotage_switch.h"

enum { HUNT_DISTANCE = 1000000 }; // between the first seeds of hunts for one switch

// Shared with the process that runs the histories.
struct progress {
    uint64_t histories;
    bool is_found;
    char failure[HUNT_FAILURE_BYTES];
};

static void run_histories(const struct hunt *hunt, enum sabotage sabotage, uint64_t first,
                          struct progress *progress)
{
    void *context = NULL;
    sabotage_set(sabotage);
    while (progress->histories < HUNT_HISTORIES_MAX && !progress->is_found) {
        bool has_failed = hunt->run(first + progress->histories++, &context, progress->failure);
        progress->is_found = has_failed && (hunt->sentence == NULL ||
                                            strstr(progress->failure, hunt->sentence) != NULL);
    }
}

static void put_on_one_line(char *text)
{
    for (char *end = strchr(text, '\n'); end != NULL; end = strchr(end, '\n'))
        *end = ' ';
}

static bool find(const struct hunt *hunt, enum sabotage sabotage, uint64_t first,
                 struct progress *progress)
{
    int status = 0;
    *progress = (struct progress){0};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) // the CHECKs that it is meant to run into
            _exit(2);
        alarm(hunt->seconds_max);
        run_histories(hunt, sabotage, first, progress);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    put_on_one_line(progress->failure);
    if (!WIFSIGNALED(status))
        return progress->is_found;
    bool is_late = WTERMSIG(status) == SIGALRM;
    snprintf(progress->failure, sizeof(progress->failure), "stopped by %s",
             is_late ? "the clock" : "a CHECK");
    return !is_late && hunt->sentence == NULL;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

static uint64_t median_of(uint64_t *counts, unsigned count)
{
    qsort(counts, count, sizeof(*counts), by_size);
    return count > 0 ? counts[(count - 1) / 2] : 0;
}

static uint64_t ms_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// The histories that each hunt of one switch took; false: one has not found it.
static bool find_often(const struct hunt *hunt, enum sabotage sabotage, uint64_t first,
                       struct progress *progress, uint64_t counts[HUNTS_MAX], unsigned *count)
{
    uint64_t began_ms = ms_now();
    bool is_found = true;
    for (*count = 0; is_found && *count < HUNTS_MAX;) {
        is_found = find(hunt, sabotage, first + *count * HUNT_DISTANCE, progress);
        counts[(*count)++] = progress->histories;
        if (ms_now() - began_ms > HUNT_QUICK_MS)
            break;
    }
    return is_found;
}

static bool is_hunted(const struct hunt *hunt, const char *name)
{
    for (const char *const *prefix = hunt->prefixes; *prefix != NULL; prefix++)
        if (strncmp(name, *prefix, strlen(*prefix)) == 0)
            return true;
    return false;
}

static bool is_asked_for(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

// Prints how it went; the median of its hunts, 0: it was not found.
static uint64_t hunt_one(const struct hunt *hunt, enum sabotage sabotage, uint64_t first,
                         struct progress *progress)
{
    struct sabotage_text text = sabotage_describe(sabotage);
    uint64_t counts[HUNTS_MAX];
    unsigned count;
    bool is_found = find_often(hunt, sabotage, first, progress, counts, &count);
    uint64_t median = median_of(counts, count);
    printf("%-32s rule %-3s %s %4" PRIu64 " histories", text.name, text.rule,
           is_found ? "found in" : "NOT FOUND in", is_found ? median : progress->histories);
    if (is_found && count > 1)
        printf(" (median of %u, at most %" PRIu64 ")", count, counts[count - 1]);
    printf("%s%s\n", progress->failure[0] != '\0' ? ": " : "", progress->failure);
    fflush(stdout);
    return is_found ? median : 0;
}

int hunt_main(const struct hunt *hunt, int argc, char **argv)
{
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool has_first = argc > 2 && strcmp(argv[1], "--first") == 0;
    uint64_t first = has_first ? strtoull(argv[2], NULL, 0) : 1, medians[SABOTAGE_count];
    int names = has_first ? 3 : 1, run = 0;
    unsigned found = 0;
    for (int i = SABOTAGE_none + 1; progress != MAP_FAILED && i < SABOTAGE_count; i++) {
        const char *name = sabotage_describe((enum sabotage)i).name;
        if (!is_hunted(hunt, name) || !is_asked_for(name, argc - names, argv + names))
            continue;
        medians[found] = hunt_one(hunt, (enum sabotage)i, first, progress);
        found += medians[found] > 0;
        run++;
    }
    if (run == 0 && argc > names)
        return 0; // it is another hunt's
    printf("sabotage of %s: %u of %d switches found (first seed %" PRIu64
           "), the median switch in %" PRIu64 " histories\n",
           hunt->subject, found, run, first, median_of(medians, found));
    return found < (unsigned)run || run == 0;
}
