// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/disk_pages.h"

#include <stdlib.h>
#include <string.h>

// Numbers of pages are spread by one multiplication.
#define HASH_FUNCTION(key, length, value)                                                          \
    ((value) = (unsigned)(*(const uint64_t *)(key)*UINT64_C(0x9e3779b97f4a7c15) >> 40))
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

static struct content *content_new(void)
{
    struct content *content = malloc(sizeof(*content));
    CHECK(content != NULL);
    content->reference_count = 1;
    return content;
}

static struct content *content_copy(const struct content *from)
{
    struct content *content = content_new();
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
    struct content *seen = length == PAGE_BYTES ? content_new() : content_copy(page->seen);
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

// How a cut treats unflushed writes: all alike, or by luck, each request, page or sector its own.
enum cut_mode { CUT_LOSES_ALL, CUT_KEEPS_ALL, CUT_REQUESTS, CUT_PAGES, CUT_SECTORS, CUT_MODES };

struct cut {
    enum cut_mode mode;
    uint32_t eighths; // that survive
    uint64_t salt;    // of the luck of requests
    struct random *random;
};

static struct cut draw_cut(struct random *random)
{
    static const uint32_t eighths[] = {1, 4, 7};
    return (struct cut){
        .mode = (enum cut_mode)random_below(random, CUT_MODES),
        .eighths = eighths[random_below(random, 3)],
        .salt = random_u64(random),
        .random = random,
    };
}

static bool has_luck(const struct cut *cut)
{
    return random_below(cut->random, 8) < cut->eighths;
}

// The same for all pages of a request.
static bool has_request_luck(const struct cut *cut, uint64_t order)
{
    uint64_t mixed = (order ^ cut->salt) * UINT64_C(0x9e3779b97f4a7c15);
    return mixed >> 61 < cut->eighths;
}

static uint32_t lucky_sectors(const struct cut *cut, uint32_t sector_bytes)
{
    uint32_t units_per_sector = sector_bytes / UNIT_BYTES, units = 0;
    for (uint32_t unit = 0; unit < UNITS_PER_PAGE; unit += units_per_sector) {
        if (has_luck(cut))
            units |= ((1u << units_per_sector) - 1) << unit;
    }
    return units;
}

static uint32_t surviving_units(const struct disk_unflushed *write, const struct cut *cut,
                                uint32_t sector_bytes)
{
    switch (cut->mode) {
    case CUT_KEEPS_ALL:
        return write->units;
    case CUT_REQUESTS:
        return has_request_luck(cut, write->order) ? write->units : 0;
    case CUT_PAGES:
        return has_luck(cut) ? write->units : 0;
    case CUT_SECTORS:
        return write->units & lucky_sectors(cut, sector_bytes);
    default:
        return 0;
    }
}

// What is left of a page: a new reference.
static struct content *page_after_cut(const struct disk_page *page, const struct cut *cut,
                                      uint32_t sector_bytes)
{
    const struct disk_unflushed *write;
    struct content *left = content_hold(page->durable);
    TAILQ_FOREACH (write, &page->unflushed, in_page) {
        uint32_t units = surviving_units(write, cut, sector_bytes);
        if (units != 0)
            content_merge(&left, write->content, units);
    }
    return left;
}

void disk_pages_power_cut(struct disk_pages *pages, struct random *random)
{
    struct cut cut = draw_cut(random);
    struct disk_unflushed *write;
    while ((write = TAILQ_FIRST(&pages->unflushed)) != NULL) {
        struct disk_page *page = write->page;
        content_replace(&page->durable, page_after_cut(page, &cut, pages->sector_bytes));
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
    struct cut cut = {.mode = CUT_KEEPS_ALL};
    if (random != NULL)
        cut = draw_cut(random);
    const struct disk_page *page, *next;
    HASH_ITER (hash, pages->by_number, page, next) {
        struct disk_page *copied = page_find_or_add(copy, page->number);
        copied->durable = random != NULL ? page_after_cut(page, &cut, pages->sector_bytes)
                                         : content_hold(page->seen);
        copied->seen = content_hold(copied->durable);
    }
}

static bool content_is_same(const struct content *a, const struct content *b)
{
    static const struct content zeros;
    if (a == b)
        return true;
    return memcmp((a != NULL ? a : &zeros)->bytes, (b != NULL ? b : &zeros)->bytes, PAGE_BYTES) ==
           0;
}

bool disk_pages_are_in(const struct disk_pages *pages, const struct disk_pages *other,
                       uint64_t first, uint64_t last, uint64_t *differs)
{
    const struct disk_page *page, *next;
    HASH_ITER (hash, pages->by_number, page, next) {
        uint64_t offset = page->number * PAGE_BYTES;
        const struct disk_page *same = page_find(other, page->number);
        *differs = offset;
        if ((offset < first || offset > last) &&
            !content_is_same(page->seen, same != NULL ? same->seen : NULL))
            return false;
    }
    return true;
}
