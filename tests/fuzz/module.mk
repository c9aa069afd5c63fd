# SPDX-License-Identifier: Apache-2.0
# Fuzz targets. Each is linked twice: tests/fuzz-NAME replays the corpus and belongs to `tests`;
# tests/libfuzzer-NAME looks for new inputs and exists with FUZZ=1 and clang in a BUILD of its own,
# see fuzz-build. They name their sources, not libraries, so that it builds no more than they need.
FUZZ_TARGETS := block journal lock_message membership control

FUZZ_BASE    := fs/base/crc32c.c fs/base/text.c fs/base/error.c fs/base/check.c fs/base/memory.c
FUZZ_FORMAT  := fs/format.c fs/format_decode.c fs/format_node.c fs/format_fields.c fs/format_quota.c
FUZZ_block   := $(FUZZ_BASE) $(FUZZ_FORMAT) fs/format_text.c fs/tree_node.c \
                dlm/heartbeat_block.c journal/header.c mkfs/geometry.c
FUZZ_journal := $(FUZZ_BASE) $(FUZZ_FORMAT) fs/journal_format.c journal/ring.c journal/header.c \
                journal/record.c journal/plan.c journal/io.c journal/header_store.c journal/scan.c \
                journal/replay.c fs/base/block_device.c fs/base/coroutine.c fs/base/environment.c \
                fs/base/environment_tool.c fs/base/log.c
FUZZ_lock_message := $(FUZZ_BASE) fs/base/siphash.c $(filter dlm/core% dlm/mode.c dlm/message.c \
                     dlm/session.c,$(dlm_PURE))
FUZZ_membership   := $(FUZZ_BASE) $(filter dlm/membership%,$(dlm_PURE)) dlm/membership_guard.c
FUZZ_control      := $(FUZZ_BASE) fs/control_request.c
FUZZ_LDLIBS_membership := -lcpg
FUZZ_LDLIBS_control    := -ljson-c

define fuzz_program
tests/fuzz-$(1)_SOURCES := tests/fuzz/fuzz_$(1).c tests/fuzz/fuzz_replay.c tests/fuzz/fuzz_script.c $(FUZZ_$(1))
tests/fuzz-$(1)_LDLIBS  := $(FUZZ_LDLIBS_$(1))
tests/libfuzzer-$(1)_SOURCES := tests/fuzz/fuzz_$(1).c tests/fuzz/fuzz_libfuzzer.c tests/fuzz/fuzz_script.c $(FUZZ_$(1))
tests/libfuzzer-$(1)_LDLIBS  := -fsanitize=fuzzer $(FUZZ_LDLIBS_$(1))
endef
$(foreach target,$(FUZZ_TARGETS),$(eval $(call fuzz_program,$(target))))

TEST_PROGRAMS += $(addprefix tests/fuzz-,$(FUZZ_TARGETS))
ifneq ($(FUZZ),)
CFLAGS        += -fsanitize=fuzzer-no-link
TEST_PROGRAMS += $(addprefix tests/libfuzzer-,$(FUZZ_TARGETS))
endif

.PHONY: fuzz fuzz-build fuzz-programs
fuzz-programs: $(addprefix $(BUILD)/tests/libfuzzer-,$(FUZZ_TARGETS))

fuzz-build:
	@$(MAKE) --no-print-directory -s -j2 BUILD=$(BUILD)/fuzz CC=clang SAN=address,undefined FUZZ=1 \
	    OPTIMISE="-O1 -gline-tables-only" fuzz-programs

# SECONDS=n: how long each target is tried; new inputs go to build/fuzz/corpus.
fuzz: packages
	@$(MAKE) --no-print-directory -j2 $(addprefix $(BUILD)/tests/fuzz-,$(FUZZ_TARGETS)) $(BUILD)/tests/image-fuzz
	@$(MAKE) --no-print-directory fuzz-build
	@REPOSITORY=$(CURDIR) BUILD=$(abspath $(BUILD)) tests/fuzz/run-fuzz $(or $(SECONDS),3600)

# Whole volumes with changed metadata, mounted, used and checked.
TEST_PROGRAMS += tests/image-fuzz
tests/image-fuzz_SOURCES   = tests/fuzz/image_fuzz.c tests/fuzz/image_change.c \
                              tests/fuzz/image_use.c $(filter-out tests/unit/%,$(OPERATION_WORLD))
tests/image-fuzz_LIBRARIES = $(OPERATION_LIBRARIES)
tests/image-fuzz_LDLIBS    = -lz
