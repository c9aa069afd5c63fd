// SPDX-License-Identifier: Apache-2.0
// What was found after a crash against what the history allows.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/crashlog/history.h"

// How many operations a crash at `position` may show. One that was over by then counts, also if it
// had nothing to write.
static unsigned count_begun(const struct history *history, uint64_t position)
{
    unsigned count = 0;
    while (count < history->count && (history->operations[count].begin < position ||
                                      history->operations[count].end <= position))
        count++;
    return count;
}

// --- one file --------------------------------------------------------------------------------

// A file's content while its operations are gone through, and what was found of it.
struct file_check {
    const struct history *history;
    const struct history_found *found;
    uint32_t object;
    uint64_t size, size_min, size_max; // sectors; of those that a crash may leave
    uint32_t versions[HISTORY_SECTORS_MAX];
    uint32_t found_versions[HISTORY_SECTORS_MAX];
    bool is_allowed[HISTORY_SECTORS_MAX];
    bool is_after_fsync; // the last durable one: what comes from now on may be lost
};

static void note_allowed(struct file_check *file, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; file->is_after_fsync && i < end; i++)
        file->is_allowed[i] |= file->versions[i] == file->found_versions[i];
    if (file->size < file->size_min)
        file->size_min = file->size;
    if (file->size > file->size_max)
        file->size_max = file->size;
}

static void apply(struct file_check *file, const struct history_operation *operation)
{
    uint32_t first = operation->first_sector;
    uint32_t end =
        operation->kind == HISTORY_WRITE ? first + operation->sector_count : HISTORY_SECTORS_MAX;
    uint32_t version = operation->kind == HISTORY_WRITE ? operation->version : 0;
    for (uint32_t i = first; i < end; i++)
        file->versions[i] = version;
    if (operation->kind == HISTORY_TRUNCATE || end > file->size)
        file->size = operation->kind == HISTORY_TRUNCATE ? first : end;
    note_allowed(file, first, end);
}

// The last fsync of the file that is durable at `position`; 0 (HISTORY_BEGIN) if there is none.
static unsigned last_durable(const struct history *history, uint32_t object, uint64_t position)
{
    for (unsigned i = history->count; i-- > 1;) {
        const struct history_operation *operation = &history->operations[i];
        if (operation->kind == HISTORY_FSYNC && operation->object == object &&
            operation->end <= position)
            return i;
    }
    return 0;
}

static void begin_allowing(struct file_check *file)
{
    file->is_after_fsync = true;
    file->size_min = file->size_max = file->size;
    note_allowed(file, 0, HISTORY_SECTORS_MAX);
}

static void go_through(struct file_check *file, uint64_t position)
{
    const struct history *history = file->history;
    unsigned durable = last_durable(history, file->object, position);
    unsigned begun = count_begun(history, position);
    for (unsigned i = 0; i < begun; i++) {
        const struct history_operation *operation = &history->operations[i];
        if (operation->object == file->object &&
            (operation->kind == HISTORY_WRITE || operation->kind == HISTORY_TRUNCATE))
            apply(file, operation);
        if (i == durable)
            begin_allowing(file);
    }
}

static bool judge(const struct file_check *file, uint32_t name, char why[HISTORY_WHY_BYTES])
{
    char path[HISTORY_PATH_BYTES];
    uint64_t size = file->found->size;
    history_name_path(name, path);
    if (size % HISTORY_SECTOR_BYTES != 0 || size / HISTORY_SECTOR_BYTES < file->size_min ||
        size / HISTORY_SECTOR_BYTES > file->size_max) {
        snprintf(why, HISTORY_WHY_BYTES,
                 "%s (object %u): %" PRIu64 " bytes; allowed: %" PRIu64 " to %" PRIu64 " sectors",
                 path, file->object, size, file->size_min, file->size_max);
        return false;
    }
    for (uint32_t i = 0; i < size / HISTORY_SECTOR_BYTES; i++) {
        if (file->is_allowed[i])
            continue;
        snprintf(why, HISTORY_WHY_BYTES,
                 "%s (object %u), sector %u: version %d, which it may not hold; the newest is %u",
                 path, file->object, i, (int)file->found_versions[i], file->versions[i]);
        return false;
    }
    return true;
}

static bool file_is_allowed(const struct history *history, const struct history_found *found,
                            uint32_t name, uint32_t object, uint64_t position,
                            char why[HISTORY_WHY_BYTES])
{
    struct file_check file = {.history = history, .found = found, .object = object};
    for (uint32_t i = 0; i < HISTORY_SECTORS_MAX; i++)
        file.found_versions[i] = history_sector_version(
            found->content + (size_t)i * HISTORY_SECTOR_BYTES, history->client, object, i);
    go_through(&file, position);
    return judge(&file, name, why);
}

// --- names -----------------------------------------------------------------------------------

static bool name_is_as_in(const struct history_tree *tree, const struct history_found *found,
                          uint32_t name)
{
    char target[HISTORY_PATH_BYTES];
    if (found->kind != tree->kinds[name])
        return false;
    if (found->kind == 0 || found->kind == HISTORY_MKDIR)
        return true;
    history_target(tree->objects[name], target);
    if (found->kind == HISTORY_SYMLINK && strcmp(found->target, target) != 0)
        return false;
    return found->links == history_tree_links(tree, tree->objects[name]);
}

static bool names_are_as_in(const struct history_tree *tree, const struct history_view *view,
                            char why[HISTORY_WHY_BYTES])
{
    char path[HISTORY_PATH_BYTES];
    for (uint32_t name = 0; name < HISTORY_NAMES; name++) {
        const struct history_found *found = &view->found[name];
        if (name_is_as_in(tree, found, name))
            continue;
        history_name_path(name, path);
        snprintf(why, HISTORY_WHY_BYTES,
                 "%s: kind %u with %u links, target '%s'; object %u of kind %u with %u links", path,
                 found->kind, found->links, found->target, tree->objects[name], tree->kinds[name],
                 tree->objects[name] == 0 ? 0 : history_tree_links(tree, tree->objects[name]));
        return false;
    }
    return true;
}

static bool is_as_in(const struct history *history, const struct history_tree *tree,
                     const struct history_view *view, uint64_t position,
                     char why[HISTORY_WHY_BYTES])
{
    if (!names_are_as_in(tree, view, why))
        return false;
    for (uint32_t name = 0; name < HISTORY_NAMES; name++) {
        if (view->found[name].kind == HISTORY_CREATE &&
            !file_is_allowed(history, &view->found[name], name, tree->objects[name], position, why))
            return false;
    }
    return true;
}

// The last sync of all folders that is durable.
static unsigned names_durable(const struct history *history, uint64_t position)
{
    for (unsigned i = history->count; i-- > 1;) {
        if (history->operations[i].kind == HISTORY_SYNC_NAMES &&
            history->operations[i].end <= position)
            return i;
    }
    return 0;
}

bool history_has_begun(const struct history *history, uint64_t position)
{
    return history->operations[0].end <= position;
}

bool history_allows(const struct history *history, const struct history_view *view,
                    uint64_t position, char why[HISTORY_WHY_BYTES])
{
    struct history_tree tree = {0};
    char why_not[HISTORY_WHY_BYTES] = "";
    unsigned durable = names_durable(history, position), begun = count_begun(history, position);
    if (view->has_strangers) {
        snprintf(why, HISTORY_WHY_BYTES, "names that nobody made");
        return false;
    }
    for (unsigned i = 0; i < begun; i++) {
        history_tree_apply(&tree, &history->operations[i]);
        if (i >= durable && is_as_in(history, &tree, view, position, why_not))
            return true;
    }
    snprintf(why, HISTORY_WHY_BYTES, "none of the states %u to %u; of the last: %.200s", durable,
             begun - 1, why_not);
    return false;
}
