// SPDX-License-Identifier: Apache-2.0
#include "fs/io_buffers.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fs/base/block_device.h"
#include "fs/base/check.h"

// Sizes of data, and how many idle buffers of each are kept: about 20 MiB in all.
static const struct size_class {
    size_t bytes;
    unsigned kept;
} classes[] = {
    {4 << 10, 64},
    {64 << 10, 32},
    {1 << 20, 16},
};

enum { CLASS_COUNT = sizeof(classes) / sizeof(classes[0]) };

struct idle_buffer {
    struct idle_buffer *next;
};

struct io_buffers {
    pthread_mutex_t mutex;
    struct {
        struct idle_buffer *first;
        unsigned count;
    } idle[CLASS_COUNT];
    size_t taken;
};

struct io_buffers *io_buffers_new(void)
{
    struct io_buffers *buffers = calloc(1, sizeof(*buffers));
    if (buffers != NULL)
        pthread_mutex_init(&buffers->mutex, NULL);
    return buffers;
}

static size_t class_of(size_t bytes)
{
    size_t class = 0;
    while (classes[class].bytes < bytes)
        CHECK(++class < CLASS_COUNT);
    return class;
}

static size_t mapped_bytes(size_t class)
{
    return classes[class].bytes + 2 * BLOCK_BYTES;
}

void io_buffers_free(struct io_buffers *buffers)
{
    CHECK(buffers->taken == 0);
    for (size_t class = 0; class < CLASS_COUNT; class ++) {
        struct idle_buffer *idle;
        while ((idle = buffers->idle[class].first) != NULL) {
            buffers->idle[class].first = idle->next;
            munmap(idle, mapped_bytes(class));
        }
    }
    pthread_mutex_destroy(&buffers->mutex);
    free(buffers);
}

static void *take_idle(struct io_buffers *buffers, size_t class)
{
    pthread_mutex_lock(&buffers->mutex);
    struct idle_buffer *idle = buffers->idle[class].first;
    if (idle != NULL) {
        buffers->idle[class].first = idle->next;
        buffers->idle[class].count--;
    }
    buffers->taken++;
    pthread_mutex_unlock(&buffers->mutex);
    return idle;
}

static bool give_idle(struct io_buffers *buffers, void *buffer, size_t class)
{
    struct idle_buffer *idle = buffer;
    pthread_mutex_lock(&buffers->mutex);
    bool keep = idle != NULL && buffers->idle[class].count < classes[class].kept;
    if (keep) {
        idle->next = buffers->idle[class].first;
        buffers->idle[class].first = idle;
        buffers->idle[class].count++;
    }
    buffers->taken--;
    pthread_mutex_unlock(&buffers->mutex);
    return keep;
}

// Never part of a fork's copy: a page under DMA must not be split (rule 17).
static void *map_buffer(size_t bytes)
{
    void *buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return NULL;
    if (madvise(buffer, bytes, MADV_DONTFORK) == 0)
        return buffer;
    munmap(buffer, bytes);
    return NULL;
}

void *io_buffers_take(struct io_buffers *buffers, size_t bytes)
{
    size_t class = class_of(bytes);
    void *buffer = take_idle(buffers, class);
    if (buffer == NULL)
        buffer = map_buffer(mapped_bytes(class));
    if (buffer == NULL)
        give_idle(buffers, NULL, class);
    return buffer;
}

void io_buffers_give(struct io_buffers *buffers, void *buffer, size_t bytes)
{
    size_t class = class_of(bytes);
    if (buffer != NULL && !give_idle(buffers, buffer, class))
        munmap(buffer, mapped_bytes(class));
}
