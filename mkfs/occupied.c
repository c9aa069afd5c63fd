// SPDX-License-Identifier: Apache-2.0
#include "mkfs/occupied.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "fs/base/block_device_file.h"
#include "fs/base/cleanup.h"
#include "fs/base/device_timeouts.h"
#include "fs/base/error.h"
#include "fs/format_find.h"

// --- foreign signatures ----------------------------------------------------------------------

static void free_probe(blkid_probe *probe)
{
    if (*probe != NULL)
        blkid_free_probe(*probe);
}

// NULL if libblkid cannot look at it.
static blkid_probe probe_new(int fd)
{
    blkid_probe probe = blkid_new_probe();
    if (probe == NULL)
        return NULL;
    if (blkid_probe_set_device(probe, fd, 0, 0) != 0) {
        blkid_free_probe(probe);
        return NULL;
    }
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC);
    blkid_probe_enable_partitions(probe, 1);
    blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC);
    return probe;
}

// What libblkid calls it: a file system's type or a partition table's.
static void describe_signature(blkid_probe probe, struct text *what)
{
    const char *type = NULL;
    if (blkid_probe_lookup_value(probe, "TYPE", &type, NULL) == 0)
        text_add(what, "%s", type);
    else if (blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL) == 0)
        text_add(what, "a partition table (%s)", type);
    else
        text_add(what, "something that libblkid knows");
}

static int check_signatures(const char *path, bool is_forced, struct text *why)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    __attribute__((cleanup(free_probe))) blkid_probe probe = probe_new(fd);
    if (probe == NULL) {
        text_add(why, "libblkid cannot look for other file systems on it");
        return -EIO;
    }
    int found = blkid_do_probe(probe); // 0: found, 1: nothing
    if (found == 1 || (found == 0 && is_forced))
        return 0;
    if (found < 0) {
        text_add(why, "libblkid failed to look for other file systems on it");
        return -EIO;
    }
    text_add(why, "it holds ");
    describe_signature(probe, why);
    text_add(why, "; if nobody needs that any more, use -f");
    return -EEXIST;
}

int occupied_wipe_signatures(const char *path)
{
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    __attribute__((cleanup(free_probe))) blkid_probe probe = probe_new(fd);
    if (probe == NULL)
        return -EIO;
    int found;
    while ((found = blkid_do_probe(probe)) == 0) {
        if (blkid_do_wipe(probe, 0) != 0)
            return -EIO;
    }
    return found < 0 || fsync(fd) != 0 ? -EIO : 0;
}

// --- a lunfs volume --------------------------------------------------------------------------

static void describe_volume(const struct geometry *g, struct text *why)
{
    text_add(why, "a lunfs volume (UUID ");
    text_add_uuid(why, g->uuid);
    text_add(why, ")");
}

static uint64_t io_max_ns(const struct block_device *device)
{
    struct device_timeouts timeouts;
    TEXT(layers, 512);
    device_timeouts_read(block_device_file_descriptor(device), &timeouts, &layers);
    return timeouts.io_max_ms * 1000000;
}

static bool is_cancelled(void *context)
{
    return stop_request_has_come(context);
}

static void make_claim_config(const struct occupied_question *question,
                              const struct geometry *geometry, struct claim_config *config)
{
    *config = (struct claim_config){
        .device = question->device,
        .geometry = geometry,
        .clock = claim_clock_system(),
        .purpose = CLAIM_MKFS,
        .io_max_ns = io_max_ns(question->device),
    };
    config->clock.is_cancelled = is_cancelled;
    config->clock.context = question->stop;
    gethostname(config->host_name, sizeof(config->host_name) - 1);
    ssize_t got = getrandom(config->holder, sizeof(config->holder), 0);
    (void)got; // 16 bytes never come short
}

static int refuse_users(const struct claim_users *users, struct text *why)
{
    text_add(why, "the lunfs volume on it is in use by ");
    claim_users_to_text(users, why);
    text_add(why, "; unmount it there first (-f does not help)");
    return -EBUSY;
}

static int take_volume(const struct occupied_question *question, struct occupied *occupied,
                       struct text *why)
{
    struct claim_config config;
    struct claim_users users = {0};
    make_claim_config(question, &occupied->geometry, &config);
    int result = question->only_look ? claim_watch_live(&config, &users)
                                     : claim_acquire(&occupied->claim, &config, &users);
    if (result == -ERROR_CLAIM_HELD)
        return refuse_users(&users, why);
    if (result < 0 && result != -ECANCELED) {
        text_add(why, "whether the lunfs volume on it is in use cannot be told: %s",
                 error_text(result));
        return result;
    }
    occupied->has_claim = result == 0 && !question->only_look;
    return result;
}

static int check_volume(const struct occupied_question *question, struct occupied *occupied,
                        struct text *why)
{
    struct format_superblock_finding finding;
    int result = format_superblock_find(question->device, NULL, &finding);
    if (finding.chosen < 0) {
        if (result == -ERROR_SUPERBLOCK_NONE)
            return 0;
        text_add(why, "it cannot be read: %s", error_text(result));
        return result;
    }
    if (result == -ERROR_SUPERBLOCK_IN_PROGRESS) // nobody can have mounted it
        return 0;
    occupied->geometry = finding.places[finding.chosen].geometry;
    if (result < 0 && result != -ERROR_VOLUME_SHRUNK) {
        text_add(why,
                 "it holds a lunfs volume that this program cannot judge (%s); if it is not in "
                 "use, wipe blocks 16 and 272 (of 4096 bytes) and the last one, and try again",
                 error_text(result));
        return result;
    }
    if (!question->is_forced) {
        text_add(why, "it holds ");
        describe_volume(&occupied->geometry, why);
        text_add(why, "; if nobody needs that any more, use -f");
        return -EEXIST;
    }
    return take_volume(question, occupied, why);
}

int occupied_check(const struct occupied_question *question, struct occupied *occupied,
                   struct text *why)
{
    *occupied = (struct occupied){.has_claim = false};
    int result = check_volume(question, occupied, why);
    if (result == 0)
        result = check_signatures(question->path, question->is_forced, why);
    if (result == 0 && stop_request_has_come(question->stop))
        result = -ECANCELED;
    if (result == -ECANCELED)
        text_add(why, "interrupted, nothing was written");
    if (result < 0 && occupied->has_claim) {
        claim_release(&occupied->claim);
        occupied->has_claim = false;
    }
    return result;
}
