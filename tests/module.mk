# SPDX-License-Identifier: Apache-2.0
# The harness, the real-cluster tests, the virtual machine, the benchmark, and the targets that
# run them. Unit tests and the simulator have module.mk files of their own, one folder below.

TEST_PROGRAMS += tests/null_fuse

tests/null_fuse_SOURCES := tests/bench/null_fuse.c
tests/null_fuse_LDLIBS  := -lfuse3
