# SPDX-License-Identifier: Apache-2.0
# One cmocka program a subject; UNIT_TESTS is what `make check` runs.

UNIT_TESTS += tests/unit/test_base
tests/unit/test_base_SOURCES   := tests/unit/test_base.c
tests/unit/test_base_LIBRARIES := base
tests/unit/test_base_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_format
tests/unit/test_format_SOURCES   := tests/unit/test_format.c
tests/unit/test_format_LIBRARIES := format base
tests/unit/test_format_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_block_device
tests/unit/test_block_device_SOURCES   := tests/unit/test_block_device.c
tests/unit/test_block_device_LIBRARIES := base
tests/unit/test_block_device_LDLIBS    := -lcmocka -laio
