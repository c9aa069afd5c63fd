// SPDX-License-Identifier: Apache-2.0
// crash-client: one client of the disk whose writes are logged.
//
//   crash-client LOG HISTORY CLIENT SEED OPERATIONS MOUNT...
//
// Works in the folder client-CLIENT of a mounted volume: creates, writes, truncates, links,
// renames, removes, syncs. With several mounts of the volume, of one node each, it goes from one to
// the next now and then, its names synced, so that their locks move. HISTORY, elsewhere, says what
// was done and how long LOG was before and after each operation (history.h); with `-` for LOG,
// what CLOCK_BOOTTIME was, in nanoseconds, and a moment's rest after each, for it runs for hours
// beside other loads. Every operation must succeed, but for a full volume, which it waits out. Ends
// after OPERATIONS; at SIGTERM earlier, with all files and names synced.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/random.h"
#include "tests/crashlog/history.h"

enum {
    STAYS_FOR = 40, // operations on one mount, on average
    MOUNTS_MAX = 8,
    FULL_RETRY_US = 10000,
    REST_US = 5000,
};

static volatile sig_atomic_t is_over;

struct client {
    struct random random;
    int folder; // the client's own, one of `folders`
    int folders[MOUNTS_MAX];
    int folder_count;
    int log; // -1: the time
    int history;
    off_t history_end;
    uint32_t number;
    struct history_tree tree;
    uint32_t object_count, version;
    uint8_t content[HISTORY_SECTORS_MAX * HISTORY_SECTOR_BYTES];
};

static _Noreturn void give_up(const char *what, const char *path)
{
    fprintf(stderr, "crash-client: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static uint64_t log_position(const struct client *client)
{
    struct stat found;
    struct timespec now;
    if (client->log < 0) {
        clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    if (fstat(client->log, &found) < 0)
        give_up("length of", "the log");
    return (uint64_t)found.st_size;
}

// --- doing -----------------------------------------------------------------------------------

static int open_path(const struct client *client, const char *path, int flags)
{
    int file = openat(client->folder, path, flags | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file < 0)
        give_up("open of", path);
    return file;
}

static void sync_folder(const struct client *client, const char *path)
{
    int folder = open_path(client, path, O_RDONLY | O_DIRECTORY);
    if (fsync(folder) < 0)
        give_up("fsync of", path);
    close(folder);
}

static int sync_names(const struct client *client)
{
    char path[HISTORY_PATH_BYTES];
    for (unsigned i = 0; i < HISTORY_FOLDERS; i++) {
        snprintf(path, sizeof(path), "d%u", i);
        sync_folder(client, path);
    }
    return 0;
}

static int write_sectors(struct client *client, int file, const struct history_operation *operation)
{
    size_t size = (size_t)operation->sector_count * HISTORY_SECTOR_BYTES;
    for (uint32_t i = 0; i < operation->sector_count; i++)
        history_sector_fill(client->content + (size_t)i * HISTORY_SECTOR_BYTES, client->number,
                            operation->object, operation->first_sector + i, operation->version);
    ssize_t done =
        pwrite(file, client->content, size, (off_t)operation->first_sector * HISTORY_SECTOR_BYTES);
    if (done >= 0 && done < (ssize_t)size)
        errno = ENOSPC;
    return done == (ssize_t)size ? 0 : -1;
}

static int change_file(struct client *client, const char *path,
                       const struct history_operation *operation)
{
    int file = open_path(client, path, O_RDWR), result = -1;
    if (operation->kind == HISTORY_WRITE)
        result = write_sectors(client, file, operation);
    else if (operation->kind == HISTORY_TRUNCATE)
        result = ftruncate(file, (off_t)operation->first_sector * HISTORY_SECTOR_BYTES);
    else
        result = fsync(file);
    close(file);
    return result;
}

// A kernel that finds a directory at another place than it knew it, because another node moved it,
// cannot learn so in the middle of a rename: ESTALE (docs/daemon.md). So it looks first.
static int rename_names(const struct client *client, const char *name, const char *other,
                        unsigned flags)
{
    struct stat found;
    if (fstatat(client->folder, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    fstatat(client->folder, other, &found, AT_SYMLINK_NOFOLLOW); // may be free
    return renameat2(client->folder, name, client->folder, other, flags);
}

static int create_file(int folder, const char *name)
{
    int file = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return file < 0 ? -1 : close(file);
}

static int carry_out(struct client *client, const struct history_operation *operation)
{
    char name[HISTORY_PATH_BYTES], other[HISTORY_PATH_BYTES], target[HISTORY_PATH_BYTES];
    int folder = client->folder;
    history_name_path(operation->name, name);
    history_name_path(operation->other, other);
    history_target(operation->object, target);
    switch ((enum history_kind)operation->kind) {
    case HISTORY_CREATE:
        return create_file(folder, name);
    case HISTORY_MKDIR:
        return mkdirat(folder, name, 0755);
    case HISTORY_SYMLINK:
        return symlinkat(target, folder, name);
    case HISTORY_LINK:
        return linkat(folder, name, folder, other, 0);
    case HISTORY_UNLINK:
        return unlinkat(folder, name, 0);
    case HISTORY_RMDIR:
        return unlinkat(folder, name, AT_REMOVEDIR);
    case HISTORY_RENAME:
        return rename_names(client, name, other, 0);
    case HISTORY_EXCHANGE:
        return rename_names(client, name, other, RENAME_EXCHANGE);
    case HISTORY_WRITE:
    case HISTORY_TRUNCATE:
    case HISTORY_FSYNC:
        return change_file(client, name, operation);
    case HISTORY_SYNC_NAMES:
        return sync_names(client);
    case HISTORY_BEGIN:
        break;
    }
    return 0;
}

// At the history's end, in the place of what stands there of the operation.
static void record(struct client *client, struct history_operation *operation, uint64_t begin,
                   uint64_t end)
{
    operation->begin = begin;
    operation->end = end;
    operation->client = client->number;
    if (pwrite(client->history, operation, sizeof(*operation), client->history_end) !=
        sizeof(*operation))
        give_up("write of", "the history");
}

static void record_end(struct client *client, struct history_operation *operation, uint64_t begin)
{
    record(client, operation, begin, log_position(client));
    client->history_end += sizeof(*operation);
}

static void perform(struct client *client, struct history_operation *operation)
{
    char path[HISTORY_PATH_BYTES + 32], name[HISTORY_PATH_BYTES];
    uint64_t begin = log_position(client);
    int result;
    record(client, operation, begin, UINT64_MAX); // so it stays if this process is killed
    while ((result = carry_out(client, operation)) < 0 && errno == ENOSPC)
        usleep(FULL_RETRY_US);
    if (result < 0) {
        history_name_path(operation->name, name);
        snprintf(path, sizeof(path), "%u on %s", operation->kind, name);
        give_up("operation", path);
    }
    record_end(client, operation, begin);
    history_tree_apply(&client->tree, operation);
}

// --- choosing --------------------------------------------------------------------------------

static uint32_t below(struct client *client, uint32_t bound)
{
    return (uint32_t)random_below(&client->random, bound);
}

static void choose_new(struct client *client, struct history_operation *operation)
{
    uint32_t luck = below(client, 8);
    operation->object = ++client->object_count;
    operation->kind = luck == 0 ? HISTORY_MKDIR : luck == 1 ? HISTORY_SYMLINK : HISTORY_CREATE;
}

// Of a file: half of all goes to its front, where small files are.
static void choose_content(struct client *client, struct history_operation *operation)
{
    uint32_t span = below(client, 2) ? 12 : HISTORY_SECTORS_MAX;
    operation->first_sector = below(client, span);
    if (below(client, 4) == 0) {
        operation->kind = HISTORY_TRUNCATE;
        return;
    }
    operation->kind = HISTORY_WRITE;
    operation->sector_count = 1 + below(client, span / 4);
    if (operation->sector_count > HISTORY_SECTORS_MAX - operation->first_sector)
        operation->sector_count = HISTORY_SECTORS_MAX - operation->first_sector;
    operation->version = ++client->version;
}

static bool can_replace(const struct history_tree *tree, uint32_t name, uint32_t other)
{
    bool is_same = tree->objects[name] == tree->objects[other];
    bool is_free = tree->objects[other] == 0;
    return !is_same && (is_free || (tree->kinds[name] == HISTORY_MKDIR) ==
                                       (tree->kinds[other] == HISTORY_MKDIR));
}

// Of a name that is there. HISTORY_BEGIN: nothing, try again.
static void choose_change(struct client *client, struct history_operation *operation)
{
    const struct history_tree *tree = &client->tree;
    uint32_t name = operation->name, other = below(client, HISTORY_NAMES), luck = below(client, 16);
    uint8_t kind = tree->kinds[name];
    operation->object = tree->objects[name];
    operation->other = other;
    if (luck < 2)
        operation->kind = kind == HISTORY_MKDIR ? HISTORY_RMDIR : HISTORY_UNLINK;
    else if (luck < 5 && can_replace(tree, name, other))
        operation->kind = HISTORY_RENAME;
    else if (luck == 5 && tree->objects[other] != 0 && tree->objects[other] != operation->object)
        operation->kind = HISTORY_EXCHANGE;
    else if (luck == 6 && kind == HISTORY_CREATE && tree->objects[other] == 0)
        operation->kind = HISTORY_LINK;
    else if (luck < 10 && kind == HISTORY_CREATE)
        operation->kind = HISTORY_FSYNC;
    else if (kind == HISTORY_CREATE)
        choose_content(client, operation);
}

static void go_elsewhere(struct client *client)
{
    struct history_operation operation = {.kind = HISTORY_SYNC_NAMES};
    perform(client, &operation);
    client->folder = client->folders[below(client, (uint32_t)client->folder_count)];
}

static void step(struct client *client)
{
    struct history_operation operation = {.kind = HISTORY_BEGIN};
    while (operation.kind == HISTORY_BEGIN) {
        if (client->folder_count > 1 && below(client, STAYS_FOR) == 0)
            go_elsewhere(client);
        operation = (struct history_operation){.name = below(client, HISTORY_NAMES)};
        if (below(client, 20) == 0)
            operation.kind = HISTORY_SYNC_NAMES;
        else if (client->tree.objects[operation.name] == 0)
            choose_new(client, &operation);
        else
            choose_change(client, &operation);
    }
    perform(client, &operation);
}

// --- beginning -------------------------------------------------------------------------------

static int open_folder(const struct client *client, const char *mount)
{
    char path[HISTORY_PATH_BYTES];
    int top = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    history_client_path(client->number, path);
    int folder = openat(top, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        give_up("open of the client's folder in", mount);
    close(top);
    return folder;
}

static void make_folders(struct client *client, const char *mount)
{
    char path[HISTORY_PATH_BYTES];
    int top = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    history_client_path(client->number, path);
    if (top < 0 || mkdirat(top, path, 0755) < 0)
        give_up("mkdir of", path);
    client->folder = open_folder(client, mount);
    for (unsigned i = 0; i < HISTORY_FOLDERS; i++) {
        snprintf(path, sizeof(path), "d%u", i);
        if (mkdirat(client->folder, path, 0755) < 0)
            give_up("mkdir of", path);
    }
    if (fsync(client->folder) < 0 || fsync(top) < 0)
        give_up("fsync of", mount);
    sync_names(client);
    close(client->folder);
    close(top);
}

static void begin(struct client *client, int count, char **mounts)
{
    struct history_operation operation = {.kind = HISTORY_BEGIN};
    uint64_t begin = log_position(client);
    make_folders(client, mounts[0]);
    for (int i = 0; i < count && i < MOUNTS_MAX; i++)
        client->folders[client->folder_count++] = open_folder(client, mounts[i]);
    client->folder = client->folders[0];
    record_end(client, &operation, begin);
}

static void on_signal(int signal)
{
    (void)signal;
    is_over = 1;
}

static void sync_all(struct client *client)
{
    struct history_operation names = {.kind = HISTORY_SYNC_NAMES};
    for (uint32_t name = 0; name < HISTORY_NAMES; name++) {
        struct history_operation operation = {
            .kind = HISTORY_FSYNC, .name = name, .object = client->tree.objects[name]};
        if (client->tree.kinds[name] == HISTORY_CREATE)
            perform(client, &operation);
    }
    perform(client, &names);
}

int main(int argc, char **argv)
{
    static struct client client;
    if (argc < 7) {
        fputs("usage: crash-client LOG HISTORY CLIENT SEED OPERATIONS MOUNT...\n", stderr);
        return 2;
    }
    bool has_log = strcmp(argv[1], "-") != 0;
    client.log = has_log ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    client.history = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    client.number = (uint32_t)atoi(argv[3]);
    if ((has_log && client.log < 0) || client.history < 0)
        give_up("open of", client.history < 0 ? argv[2] : argv[1]);
    signal(SIGTERM, on_signal);
    random_init(&client.random, strtoull(argv[4], NULL, 10));
    begin(&client, argc - 6, argv + 6);
    for (long left = atol(argv[5]); left > 0 && !is_over; left--) {
        step(&client);
        if (!has_log)
            usleep(REST_US);
    }
    if (is_over)
        sync_all(&client);
    return 0;
}
