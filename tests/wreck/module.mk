# SPDX-License-Identifier: Apache-2.0
LIBRARIES += wreck
wreck_SHELL := tests/wreck/wrecks.c tests/wreck/wrecks_volume.c tests/wreck/wrecks_files.c tests/wreck/wrecks_quotas.c \
               tests/wreck/wreck_parts.c tests/wreck/populate.c tests/wreck/populate_quotas.c tests/wreck/image.c \
               tests/wreck/image_device.c tests/wreck/crash.c

TEST_PROGRAMS += tests/lunfs-wreck tests/lunfs-fill tests/repair-cuts
tests/lunfs-fill_SOURCES    := tests/wreck/fill.c
tests/lunfs-fill_LIBRARIES  := wreck fsck_check fs_structures journal format base
tests/lunfs-wreck_SOURCES   := tests/wreck/wreck.c
tests/lunfs-wreck_LIBRARIES := wreck fsck_check fs_structures journal format base
tests/repair-cuts_SOURCES   := tests/wreck/repair_cuts.c
tests/repair-cuts_LIBRARIES := wreck fsck_check fs_structures journal dlm format base

TEST_PROGRAMS += tests/lunfs-beat
tests/lunfs-beat_SOURCES   := tests/wreck/beat.c
tests/lunfs-beat_LIBRARIES := format base
