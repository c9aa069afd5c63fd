// SPDX-License-Identifier: Apache-2.0
#include "fsck/options.h"

#include <getopt.h>
#include <stdio.h>

#include "fs/format.h"

enum { OPTION_UNDO = 256, OPTION_RESTORE };

static const char usage_text[] =
    "usage: fsck.lunfs [-n|-p|-y] [-f] [-v] [--undo FILE] DEVICE|FILE\n"
    "       fsck.lunfs --restore FILE DEVICE|FILE\n"
    "Checks a lunfs volume that no node has mounted. Puts right by itself what loses nothing: "
    "what\n"
    "crashes leave, counts, free space. All else is named, and put right with -y only.\n"
    "\n"
    "  -n, --no-changes   write nothing\n"
    "  -p, -a, --preen    a volume that was left cleanly is not looked at (for boot scripts)\n"
    "  -y, --yes          put everything right, also what may lose something; ask nothing\n"
    "  -f, --force        with -p: look even if the volume was left cleanly\n"
    "  -v, --verbose      show every problem and what was counted\n"
    "      --undo FILE    before the first change, save in FILE (new, not on the volume) what\n"
    "                     stands in all blocks that will be written to\n"
    "      --restore FILE write that back, if nobody has mounted the volume since\n"
    "  -h, --help         this text\n"
    "  -V, --version      the format's version\n"
    "\n"
    "Examples:\n"
    "  fsck.lunfs /dev/mapper/san1                       check, replay, put right what is safe\n"
    "  fsck.lunfs -n -v lun                              only look, say all\n"
    "  fsck.lunfs -y --undo /root/undo /dev/mapper/san1  put all right, with a way back\n"
    "\n"
    "Exit status: 0 nothing wrong and nothing changed, 1 put right, 4 something is left that is\n"
    "wrong, 8 could not be checked (in use, unreadable, no lunfs volume), 16 wrong usage,\n"
    "32 interrupted.\n";

static int complain(const char *what)
{
    fprintf(stderr, "fsck.lunfs: %s (fsck.lunfs --help shows the options)\n", what);
    return FSCK_EXIT_USAGE;
}

static int take_option(int option, struct fsck_options *options, unsigned *answers)
{
    switch (option) {
    case 'n':
        options->no_changes = true;
        *answers |= 1;
        return -1;
    case 'p':
    case 'a':
        options->is_preen = true;
        *answers |= 2;
        return -1;
    case 'y':
        options->is_yes = true;
        *answers |= 4;
        return -1;
    case 'f':
        options->is_forced = true;
        return -1;
    case 'v':
        options->is_verbose = true;
        return -1;
    case OPTION_UNDO:
        options->undo_path = optarg;
        return -1;
    case OPTION_RESTORE:
        options->restore_path = optarg;
        options->is_yes = true;
        *answers |= 8;
        return -1;
    case 'h':
        fputs(usage_text, stdout);
        return FSCK_EXIT_CLEAN;
    case 'V':
        printf("fsck.lunfs, lunfs format version %d\n", FORMAT_VERSION);
        return FSCK_EXIT_CLEAN;
    default: // getopt has said what is wrong
        return complain("nothing was done");
    }
}

int fsck_options_parse(int argc, char **argv, struct fsck_options *options)
{
    static const struct option long_options[] = {
        {"no-changes", no_argument, NULL, 'n'},
        {"preen", no_argument, NULL, 'p'},
        {"yes", no_argument, NULL, 'y'},
        {"force", no_argument, NULL, 'f'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {"undo", required_argument, NULL, OPTION_UNDO},
        {"restore", required_argument, NULL, OPTION_RESTORE},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    unsigned answers = 0;
    int option;
    *options = (struct fsck_options){0};
    while ((option = getopt_long(argc, argv, "npayfvhV", long_options, NULL)) != -1) {
        int status = take_option(option, options, &answers);
        if (status >= 0)
            return status;
    }
    if ((answers & (answers - 1)) != 0)
        return complain("only one of -n, -p, -y and --restore can be given");
    if (options->undo_path != NULL && (options->no_changes || options->restore_path != NULL))
        return complain(
            "--undo keeps a way back from a repair: it does not go with -n or --restore");
    if (optind + 1 != argc)
        return complain(optind == argc ? "no device or file was named"
                                       : "one device or file at a time, please");
    options->path = argv[optind];
    return -1;
}
