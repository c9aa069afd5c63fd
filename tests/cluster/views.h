// SPDX-License-Identifier: Apache-2.0
//
// Two nodes' mounts of one volume, TEST_MOUNT_A and TEST_MOUNT_B, under the eyes of one process. A
// node's mount is reachable from outside its mount namespace through /proc/PID/root, so no time
// passes between doing and looking.
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

// One directory, open through both mounts; a test uses names of its own in it.
struct views {
    int a;
    int b;
};

// cmocka's group setup and teardown; the state is a struct views.
int views_setup(void **state);
int views_teardown(void **state);

// `directory` is one of the two.
int views_file(int directory, const char *name, const char *content);
struct stat views_stat(int directory, const char *name);
void views_expect_content(int directory, const char *name, const char *content);
bool views_list(int directory, const char *name);
