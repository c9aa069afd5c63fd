// SPDX-License-Identifier: Apache-2.0
// Names and what they name. Two directories are everybody's: each client has its own names there,
// so that each answer is known beforehand while all nodes change the same blocks. What a client
// makes is its own, wherever it works; two files are written by all.
#pragma once

#include <sys/types.h>

#include "tests/sim/ring3_content.h"
#include "tests/sim/ring3_model.h"

enum {
    RING3_NAMES = 7, // of a client in a directory
    RING3_SHARED_DIRECTORIES = 2,
    RING3_SHARED_FILES = 2,
    RING3_NAME_BYTES = 256,
    RING3_XATTRS = 3,
    RING3_NOBODY = 0xff,
};

enum ring3_kind { RING3_FILE, RING3_DIRECTORY, RING3_SYMLINK, RING3_FIFO };

struct ring3_object {
    unsigned id; // from 1
    enum ring3_kind kind;
    unsigned owner;             // client; RING3_NOBODY: everybody's
    uint64_t inode, generation; // 0: whoever made it had no answer yet
    struct ring3_cell mode, user;
    struct ring3_cell access, defaults; // access control lists (ring3_acl.c)
    struct ring3_cell protection;       // of INODE_FLAGS_PROTECTING
    struct ring3_cell modified;         // a time that was set (ring3_times.c); 0: any
    struct ring3_cell xattrs[RING3_XATTRS];
    struct ring3_content *content; // of a file
    struct ring3_cell *names;      // of a directory: ids of objects
    unsigned name_count;
    unsigned depth;
    bool is_reached, is_gone;
};

struct ring3_tree {
    struct ring3_object **objects; // by id - 1
    unsigned count, capacity;
    unsigned client_count;
};

struct ring3_tree *ring3_tree_new(unsigned client_count);
void ring3_tree_free(struct ring3_tree *tree);
struct ring3_object *ring3_object_new(struct ring3_tree *tree, enum ring3_kind kind,
                                      unsigned owner);
// NULL for 0.
struct ring3_object *ring3_object_of(const struct ring3_tree *tree, uint64_t id);
// The id of what an inode is; 0 if nothing known is. One that was made without an answer is taken
// for it if the cell may name it.
uint64_t ring3_object_find(const struct ring3_tree *tree, const struct ring3_cell *cell,
                           ring3_tick begin, uint64_t inode, uint64_t generation);
// The cells of `client` in a directory: [first, first + RING3_NAMES).
unsigned ring3_names_of(const struct ring3_object *directory, unsigned client);
void ring3_name_text(const struct ring3_object *directory, unsigned index,
                     char text[RING3_NAME_BYTES]);
unsigned ring3_name_client(const struct ring3_object *directory, unsigned index);
// -1: it is none of the model's.
int ring3_name_index(const struct ring3_object *directory, const char *text);
bool ring3_directory_is_empty(const struct ring3_object *directory);
// How many of the names of its owner name it.
unsigned ring3_object_links(const struct ring3_tree *tree, const struct ring3_object *object);
mode_t ring3_kind_mode(enum ring3_kind kind);
