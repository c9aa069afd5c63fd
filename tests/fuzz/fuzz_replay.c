// SPDX-License-Identifier: Apache-2.0
// Gives a target every file of its corpus, and fails if a mark was not reached: a corpus that has
// fallen behind the format would test nothing and say nothing.
//
//   TARGET FOLDER           replays FOLDER/* (also one file)
//   TARGET --seeds FOLDER   writes the seeds that the encoders make there
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static _Noreturn void die(const char *path, const char *what)
{
    fprintf(stderr, "fuzz %s: %s: %s\n", fuzz_target.name, path, what);
    exit(2);
}

static uint64_t replay_file(const char *path)
{
    static uint8_t room[FUZZ_INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        die(path, "cannot be opened");
    size_t length = fread(room, 1, sizeof(room), file);
    fclose(file);
    uint8_t *exact = malloc(length > 0 ? length : 1); // its end is the sanitiser's border
    if (exact == NULL)
        die(path, "no memory");
    memcpy(exact, room, length);
    uint64_t reached = fuzz_target.run(exact, length);
    free(exact);
    return reached;
}

static uint64_t replay_folder(const char *path, unsigned *count)
{
    char name[4096];
    uint64_t reached = 0;
    DIR *folder = opendir(path);
    if (folder == NULL)
        die(path, "cannot be read");
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        reached |= replay_file(name);
        (*count)++;
    }
    closedir(folder);
    return reached;
}

static int write_seeds(const char *path)
{
    static uint8_t bytes[FUZZ_INPUT_BYTES_MAX];
    char name[4096];
    size_t length;
    for (unsigned i = 0; memset(bytes, 0, sizeof(bytes)), (length = fuzz_target.seed(i, bytes)) > 0;
         i++) {
        snprintf(name, sizeof(name), "%s/seed-%02u", path, i);
        FILE *file = fopen(name, "wb");
        if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
            die(name, "cannot be written");
    }
    return 0;
}

static int name_missing(uint64_t reached)
{
    int status = 0;
    for (unsigned i = 0; fuzz_target.marks[i] != NULL; i++) {
        if ((reached >> i & 1) != 0)
            continue;
        printf("the corpus of %s does not reach: %s\n", fuzz_target.name, fuzz_target.marks[i]);
        status = 1;
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        return write_seeds(argv[2]);
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER | --seeds FOLDER\n", argv[0]);
        return 2;
    }
    unsigned count = 0;
    uint64_t reached = replay_folder(argv[1], &count);
    printf("%s: %u inputs\n", fuzz_target.name, count);
    return name_missing(reached);
}
