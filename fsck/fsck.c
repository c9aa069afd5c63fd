// SPDX-License-Identifier: Apache-2.0
// fsck.lunfs: options, the device, one check.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#include "fs/base/block_device_file.h"
#include "fs/base/device_timeouts.h"
#include "fs/base/environment_tool.h"
#include "fs/base/error.h"
#include "fsck/check.h"

static int refuse(const struct fsck_options *options, int error)
{
    const char *why = error == -EBUSY     ? "the device is in use on this host"
                      : error == -ENOTBLK ? "neither a block device nor a regular file"
                      : error == -EINVAL  ? "its sectors are larger than 4096 bytes"
                                          : error_text(error);
    fprintf(stderr, "fsck.lunfs: %s: %s\n", options->path, why);
    return FSCK_EXIT_OPERATIONAL;
}

static int open_device(const struct fsck_options *options, struct block_device **device)
{
    unsigned flags = BLOCK_DEVICE_ALLOW_BUFFERED |
                     (options->no_changes ? BLOCK_DEVICE_READ_ONLY : BLOCK_DEVICE_EXCLUSIVE);
    int result = block_device_file_open(options->path, flags, device);
    if (result < 0)
        return refuse(options, result);
    if (options->no_changes || flock(block_device_file_descriptor(*device), LOCK_EX | LOCK_NB) == 0)
        return -1;
    block_device_close(*device);
    fprintf(stderr, "fsck.lunfs: %s: another program holds a lock on it\n", options->path);
    return FSCK_EXIT_OPERATIONAL;
}

static uint64_t io_max_ns(const struct block_device *device)
{
    struct device_timeouts timeouts;
    TEXT(layers, 512);
    device_timeouts_read(block_device_file_descriptor(device), &timeouts, &layers);
    return timeouts.io_max_ms * 1000000;
}

int main(int argc, char **argv)
{
    struct fsck_options options;
    int status = fsck_options_parse(argc, argv, &options);
    if (status >= 0)
        return status;
    struct log log;
    struct stop_request stop;
    stop_request_init(&stop);
    log_init_stderr(&log, options.is_verbose ? LOG_LEVEL_NOTICE : LOG_LEVEL_ERROR);
    struct check *check = calloc(1, sizeof(*check));
    if (check == NULL)
        return refuse(&options, -ENOMEM);
    check->options = &options;
    check->log = &log;
    check->out = stdout;
    check->stop = &stop;
    status = open_device(&options, &check->device);
    if (status < 0) {
        check->environment = environment_tool_new();
        check->io_max_ns = io_max_ns(check->device);
        check->reads_ahead = true;
        status = check_run(check);
        environment_tool_free(check->environment);
        block_device_close(check->device);
    }
    free(check);
    return status;
}
