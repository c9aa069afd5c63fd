// SPDX-License-Identifier: Apache-2.0
// sabotage-membership: switches on one breakage of leases, fencing or membership after the other
// and counts the histories until an invariant breaks. A switch that 2,000 histories do not find
// fails: a simulator that finds nothing proves nothing.
//   sabotage-membership [--first S] [SWITCH...]
// Built with SABOTAGE=1 only. Each switch runs in a process of its own: broken code may well run
// into a CHECK, which counts as found.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/membership_world.h"
#include "tests/sim/sabotage_switch.h"

enum { HISTORIES_MAX = 2000 };

// Shared with the process that runs the histories.
struct progress {
    uint64_t histories;
    bool is_found;
    char failure[512];
};

static bool is_ours(const char *name)
{
    static const char *const prefixes[] = {"lease_", "fence_", "heartbeat_", "membership_"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static void run_histories(enum sabotage sabotage, uint64_t first, struct progress *progress)
{
    struct scheduler *scheduler = scheduler_new();
    sabotage_set(sabotage);
    while (progress->histories < HISTORIES_MAX && !progress->is_found) {
        struct sim_result result;
        sim_run(first + progress->histories++, scheduler, NULL, &result);
        progress->is_found = result.is_failed;
        memcpy(progress->failure, result.failure, sizeof(progress->failure));
    }
    scheduler_free(scheduler);
}

static bool find(enum sabotage sabotage, uint64_t first, struct progress *progress)
{
    int status = 0;
    *progress = (struct progress){0};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) // the CHECKs that it is meant to run into
            _exit(2);
        run_histories(sabotage, first, progress);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    for (char *line = strchr(progress->failure, '\n'); line != NULL; line = strchr(line, '\n'))
        *line = ' ';
    if (!WIFSIGNALED(status))
        return progress->is_found;
    snprintf(progress->failure, sizeof(progress->failure), "a CHECK of the machine stopped it");
    return true;
}

static bool is_asked_for(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

int main(int argc, char **argv)
{
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int run = 0, missed = 0, names = 1;
    uint64_t first = 1;
    if (argc > 2 && strcmp(argv[1], "--first") == 0) {
        first = strtoull(argv[2], NULL, 0);
        names = 3;
    }
    for (int i = SABOTAGE_none + 1; progress != MAP_FAILED && i < SABOTAGE_count; i++) {
        struct sabotage_text text = sabotage_describe((enum sabotage)i);
        if (!is_ours(text.name) || !is_asked_for(text.name, argc - names, argv + names))
            continue;
        bool is_found = find((enum sabotage)i, first, progress);
        run++;
        missed += !is_found;
        printf("%-32s rule %-3s %s %4" PRIu64 " histories%s%s\n", text.name, text.rule,
               is_found ? "found in" : "NOT FOUND in", progress->histories, is_found ? ": " : "",
               is_found ? progress->failure : "");
        fflush(stdout);
    }
    printf("sabotage of membership: %d of %d switches found (first seed %" PRIu64 ")\n",
           run - missed, run, first);
    return missed || !run ? 1 : 0;
}
