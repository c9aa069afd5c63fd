// SPDX-License-Identifier: Apache-2.0
#include "mkfs/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

static const char usage_text[] =
    "usage: mkfs.lunfs [OPTIONS] DEVICE|FILE\n"
    "Makes a lunfs volume: a file system that many hosts mount at once.\n"
    "\n"
    "  -L, --label LABEL         name of the volume, at most 63 bytes\n"
    "  -U, --uuid UUID           UUID of the volume; a random one otherwise\n"
    "  -N, --slots SLOTS         how many nodes can mount it at once, 1 to 64 (32)\n"
    "  -J, --journal-size SIZE   journal of each node, 8M to 4G (by size, 8M to 128M)\n"
    "  -f, --force               also over another file system or partition table;\n"
    "                            never over a lunfs volume in use\n"
    "  -n, --dry-run             check all, print the plan, write nothing\n"
    "  -q, --quiet               print nothing but errors\n"
    "      --json                print the plan as JSON\n"
    "  -h, --help                this text\n"
    "  -V, --version             the format's version\n"
    "\n"
    "A SIZE is a number of bytes, or one with K, M, G or T behind it (powers of 1024).\n"
    "\n"
    "Examples:\n"
    "  mkfs.lunfs -L images /dev/mapper/san1     for up to 32 nodes\n"
    "  truncate -s 8G lun && mkfs.lunfs lun      on a file, to try it out\n"
    "  mkfs.lunfs -n -N 64 /dev/mapper/san1      only show what would be done\n"
    "\n"
    "Exit status: 0 done, 1 refused and nothing written, 2 wrong usage, 4 failed while writing.\n";

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int complain(const char *format, ...)
{
    va_list arguments;
    fputs("mkfs.lunfs: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs(" (mkfs.lunfs --help shows the options)\n", stderr);
    return MKFS_EXIT_USAGE;
}

// --- values ----------------------------------------------------------------------------------

// A decimal number without sign or blanks; sets `*end` behind it.
static bool parse_digits(const char *text, uint64_t *value, const char **end)
{
    char *stop;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *value = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_uuid(const char *text, uint8_t uuid[16])
{
    for (unsigned i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
            return false;
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return false;
        uuid[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}

// Length of the UTF-8 sequence at `text`; 0 if it is none (overlong forms and surrogates included).
static size_t utf8_length(const unsigned char *text)
{
    static const struct {
        unsigned char mask, bits;
        unsigned least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t extra = 0; extra < 4; extra++) {
        if ((text[0] & forms[extra].mask) != forms[extra].bits)
            continue;
        unsigned code = text[0] & (unsigned char)~forms[extra].mask;
        for (size_t i = 1; i <= extra; i++) {
            if ((text[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (text[i] & 0x3f);
        }
        bool is_surrogate = code >= 0xd800 && code < 0xe000;
        return code >= forms[extra].least && code < 0x110000 && !is_surrogate ? extra + 1 : 0;
    }
    return 0;
}

static bool is_plain_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p != '\0') {
        size_t length = utf8_length(p);
        if (length == 0 || *p < ' ' || *p == 127)
            return false;
        p += length;
    }
    return true;
}

// --- options ---------------------------------------------------------------------------------

static int take_label(const char *text, struct mkfs_options *options)
{
    if (strlen(text) >= sizeof(options->label))
        return complain("the label has %zu bytes, at most %zu fit", strlen(text),
                        sizeof(options->label) - 1);
    if (!is_plain_utf8(text))
        return complain("the label is not plain UTF-8");
    memset(options->label, 0, sizeof(options->label));
    memcpy(options->label, text, strlen(text));
    return -1;
}

static int take_uuid(const char *text, struct mkfs_options *options)
{
    static const uint8_t none[16];
    if (!parse_uuid(text, options->uuid) || memcmp(options->uuid, none, sizeof(none)) == 0)
        return complain("'%s' is no UUID, which looks like "
                        "5bbed1e5-1f4c-4e0c-b3a4-9d4a35f0a5a1",
                        text);
    return -1;
}

static int take_slots(const char *text, struct mkfs_options *options)
{
    uint64_t count;
    const char *end;
    if (!parse_digits(text, &count, &end) || *end != '\0')
        return complain("'%s' is no number of node slots", text);
    if (count == 0 || count > FORMAT_SLOT_COUNT_MAX)
        return complain("%s node slots are out of range: 1 to %d", text, FORMAT_SLOT_COUNT_MAX);
    options->slot_count = (uint32_t)count;
    return -1;
}

static int take_journal_size(const char *text, struct mkfs_options *options)
{
    if (!text_parse_size(text, &options->journal_bytes) || options->journal_bytes == 0)
        return complain("'%s' is no journal size, which looks like 64M", text);
    return -1;
}

enum { OPTION_JSON = 256 };

static int take_option(int option, const char *value, struct mkfs_options *options)
{
    switch (option) {
    case 'L':
        return take_label(value, options);
    case 'U':
        return take_uuid(value, options);
    case 'N':
        return take_slots(value, options);
    case 'J':
        return take_journal_size(value, options);
    case 'f':
        options->is_forced = true;
        return -1;
    case 'n':
        options->is_dry_run = true;
        return -1;
    case 'q':
        options->is_quiet = true;
        return -1;
    case OPTION_JSON:
        options->is_json = true;
        return -1;
    case 'h':
        fputs(usage_text, stdout);
        return MKFS_EXIT_DONE;
    case 'V':
        printf("mkfs.lunfs, lunfs format version %d\n", FORMAT_VERSION);
        return MKFS_EXIT_DONE;
    default: // getopt has said what is wrong
        return complain("nothing was done");
    }
}

int mkfs_options_parse(int argc, char **argv, struct mkfs_options *options)
{
    static const struct option long_options[] = {
        {"label", required_argument, NULL, 'L'},
        {"uuid", required_argument, NULL, 'U'},
        {"slots", required_argument, NULL, 'N'},
        {"journal-size", required_argument, NULL, 'J'},
        {"force", no_argument, NULL, 'f'},
        {"dry-run", no_argument, NULL, 'n'},
        {"quiet", no_argument, NULL, 'q'},
        {"json", no_argument, NULL, OPTION_JSON},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct mkfs_options){0};
    int option;
    while ((option = getopt_long(argc, argv, "L:U:N:J:fnqhV", long_options, NULL)) != -1) {
        int status = take_option(option, optarg, options);
        if (status >= 0)
            return status;
    }
    if (optind + 1 != argc)
        return complain(optind == argc ? "no device or file was named"
                                       : "one device or file at a time, please");
    options->path = argv[optind];
    return -1;
}
