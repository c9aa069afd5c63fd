// SPDX-License-Identifier: Apache-2.0
// Requests under way, the paths that they take, and how they end. What the disk holds is kept by
// disk_pages.c.
#include "tests/sim/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "fs/base/check.h"
#include "tests/sim/disk_pages.h"

struct path;

// A request under way.
struct flight {
    struct world_event event; // first
    TAILQ_ENTRY(flight) link;
    struct path *path;
    struct block_request *request; // NULL once the node has stopped
    enum block_operation operation;
    uint64_t offset;
    size_t length;
    uint64_t submitted_ns;
    uint8_t *bytes;       // of a WRITE: the request's buffer, or `owned`
    uint8_t *owned;       // copied when the node stopped
    uint64_t flush_order; // of a FLUSH: what had landed when it was submitted
    bool has_landed;      // ... but its node is paused
    int result;           // if it has
};
TAILQ_HEAD(flight_list, flight);

struct path {
    struct block_device device; // first
    struct sim_disk *disk;
    TAILQ_ENTRY(path) link;
    struct flight_list flights;
    struct sim_disk_fault fault;
    bool is_stopped;
    bool writes_through;
    uint64_t paused_until_ns;
    uint64_t slow_ns_max; // 0: as the disk's options say
};
TAILQ_HEAD(path_list, path);

struct sim_disk {
    struct world *world;
    struct sim_disk_options options;
    struct disk_pages pages;
    struct path_list paths;
    struct flight_list free_flights;
    void (*hook)(void *context, const struct sim_disk_write *write);
    void *hook_context;
    struct sim_disk_counts counts;
};

// --- landing -------------------------------------------------------------------------------------

static void tell_hook(struct sim_disk *disk, const struct flight *flight)
{
    disk->counts.landed_count++;
    if (flight->request == NULL)
        disk->counts.late_count++;
    if (disk->hook == NULL)
        return;
    struct sim_disk_write write = {
        .path = &flight->path->device,
        .offset = flight->offset,
        .length = flight->length,
        .number = disk->counts.landed_count,
    };
    disk->hook(disk->hook_context, &write);
}

static const uint8_t *discard_or_bytes(const struct flight *flight, size_t done)
{
    return flight->operation == BLOCK_DISCARD ? NULL : flight->bytes + done;
}

static void land_whole(struct sim_disk *disk, struct flight *flight)
{
    bool has_cache = disk->pages.has_volatile_cache;
    if (flight->path->writes_through)
        disk->pages.has_volatile_cache = false;
    disk_pages_write(&disk->pages, flight->offset, discard_or_bytes(flight, 0), flight->length);
    disk->pages.has_volatile_cache = has_cache;
    tell_hook(disk, flight);
}

// Some sectors of it, perhaps all, perhaps none; whether any.
static bool tear_into(struct disk_pages *pages, const struct flight *flight, struct random *random)
{
    size_t sector = pages->sector_bytes;
    uint64_t share = random_below(random, 5); // quarters of the sectors
    bool is_any = false;
    for (size_t done = 0; done < flight->length; done += sector) {
        if (random_below(random, 4) >= share)
            continue;
        disk_pages_write(pages, flight->offset + done, discard_or_bytes(flight, done), sector);
        is_any = true;
    }
    return is_any;
}

static void land_torn(struct sim_disk *disk, struct flight *flight)
{
    if (!tear_into(&disk->pages, flight, &disk->world->random))
        return;
    disk->counts.torn_count++;
    tell_hook(disk, flight);
}

// --- flights -------------------------------------------------------------------------------------

static void flight_free(struct flight *flight)
{
    free(flight->owned);
    TAILQ_INSERT_HEAD(&flight->path->disk->free_flights, flight, link);
}

static bool is_hit_by_fault(struct path *path, const struct flight *flight)
{
    const struct sim_disk_fault *fault = &path->fault;
    if (!(fault->operations & 1u << flight->operation))
        return false;
    bool is_inside =
        flight->operation == BLOCK_FLUSH ||
        (flight->offset <= fault->last && flight->offset + flight->length > fault->first);
    return is_inside && random_one_in(&path->disk->world->random, fault->one_in);
}

static int land(struct sim_disk *disk, struct flight *flight)
{
    bool is_write = flight->operation == BLOCK_WRITE || flight->operation == BLOCK_DISCARD;
    if (is_hit_by_fault(flight->path, flight)) {
        if (is_write)
            land_torn(disk, flight);
        return flight->path->fault.error;
    }
    if (is_write)
        land_whole(disk, flight);
    else if (flight->operation == BLOCK_FLUSH)
        disk_pages_flush(&disk->pages, flight->flush_order);
    else
        disk_pages_read(&disk->pages, flight->offset, flight->request->buffer, flight->length);
    return 0;
}

static void paused_flight_completes(struct world_event *event);

static void flight_completes(struct world_event *event)
{
    struct flight *flight = (struct flight *)event;
    struct path *path = flight->path;
    struct block_request *request = flight->request;
    int result = path->is_stopped ? -EIO : flight->result;
    if (request != NULL && path->paused_until_ns > path->disk->world->now_ns) {
        event->fire = paused_flight_completes;
        world_event_arm(path->disk->world, event, path->paused_until_ns);
        TAILQ_INSERT_TAIL(&path->flights, flight, link);
        return;
    }
    flight_free(flight);
    if (request != NULL)
        request->complete(request, result);
}

static void paused_flight_completes(struct world_event *event)
{
    struct flight *flight = (struct flight *)event;
    TAILQ_REMOVE(&flight->path->flights, flight, link);
    flight_completes(event);
}

// The hook may stop the path while the write lands: then its node never hears of it.
static void flight_lands(struct world_event *event)
{
    struct flight *flight = (struct flight *)event;
    struct path *path = flight->path;
    TAILQ_REMOVE(&path->flights, flight, link);
    flight->result = land(path->disk, flight);
    flight->has_landed = true;
    flight_completes(event);
}

static struct flight *flight_new(struct path *path, struct block_request *request)
{
    struct sim_disk *disk = path->disk;
    struct flight *flight = TAILQ_FIRST(&disk->free_flights);
    if (flight != NULL)
        TAILQ_REMOVE(&disk->free_flights, flight, link);
    else
        flight = malloc(sizeof(*flight));
    CHECK(flight != NULL);
    *flight = (struct flight){
        .event.fire = flight_lands,
        .path = path,
        .request = request,
        .operation = request->operation,
        .offset = request->offset,
        .length = request->length,
        .submitted_ns = disk->world->now_ns,
        .bytes = request->buffer,
        .flush_order = disk->pages.landed,
    };
    TAILQ_INSERT_TAIL(&path->flights, flight, link);
    return flight;
}

static void count_submitted(struct sim_disk *disk, enum block_operation operation)
{
    disk->counts.read_count += operation == BLOCK_READ;
    disk->counts.write_count += operation == BLOCK_WRITE;
    disk->counts.flush_count += operation == BLOCK_FLUSH;
    disk->counts.discard_count += operation == BLOCK_DISCARD;
}

static bool is_slow(struct sim_disk *disk, const struct block_request *request)
{
    const struct sim_disk_options *options = &disk->options;
    return options->slow_one_in > 0 && request->operation != BLOCK_FLUSH &&
           request->offset <= options->slow_last &&
           request->offset + request->length > options->slow_first &&
           random_one_in(&disk->world->random, options->slow_one_in);
}

static uint64_t draw_latency_ns(const struct path *path, const struct block_request *request)
{
    struct sim_disk *disk = path->disk;
    const struct sim_disk_options *options = &disk->options;
    uint64_t most = is_slow(disk, request) ? options->slow_ns_max : options->latency_ns_max;
    if (path->slow_ns_max > most)
        most = path->slow_ns_max;
    return options->latency_ns_min +
           random_below(&disk->world->random, most - options->latency_ns_min + 1);
}

static void path_submit(struct block_device *device, struct block_request *request)
{
    struct path *path = (struct path *)device;
    struct sim_disk *disk = path->disk;
    if (path->is_stopped) {
        request->complete(request, -EIO);
        return;
    }
    count_submitted(disk, request->operation);
    struct flight *flight = flight_new(path, request);
    world_event_arm(disk->world, &flight->event,
                    disk->world->now_ns + draw_latency_ns(path, request));
}

// --- paths ---------------------------------------------------------------------------------------

static void path_close(struct block_device *device)
{
    struct path *path = (struct path *)device;
    if (path->is_stopped)
        sim_disk_fence(device);
    CHECK(TAILQ_EMPTY(&path->flights));
    TAILQ_REMOVE(&path->disk->paths, path, link);
    free(path);
}

struct block_device *sim_disk_attach(struct sim_disk *disk, const char *name)
{
    static const struct block_device_operations operations = {
        .submit = path_submit,
        .close = path_close,
    };
    struct path *path = calloc(1, sizeof(*path));
    CHECK(path != NULL);
    path->device.operations = &operations;
    path->device.size_bytes = disk->options.size_bytes;
    path->device.sector_bytes = disk->options.sector_bytes;
    path->device.has_volatile_cache = disk->options.has_volatile_cache;
    strncpy(path->device.name, name, sizeof(path->device.name) - 1);
    path->disk = disk;
    TAILQ_INIT(&path->flights);
    TAILQ_INSERT_TAIL(&disk->paths, path, link);
    return &path->device;
}

// The buffer goes back to the node, so what may still land is copied.
static void orphan(struct sim_disk *disk, struct flight *flight)
{
    bool is_write = flight->operation == BLOCK_WRITE || flight->operation == BLOCK_DISCARD;
    flight->request = NULL;
    if (!is_write || flight->has_landed) {
        world_event_disarm(disk->world, &flight->event);
        TAILQ_REMOVE(&flight->path->flights, flight, link);
        flight_free(flight);
        return;
    }
    if (flight->operation == BLOCK_WRITE) {
        flight->owned = malloc(flight->length);
        CHECK(flight->owned != NULL);
        memcpy(flight->owned, flight->bytes, flight->length);
        flight->bytes = flight->owned;
    }
    // Some of it waits in a queue for longer.
    uint64_t late_ns = disk->options.late_ns_max > 0 ? disk->options.late_ns_max : 1000000000;
    uint64_t latest_ns = flight->submitted_ns + late_ns, at_ns = flight->event.at_ns;
    if (latest_ns > at_ns && random_one_in(&disk->world->random, 2))
        world_event_arm(disk->world, &flight->event,
                        at_ns + random_below(&disk->world->random, latest_ns - at_ns));
}

void sim_disk_stop(struct block_device *device)
{
    struct path *path = (struct path *)device;
    struct flight *flight, *next;
    if (path->is_stopped)
        return;
    path->is_stopped = true;
    for (flight = TAILQ_FIRST(&path->flights); flight != NULL; flight = next) {
        next = TAILQ_NEXT(flight, link);
        struct block_request *request = flight->request;
        orphan(path->disk, flight);
        request->complete(request, -EIO);
    }
}

void sim_disk_pause(struct block_device *device, uint64_t until_ns)
{
    struct path *path = (struct path *)device;
    struct flight *flight;
    path->paused_until_ns = until_ns;
    TAILQ_FOREACH (flight, &path->flights, link) {
        if (flight->has_landed)
            world_event_arm(path->disk->world, &flight->event, until_ns);
    }
}

void sim_disk_slow(struct block_device *device, uint64_t latency_ns_max)
{
    ((struct path *)device)->slow_ns_max = latency_ns_max;
}

void sim_disk_write_through(struct block_device *device)
{
    ((struct path *)device)->writes_through = true;
}

unsigned sim_disk_in_flight(const struct block_device *device)
{
    const struct flight *flight;
    unsigned count = 0;
    TAILQ_FOREACH (flight, &((const struct path *)device)->flights, link)
        count += !flight->has_landed;
    return count;
}

void sim_disk_stop_all(struct sim_disk *disk)
{
    struct path *path;
    TAILQ_FOREACH (path, &disk->paths, link)
        sim_disk_stop(&path->device);
}

void sim_disk_fence(struct block_device *device)
{
    struct path *path = (struct path *)device;
    struct flight *flight;
    CHECK(path->is_stopped);
    while ((flight = TAILQ_FIRST(&path->flights)) != NULL) {
        world_event_disarm(path->disk->world, &flight->event);
        TAILQ_REMOVE(&path->flights, flight, link);
        land_torn(path->disk, flight);
        flight_free(flight);
    }
}

void sim_disk_set_fault(struct block_device *device, const struct sim_disk_fault *fault)
{
    CHECK(fault->operations == 0 || (fault->one_in > 0 && fault->error < 0));
    ((struct path *)device)->fault = *fault;
}

// --- power ---------------------------------------------------------------------------------------

void sim_disk_power_cut(struct sim_disk *disk)
{
    struct path *path;
    TAILQ_FOREACH (path, &disk->paths, link)
        sim_disk_fence(&path->device);
    disk_pages_power_cut(&disk->pages, &disk->world->random);
}

// --- disks ---------------------------------------------------------------------------------------

struct sim_disk *sim_disk_new(struct world *world, const struct sim_disk_options *options)
{
    CHECK(options->size_bytes % BLOCK_BYTES == 0);
    CHECK(options->latency_ns_min <= options->latency_ns_max);
    CHECK(options->slow_one_in == 0 || options->latency_ns_min <= options->slow_ns_max);
    struct sim_disk *disk = calloc(1, sizeof(*disk));
    CHECK(disk != NULL);
    disk->world = world;
    disk->options = *options;
    disk_pages_init(&disk->pages, options->sector_bytes, options->has_volatile_cache);
    TAILQ_INIT(&disk->paths);
    TAILQ_INIT(&disk->free_flights);
    return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
    CHECK(TAILQ_EMPTY(&disk->paths));
    disk_pages_deinit(&disk->pages);
    struct flight *flight;
    while ((flight = TAILQ_FIRST(&disk->free_flights)) != NULL) {
        TAILQ_REMOVE(&disk->free_flights, flight, link);
        free(flight);
    }
    free(disk);
}

static void tear_flights(const struct path *path, struct disk_pages *pages, struct random *random)
{
    const struct flight *flight;
    TAILQ_FOREACH (flight, &path->flights, link) {
        if (!flight->has_landed &&
            (flight->operation == BLOCK_WRITE || flight->operation == BLOCK_DISCARD))
            tear_into(pages, flight, random);
    }
}

struct sim_disk *sim_disk_clone(const struct sim_disk *disk, struct world *world,
                                struct random *random)
{
    struct sim_disk *clone = sim_disk_new(world, &disk->options);
    const struct path *path;
    disk_pages_copy(&disk->pages, &clone->pages, random);
    if (random == NULL)
        return clone;
    TAILQ_FOREACH (path, &disk->paths, link)
        tear_flights(path, &clone->pages, random);
    disk_pages_flush(&clone->pages, UINT64_MAX);
    return clone;
}

void sim_disk_set_hook(struct sim_disk *disk,
                       void (*hook)(void *context, const struct sim_disk_write *write),
                       void *context)
{
    disk->hook = hook;
    disk->hook_context = context;
}

void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, void *buffer, size_t length)
{
    CHECK(offset + length <= disk->options.size_bytes);
    disk_pages_read(&disk->pages, offset, buffer, length);
}

void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *bytes, size_t length)
{
    CHECK(offset + length <= disk->options.size_bytes);
    disk_pages_flush(&disk->pages, UINT64_MAX);
    disk_pages_write(&disk->pages, offset, bytes, length);
    disk_pages_flush(&disk->pages, UINT64_MAX);
}

bool sim_disk_is_same(const struct sim_disk *a, const struct sim_disk *b, uint64_t first,
                      uint64_t last, uint64_t *differs)
{
    return disk_pages_are_in(&a->pages, &b->pages, first, last, differs) &&
           disk_pages_are_in(&b->pages, &a->pages, first, last, differs);
}

struct sim_disk_counts sim_disk_counts_get(const struct sim_disk *disk)
{
    struct sim_disk_counts counts = disk->counts;
    counts.page_count = disk->pages.page_count;
    counts.unflushed_count = disk->pages.unflushed_count;
    return counts;
}
