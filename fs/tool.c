// SPDX-License-Identifier: Apache-2.0
// lunfs: looks at a lunfs volume, mounted or not, and tells the cluster what only people know.
#include "fs/tool.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct tool_verb verbs[] = {
    {"info", "MOUNT|DEVICE [--json]", "shows the volume and the state of its mount",
     "  lunfs info /vm\n"
     "  lunfs info /dev/mapper/lun0 --json\n",
     tool_info},
    {"nodes", "MOUNT|DEVICE [--json]", "shows the nodes, and why the cluster waits",
     "  lunfs nodes /vm\n"
     "  lunfs nodes UUID=0b9c2d4e-...\n",
     tool_nodes},
    {"locks", "MOUNT [--all] [--json]", "shows who has which file open or locked, and who waits",
     "  lunfs locks /vm\n"
     "  lunfs locks /vm --all        also rights that are merely kept\n",
     tool_locks},
    {"df", "MOUNT|DEVICE [--json]", "shows free space",
     "  lunfs df /vm\n"
     "  lunfs df /dev/mapper/lun0\n",
     tool_df},
    {"stat", "FILE [--json]", "shows a file and where its data stands on the LUN",
     "  lunfs stat /vm/guest1.img\n", tool_stat},
    {"fence", "[confirm] NODE [MOUNT] [--yes]",
     "puts a node out of the cluster; confirm: vouches that it is down",
     "  lunfs fence n2\n"
     "  lunfs fence confirm n2       after its power was cut by hand\n",
     tool_fence},
    {"freeze", "MOUNT [--timeout SECONDS]",
     "holds the volume still on all nodes, for a copy of the LUN",
     "  lunfs freeze /vm && make-the-copy && lunfs thaw /vm\n"
     "  lunfs freeze /vm --timeout 300    thaws by itself after five minutes, not one\n",
     tool_freeze},
    {"thaw", "MOUNT", "ends a freeze; fails if the freeze had not lasted until then",
     "  lunfs thaw /vm\n", tool_thaw},
    {"image", "DEVICE FILE [--scramble]", "saves the metadata, and no data, for a bug report",
     "  lunfs image /dev/mapper/lun0 /tmp/lun0.image\n"
     "  lunfs image /dev/mapper/lun0 /tmp/lun0.image --scramble    without names, too\n",
     tool_image},
    {"dump", "DEVICE BLOCK [--json]", "prints a block of metadata as named fields",
     "  lunfs dump /dev/mapper/lun0 superblock\n"
     "  lunfs dump /dev/mapper/lun0 slot:3 --json     or mailbox:3, state:3, quota:3, ledger:3,\n"
     "                                                journal:3\n"
     "  lunfs dump /dev/mapper/lun0 group:0           or claim, map, root\n"
     "  lunfs dump /dev/mapper/lun0 8241              any block, by its number\n",
     tool_dump},
    {"scrub", "MOUNT [--rate MIB] [--json]", "checks all metadata of a volume in use",
     "  lunfs scrub /vm\n"
     "  lunfs scrub /vm --rate 5     reads at most 5 MiB a second; 0: as fast as it goes\n",
     tool_scrub},
    {"quota", "report|show|set|on|off MOUNT [OPTIONS]",
     "shows and sets what users, groups and projects may use",
     "  lunfs quota on /vm                       counts all files once; changes wait meanwhile\n"
     "  lunfs quota report /vm                   or --users, --groups, --projects; --json\n"
     "  lunfs quota show /vm --user alice        without an owner: whether quotas are on\n"
     "  lunfs quota set /vm --project 7 --hard 500G --soft 450G --grace 3d\n"
     "  lunfs quota set /vm --group kvm --inodes-hard 10000 --inodes-soft none\n"
     "  lunfs quota off /vm                      limits are kept\n",
     tool_quota},
    {"probe", "DEVICE [--udev]", "tells whether a device holds a lunfs volume",
     "  lunfs probe /dev/sdb\n"
     "  lunfs probe /dev/sdb --udev  as properties for udev\n",
     tool_probe},
};

enum { VERB_COUNT = sizeof(verbs) / sizeof(verbs[0]) };

int tool_fail(int exit_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("lunfs: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return exit_code;
}

int tool_usage(const struct tool_verb *verb, bool was_asked)
{
    FILE *out = was_asked ? stdout : stderr;
    fprintf(out, "usage: lunfs %s %s\n%s.\nExamples:\n%s", verb->name, verb->arguments,
            verb->summary, verb->examples);
    return was_asked ? TOOL_EXIT_OK : TOOL_EXIT_USAGE;
}

static int usage(bool was_asked)
{
    FILE *out = was_asked ? stdout : stderr;
    fputs("usage: lunfs VERB ARGUMENTS...\n", out);
    for (unsigned i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-6s %-32s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
    fputs("lunfs VERB --help shows examples. Exit codes: 0 success, 1 failure, 2 usage,\n"
          "3 no lunfs volume there (probe), 4 damage was found (scrub).\n",
          out);
    return was_asked ? TOOL_EXIT_OK : TOOL_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(false);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return usage(true);
    for (unsigned i = 0; i < VERB_COUNT; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(&verbs[i], argc - 1, argv + 1);
    }
    fprintf(stderr, "lunfs: unknown verb '%s'\n", argv[1]);
    return usage(false);
}
