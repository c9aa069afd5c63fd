// SPDX-License-Identifier: Apache-2.0
// Names, attributes, extended attributes, handles: each operation's answer is known beforehand from
// the model of the tree.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_history.h"

// An operation as it is tried on the model first.
struct attempt {
    struct ring2_client *client;
    const char *what;
    int expected;
    unsigned node; // touched or made
};

static struct volume *volume_of(const struct ring2_client *client)
{
    return client->history->nodes[client->node].volume;
}

static uint64_t choose(struct ring2_client *client, uint64_t bound)
{
    return random_below(&client->history->random, bound);
}

// --- states
// ----------------------------------------------------------------------------------------

uint64_t ring2_client_state(const struct ring2_client *client)
{
    return client->first_state + client->state_count - 1;
}

void ring2_client_durable(struct ring2_client *client, uint64_t state)
{
    if (state <= client->first_state)
        return;
    unsigned dropped = (unsigned)(state - client->first_state);
    CHECK(dropped < client->state_count);
    client->state_count -= dropped;
    client->first_state = state;
    memmove(client->states, client->states + dropped,
            client->state_count * sizeof(client->states[0]));
}

static void push_state(struct ring2_client *client)
{
    CHECK(client->state_count < RING2_STATES_MAX);
    client->states[client->state_count++] = client->tree;
}

// The model's answer is known; the pending tree is what will be. False: the model is full.
static bool begin(struct attempt *attempt, int expected)
{
    if (expected == -E2BIG)
        return false;
    attempt->expected = expected;
    attempt->client->has_pending = expected == 0;
    return true;
}

// The file system has answered. True if the change took place.
static bool end(struct attempt *attempt, int result)
{
    struct ring2_client *client = attempt->client;
    struct ring2_history *history = client->history;
    if (history->nodes[0].is_stopping)
        return false;
    client->has_pending = false;
    history->result.operations++;
    ring2_trace(history, "client %u: node %u: %s: %s", client->number, client->node, attempt->what,
                result == 0 ? "done" : error_text(result));
    if (result == -ENOSPC && history->is_nearly_full)
        return false;
    if (result != attempt->expected)
        ring2_fail(history, "client %u: %s answered %d (%s), expected %d", client->number,
                   attempt->what, result, error_text(result), attempt->expected);
    if (result != 0 || attempt->expected != 0)
        return false;
    client->tree = client->pending;
    push_state(client);
    struct ring2_file *file = client->tree.nodes[attempt->node].file;
    if (attempt->node != 0 && file != NULL)
        file->last_state = ring2_client_state(client);
    return true;
}

// --- choosing
// --------------------------------------------------------------------------------------

static unsigned choose_name(struct ring2_client *client)
{
    return (unsigned)choose(client, RING2_NAMES);
}

static unsigned choose_directory(struct ring2_client *client)
{
    for (int i = 0; i < 8; i++) {
        unsigned node = (unsigned)choose(client, RING2_NODES_MAX);
        if (ring2_is_directory(&client->tree.nodes[node]))
            return node;
    }
    return RING2_TREE_TOP;
}

// An entry that is there, or NULL.
static struct ring2_tree_entry *choose_entry(struct ring2_client *client)
{
    for (int i = 0; i < 40; i++) {
        struct ring2_tree_entry *entry = &client->tree.entries[choose(client, RING2_ENTRIES_MAX)];
        if (entry->is_used)
            return entry;
    }
    return NULL;
}

static uint64_t inode_of(const struct ring2_client *client, unsigned node)
{
    return client->tree.nodes[node].inode;
}

// --- making
// ----------------------------------------------------------------------------------------

static struct ring2_handle *free_handle(struct ring2_client *client)
{
    for (int i = 0; i < RING2_HANDLES; i++) {
        if (client->handles[i].open == NULL)
            return &client->handles[i];
    }
    return NULL;
}

static void finish_make(struct attempt *attempt, int result, const struct attributes *made)
{
    struct ring2_client *client = attempt->client;
    client->pending.nodes[attempt->node].inode = made->inode;
    struct ring2_file *file = client->pending.nodes[attempt->node].file;
    if (end(attempt, result) && file != NULL)
        file->inode = made->inode;
}

static void make(struct ring2_client *client, const char *what, mode_t type)
{
    struct attempt attempt = {.client = client, .what = what};
    unsigned directory = choose_directory(client), name = choose_name(client);
    struct credentials who = {1000, 100 + client->number};
    struct ring2_tree_node node = {
        .mode = type | (mode_t)choose(client, 01000), .uid = who.uid, .gid = who.gid};
    struct attributes made = {0};
    client->pending = client->tree;
    uint32_t length = (uint32_t)(choose(client, 4) == 0 ? 4095 : 1 + choose(client, 100));
    if (S_ISLNK(type)) {
        node.mode = S_IFLNK | 0777;
        node.target_length = length;
    }
    if (!begin(&attempt, ring2_make(&client->pending, directory, name, &node, &attempt.node)))
        return;
    uint64_t parent = inode_of(client, directory);
    int result;
    if (S_ISDIR(type)) {
        result = operation_make_directory(volume_of(client), parent, ring2_name(name), node.mode,
                                          &who, &made);
    } else if (S_ISLNK(type)) {
        char target[4096];
        ring2_text(target, length);
        result =
            operation_symlink(volume_of(client), parent, ring2_name(name), target, &who, &made);
    } else {
        result = operation_create(volume_of(client), parent, ring2_name(name), node.mode,
                                  makedev(1, 3), &who, -1, &made, NULL);
    }
    finish_make(&attempt, result, &made);
}

static void create_and_open(struct ring2_client *client)
{
    struct ring2_handle *handle = free_handle(client);
    struct attempt attempt = {.client = client, .what = "create"};
    unsigned directory = choose_directory(client), name = choose_name(client);
    struct credentials who = {1000, 100 + client->number};
    struct ring2_tree_node node = {
        .mode = S_IFREG | (mode_t)choose(client, 01000), .uid = who.uid, .gid = who.gid};
    struct attributes made = {0};
    struct open_file *open = NULL;
    struct ring2_file *file = ring2_history_new_file(client->history);
    if (handle == NULL || file == NULL)
        return;
    node.file = file;
    client->pending = client->tree;
    if (!begin(&attempt, ring2_make(&client->pending, directory, name, &node, &attempt.node)))
        return;
    handle->is_busy = true;
    int result = operation_create(volume_of(client), inode_of(client, directory), ring2_name(name),
                                  node.mode, 0, &who, O_RDWR | O_CREAT | O_EXCL, &made, &open);
    handle->is_busy = false;
    finish_make(&attempt, result, &made);
    if (result == 0)
        *handle = (struct ring2_handle){
            .open = open, .file = file, .inode = made.inode, .node = client->node};
}

// --- names
// -----------------------------------------------------------------------------------------

static void link_name(struct ring2_client *client)
{
    struct attempt attempt = {.client = client, .what = "link"};
    struct ring2_tree_entry *entry = choose_entry(client);
    unsigned directory = choose_directory(client), name = choose_name(client);
    struct attributes out;
    if (entry == NULL)
        return;
    attempt.node = entry->node;
    client->pending = client->tree;
    if (!begin(&attempt, ring2_link(&client->pending, entry->node, directory, name)))
        return;
    end(&attempt, operation_link(volume_of(client), inode_of(client, entry->node),
                                 inode_of(client, directory), ring2_name(name), &out));
}

static void unlink_name(struct ring2_client *client, bool is_directory)
{
    struct attempt attempt = {.client = client, .what = is_directory ? "rmdir" : "unlink"};
    struct ring2_tree_entry *entry = choose_entry(client);
    unsigned directory = entry != NULL ? entry->directory : choose_directory(client);
    unsigned name = entry != NULL ? entry->name : choose_name(client);
    uint64_t parent = inode_of(client, directory);
    client->pending = client->tree;
    int expected = is_directory ? ring2_remove_directory(&client->pending, directory, name)
                                : ring2_unlink(&client->pending, directory, name);
    if (!begin(&attempt, expected))
        return;
    int result = is_directory
                     ? operation_remove_directory(volume_of(client), parent, ring2_name(name))
                     : operation_unlink(volume_of(client), parent, ring2_name(name));
    end(&attempt, result);
}

static void rename_name(struct ring2_client *client)
{
    static const unsigned all_flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    struct attempt attempt = {.client = client, .what = "rename"};
    struct ring2_tree_entry *entry = choose_entry(client);
    unsigned directory = entry != NULL ? entry->directory : choose_directory(client);
    unsigned name = entry != NULL ? entry->name : choose_name(client);
    struct ring2_tree_entry *other = choose_entry(client);
    bool is_over = other != NULL && choose(client, 2) == 0;
    unsigned new_directory = is_over ? other->directory : choose_directory(client);
    unsigned new_name = is_over ? other->name : choose_name(client);
    unsigned flags = all_flags[choose(client, 5)];
    client->pending = client->tree;
    int expected = ring2_rename(&client->pending, directory, name, new_directory, new_name, flags);
    if (!begin(&attempt, expected))
        return;
    end(&attempt, operation_rename(volume_of(client), inode_of(client, directory), ring2_name(name),
                                   inode_of(client, new_directory), ring2_name(new_name), flags));
}

// --- attributes
// ------------------------------------------------------------------------------------

static void change_attributes(struct ring2_client *client)
{
    struct attempt attempt = {.client = client, .what = "chmod and chown"};
    struct ring2_tree_entry *entry = choose_entry(client);
    struct attributes wanted = {0}, out;
    if (entry == NULL)
        return;
    client->pending = client->tree;
    struct ring2_tree_node *node = &client->pending.nodes[entry->node];
    if (S_ISLNK(node->mode))
        return;
    node->mode = (node->mode & S_IFMT) | (mode_t)choose(client, 010000);
    node->uid = (uid_t)choose(client, 5);
    attempt.node = entry->node;
    wanted.stat.st_mode = node->mode;
    wanted.stat.st_uid = node->uid;
    wanted.stat.st_mtim.tv_sec = 12345;
    begin(&attempt, 0);
    int result = operation_set_attributes(volume_of(client), inode_of(client, entry->node), &wanted,
                                          SET_MODE | SET_UID | SET_MTIME, &out);
    if (end(&attempt, result) && out.stat.st_mtim.tv_sec != 12345)
        ring2_fail(client->history, "a time that was set is %lld",
                   (long long)out.stat.st_mtim.tv_sec);
}

static uint32_t choose_xattr_size(struct ring2_client *client, unsigned xattr)
{
    return xattr == 1 ? (uint32_t)(1000 + choose(client, 9000))
                      : (uint32_t)(1 + choose(client, 60));
}

static void change_xattr(struct ring2_client *client)
{
    struct attempt attempt = {.client = client, .what = "setxattr"};
    struct ring2_tree_entry *entry = choose_entry(client);
    unsigned xattr = (unsigned)choose(client, RING2_XATTRS);
    char value[10100];
    if (entry == NULL)
        return;
    uint64_t inode = inode_of(client, entry->node);
    client->pending = client->tree;
    uint32_t *size = &client->pending.nodes[entry->node].xattr_sizes[xattr];
    attempt.node = entry->node;
    if (choose(client, 3) == 0) {
        attempt.what = "removexattr";
        begin(&attempt, *size == 0 ? -ENODATA : 0);
        *size = 0;
        end(&attempt, operation_remove_xattr(volume_of(client), inode, ring2_xattr_name(xattr)));
        return;
    }
    *size = choose_xattr_size(client, xattr);
    ring2_text(value, *size);
    begin(&attempt, 0);
    end(&attempt,
        operation_set_xattr(volume_of(client), inode, ring2_xattr_name(xattr), value, *size, 0));
}

// --- handles
// ---------------------------------------------------------------------------------------

static void open_name(struct ring2_client *client)
{
    struct ring2_handle *handle = free_handle(client);
    struct ring2_tree_entry *entry = choose_entry(client);
    struct open_file *open = NULL;
    if (handle == NULL || entry == NULL)
        return;
    const struct ring2_tree_node node = client->tree.nodes[entry->node];
    if (node.file == NULL)
        return;
    handle->is_busy = true;
    int result = operation_open(volume_of(client), node.inode, O_RDWR, &open);
    handle->is_busy = false;
    if (result == 0)
        *handle = (struct ring2_handle){
            .open = open, .file = node.file, .inode = node.inode, .node = client->node};
    else if (ring2_goes_on(client->history))
        ring2_fail(client->history, "open of inode %llu answered %d",
                   (unsigned long long)node.inode, result);
}

static void close_handle(struct ring2_client *client, struct ring2_handle *handle)
{
    struct open_file *open = handle->open;
    if (handle->lane_users > 0 || handle->is_busy)
        return;
    handle->open = NULL;
    client->node = handle->node;
    int result = operation_release(volume_of(client), open);
    if (result != 0 && ring2_goes_on(client->history) &&
        !(result == -ENOSPC && client->history->is_nearly_full))
        ring2_fail(client->history, "close of inode %llu answered %d",
                   (unsigned long long)handle->inode, result);
}

void ring2_client_close_all(struct ring2_client *client)
{
    for (int i = 0; i < RING2_HANDLES; i++) {
        if (client->handles[i].open != NULL)
            close_handle(client, &client->handles[i]);
    }
}

static void work_on_handle(struct ring2_client *client)
{
    struct ring2_handle *handle = &client->handles[choose(client, RING2_HANDLES)];
    if (handle->open == NULL) {
        if (choose(client, 2) == 0)
            create_and_open(client);
        else
            open_name(client);
        return;
    }
    client->node = handle->node;
    if (choose(client, 12) == 0)
        close_handle(client, handle);
    else
        ring2_files_step(client, handle);
}

// --- looking
// ---------------------------------------------------------------------------------------

static void look_up(struct ring2_client *client)
{
    unsigned directory = choose_directory(client), name = choose_name(client);
    struct attributes out;
    int result =
        operation_lookup(volume_of(client), inode_of(client, directory), ring2_name(name), &out);
    if (!ring2_goes_on(client->history))
        return;
    struct ring2_tree_entry *entry = ring2_find(&client->tree, directory, name);
    int expected = entry != NULL ? 0 : -ENOENT;
    if (result != expected || (entry != NULL && out.inode != inode_of(client, entry->node)))
        ring2_fail(client->history, "client %u: lookup of '%s' answered %d, expected %d",
                   client->number, ring2_name(name), result, expected);
}

static void sync_all(struct ring2_client *client)
{
    struct ring2_history *history = client->history;
    uint64_t states[RING2_CLIENTS], marks[RING2_FILES_MAX];
    unsigned file_count = history->file_count;
    for (unsigned i = 0; i < RING2_CLIENTS; i++)
        states[i] = ring2_client_state(&history->clients[i]);
    for (unsigned i = 0; i < file_count; i++)
        marks[i] = ring2_sync_mark(history->files[i]);
    int result = operation_sync_volume(volume_of(client));
    if (!ring2_goes_on(history))
        return;
    if (result != 0) {
        ring2_fail(history, "sync of the volume answered %d", result);
        return;
    }
    for (unsigned i = 0; i < RING2_CLIENTS; i++)
        ring2_client_durable(&history->clients[i], states[i]);
    for (unsigned i = 0; i < file_count; i++)
        ring2_synced(history->files[i], marks[i]);
    ring2_trace(history, "client %u: sync", client->number);
}

void ring2_client_step(struct ring2_client *client)
{
    client->node = (unsigned)choose(client, client->history->options.node_count);
    static const mode_t other_types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFLNK, S_IFLNK};
    if (client->state_count >= RING2_STATES_MAX - 1) {
        sync_all(client);
        return;
    }
    uint64_t dice = choose(client, 100);
    if (dice < 62)
        work_on_handle(client);
    else if (dice < 67)
        make(client, "mkdir", S_IFDIR);
    else if (dice < 71)
        make(client, "mknod or symlink", other_types[choose(client, 5)]);
    else if (dice < 76)
        link_name(client);
    else if (dice < 82)
        unlink_name(client, false);
    else if (dice < 85)
        unlink_name(client, true);
    else if (dice < 91)
        rename_name(client);
    else if (dice < 93)
        change_attributes(client);
    else if (dice < 97)
        change_xattr(client);
    else if (dice < 99)
        look_up(client);
    else
        sync_all(client);
}
