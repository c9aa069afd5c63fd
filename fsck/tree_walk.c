// SPDX-License-Identifier: Apache-2.0
#include "fsck/tree_walk.h"

#include <stdlib.h>

#include "fs/base/cleanup.h"
#include "fs/base/error.h"
#include "fsck/block_reader.h"
#include "fsck/check.h"

// The keys that a subtree may hold: from `low` (inclusive) to `high` (exclusive).
struct range {
    struct format_key low, high;
    bool has_low, has_high;
};

struct place {
    uint64_t block; // where the node stands
    int level;      // it must have; -1 for the root
    struct range range;
};

static void damage(struct tree_walk *walk, uint64_t block, const char *reason)
{
    walk->is_damaged = true;
    problem_report(&walk->check->problems, walk->problem, block, "%s (owner %llu)", reason,
                   (unsigned long long)walk->owner);
}

static bool is_in_range(const struct range *range, const struct format_key *key)
{
    if (range->has_low && format_key_compare(key, &range->low) < 0)
        return false;
    return !range->has_high || format_key_compare(key, &range->high) < 0;
}

// In an inner node the key of slot 0 is never compared, so it may be anything.
static bool keys_are_in_range(const struct format_node *node, const struct range *range)
{
    for (unsigned i = node->level > 0 ? 1 : 0; i < node->item_count; i++) {
        struct format_item item = format_node_item(node, i);
        if (!is_in_range(range, &item.key))
            return false;
    }
    return true;
}

static struct range child_range(const struct format_node *node, unsigned index,
                                const struct range *own)
{
    struct range range = *own;
    if (index > 0) {
        range.low = format_node_item(node, index).key;
        range.has_low = true;
    }
    if (index + 1u < node->item_count) {
        range.high = format_node_item(node, index + 1).key;
        range.has_high = true;
    }
    return range;
}

static bool visit(struct tree_walk *walk, const void *area, size_t area_bytes,
                  const struct place *place);

static bool visit_child(struct tree_walk *walk, const struct place *place)
{
    struct check *check = walk->check;
    if (!geometry_is_data_range(&check->geometry, place->block, 1)) {
        damage(walk, place->block, "a tree points outside of the groups");
        return true;
    }
    CLEANUP_FREE struct tree_block_disk *disk = malloc(sizeof(*disk));
    int result = disk == NULL ? -ENOMEM
                              : block_reader_read_verified(check->reader, BLOCK_TYPE_TREE_NODE,
                                                           place->block, walk->owner, disk);
    if (result < 0) {
        damage(walk, place->block, error_text(result));
        return true;
    }
    return visit(walk, disk->area, sizeof(disk->area), place);
}

static bool visit_children(struct tree_walk *walk, const struct format_node *node,
                           const struct place *place)
{
    for (unsigned i = 0; i < node->item_count; i++) {
        struct place child = {
            .block = format_node_child(node, i),
            .level = node->level - 1,
            .range = child_range(node, i, &place->range),
        };
        if (!visit_child(walk, &child))
            return false;
    }
    return true;
}

static bool visit_items(struct tree_walk *walk, const struct format_node *node,
                        const struct place *place)
{
    for (unsigned i = 0; i < node->item_count; i++) {
        struct format_item item = format_node_item(node, i);
        if (!walk->item(walk, place->block, &item))
            return false;
    }
    return true;
}

static bool visit(struct tree_walk *walk, const void *area, size_t area_bytes,
                  const struct place *place)
{
    struct format_node node;
    const char *reason = NULL;
    bool is_root = place->level < 0;
    if (format_node_open(&node, area, area_bytes, &reason) < 0)
        damage(walk, place->block, reason);
    else if (!is_root && node.level != place->level)
        damage(walk, place->block, "a tree node stands at the wrong level");
    else if (!keys_are_in_range(&node, &place->range))
        damage(walk, place->block, "a tree node holds keys that belong elsewhere");
    else if (!is_root && walk->node != NULL && !walk->node(walk, place->block))
        return false;
    else
        return node.level > 0 ? visit_children(walk, &node, place)
                              : visit_items(walk, &node, place);
    return true;
}

void tree_walk_run(struct tree_walk *walk)
{
    struct place root = {.block = walk->root_block, .level = -1};
    walk->is_damaged = false;
    visit(walk, walk->area, walk->area_bytes, &root);
}
