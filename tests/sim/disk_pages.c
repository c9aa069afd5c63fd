// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/disk_pages.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "fs/base/check.h"

enum { PAGE_BYTES = 4096, UNIT_BYTES = 512, UNITS_PER_PAGE = PAGE_BYTES / UNIT_BYTES };

#define ALL_UNITS 0xffu

struct content {
    uint32_t reference_count;
    uint8_t bytes[PAGE_BYTES];
};

// A write to one page that a power cut may lose.
struct disk_unflushed {
    TAILQ_ENTRY(disk_unflushed) in_disk;
    TAILQ_ENTRY(disk_unflushed) in_page;
    struct disk_page *page;
    uint64_t order;          // of landing
    uint32_t units;          // bit set: which 512-byte units it wrote
    struct content *content; // the page as seen after it
};

struct disk_page {
    UT_hash_handle hash;
    uint64_t number;
    struct content *durable; // NULL: zeros
    struct content *seen;
    struct disk_unflushed_list unflushed;
};

// --- contents ------------------------------------------------------------------------------------

static struct content *content_hold(struct content *content)
{
    if (content != NULL)
        content->reference_count++;
    return content;
}

static void content_release(struct content *content)
{
    if (content != NULL && --content->reference_count == 0)
        free(content);
}

static struct content *content_copy(const struct content *from)
{
    struct content *content = malloc(sizeof(*content));
    CHECK(content != NULL);
    content->reference_count = 1;
    if (from != NULL)
        memcpy(content->bytes, from->bytes, PAGE_BYTES);
    else
        memset(content->bytes, 0, PAGE_BYTES);
    return content;
}

static void content_replace(struct content **place, struct content *held)
{
    content_release(*place);
    *place = held;
}

// Puts `units` of `from` over `*place`.
static void content_merge(struct content **place, struct content *from, uint32_t units)
{
    if (units == ALL_UNITS) {
        content_replace(place, content_hold(from));
        return;
    }
    struct content *merged = content_copy(*place);
    for (uint32_t unit = 0; unit < UNITS_PER_PAGE; unit++) {
        if (units & 1u << unit)
            memcpy(merged->bytes + unit * UNIT_BYTES, from->bytes + unit * UNIT_BYTES, UNIT_BYTES);
    }
    content_replace(place, merged);
}

// --- pages ---------------------------------------------------------------------------------------

static struct disk_page *page_find(const struct disk_pages *pages, uint64_t number)
{
    struct disk_page *page;
    HASH_FIND(hash, pages->by_number, &number, sizeof(number), page);
    return page;
}

static struct disk_page *page_find_or_add(struct disk_pages *pages, uint64_t number)
{
    struct disk_page *page = page_find(pages, number);
    if (page != NULL)
        return page;
    page = calloc(1, sizeof(*page));
    CHECK(page != NULL);
    page->number = number;
    TAILQ_INIT(&page->unflushed);
    HASH_ADD(hash, pages->by_number, number, sizeof(page->number), page);
    pages->page_count++;
    return page;
}

static void unflushed_free(struct disk_pages *pages, struct disk_unflushed *write)
{
    TAILQ_REMOVE(&pages->unflushed, write, in_disk);
    TAILQ_REMOVE(&write->page->unflushed, write, in_page);
    content_release(write->content);
    free(write);
    pages->unflushed_count--;
}

static void page_free(struct disk_pages *pages, struct disk_page *page)
{
    struct disk_unflushed *write;
    while ((write = TAILQ_FIRST(&page->unflushed)) != NULL)
        unflushed_free(pages, write);
    content_release(page->durable);
    content_release(page->seen);
    HASH_DELETE(hash, pages->by_number, page);
    free(page);
}

static void remember_unflushed(struct disk_pages *pages, struct disk_page *page, uint32_t units)
{
    struct disk_unflushed *write = malloc(sizeof(*write));
    CHECK(write != NULL);
    *write = (struct disk_unflushed){
        .page = page,
        .order = pages->landed,
        .units = units,
        .content = content_hold(page->seen),
    };
    TAILQ_INSERT_TAIL(&pages->unflushed, write, in_disk);
    TAILQ_INSERT_TAIL(&page->unflushed, write, in_page);
    pages->unflushed_count++;
}

// Bytes [offset, offset + length) of one page become `bytes` (NULL: zeros).
static void page_write(struct disk_pages *pages, struct disk_page *page, size_t offset,
                       const uint8_t *bytes, size_t length)
{
    struct content *seen = content_copy(length == PAGE_BYTES ? NULL : page->seen);
    if (bytes != NULL)
        memcpy(seen->bytes + offset, bytes, length);
    else
        memset(seen->bytes + offset, 0, length);
    content_replace(&page->seen, seen);
    uint32_t units = 0;
    for (size_t unit = offset / UNIT_BYTES; unit < (offset + length + UNIT_BYTES - 1) / UNIT_BYTES;
         unit++)
        units |= 1u << unit;
    if (pages->has_volatile_cache)
        remember_unflushed(pages, page, units);
    else
        content_merge(&page->durable, page->seen, units);
}

// --- reading, writing, flushing ------------------------------------------------------------------

static size_t count_in_page(uint64_t at, size_t left)
{
    size_t count = PAGE_BYTES - at % PAGE_BYTES;
    return count < left ? count : left;
}

void disk_pages_write(struct disk_pages *pages, uint64_t offset, const uint8_t *bytes,
                      size_t length)
{
    pages->landed++;
    for (size_t done = 0; done < length;) {
        uint64_t at = offset + done;
        size_t count = count_in_page(at, length - done);
        struct disk_page *page = bytes == NULL ? page_find(pages, at / PAGE_BYTES)
                                               : page_find_or_add(pages, at / PAGE_BYTES);
        if (page != NULL)
            page_write(pages, page, at % PAGE_BYTES, bytes == NULL ? NULL : bytes + done, count);
        done += count;
    }
}

void disk_pages_read(const struct disk_pages *pages, uint64_t offset, void *buffer, size_t length)
{
    uint8_t *bytes = buffer;
    for (size_t done = 0; done < length;) {
        uint64_t at = offset + done;
        size_t count = count_in_page(at, length - done);
        const struct disk_page *page = page_find(pages, at / PAGE_BYTES);
        if (page != NULL && page->seen != NULL)
            memcpy(bytes + done, page->seen->bytes + at % PAGE_BYTES, count);
        else
            memset(bytes + done, 0, count);
        done += count;
    }
}

void disk_pages_flush(struct disk_pages *pages, uint64_t landed)
{
    struct disk_unflushed *write;
    while ((write = TAILQ_FIRST(&pages->unflushed)) != NULL && write->order <= landed) {
        content_merge(&write->page->durable, write->content, write->units);
        unflushed_free(pages, write);
    }
}

// --- power ---------------------------------------------------------------------------------------

// How a cut treats unflushed writes: all gone, all kept, or each write or sector by its own luck.
enum cut_mode { CUT_LOSES_ALL, CUT_KEEPS_ALL, CUT_WRITES, CUT_SECTORS, CUT_MODES };

static uint32_t surviving_units(const struct disk_unflushed *write, enum cut_mode mode,
                                uint32_t sector_bytes, struct random *random)
{
    if (mode == CUT_LOSES_ALL || (mode == CUT_WRITES && random_one_in(random, 2)))
        return 0;
    if (mode != CUT_SECTORS || sector_bytes == PAGE_BYTES)
        return mode == CUT_SECTORS && random_one_in(random, 2) ? 0 : write->units;
    return write->units & (uint32_t)random_u64(random);
}

// What is left of a page: a new reference.
static struct content *page_after_cut(const struct disk_page *page, enum cut_mode mode,
                                      uint32_t sector_bytes, struct random *random)
{
    const struct disk_unflushed *write;
    struct content *left = content_hold(page->durable);
    TAILQ_FOREACH (write, &page->unflushed, in_page) {
        uint32_t units = surviving_units(write, mode, sector_bytes, random);
        if (units != 0)
            content_merge(&left, write->content, units);
    }
    return left;
}

static enum cut_mode draw_mode(struct random *random)
{
    return (enum cut_mode)random_below(random, CUT_MODES);
}

void disk_pages_power_cut(struct disk_pages *pages, struct random *random)
{
    enum cut_mode mode = draw_mode(random);
    struct disk_unflushed *write;
    while ((write = TAILQ_FIRST(&pages->unflushed)) != NULL) {
        struct disk_page *page = write->page;
        content_replace(&page->durable, page_after_cut(page, mode, pages->sector_bytes, random));
        content_replace(&page->seen, content_hold(page->durable));
        while ((write = TAILQ_FIRST(&page->unflushed)) != NULL)
            unflushed_free(pages, write);
    }
}

// --- all of it -----------------------------------------------------------------------------------

void disk_pages_init(struct disk_pages *pages, uint32_t sector_bytes, bool has_volatile_cache)
{
    CHECK(sector_bytes == UNIT_BYTES || sector_bytes == PAGE_BYTES);
    *pages = (struct disk_pages){
        .sector_bytes = sector_bytes,
        .has_volatile_cache = has_volatile_cache,
    };
    TAILQ_INIT(&pages->unflushed);
}

void disk_pages_deinit(struct disk_pages *pages)
{
    struct disk_page *page, *next;
    HASH_ITER (hash, pages->by_number, page, next) {
        page_free(pages, page);
    }
}

void disk_pages_copy(const struct disk_pages *pages, struct disk_pages *copy, struct random *random)
{
    enum cut_mode mode = random != NULL ? draw_mode(random) : CUT_KEEPS_ALL;
    const struct disk_page *page, *next;
    HASH_ITER (hash, pages->by_number, page, next) {
        struct disk_page *copied = page_find_or_add(copy, page->number);
        copied->durable = random != NULL ? page_after_cut(page, mode, pages->sector_bytes, random)
                                         : content_hold(page->seen);
        copied->seen = content_hold(copied->durable);
    }
}
