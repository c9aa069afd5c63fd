// SPDX-License-Identifier: Apache-2.0
// Several processes take the seeds of a round one after the other. Each counts in memory that it
// shares with the parent; one that fails a history ends, since a failed history leaves things
// behind, and another one takes its place.
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/check.h"
#include "tests/sim/seeds_run.h"

struct job {
    pid_t pid; // 0: it has ended
    uint64_t seed;
    uint64_t histories;
    bool is_failed;
    char failure[SEEDS_FAILURE_BYTES];
};

// Shared by all; the tallies follow.
struct round {
    _Atomic uint64_t next;
    uint64_t end;
    struct job jobs[SEEDS_JOBS_MAX];
    uint64_t tallies[];
};

static void *tally_of(const struct seeds_settings *settings, struct round *round, unsigned index)
{
    return &round->tallies[index * (settings->program->tally_bytes / sizeof(uint64_t))];
}

static void work(const struct seeds_settings *settings, struct round *round, unsigned index)
{
    const struct seeds_program *program = settings->program;
    struct job *job = &round->jobs[index];
    while ((job->seed = atomic_fetch_add(&round->next, 1)) < round->end) {
        struct seeds_history history = {.seed = job->seed, .line = ""};
        alarm(program->seconds_max);
        bool holds = program->run(program->context, &history, tally_of(settings, round, index));
        alarm(0);
        job->histories += holds;
        if (holds)
            continue;
        memcpy(job->failure, history.failure, sizeof(job->failure));
        job->is_failed = true;
        return;
    }
}

static void start(const struct seeds_settings *settings, struct round *round, unsigned index)
{
    pid_t parent = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid > 0) {
        round->jobs[index].pid = pid;
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        work(settings, round, index);
    _exit(0);
}

static struct job *wait_for_one(struct round *round, unsigned count, int *status)
{
    pid_t pid = waitpid(-1, status, 0);
    CHECK(pid > 0);
    for (unsigned i = 0; i < count; i++) {
        if (round->jobs[i].pid == pid)
            return &round->jobs[i];
    }
    return NULL;
}

// Whether the history that it was at has failed.
static bool judge(const struct seeds_settings *settings, struct job *job, int status)
{
    job->pid = 0;
    if (WIFSIGNALED(status))
        snprintf(job->failure, sizeof(job->failure), "%s",
                 WTERMSIG(status) == SIGALRM ? "it does not end" : "it crashes, or breaks a CHECK");
    if (!WIFSIGNALED(status) && !job->is_failed)
        return false;
    job->is_failed = false;
    seeds_print_failure(settings, job->seed, "", job->failure);
    return true;
}

static bool run_jobs(const struct seeds_settings *settings, struct seeds_sum *sum,
                     struct round *round)
{
    unsigned alive = settings->job_count;
    bool goes_on = true;
    for (unsigned i = 0; i < settings->job_count; i++)
        start(settings, round, i);
    while (alive > 0) {
        int status;
        struct job *job = wait_for_one(round, settings->job_count, &status);
        if (job == NULL)
            continue;
        bool has_failed = judge(settings, job, status);
        sum->failures += has_failed;
        goes_on = goes_on && (!has_failed || settings->keeps_going);
        if (!goes_on)
            atomic_store(&round->next, round->end);
        if (has_failed && goes_on)
            start(settings, round, (unsigned)(job - round->jobs));
        else
            alive--;
    }
    return goes_on;
}

bool seeds_jobs_run(const struct seeds_settings *settings, struct seeds_sum *sum, uint64_t end)
{
    const struct seeds_program *program = settings->program;
    size_t bytes = sizeof(struct round) + settings->job_count * program->tally_bytes;
    struct round *round =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(round != MAP_FAILED);
    atomic_init(&round->next, sum->next);
    round->end = end;
    fflush(stdout);
    bool goes_on = run_jobs(settings, sum, round);
    for (unsigned i = 0; i < settings->job_count; i++) {
        sum->histories += round->jobs[i].histories;
        program->add(sum->tally, tally_of(settings, round, i));
    }
    sum->next = end;
    munmap(round, bytes);
    return goes_on;
}
