// SPDX-License-Identifier: Apache-2.0
#include "fs/volume_probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "fs/base/block_device_file.h"
#include "fs/base/text.h"
#include "fs/format_find.h"

// --- one device ------------------------------------------------------------------------------

int volume_probe(const char *path, struct geometry *geometry)
{
    struct block_device *device;
    struct format_superblock_finding finding;
    int result =
        block_device_file_open(path, BLOCK_DEVICE_READ_ONLY | BLOCK_DEVICE_ALLOW_BUFFERED, &device);
    if (result != 0)
        return result;
    result = format_superblock_find(device, NULL, &finding);
    block_device_close(device);
    if (result == 0)
        *geometry = finding.places[finding.chosen].geometry;
    return result;
}

// --- by UUID or label ------------------------------------------------------------------------

struct wanted {
    bool by_label;
    const char *value;
};

static bool parse_wanted(const char *what, struct wanted *wanted)
{
    wanted->by_label = strncmp(what, "LABEL=", 6) == 0;
    if (!wanted->by_label && strncmp(what, "UUID=", 5) != 0)
        return false;
    wanted->value = strchr(what, '=') + 1;
    return true;
}

static bool is_wanted(const struct wanted *wanted, const struct geometry *geometry)
{
    TEXT(uuid, 40);
    if (wanted->by_label)
        return strcmp(geometry->label, wanted->value) == 0;
    text_add_uuid(&uuid, geometry->uuid);
    return strcasecmp(uuid.bytes, wanted->value) == 0;
}

static bool device_is_wanted(const char *path, const struct wanted *wanted)
{
    struct geometry geometry;
    return volume_probe(path, &geometry) == 0 && is_wanted(wanted, &geometry);
}

// udev's link, if there is one and it is true. Characters that udev writes as \xNN are left to the
// search.
static bool find_link(const char *directory, const struct wanted *wanted, char path[PATH_MAX])
{
    if (wanted->by_label || strchr(wanted->value, '/') != NULL)
        return false;
    int length = snprintf(path, PATH_MAX, "%s/disk/by-uuid/%s", directory, wanted->value);
    return length < PATH_MAX && access(path, R_OK) == 0 && device_is_wanted(path, wanted);
}

// Whole disks that are one path of a multipath or RAID device look the same as that device: the one
// that holds others is to be taken. Kernel order puts device-mapper names behind disks, so the last
// of several equal ones with the same format_id is the top one.
struct search {
    const struct wanted *wanted;
    char (*path)[PATH_MAX];
    uint8_t format_id[16];
    unsigned count;
    bool is_ambiguous;
};

static void consider(struct search *search, const char *path)
{
    struct geometry geometry;
    if (volume_probe(path, &geometry) != 0 || !is_wanted(search->wanted, &geometry))
        return;
    if (search->count > 0 && memcmp(search->format_id, geometry.format_id, 16) != 0)
        search->is_ambiguous = true;
    memcpy(search->format_id, geometry.format_id, 16);
    snprintf(*search->path, PATH_MAX, "%s", path);
    search->count++;
}

static void search_partitions(struct search *search, const char *directory, const char *partitions)
{
    char line[256], name[128], path[PATH_MAX];
    FILE *list = fopen(partitions, "re");
    if (list == NULL)
        return;
    while (fgets(line, sizeof(line), list) != NULL) {
        if (sscanf(line, "%*u %*u %*u %127s", name) != 1)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, name);
        consider(search, path);
    }
    fclose(list);
}

bool volume_find_in(const char *directory, const char *partitions, const char *what,
                    char path[PATH_MAX], struct text *why)
{
    struct wanted wanted;
    if (!parse_wanted(what, &wanted)) {
        snprintf(path, PATH_MAX, "%s", what);
        return true;
    }
    if (find_link(directory, &wanted, path))
        return true;
    struct search search = {.wanted = &wanted, .path = (char(*)[PATH_MAX])path};
    search_partitions(&search, directory, partitions);
    if (search.count == 0)
        text_add(why, "no device holds a lunfs volume with %s", what);
    else if (search.is_ambiguous)
        text_add(why, "several volumes have %s: mount by UUID= or by device", what);
    return search.count > 0 && !search.is_ambiguous;
}

bool volume_find(const char *what, char path[PATH_MAX], struct text *why)
{
    return volume_find_in("/dev", "/proc/partitions", what, path, why);
}
