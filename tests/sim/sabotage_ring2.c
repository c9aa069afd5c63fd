// SPDX-License-Identifier: Apache-2.0
// sabotage-ring2: breaks one rule of the file system after the other and counts the histories of
// ring 2 until one finds it. A switch that HISTORIES_MAX histories do not find fails.
//   sabotage-ring2 [--first S] [SWITCH...]
// Built with SABOTAGE=1 only. Each switch runs in a process of its own; a CHECK that stops it
// counts as found.
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/ring2_history.h"
#include "tests/sim/sabotage_switch.h"

enum { HISTORIES_MAX = 2000, SECONDS_MAX = 60 };

// Written by the process that runs the histories.
struct finding {
    uint64_t histories;
    bool is_found;
    char failure[RING2_FAILURE_BYTES];
};

// What one node and a disk can show. The journal's own switches have their own simulator; some of
// them are shown again, through files.
static bool is_of_ring_2(const char *name)
{
    static const char *const prefixes[] = {"pass_",
                                           "part_write_",
                                           "unlink_",
                                           "truncate_",
                                           "grow_",
                                           "first_write_",
                                           "write_size_",
                                           "fsync_",
                                           "orphans_",
                                           "punch_",
                                           "zero_",
                                           "allocator_",
                                           "journal_skip_data_flush",
                                           "journal_skip_revoke",
                                           "journal_ack_before_flush",
                                           "journal_clean_before_flush",
                                           "journal_replay_once",
                                           "journal_reuse_before_commit"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}

static void run_histories(enum sabotage sabotage, uint64_t first, struct finding *finding)
{
    sabotage_set(sabotage);
    while (finding->histories < HISTORIES_MAX && !finding->is_found) {
        struct ring2_options options = {.seed = first + finding->histories++, .node_count = 1};
        struct ring2_result result;
        ring2_history_run(&options, &result);
        finding->is_found = result.is_failed;
        memcpy(finding->failure, result.failure, sizeof(finding->failure));
    }
}

// A history that hangs has found something, too: the alarm ends it.
static bool find(enum sabotage sabotage, uint64_t first, struct finding *finding)
{
    int status = 0;
    *finding = (struct finding){0};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        alarm(SECONDS_MAX);
        run_histories(sabotage, first, finding);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (!WIFSIGNALED(status))
        return finding->is_found;
    snprintf(finding->failure, sizeof(finding->failure), "stopped by %s",
             WTERMSIG(status) == SIGALRM ? "the clock" : "a CHECK");
    return WTERMSIG(status) != SIGALRM;
}

static bool is_asked_for(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return count == 0;
}

int main(int argc, char **argv)
{
    struct finding *finding =
        mmap(NULL, sizeof(*finding), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bool has_first = argc > 2 && strcmp(argv[1], "--first") == 0;
    uint64_t first = has_first ? strtoull(argv[2], NULL, 0) : 1;
    int names = has_first ? 3 : 1, run = 0, missed = 0;
    for (int i = SABOTAGE_none + 1; finding != MAP_FAILED && i < SABOTAGE_count; i++) {
        struct sabotage_text text = sabotage_describe((enum sabotage)i);
        if (!is_of_ring_2(text.name) || !is_asked_for(text.name, argc - names, argv + names))
            continue;
        bool is_found = find((enum sabotage)i, first, finding);
        run++;
        missed += !is_found;
        printf("%-32s rule %-3s %s %4" PRIu64 " histories: %s\n", text.name, text.rule,
               is_found ? "found in" : "NOT FOUND in", finding->histories, finding->failure);
        fflush(stdout);
    }
    printf("sabotage of one node: %d of %d switches found (first seed %" PRIu64 ")\n", run - missed,
           run, first);
    return missed > 0 || run == 0;
}
