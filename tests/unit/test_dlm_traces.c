// SPDX-License-Identifier: Apache-2.0
// Golden traces: the protocols that people must understand, as logs of what each core hears (<-)
// and tells its owner (->). They stand in tests/sim/golden, and docs/lock-traces.md shows and
// explains them: both must be what the cores say today. UPDATE_GOLDEN=1 writes the former anew.
#include "tests/unit/test_dlm_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { A, B, C, D };
enum { TRACE_BYTES = 16384, PAGE_BYTES = 65536 };

// --- stories ---------------------------------------------------------------------------------

// The trace begins behind what every cluster begins with.
static void begin(struct cluster *cluster, uint32_t count, unsigned members, struct text *trace)
{
    cluster_init(cluster, count);
    cluster_view(cluster, members, 0);
    cluster_settle(cluster);
    cluster->trace = trace;
}

static void tell_grant(struct text *trace)
{
    struct cluster cluster;
    begin(&cluster, 3, 7, trace);
    cluster_request(&cluster, C, cluster_name_of(&cluster, A), 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

static void tell_callback(struct text *trace)
{
    struct cluster cluster;
    begin(&cluster, 3, 7, trace);
    struct lock_name name = cluster_name_of(&cluster, A);
    cluster_request(&cluster, B, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_request(&cluster, C, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_convert(&cluster, B, 1, DLM_PR, 0, 0);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

static void tell_death(struct text *trace)
{
    struct cluster cluster;
    cluster_init(&cluster, 3);
    cluster.trace = trace;
    cluster_view(&cluster, 7, 0);
    cluster_settle(&cluster);
    struct lock_name name = cluster_name_of(&cluster, A);
    cluster_request(&cluster, B, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_request(&cluster, C, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_convert(&cluster, B, 1, DLM_NL, 0, 0);
    cluster_settle(&cluster);
    cluster_request(&cluster, B, name, 2, DLM_PR, 0);
    cluster_crash(&cluster, A);
    cluster_view(&cluster, 6, 1);
    cluster_settle(&cluster);
    cluster_release(&cluster, C, 1, 0, 0);
    cluster_settle(&cluster);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

// A is cut off with EX on a lock that B masters, and goes on asking: nobody listens.
static void tell_partition(struct text *trace)
{
    struct cluster cluster;
    begin(&cluster, 3, 7, trace);
    struct lock_name name = cluster_name_of(&cluster, B);
    cluster_request(&cluster, A, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_view(&cluster, 6, 1);
    cluster_request(&cluster, C, name, 1, DLM_PR, 0);
    cluster_convert(&cluster, A, 1, DLM_PR, 0, 0);
    cluster_settle(&cluster);
    cluster_crash(&cluster, A);
    cluster_recovered(&cluster, A);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

// A name that D masters once it is there.
static struct lock_name name_of_the_joiner(void)
{
    struct cluster cluster;
    cluster_init(&cluster, 4);
    cluster_view(&cluster, 15, 0);
    struct lock_name name = cluster_name_of(&cluster, D);
    cluster_deinit(&cluster);
    return name;
}

static void tell_join(struct text *trace)
{
    struct cluster cluster;
    struct lock_name name = name_of_the_joiner();
    begin(&cluster, 4, 7, trace);
    cluster_request(&cluster, B, name, 1, DLM_EX, 0);
    cluster_settle(&cluster);
    cluster_view(&cluster, 15, 0);
    cluster_settle(&cluster);
    cluster_request(&cluster, D, name, 1, DLM_PR, 0);
    cluster_settle(&cluster);
    cluster_release(&cluster, B, 1, 0, 0);
    cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

// --- comparing -------------------------------------------------------------------------------

static void read_file(const char *path, char *bytes, size_t capacity)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s: cannot be read (the tests run in the tree's root)", path);
    bytes[fread(bytes, 1, capacity - 1, file)] = '\0';
    fclose(file);
}

static void write_file(const char *path, const char *bytes)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(bytes, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

// As a block of code: each line four spaces in.
static void indent(const char *trace, struct text *block)
{
    while (*trace != '\0') {
        int length = (int)strcspn(trace, "\n");
        text_add(block, "    %.*s\n", length, trace);
        trace += length + (trace[length] == '\n');
    }
}

static void compare(const char *story, const struct text *trace)
{
    static const char page[] = "docs/lock-traces.md";
    char path[100], golden[TRACE_BYTES];
    snprintf(path, sizeof(path), "tests/sim/golden/lock_%s.txt", story);
    assert_false(trace->truncated);
    if (getenv("UPDATE_GOLDEN") != NULL) {
        write_file(path, trace->bytes);
        return;
    }
    char *shown = calloc(2, PAGE_BYTES);
    assert_non_null(shown);
    struct text block;
    text_init(&block, shown + PAGE_BYTES, PAGE_BYTES);
    read_file(path, golden, sizeof(golden));
    assert_string_equal(trace->bytes, golden);
    read_file(page, shown, PAGE_BYTES);
    indent(golden, &block);
    if (strstr(shown, block.bytes) == NULL)
        fail_msg("%s does not show %s", page, path);
    free(shown);
}

static void test_traces(void **state)
{
    static const struct {
        const char *story;
        void (*tell)(struct text *trace);
    } stories[] = {
        {"grant", tell_grant},         {"callback", tell_callback}, {"death", tell_death},
        {"partition", tell_partition}, {"join", tell_join},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
        TEXT(trace, TRACE_BYTES);
        stories[i].tell(&trace);
        compare(stories[i].story, &trace);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_traces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
