// SPDX-License-Identifier: Apache-2.0
// Replay of dead journals, one spine:
//
//   scan and plan ─► flush ─► check every block ─► write ─► flush ─► clean marks ─► flush
//
// The first flush is for the log itself: its last record may have reached no more than the LUN's
// cache, from which we read it, when its node died. Were it lost by a power cut after some of its
// images had got to their places, half of a transaction would be left.
//
// It assumes that the nodes of these journals write no more (fenced) and that nobody has got what
// they held. Nothing is written before all is checked. Cut off anywhere, it leaves journals that
// are still dirty and say the same, so whoever comes next does it all again.
#include <inttypes.h>
#include <stdlib.h>

#include "fs/base/check.h"
#include "fs/base/crc32c.h"
#include "fs/base/error.h"
#include "fs/base/sabotage.h"
#include "journal/state.h"

struct replay {
    const struct journal_config *configs;
    size_t config_count;
    struct journal_scan scan;
    struct journal_replay_report *report;
    struct journal_pool pool;
    struct journal_chunk *images; // one batch
    struct journal_chunk *places; // what stands in place
    uint64_t done;                // of twice the images
};

static const struct journal_config *config_of(const struct replay *replay,
                                              const struct journal_image *image)
{
    return &replay->configs[image->journal];
}

static void report_progress(struct replay *replay, size_t count)
{
    const struct journal_config *config = &replay->configs[0];
    replay->done += count;
    if (config->callbacks->progress != NULL)
        config->callbacks->progress(config->context, replay->done, 2 * replay->scan.image_count);
}

static uint8_t *batch_bytes(const struct journal_chunk *chunk, size_t index)
{
    return chunk->bytes + index * BLOCK_BYTES;
}

// --- reading a batch -----------------------------------------------------------------------------

static int read_batch(struct replay *replay, const struct journal_image *images, size_t count,
                      bool with_places)
{
    const struct journal_config *config = &replay->configs[0];
    struct journal_io_group group;
    journal_io_init(&group, config->device, config->environment->scheduler);
    for (size_t i = 0; i < count; i++) {
        journal_io_submit(&group, &replay->images->requests[i], BLOCK_READ, images[i].block, 1,
                          batch_bytes(replay->images, i));
        if (with_places)
            journal_io_submit(&group, &replay->places->requests[i], BLOCK_READ, images[i].address,
                              1, batch_bytes(replay->places, i));
    }
    int result = journal_io_wait(&group);
    if (result < 0)
        log_error(config->log, -result, "replay: reading failed near block %" PRIu64 ": %s",
                  images[0].address, error_text(result));
    return result;
}

// --- checking ------------------------------------------------------------------------------------

static int refuse(struct replay *replay, const struct journal_image *image, int error,
                  uint64_t version_in_place)
{
    const struct journal_config *config = config_of(replay, image);
    replay->report->error_address = image->address;
    log_error(config->log, error,
              "replay: journal %u: image at block %" PRIu64 " of block %" PRIu64
              ", version %" PRIu64 " (in place: %" PRIu64 "): %s",
              config->slot, image->block, image->address, image->version, version_in_place,
              error_text(-error));
    return -error;
}

// The image is what its tag says, and not older than what its owner has in place.
static int check_one(struct replay *replay, const struct journal_image *image, const uint8_t *bytes,
                     const uint8_t *place)
{
    const struct journal_config *config = config_of(replay, image);
    uint64_t owner = 0, version = 0, place_owner = 0, place_version = 0;
    bool is_whole =
        crc32c(0, bytes, BLOCK_BYTES) == image->checksum &&
        config->callbacks->inspect(config->context, bytes, image->address, &owner, &version) &&
        version == image->version;
    if (!is_whole)
        return refuse(replay, image, ERROR_JOURNAL_RECORD, 0);
    bool is_valid_in_place = config->callbacks->inspect(config->context, place, image->address,
                                                        &place_owner, &place_version);
    if (is_valid_in_place && SABOTAGE(journal_replay_once) && place_version == version)
        return refuse(replay, image, ERROR_JOURNAL_VERSION, place_version);
    if (is_valid_in_place && place_owner == owner && place_version > version)
        return refuse(replay, image, ERROR_JOURNAL_VERSION, place_version);
    return 0;
}

static int check_batch(struct replay *replay, const struct journal_image *images, size_t count)
{
    int result = read_batch(replay, images, count, true);
    for (size_t i = 0; i < count && result == 0; i++)
        result = check_one(replay, &images[i], batch_bytes(replay->images, i),
                           batch_bytes(replay->places, i));
    return result;
}

// --- writing -------------------------------------------------------------------------------------

static int write_batch(struct replay *replay, const struct journal_image *images, size_t count)
{
    const struct journal_config *config = &replay->configs[0];
    int result = read_batch(replay, images, count, false);
    if (result < 0)
        return result;
    struct journal_io_group group;
    journal_io_init(&group, config->device, config->environment->scheduler);
    for (size_t i = 0; i < count && result == 0; i++) {
        if (crc32c(0, batch_bytes(replay->images, i), BLOCK_BYTES) == images[i].checksum)
            journal_io_submit(&group, &replay->images->requests[i], BLOCK_WRITE, images[i].address,
                              1, batch_bytes(replay->images, i));
        else
            result = refuse(replay, &images[i], ERROR_JOURNAL_RECORD, 0);
    }
    int written = journal_io_wait(&group);
    if (written < 0)
        log_error(config->log, -written, "replay: writing failed near block %" PRIu64 ": %s",
                  images[0].address, error_text(written));
    replay->report->written_count += count;
    return result < 0 ? result : written;
}

// --- the spine -----------------------------------------------------------------------------------

static int for_each_batch(struct replay *replay,
                          int (*step)(struct replay *replay, const struct journal_image *images,
                                      size_t count))
{
    const struct journal_scan *scan = &replay->scan;
    for (size_t first = 0; first < scan->image_count; first += JOURNAL_CHUNK_BLOCKS) {
        size_t left = scan->image_count - first;
        size_t count = left < JOURNAL_CHUNK_BLOCKS ? left : JOURNAL_CHUNK_BLOCKS;
        int result = step(replay, scan->images + first, count);
        if (result < 0)
            return result;
        report_progress(replay, count);
        journal_pause(replay->configs[0].environment->scheduler);
    }
    return 0;
}

static int mark_clean(struct replay *replay, const struct journal_config *config)
{
    struct journal_header header;
    int result = journal_header_read(config, &header);
    if (result < 0 || header.state == JOURNAL_STATE_CLEAN)
        return result;
    header.state = JOURNAL_STATE_CLEAN;
    if (replay->scan.version_max > header.version_max)
        header.version_max = replay->scan.version_max;
    return journal_header_write_both(config, &header);
}

static int flush(struct replay *replay)
{
    const struct journal_config *config = &replay->configs[0];
    int result = block_device_flush(config->device, config->environment->scheduler);
    if (result < 0)
        log_error(config->log, -result, "replay: flushing the device failed: %s",
                  error_text(result));
    return result;
}

static int run(struct replay *replay)
{
    int result = 0;
    if (!SABOTAGE(journal_replay_unflushed_log))
        result = flush(replay);
    if (result == 0)
        result = for_each_batch(replay, check_batch);
    if (result == 0)
        result = for_each_batch(replay, write_batch);
    if (result == 0 && !SABOTAGE(journal_clean_before_flush))
        result = flush(replay);
    for (size_t i = 0; i < replay->config_count && result == 0; i++)
        result = mark_clean(replay, &replay->configs[i]);
    return result;
}

static void fill_report(struct replay *replay)
{
    struct journal_replay_report *report = replay->report;
    report->journal_count = replay->scan.journal_count;
    report->dirty_count = replay->scan.dirty_count;
    report->record_count = replay->scan.record_count;
    report->scanned_count = replay->scan.scanned_count;
    report->version_max = replay->scan.version_max;
}

int journal_replay(const struct journal_config *configs, size_t count,
                   struct journal_replay_report *report)
{
    *report = (struct journal_replay_report){0};
    struct replay replay = {.configs = configs, .config_count = count, .report = report};
    int result = journal_scan(configs, count, &replay.scan);
    fill_report(&replay);
    if (result == 0 && count > 0)
        lamport_observe(configs[0].clock, report->version_max);
    if (result == 0 && report->dirty_count > 0) {
        journal_pool_init(&replay.pool);
        replay.images = journal_pool_get_chunk(&replay.pool);
        replay.places = journal_pool_get_chunk(&replay.pool);
        result = run(&replay);
        journal_pool_put_chunk(&replay.pool, replay.images);
        journal_pool_put_chunk(&replay.pool, replay.places);
        journal_pool_deinit(&replay.pool);
    }
    journal_scan_deinit(&replay.scan);
    return result;
}
