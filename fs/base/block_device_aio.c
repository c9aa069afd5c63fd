// SPDX-License-Identifier: Apache-2.0
#include "fs/base/block_device_aio.h"

#include <errno.h>
#include <libaio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "fs/base/check.h"

enum { AIO_DEPTH = 256, PROMPT_BYTES_MAX = 128 << 10 };

// A request on its way; embedded in a pool of the device's.
struct operation {
    struct iocb iocb;
    struct block_request *request;
    int result; // of a blocking one
    TAILQ_ENTRY(operation) link;
};

TAILQ_HEAD(operation_list, operation);

struct block_device_aio;

// A thread that does blocking calls. Everything queued when it looks is done by one pass, so
// flushes that wait together share one.
struct blocker {
    struct block_device_aio *aio;
    void (*perform)(struct block_device_aio *aio, struct operation_list *batch);
    pthread_t thread;
    pthread_mutex_t mutex; // of what follows
    pthread_cond_t wake;
    struct operation_list queued;
    struct operation_list done;
    bool must_end;
};

struct block_device_aio {
    struct block_device device; // first: a device is its aio
    struct block_device_opened opened;
    io_context_t context;
    int event_fd;
    bool is_prompt;               // BLOCK_DEVICE_PROMPT
    struct operation *operations; // AIO_DEPTH of them
    struct operation_list unused; // of these
    struct block_request *first_waiting,
        *last_waiting; // for an operation; linked by implementation
    unsigned in_flight;
    struct blocker flusher;
    struct blocker discarder;
};

static struct block_device_aio *aio_of(const struct block_device *device)
{
    return (struct block_device_aio *)device;
}

// --- threads for what blocks -----------------------------------------------------------------

static void signal_event(const struct block_device_aio *aio)
{
    uint64_t one = 1;
    ssize_t written = write(aio->event_fd, &one, sizeof(one));
    CHECK(written == sizeof(one)); // a counter of 64 bits does not fill up
}

static void perform_flushes(struct block_device_aio *aio, struct operation_list *batch)
{
    int result = block_device_sync(aio->opened.fd);
    struct operation *operation;
    TAILQ_FOREACH (operation, batch, link)
        operation->result = result;
}

static void perform_discards(struct block_device_aio *aio, struct operation_list *batch)
{
    struct operation *operation;
    TAILQ_FOREACH (operation, batch, link) {
        const struct block_request *request = operation->request;
        operation->result = block_device_discard(&aio->opened, request->offset, request->length);
    }
}

// Takes all that is queued; false when the thread must end.
static bool blocker_take(struct blocker *blocker, struct operation_list *batch)
{
    pthread_mutex_lock(&blocker->mutex);
    while (TAILQ_EMPTY(&blocker->queued) && !blocker->must_end)
        pthread_cond_wait(&blocker->wake, &blocker->mutex);
    TAILQ_CONCAT(batch, &blocker->queued, link);
    pthread_mutex_unlock(&blocker->mutex);
    return !TAILQ_EMPTY(batch);
}

static void *blocker_run(void *argument)
{
    struct blocker *blocker = argument;
    struct operation_list batch = TAILQ_HEAD_INITIALIZER(batch);
    while (blocker_take(blocker, &batch)) {
        blocker->perform(blocker->aio, &batch);
        pthread_mutex_lock(&blocker->mutex);
        TAILQ_CONCAT(&blocker->done, &batch, link);
        pthread_mutex_unlock(&blocker->mutex);
        signal_event(blocker->aio);
    }
    return NULL;
}

static void blocker_queue(struct blocker *blocker, struct operation *operation)
{
    pthread_mutex_lock(&blocker->mutex);
    TAILQ_INSERT_TAIL(&blocker->queued, operation, link);
    pthread_cond_signal(&blocker->wake);
    pthread_mutex_unlock(&blocker->mutex);
}

static void blocker_start(struct blocker *blocker, struct block_device_aio *aio,
                          void (*perform)(struct block_device_aio *, struct operation_list *))
{
    *blocker = (struct blocker){.aio = aio, .perform = perform};
    TAILQ_INIT(&blocker->queued);
    TAILQ_INIT(&blocker->done);
    pthread_mutex_init(&blocker->mutex, NULL);
    pthread_cond_init(&blocker->wake, NULL);
    int failed = pthread_create(&blocker->thread, NULL, blocker_run, blocker);
    CHECK(failed == 0);
}

static void blocker_stop(struct blocker *blocker)
{
    pthread_mutex_lock(&blocker->mutex);
    blocker->must_end = true;
    pthread_cond_signal(&blocker->wake);
    pthread_mutex_unlock(&blocker->mutex);
    pthread_join(blocker->thread, NULL);
    pthread_cond_destroy(&blocker->wake);
    pthread_mutex_destroy(&blocker->mutex);
}

// --- submitting ------------------------------------------------------------------------------

static void complete(struct block_device_aio *aio, struct operation *operation, int result)
{
    struct block_request *request = operation->request;
    operation->request = NULL;
    TAILQ_INSERT_HEAD(&aio->unused, operation, link);
    aio->in_flight--;
    request->complete(request, result);
}

static int transfer_blocking(const struct block_device_aio *aio,
                             const struct block_request *request)
{
    int fd = aio->opened.fd;
    return request->operation == BLOCK_READ
               ? block_device_pread(fd, request->buffer, request->length, request->offset)
               : block_device_pwrite(fd, request->buffer, request->length, request->offset);
}

static void start_transfer(struct block_device_aio *aio, struct operation *operation)
{
    const struct block_request *request = operation->request;
    struct iocb *iocb = &operation->iocb;
    if (request->operation == BLOCK_READ)
        io_prep_pread(iocb, aio->opened.fd, request->buffer, request->length,
                      (long long)request->offset);
    else
        io_prep_pwrite(iocb, aio->opened.fd, request->buffer, request->length,
                       (long long)request->offset);
    io_set_eventfd(iocb, aio->event_fd);
    iocb->data = operation;
    int result;
    do {
        result = io_submit(aio->context, 1, &iocb);
    } while (result == -EINTR);
    if (result == 1)
        return;
    // The kernel is short of memory for requests (its queue is as deep as our pool): not to wait
    // for a completion that may never come, do it here.
    complete(aio, operation, result == -EAGAIN ? transfer_blocking(aio, request) : result);
}

static void start(struct block_device_aio *aio, struct block_request *request)
{
    struct operation *operation = TAILQ_FIRST(&aio->unused);
    TAILQ_REMOVE(&aio->unused, operation, link);
    operation->request = request;
    aio->in_flight++;
    if (request->operation == BLOCK_FLUSH)
        blocker_queue(&aio->flusher, operation);
    else if (request->operation == BLOCK_DISCARD)
        blocker_queue(&aio->discarder, operation);
    else
        start_transfer(aio, operation);
}

static void wait_for_operation(struct block_device_aio *aio, struct block_request *request)
{
    request->implementation = NULL;
    if (aio->first_waiting == NULL)
        aio->first_waiting = request;
    else
        aio->last_waiting->implementation = request;
    aio->last_waiting = request;
}

static void start_waiting(struct block_device_aio *aio)
{
    while (aio->first_waiting != NULL && !TAILQ_EMPTY(&aio->unused)) {
        struct block_request *request = aio->first_waiting;
        aio->first_waiting = request->implementation;
        start(aio, request);
    }
}

static bool is_done_promptly(const struct block_device_aio *aio,
                             const struct block_request *request)
{
    return aio->is_prompt && aio->in_flight == 0 && request->length <= PROMPT_BYTES_MAX &&
           (request->operation == BLOCK_READ || request->operation == BLOCK_WRITE);
}

static void aio_submit(struct block_device *device, struct block_request *request)
{
    struct block_device_aio *aio = aio_of(device);
    if (is_done_promptly(aio, request))
        request->complete(request, transfer_blocking(aio, request));
    else if (aio->first_waiting != NULL || TAILQ_EMPTY(&aio->unused))
        wait_for_operation(aio, request);
    else
        start(aio, request);
}

// --- completing ------------------------------------------------------------------------------

// Never short: what the kernel cut off is past the end of a file that shrank under us.
static int result_of(const struct io_event *event, const struct block_request *request)
{
    long result = (long)event->res;
    if (result < 0)
        return (int)result;
    return (size_t)result == request->length ? 0 : -EIO;
}

static unsigned reap_transfers(struct block_device_aio *aio)
{
    struct io_event events[AIO_DEPTH];
    struct timespec no_wait = {0};
    int count = io_getevents(aio->context, 0, AIO_DEPTH, events, &no_wait);
    for (int i = 0; i < count; i++) {
        struct operation *operation = events[i].data;
        complete(aio, operation, result_of(&events[i], operation->request));
    }
    return count > 0 ? (unsigned)count : 0;
}

static unsigned reap_blocker(struct block_device_aio *aio, struct blocker *blocker)
{
    struct operation_list done = TAILQ_HEAD_INITIALIZER(done);
    struct operation *operation;
    unsigned count = 0;
    pthread_mutex_lock(&blocker->mutex);
    TAILQ_CONCAT(&done, &blocker->done, link);
    pthread_mutex_unlock(&blocker->mutex);
    while ((operation = TAILQ_FIRST(&done)) != NULL) {
        TAILQ_REMOVE(&done, operation, link);
        complete(aio, operation, operation->result);
        count++;
    }
    return count;
}

unsigned block_device_aio_reap(struct block_device *device)
{
    struct block_device_aio *aio = aio_of(device);
    uint64_t signals;
    // Before looking, so that what completes while we look signals again.
    ssize_t ignored = read(aio->event_fd, &signals, sizeof(signals));
    (void)ignored; // EAGAIN: nothing was signalled, looking does no harm
    unsigned count = reap_transfers(aio);
    count += reap_blocker(aio, &aio->flusher);
    count += reap_blocker(aio, &aio->discarder);
    start_waiting(aio);
    return count;
}

// --- life ------------------------------------------------------------------------------------

static void aio_close(struct block_device *device)
{
    struct block_device_aio *aio = aio_of(device);
    CHECK(aio->in_flight == 0 && aio->first_waiting == NULL);
    blocker_stop(&aio->flusher);
    blocker_stop(&aio->discarder);
    io_destroy(aio->context);
    close(aio->event_fd);
    close(aio->opened.fd);
    free(aio->operations);
    free(aio);
}

static const struct block_device_operations aio_operations = {
    .submit = aio_submit,
    .close = aio_close,
};

static struct block_device_aio *aio_new(const char *path, unsigned flags,
                                        const struct block_device_opened *opened)
{
    struct block_device_aio *aio = calloc(1, sizeof(*aio));
    CHECK(aio != NULL);
    aio->opened = *opened;
    aio->is_prompt = (flags & BLOCK_DEVICE_PROMPT) != 0;
    aio->device = (struct block_device){
        .operations = &aio_operations,
        .size_bytes = opened->size_bytes,
        .sector_bytes = opened->sector_bytes,
        .has_volatile_cache = opened->has_volatile_cache || !opened->is_direct,
        .is_read_only = (flags & BLOCK_DEVICE_READ_ONLY) != 0,
    };
    snprintf(aio->device.name, sizeof(aio->device.name), "%s", path);
    aio->operations = calloc(AIO_DEPTH, sizeof(*aio->operations));
    CHECK(aio->operations != NULL);
    TAILQ_INIT(&aio->unused);
    for (unsigned i = 0; i < AIO_DEPTH; i++)
        TAILQ_INSERT_TAIL(&aio->unused, &aio->operations[i], link);
    return aio;
}

static int start_machinery(struct block_device_aio *aio)
{
    int result = io_setup(AIO_DEPTH, &aio->context);
    if (result < 0)
        return result;
    aio->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (aio->event_fd < 0) {
        result = -errno;
        io_destroy(aio->context);
        return result;
    }
    blocker_start(&aio->flusher, aio, perform_flushes);
    blocker_start(&aio->discarder, aio, perform_discards);
    return 0;
}

int block_device_aio_open(const char *path, unsigned flags, struct block_device **device)
{
    struct block_device_opened opened;
    int result = block_device_open_path(path, flags, &opened);
    if (result < 0)
        return result;
    struct block_device_aio *aio = aio_new(path, flags, &opened);
    result = start_machinery(aio);
    if (result < 0) {
        close(opened.fd);
        free(aio->operations);
        free(aio);
        return result;
    }
    *device = &aio->device;
    return 0;
}

int block_device_aio_event_fd(const struct block_device *device)
{
    return aio_of(device)->event_fd;
}

unsigned block_device_aio_in_flight(const struct block_device *device)
{
    return aio_of(device)->in_flight;
}

const struct block_device_opened *block_device_aio_opened(const struct block_device *device)
{
    return &aio_of(device)->opened;
}
