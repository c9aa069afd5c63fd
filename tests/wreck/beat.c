// SPDX-License-Identifier: Apache-2.0
// Somebody who uses a volume: beats in its claim block or in a slot's heartbeat until it is ended,
// every 200 ms.
//
//   lunfs-beat claim|slot FILE       prints "beating" when the first beat is durable
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/block_device_file.h"
#include "fs/base/error.h"
#include "fs/format_find.h"

enum { BEAT_MS = 200 };

struct beater {
    struct block_device *device;
    struct geometry geometry;
    uint64_t block;
    uint8_t *bytes;
};

static _Noreturn void die(const char *what, int error)
{
    fprintf(stderr, "lunfs-beat: %s: %s\n", what, error_text(error));
    exit(1);
}

static void open_volume(struct beater *beater, const char *what, const char *path)
{
    struct format_superblock_finding finding;
    int result = block_device_file_open(path, BLOCK_DEVICE_ALLOW_BUFFERED, &beater->device);
    if (result == 0)
        result = format_superblock_find(beater->device, NULL, &finding);
    if (result < 0)
        die(path, result);
    beater->geometry = finding.places[finding.chosen].geometry;
    beater->block = strcmp(what, "claim") == 0 ? FORMAT_CLAIM_BLOCK
                                               : geometry_heartbeat_block(&beater->geometry, 1);
    beater->bytes = block_buffer_new(BLOCK_BYTES);
    result = block_device_read(beater->device, NULL, beater->block * BLOCK_BYTES, beater->bytes,
                               BLOCK_BYTES);
    if (result < 0)
        die(path, result);
}

static void beat_claim(uint8_t *bytes)
{
    struct claim_disk *disk = (struct claim_disk *)bytes;
    memset(disk->holder, 7, sizeof(disk->holder));
    strcpy((char *)disk->host_name, "elsewhere");
    disk->purpose = le32_make(CLAIM_LOCAL);
    disk->beat_ms = le32_make(BEAT_MS);
    disk->beat = le64_make(le64_get(disk->beat) + 1);
}

static void beat_slot(uint8_t *bytes)
{
    struct heartbeat_disk *disk = (struct heartbeat_disk *)bytes;
    strcpy((char *)disk->node_name, "elsewhere");
    disk->state = le32_make(HEARTBEAT_RUNNING);
    disk->incarnation = le64_make(5);
    disk->beat_ms = le32_make(BEAT_MS);
    disk->beat = le64_make(le64_get(disk->beat) + 1);
}

static void write_beat(struct beater *beater)
{
    if (beater->block == FORMAT_CLAIM_BLOCK)
        beat_claim(beater->bytes);
    else
        beat_slot(beater->bytes);
    format_block_seal(beater->bytes, format_block_version(beater->bytes) + 1);
    int result = block_device_write(beater->device, NULL, beater->block * BLOCK_BYTES,
                                    beater->bytes, BLOCK_BYTES);
    if (result == 0)
        result = block_device_flush(beater->device, NULL);
    if (result < 0)
        die("a beat cannot be written", result);
}

int main(int argc, char **argv)
{
    struct beater beater = {.device = NULL};
    if (argc != 3 || (strcmp(argv[1], "claim") != 0 && strcmp(argv[1], "slot") != 0)) {
        fputs("usage: lunfs-beat claim|slot FILE\n", stderr);
        return 2;
    }
    open_volume(&beater, argv[1], argv[2]);
    write_beat(&beater);
    puts("beating");
    fflush(stdout);
    for (;;) {
        struct timespec wait = {.tv_nsec = BEAT_MS * 1000000L};
        nanosleep(&wait, NULL); // it is its job to beat in time
        write_beat(&beater);
    }
}
