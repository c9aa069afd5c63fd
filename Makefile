# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile: each folder's module.mk names its files; the rules are here.
#
#   sudo make demo        three nodes, one LUN, a real VM, a node dies, the VM goes on
#   sudo make check       all tests within 20 minutes on two cores
#   make                  the programs, in build/
#   make SAN=address,undefined ...    the same with sanitizers, in a folder of its own below build/
#
# A module.mk adds to:
#   LIBRARIES            names; for each: NAME_PURE and NAME_SHELL (source files)
#   PROGRAMS             names; for each: NAME_SOURCES, NAME_LIBRARIES (in link order), NAME_LDLIBS
#   TEST_PROGRAMS        like PROGRAMS, built by `make tests` only
# Pure files reach no system call, clock, thread or environment; tests/check_pure proves it.

comma    := ,
SAN      ?=
SABOTAGE ?=
BUILD    ?= build$(if $(SAN),/sanitised-$(subst $(comma),-,$(SAN)))
CC       ?= gcc

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wno-format-nonliteral
OPTIMISE ?= $(if $(SAN),-O1,-O2) -g
CFLAGS   += -std=gnu11 $(OPTIMISE) $(WARNINGS) -fno-strict-aliasing -fno-common -D_GNU_SOURCE \
            -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -I. -MMD -MP
LDFLAGS  += -pthread
ifneq ($(SAN),)
CFLAGS   += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
LDFLAGS  += -fsanitize=$(SAN)
endif
ifneq ($(SABOTAGE),)
CFLAGS   += -DLUNFS_SABOTAGE
endif

.DEFAULT_GOAL := all
LIBRARIES     :=
PROGRAMS      :=
TEST_PROGRAMS :=
-include $(wildcard fs/base/module.mk dlm/module.mk journal/module.mk fs/module.mk vhd/module.mk \
                    mkfs/module.mk fsck/module.mk hypervisor/module.mk tests/module.mk \
                    tests/*/module.mk)

# cmocka programs, run by the part `unit` of the checks.
TEST_PROGRAMS += $(UNIT_TESTS)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

define library_rule
$(BUILD)/lib$(1).a: $(call objects,$($(1)_PURE) $($(1)_SHELL))
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach library,$(LIBRARIES),$(eval $(call library_rule,$(library))))

define program_rule
$(BUILD)/$(1): $(call objects,$($(1)_SOURCES)) $(patsubst %,$(BUILD)/lib%.a,$($(1)_LIBRARIES))
	@mkdir -p $$(@D)
	@echo "  LD      $(1)"
	@$$(CC) $$(LDFLAGS) -o $$@ -Wl,--start-group $$^ -Wl,--end-group $($(1)_LDLIBS)
endef
$(foreach program,$(PROGRAMS) $(TEST_PROGRAMS),$(eval $(call program_rule,$(program))))

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CFLAGS) -c -o $@ $<

.PHONY: all tests clean format
all: $(addprefix $(BUILD)/,$(PROGRAMS))
tests: all $(addprefix $(BUILD)/,$(TEST_PROGRAMS))

clean:
	rm -rf $(BUILD)

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
