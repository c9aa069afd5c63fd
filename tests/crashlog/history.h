// SPDX-License-Identifier: Apache-2.0
// What one client did in its folder, in order, and how far the log of the disk was before and
// after each operation. From this follows, for each position of the log, what a crash there may
// leave:
//
//   log     ----------+------------+---------------+-----------+--------X cut
//   client            begin  WRITE  end     begin   FSYNC  end    begin  RENAME ...
//                                                      │                └ may have been done
//                                                      └ durable: the cut lies behind its end
//
// Names are as after some operation between the last sync of all folders that is durable and the
// last operation that had begun: one node's journal keeps the order. A file's sectors each hold
// what they held after some operation since the file's last durable fsync. Nothing else.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    HISTORY_FOLDERS = 3,      // d0, d1, ... in the client's own folder
    HISTORY_FOLDER_NAMES = 8, // n0, n1, ... in each
    HISTORY_NAMES = HISTORY_FOLDERS * HISTORY_FOLDER_NAMES,
    HISTORY_SECTOR_BYTES = 512,
    HISTORY_SECTORS_MAX = 256, // of a file
    HISTORY_OPERATIONS_MAX = 100000,
    HISTORY_PATH_BYTES = 32,
};

enum history_kind {
    HISTORY_BEGIN,  // the client's folder and those in it are there, durably
    HISTORY_CREATE, // of `object` as `name`
    HISTORY_MKDIR,
    HISTORY_SYMLINK,
    HISTORY_LINK, // `name` also as `other`
    HISTORY_UNLINK,
    HISTORY_RMDIR,
    HISTORY_RENAME,   // `name` to `other`, over what is there
    HISTORY_EXCHANGE, // of `name` and `other`
    HISTORY_WRITE,    // of sectors with `version`
    HISTORY_TRUNCATE, // to first_sector
    HISTORY_FSYNC,    // of `object`
    HISTORY_SYNC_NAMES,
};

struct history_operation {
    uint64_t begin, end; // positions of the log (block_log.h)
    uint32_t kind;       // enum history_kind
    uint32_t client;
    uint32_t name, other; // numbers of names
    uint32_t object;      // from 1
    uint32_t first_sector, sector_count;
    uint32_t version; // from 1; grows with each write of the client
};

struct history {
    struct history_operation *operations;
    unsigned count;
    uint32_t client;
};

// Reads what a client wrote: 0 or -errno. Freed by the caller with free(history->operations).
int history_load(struct history *history, const char *path);

// "d1/n3"
void history_name_path(uint32_t name, char path[HISTORY_PATH_BYTES]);
// "client-1"
void history_client_path(uint32_t client, char path[HISTORY_PATH_BYTES]);
// What stands in a symlink.
void history_target(uint32_t object, char target[HISTORY_PATH_BYTES]);

// --- content ---------------------------------------------------------------------------------

void history_sector_fill(void *sector, uint32_t client, uint32_t object, uint32_t number,
                         uint32_t version);
enum { HISTORY_SECTOR_FOREIGN = UINT32_MAX };
// The version that stands in a sector of this object; 0: zeros; HISTORY_SECTOR_FOREIGN: another's
// data, or no whole sector of this one.
uint32_t history_sector_version(const void *sector, uint32_t client, uint32_t object,
                                uint32_t number);

// --- names -----------------------------------------------------------------------------------

struct history_tree {
    uint32_t objects[HISTORY_NAMES]; // 0: no such name
    uint8_t kinds[HISTORY_NAMES];    // HISTORY_CREATE, _MKDIR or _SYMLINK
};

void history_tree_apply(struct history_tree *tree, const struct history_operation *operation);
// HISTORY_MKDIR, _SYMLINK or _CREATE.
uint8_t history_kind_of(mode_t mode);
unsigned history_tree_links(const struct history_tree *tree, uint32_t object);

// --- checking --------------------------------------------------------------------------------

struct history_found {
    uint8_t kind; // 0: no such name
    unsigned links;
    char target[HISTORY_PATH_BYTES];
    uint64_t size;
    uint8_t *content; // of a file, HISTORY_SECTORS_MAX sectors, zeros behind its end
};

struct history_view {
    struct history_found found[HISTORY_NAMES];
    bool has_strangers; // other names, or anything in a folder that is to be empty
};

enum { HISTORY_WHY_BYTES = 300 };
// Whether a crash at `position` may leave what was found; if not, `why` says what is wrong.
bool history_allows(const struct history *history, const struct history_view *view,
                    uint64_t position, char why[HISTORY_WHY_BYTES]);
// Whether the client had begun by then; before, there may be no folder.
bool history_has_begun(const struct history *history, uint64_t position);
