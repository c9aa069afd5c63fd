// SPDX-License-Identifier: Apache-2.0
// Tells whether a device holds a lunfs volume: for udev, whose blkid does not know it, and scripts.
#include <stdio.h>
#include <string.h>

#include "fs/base/text.h"
#include "fs/tool.h"
#include "fs/volume_probe.h"

// As udev encodes what becomes part of a link's name (udev_device_new.. ID_FS_*_ENC): anything but
// these characters as \xNN.
static void add_encoded(struct text *text, const char *value)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                               "#+-.:=@_";
    for (; *value != '\0'; value++) {
        if (strchr(safe, *value) != NULL)
            text_add(text, "%c", *value);
        else
            text_add(text, "\\x%02x", (unsigned char)*value);
    }
}

// The unencoded property keeps printable characters; a blank or control character becomes '_'.
static void add_plain(struct text *text, const char *value)
{
    for (; *value != '\0'; value++)
        text_add(text, "%c", (unsigned char)*value > ' ' && *value != 0x7f ? *value : '_');
}

static void print_udev(const struct geometry *geometry)
{
    TEXT(uuid, 40);
    TEXT(label, 5 * FORMAT_LABEL_BYTES);
    TEXT(encoded, 5 * FORMAT_LABEL_BYTES);
    text_add_uuid(&uuid, geometry->uuid);
    add_plain(&label, geometry->label);
    add_encoded(&encoded, geometry->label);
    printf("ID_FS_TYPE=lunfs\nID_FS_USAGE=filesystem\nID_FS_VERSION=%u\n"
           "ID_FS_UUID=%s\nID_FS_UUID_ENC=%s\n",
           FORMAT_VERSION, uuid.bytes, uuid.bytes);
    if (geometry->label[0] != '\0')
        printf("ID_FS_LABEL=%s\nID_FS_LABEL_ENC=%s\n", label.bytes, encoded.bytes);
}

static void print_words(const char *device, const struct geometry *geometry)
{
    TEXT(uuid, 40);
    text_add_uuid(&uuid, geometry->uuid);
    printf("%s: lunfs UUID=%s", device, uuid.bytes);
    if (geometry->label[0] != '\0')
        printf(" LABEL=%s", geometry->label);
    putchar('\n');
}

int tool_probe(const struct tool_verb *verb, int argc, char **argv)
{
    struct geometry geometry;
    const char *device = NULL;
    bool for_udev = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--udev") == 0)
            for_udev = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return tool_usage(verb, true);
        else if (device != NULL || argv[i][0] == '-')
            return tool_usage(verb, false);
        else
            device = argv[i];
    }
    if (device == NULL)
        return tool_usage(verb, false);
    if (volume_probe(device, &geometry) != 0)
        return TOOL_EXIT_NOTHING;
    if (for_udev)
        print_udev(&geometry);
    else
        print_words(device, &geometry);
    return TOOL_EXIT_OK;
}
