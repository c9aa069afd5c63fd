// SPDX-License-Identifier: Apache-2.0
// Names: making, linking, taking away, renaming, looking.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs/base/check.h"
#include "fs/base/error.h"
#include "fs/operation.h"
#include "tests/sim/ring2_attempt.h"

// --- making --------------------------------------------------------------------------------------

static enum ring2_row row_of_type(const struct ring2_tree_node *node)
{
    switch (node->mode & S_IFMT) {
    case S_IFDIR:
        return RING2_ROW_mkdir;
    case S_IFLNK:
        return node->target_length > 100 ? RING2_ROW_symlink_long : RING2_ROW_symlink_short;
    case S_IFIFO:
        return RING2_ROW_fifo;
    case S_IFSOCK:
        return RING2_ROW_socket;
    case S_IFCHR:
        return RING2_ROW_device_char;
    case S_IFBLK:
        return RING2_ROW_device_block;
    default:
        return RING2_ROW_create;
    }
}

static int make_node(struct ring2_client *client, unsigned directory, unsigned name,
                     const struct ring2_tree_node *node, struct attributes *made)
{
    struct volume *volume = ring2_volume_of(client);
    struct credentials who = {.uid = node->uid, .gid = node->gid};
    uint64_t parent = ring2_inode_of(client, directory);
    char target[4096];
    if (S_ISDIR(node->mode))
        return operation_make_directory(volume, parent, ring2_name(name), node->mode, &who, made);
    if (!S_ISLNK(node->mode))
        return operation_create(volume, parent, ring2_name(name), node->mode, RING2_DEVICE, &who,
                                -1, made, NULL);
    ring2_text(target, node->target_length);
    return operation_symlink(volume, parent, ring2_name(name), target, &who, made);
}

void ring2_names_make(struct ring2_client *client)
{
    static const mode_t types[] = {S_IFDIR, S_IFDIR,  S_IFDIR, S_IFLNK, S_IFLNK,
                                   S_IFREG, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFIFO};
    struct ring2_attempt attempt = {.client = client, .what = "make"};
    unsigned directory = ring2_choose_directory(client), name = ring2_choose_name(client);
    struct ring2_tree_node node = {.uid = 1000, .gid = 100 + client->number};
    struct attributes made = {0};
    node.mode = types[ring2_choose(client, 10)] | (mode_t)ring2_choose(client, 01000);
    if (S_ISLNK(node.mode)) {
        node.mode = S_IFLNK | 0777;
        node.target_length =
            (uint32_t)(ring2_choose(client, 4) == 0 ? 4095 : 1 + ring2_choose(client, 100));
    }
    if (S_ISREG(node.mode) && (node.file = ring2_history_new_file(client->history)) == NULL)
        return;
    client->pending = client->tree;
    if (!ring2_attempt_begin(&attempt,
                             ring2_make(&client->pending, directory, name, &node, &attempt.node)))
        return;
    int result = make_node(client, directory, name, &node, &made);
    client->pending.nodes[attempt.node].inode = made.inode;
    if (node.file != NULL)
        node.file->inode = made.inode;
    bool inherits = client->tree.nodes[directory].defaults.is_there;
    if (!ring2_attempt_end(&attempt, result))
        return;
    ring2_did(client->history, row_of_type(&node));
    if (inherits && !S_ISLNK(node.mode))
        ring2_did(client->history, RING2_ROW_acl_inherited);
}

void ring2_names_link(struct ring2_client *client)
{
    struct ring2_attempt attempt = {.client = client, .what = "link"};
    struct ring2_tree_entry *entry = ring2_choose_entry(client);
    unsigned directory = ring2_choose_directory(client), name = ring2_choose_name(client);
    struct attributes out;
    if (entry == NULL)
        return;
    attempt.node = entry->node;
    client->pending = client->tree;
    int expected = ring2_link(&client->pending, entry->node, directory, name);
    if (!ring2_attempt_begin(&attempt, expected))
        return;
    int result = operation_link(ring2_volume_of(client), ring2_inode_of(client, entry->node),
                                ring2_inode_of(client, directory), ring2_name(name), &out);
    if (ring2_attempt_end(&attempt, result))
        ring2_did(client->history, RING2_ROW_link);
}

// --- taking away ---------------------------------------------------------------------------------

// A name as it is before an operation: of an entry that is there, or perhaps of none.
struct place {
    unsigned directory, name;
    bool is_last_open; // the last name of an open file
    bool is_last;
};

static struct place choose_place(struct ring2_client *client)
{
    struct ring2_tree_entry *entry = ring2_choose_entry(client);
    if (entry == NULL)
        return (struct place){ring2_choose_directory(client), ring2_choose_name(client), false,
                              false};
    bool is_last = ring2_links(&client->tree, entry->node) == 1;
    bool is_open = ring2_is_open(client, client->tree.nodes[entry->node].file);
    return (struct place){entry->directory, entry->name, is_last && is_open, is_last};
}

void ring2_names_unlink(struct ring2_client *client)
{
    struct ring2_attempt attempt = {.client = client, .what = "unlink", .frees = true};
    struct place place = choose_place(client);
    client->pending = client->tree;
    int expected = ring2_unlink(&client->pending, place.directory, place.name);
    if (!ring2_attempt_begin(&attempt, expected))
        return;
    int result = operation_unlink(ring2_volume_of(client), ring2_inode_of(client, place.directory),
                                  ring2_name(place.name));
    if (ring2_attempt_end(&attempt, result))
        ring2_did(client->history, place.is_last_open ? RING2_ROW_unlink_open
                                   : place.is_last    ? RING2_ROW_unlink_last
                                                      : RING2_ROW_unlink_other);
}

void ring2_names_rmdir(struct ring2_client *client)
{
    struct ring2_attempt attempt = {.client = client, .what = "rmdir", .frees = true};
    struct place place = choose_place(client);
    client->pending = client->tree;
    int expected = ring2_remove_directory(&client->pending, place.directory, place.name);
    if (!ring2_attempt_begin(&attempt, expected))
        return;
    int result = operation_remove_directory(
        ring2_volume_of(client), ring2_inode_of(client, place.directory), ring2_name(place.name));
    if (ring2_attempt_end(&attempt, result))
        ring2_did(client->history, RING2_ROW_rmdir);
}

// --- renaming ------------------------------------------------------------------------------------

struct renaming {
    unsigned directory, name, new_directory, new_name, flags;
    enum ring2_row row; // if it is done
};

static enum ring2_row row_of_rename(struct ring2_client *client, const struct renaming *r)
{
    struct ring2_tree_entry *from = ring2_find(&client->tree, r->directory, r->name);
    struct ring2_tree_entry *to = ring2_find(&client->tree, r->new_directory, r->new_name);
    if (r->flags == RENAME_NOREPLACE)
        return RING2_ROW_rename_no_replace;
    if (r->flags == RENAME_EXCHANGE)
        return RING2_ROW_rename_exchange;
    bool is_directory = from != NULL && ring2_is_directory(&client->tree.nodes[from->node]);
    if (to == NULL)
        return is_directory && r->directory != r->new_directory ? RING2_ROW_rename_directory
                                                                : RING2_ROW_rename;
    if (ring2_links(&client->tree, to->node) == 1 &&
        ring2_is_open(client, client->tree.nodes[to->node].file))
        return RING2_ROW_rename_over_open;
    return is_directory ? RING2_ROW_rename_over_directory : RING2_ROW_rename_over;
}

static void choose_renaming(struct ring2_client *client, struct renaming *r)
{
    static const unsigned all_flags[] = {0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    struct place from = choose_place(client);
    struct ring2_tree_entry *other = ring2_choose_entry(client);
    bool is_over = other != NULL && ring2_choose(client, 2) == 0;
    r->directory = from.directory;
    r->name = from.name;
    r->new_directory = is_over ? other->directory : ring2_choose_directory(client);
    r->new_name = is_over ? other->name : ring2_choose_name(client);
    r->flags = all_flags[ring2_choose(client, 6)];
    r->row = row_of_rename(client, r);
}

static int rename_on(struct ring2_client *client, const struct renaming *r, unsigned flags)
{
    return operation_rename(ring2_volume_of(client), ring2_inode_of(client, r->directory),
                            ring2_name(r->name), ring2_inode_of(client, r->new_directory),
                            ring2_name(r->new_name), flags);
}

static void check_unknown_flags(struct ring2_client *client, const struct renaming *r)
{
    int result = rename_on(client, r, RENAME_EXCHANGE | RENAME_NOREPLACE);
    if (!ring2_goes_on(client->history))
        return;
    if (result != -EINVAL)
        ring2_fail(client->history, "rename with strange flags answered %d", result);
    ring2_did(client->history, RING2_ROW_rename_unknown);
}

void ring2_names_rename(struct ring2_client *client)
{
    struct ring2_attempt attempt = {.client = client, .what = "rename"};
    struct renaming r;
    choose_renaming(client, &r);
    if (ring2_choose(client, 40) == 0) {
        check_unknown_flags(client, &r);
        return;
    }
    client->pending = client->tree;
    int expected =
        ring2_rename(&client->pending, r.directory, r.name, r.new_directory, r.new_name, r.flags);
    if (!ring2_attempt_begin(&attempt, expected))
        return;
    int result = rename_on(client, &r, r.flags);
    if (ring2_attempt_end(&attempt, result))
        ring2_did(client->history, r.row);
    else if (result == -EEXIST && r.flags == RENAME_NOREPLACE)
        ring2_did(client->history, RING2_ROW_rename_no_replace_refused);
}

// --- looking -------------------------------------------------------------------------------------

static void look_up(struct ring2_client *client)
{
    struct place place = choose_place(client);
    unsigned name = ring2_choose(client, 2) == 0 ? place.name : ring2_choose_name(client);
    struct attributes out;
    int result = operation_lookup(ring2_volume_of(client), ring2_inode_of(client, place.directory),
                                  ring2_name(name), &out);
    if (!ring2_goes_on(client->history))
        return;
    struct ring2_tree_entry *entry = ring2_find(&client->tree, place.directory, name);
    int expected = entry != NULL ? 0 : -ENOENT;
    if (result != expected || (entry != NULL && out.inode != ring2_inode_of(client, entry->node)))
        ring2_fail(client->history, "client %u: lookup of '%s' answered %d, expected %d",
                   client->number, ring2_name(name), result, expected);
    ring2_did(client->history, result == 0 ? RING2_ROW_lookup : RING2_ROW_lookup_missing);
}

// A listing in pieces of at most so many entries.
struct listing {
    struct ring2_client *client;
    unsigned directory;
    unsigned matched, piece_left;
    uint64_t cursor;
    bool with_attributes, was_refused;
};

static bool list_entry(void *context, const struct directory_entry *found)
{
    struct listing *listing = context;
    struct ring2_client *client = listing->client;
    listing->was_refused = listing->piece_left == 0;
    if (listing->was_refused)
        return false;
    listing->piece_left--;
    listing->cursor = found->cursor;
    if (strcmp(found->name, ".") == 0 || strcmp(found->name, "..") == 0)
        return true;
    for (unsigned name = 0; name < RING2_NAMES; name++) {
        struct ring2_tree_entry *entry = ring2_find(&client->tree, listing->directory, name);
        if (strcmp(found->name, ring2_name(name)) == 0 && entry != NULL &&
            found->inode == ring2_inode_of(client, entry->node) &&
            listing->with_attributes == (found->attributes != NULL))
            listing->matched++;
    }
    return true;
}

static void list_directory(struct ring2_client *client)
{
    struct listing listing = {.client = client, .directory = ring2_choose_directory(client)};
    struct volume *volume = ring2_volume_of(client);
    uint64_t inode = ring2_inode_of(client, listing.directory);
    unsigned expected = 0;
    listing.with_attributes = ring2_choose(client, 2) == 0;
    int result;
    do {
        listing.was_refused = false;
        listing.piece_left = 1 + (unsigned)ring2_choose(client, 8);
        result = operation_read_directory(volume, inode, listing.cursor,
                                          listing.with_attributes ? LIST_ATTRIBUTES : LIST_NAMES,
                                          list_entry, &listing);
        if (!ring2_goes_on(client->history))
            return;
        if (listing.was_refused)
            ring2_did(client->history, RING2_ROW_readdir_resumed);
    } while (result == 0 && listing.was_refused);
    for (unsigned name = 0; name < RING2_NAMES; name++)
        expected += ring2_find(&client->tree, listing.directory, name) != NULL;
    if (result != 0 || listing.matched != expected)
        ring2_fail(client->history, "a listing of inode %llu answered %d and %u names of %u",
                   (unsigned long long)inode, result, listing.matched, expected);
    ring2_did(client->history,
              listing.with_attributes ? RING2_ROW_readdir_plus : RING2_ROW_readdir);
}

static void read_link(struct ring2_client *client)
{
    struct ring2_tree_entry *entry = ring2_choose_entry(client);
    char target[4096], expected[4096];
    if (entry == NULL || !S_ISLNK(client->tree.nodes[entry->node].mode))
        return;
    uint32_t length = client->tree.nodes[entry->node].target_length;
    int result =
        operation_read_link(ring2_volume_of(client), ring2_inode_of(client, entry->node), target);
    if (!ring2_goes_on(client->history))
        return;
    ring2_text(expected, length);
    if (result != 0 || strcmp(target, expected) != 0)
        ring2_fail(client->history, "readlink answered %d", result);
    ring2_did(client->history, RING2_ROW_readlink);
}

static void look_at_volume(struct ring2_client *client)
{
    struct statvfs statistics;
    int result = operation_statfs(ring2_volume_of(client), &statistics);
    if (!ring2_goes_on(client->history))
        return;
    if (result != 0 || statistics.f_bfree > statistics.f_blocks ||
        statistics.f_bavail > statistics.f_bfree)
        ring2_fail(client->history, "statfs answered %d, %llu of %llu free", result,
                   (unsigned long long)statistics.f_bfree, (unsigned long long)statistics.f_blocks);
    ring2_did(client->history, RING2_ROW_statfs);
}

void ring2_names_look(struct ring2_client *client)
{
    static void (*const looks[])(struct ring2_client * client) = {look_up, look_up, list_directory,
                                                                  read_link, look_at_volume};
    looks[ring2_choose(client, 5)](client);
}
