# SPDX-License-Identifier: Apache-2.0
# Power cuts of a real daemon: the log of its writes, replayed.
TEST_PROGRAMS += tests/crash-client tests/crash-replay
tests/crash-client_SOURCES   := tests/crashlog/crash_client.c tests/crashlog/history.c
tests/crash-client_LIBRARIES := base
tests/crash-replay_SOURCES   := tests/crashlog/crash_replay.c tests/crashlog/block_log.c \
                                tests/crashlog/history.c tests/crashlog/history_check.c \
                                tests/crashlog/look_mount.c tests/crashlog/look_node.c \
                                tests/crashlog/view.c tests/sim/ring2_fsck.c \
                                tests/sim/ring2_interrupt.c tests/sim/ring2_node.c \
                                tests/sim/disk.c tests/sim/disk_pages.c tests/sim/world.c \
                                $(if $(SABOTAGE),tests/sim/sabotage_switch.c)
tests/crash-replay_LIBRARIES := fsck_check fs_core fs_operations fs_core fs_structures journal dlm \
                                mkfs_layout format base
tests/crash-replay_LDLIBS    := -lz

# tests/lib/run-sabotage builds this in a folder of its own, with SABOTAGE=1.
ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-lunfsd
tests/sabotage-lunfsd_SOURCES   := $(lunfsd_SOURCES) tests/crashlog/sabotaged_daemon.c
tests/sabotage-lunfsd_LIBRARIES := $(lunfsd_LIBRARIES)
tests/sabotage-lunfsd_LDLIBS    := $(lunfsd_LDLIBS)
endif
