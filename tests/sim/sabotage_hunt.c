// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sabotage_hunt.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sabotage_switch.h"

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
    while (progress->histories < HUNT_HISTORIES_MAX && !progress->is_found)
        progress->is_found = hunt->run(first + progress->histories++, &context, progress->failure);
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
    return !is_late;
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

int hunt_main(const struct hunt *hunt, int argc, char **argv)
{
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool has_first = argc > 2 && strcmp(argv[1], "--first") == 0;
    uint64_t first = has_first ? strtoull(argv[2], NULL, 0) : 1;
    int names = has_first ? 3 : 1, run = 0, missed = 0;
    for (int i = SABOTAGE_none + 1; progress != MAP_FAILED && i < SABOTAGE_count; i++) {
        struct sabotage_text text = sabotage_describe((enum sabotage)i);
        if (!is_hunted(hunt, text.name) || !is_asked_for(text.name, argc - names, argv + names))
            continue;
        bool is_found = find(hunt, (enum sabotage)i, first, progress);
        run++;
        missed += !is_found;
        printf("%-32s rule %-3s %s %4" PRIu64 " histories%s%s\n", text.name, text.rule,
               is_found ? "found in" : "NOT FOUND in", progress->histories,
               progress->failure[0] != '\0' ? ": " : "", progress->failure);
        fflush(stdout);
    }
    printf("sabotage of %s: %d of %d switches found (first seed %" PRIu64 ")\n", hunt->subject,
           run - missed, run, first);
    return missed > 0 || run == 0;
}
