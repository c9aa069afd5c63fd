// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "fs/base/check.h"
#include "fsck/check.h"
#include "tests/sim/ring2_fsck.h"

struct fsck_run {
    struct check check;
    int exit_code;
};

static void run_body(void *argument)
{
    struct fsck_run *run = argument;
    run->exit_code = check_run(&run->check);
}

static int run_with(const struct fsck_options *options, struct world *world, struct sim_disk *disk,
                    char *output, size_t output_bytes)
{
    struct world_node node;
    struct log log;
    struct fsck_run *run = calloc(1, sizeof(*run));
    char *text = NULL;
    size_t length = 0;
    CHECK(run != NULL);
    world_node_init(&node, world);
    log_init_null(&log);
    run->check.options = options;
    run->check.device = sim_disk_attach(disk, "fsck");
    run->check.environment = &node.environment;
    run->check.log = &log;
    run->check.out = open_memstream(&text, &length);
    ring2_run(world, run_body, run);
    fclose(run->check.out);
    block_device_close(run->check.device);
    world_node_stop(&node);
    strncpy(output, text, output_bytes - 1);
    output[output_bytes - 1] = '\0';
    int exit_code = run->exit_code;
    free(text);
    free(run);
    return exit_code;
}

int ring2_fsck_run(struct world *world, struct sim_disk *disk, char *output, size_t output_bytes)
{
    static const struct fsck_options options = {
        .path = "disk", .no_changes = true, .is_forced = true};
    return run_with(&options, world, disk, output, output_bytes);
}

int ring2_fsck_repair(struct world *world, struct sim_disk *disk, char *output, size_t output_bytes)
{
    static const struct fsck_options options = {.path = "disk", .is_yes = true, .is_forced = true};
    return run_with(&options, world, disk, output, output_bytes);
}
