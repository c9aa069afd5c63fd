// SPDX-License-Identifier: Apache-2.0
// What loan_history.c and loan_pages.c share: the nodes, their kernels, time.
#pragma once

#include "tests/sim/loan_history.h"

#include "fs/base/coroutine.h"
#include "fs/base/random.h"
#include "fs/cluster_lock.h"
#include "fs/dlm_service.h"
#include "fs/page_loans.h"
#include "fs/volume.h"

enum {
    NODES = 3,
    PROCESSES = 3, // a node
    INODES = 2,
    OPERATIONS = 12, // a process
    SLEEPERS_MAX = 256,
};

struct frame {
    struct frame *next;
    struct dlm_node from;
    size_t length;
    uint8_t bytes[];
};

struct link {
    struct frame *first;
    struct frame **last;
};

// What a kernel keeps of one inode.
struct kept {
    bool has_attributes, has_name;
    uint64_t attributes, name; // the values
    uint64_t version;          // of the attributes: older answers are not kept
    uint64_t name_epoch;
    unsigned reads; // under way
};

// The one page of an inode, in a node's kernel, and what the daemon knows of it.
struct page {
    bool is_there, is_dirty;
    bool is_locked;       // being filled, or written back to be dropped
    bool is_written_back; // under way
    uint64_t value;
    unsigned writing; // write(2)s past the cache, from the flush before them on
    struct page_loans loans;
    bool lanes_fill; // the pass allows it
    unsigned lanes;  // that do so
};

struct world;

struct node {
    struct volume volume;
    struct borrower borrower;
    struct world *world;
    struct dlm_service *service;
    int index;
    uint64_t version, epoch; // the kernel's
    struct kept kept[INODES];
    struct page pages[INODES];
    struct wait_queue reads_ended, pages_changed;
};

struct process {
    struct node *node;
    bool is_done;
};

struct world {
    struct scheduler *scheduler;
    struct random random;
    struct node nodes[NODES];
    struct process processes[NODES * PROCESSES];
    struct link links[NODES][NODES];
    struct coroutine *sleepers[SLEEPERS_MAX];
    unsigned sleeper_count;
    uint64_t value[INODES];    // on the device
    uint64_t complete[INODES]; // what every later question must see
    uint64_t data[INODES], data_newest[INODES], data_complete[INODES]; // the same for data
    struct loan_result *result;
};

// The history has failed, with the first reason that is given.
__attribute__((format(printf, 2, 3))) void loan_fail(struct world *world, const char *format, ...);
// Something else may happen here, now or much later.
void loan_delay(struct world *world);
struct cluster_lock *loan_lock_of(struct node *node, unsigned inode);

// --- pages (loan_pages.c) ----------------------------------------------------------------------

void loan_pages_init(struct node *node);
// What a process does: reads the page, through the cache; opens the file for reading and writing,
// changes the mapped page, closes it; writes past the cache.
void loan_pages_read(struct node *node, unsigned inode);
void loan_pages_map(struct node *node, unsigned inode);
void loan_pages_write(struct node *node, unsigned inode);
// The kernel drops the page, as it was told.
void loan_pages_drop(struct node *node, const struct loan_recall *what);
// The daemon's part of giving up a right.
void loan_pages_stop_filling(struct volume *volume, struct cluster_lock *lock);
void loan_pages_quiesce(struct volume *volume, struct cluster_lock *lock, enum lock_right keep);
