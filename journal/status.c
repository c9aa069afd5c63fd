// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>

#include "fs/base/text.h"
#include "journal/state.h"

void journal_status_get(const struct journal *journal, struct journal_status *status)
{
    *status = journal->counts;
    status->ring_block_count = journal->ring.block_count;
    status->used_block_count = journal_ring_used(&journal->ring);
    status->running_block_count = journal->running->block_count;
    status->dirty_block_count = journal->dirty_count;
    status->lock_count = journal->lock_with_images_count;
    status->waiting_handle_count = journal->waiting_count;
    status->ticket_durable = journal->ticket_durable;
    status->flush_count = journal->barrier.submitted;
    status->handle_credits_max = journal->credits_max;
    status->is_failed = journal->is_failed;
}

void journal_status_to_text(const struct journal_status *status, struct text *text)
{
    text_add(text, "journal: %s, %" PRIu32 " of %" PRIu32 " blocks used, ",
             status->is_failed ? "failed" : "running", status->used_block_count,
             status->ring_block_count);
    text_add(text, "%" PRIu32 " changed, %" PRIu32 " dirty, %" PRIu32 " locks with images, ",
             status->running_block_count, status->dirty_block_count, status->lock_count);
    text_add(text, "%" PRIu32 " waiting; %" PRIu64 " commits, %" PRIu64 " retire records, ",
             status->waiting_handle_count, status->commit_count, status->retire_record_count);
    text_add(text, "%" PRIu64 " images, %" PRIu64 " written back, %" PRIu64 " flushes; ",
             status->image_count, status->write_back_count, status->flush_count);
    text_add(text, "largest handle %" PRIu32 " of %" PRIu32 " blocks", status->handle_credits_most,
             status->handle_credits_max);
}
