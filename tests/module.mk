# SPDX-License-Identifier: Apache-2.0
# The harness, the real-cluster tests, the virtual machine, the benchmark, and the targets that
# run them. Unit tests and the simulator have module.mk files of their own, one folder below.

POSIX_TESTS   := names unnamed attributes permissions flags times limits data locks full
TEST_PROGRAMS += tests/null_fuse tests/lun_proxy tests/nodes tests/survivor tests/entries tests/hold_open \
                 tests/caching tests/caching_pages tests/shared_disk tests/open_for_write tests/together tests/visibility \
                 tests/visibility_listing \
                 tests/visibility_rights tests/witness $(addprefix tests/posix_,$(POSIX_TESTS))

tests/null_fuse_SOURCES := tests/bench/null_fuse.c
tests/null_fuse_LDLIBS  := -lfuse3

tests/nodes_SOURCES     := tests/bench/nodes.c
tests/survivor_SOURCES  := tests/bench/survivor.c
tests/entries_SOURCES   := tests/bench/entries.c
tests/hold_open_SOURCES := tests/cluster/hold_open.c

tests/lun_proxy_SOURCES := tests/lib/lun_proxy.c
tests/lun_proxy_LDLIBS  := -lfuse3

TEST_PROGRAMS += tests/pulse tests/lock_load
tests/pulse_SOURCES       := tests/torture/pulse.c
tests/lock_load_SOURCES   := tests/torture/lock_load.c
tests/lock_load_LIBRARIES := base

tests/open_for_write_SOURCES := tests/cluster/open_for_write.c
tests/together_SOURCES       := tests/cluster/together.c
tests/witness_SOURCES        := tests/cluster/witness.c
tests/caching_SOURCES        := tests/cluster/caching.c tests/cluster/fight.c
tests/caching_pages_SOURCES  := tests/cluster/caching_pages.c tests/cluster/fight.c
tests/shared_disk_SOURCES    := tests/cluster/shared_disk.c tests/cluster/fight.c
tests/visibility_SOURCES     := tests/cluster/visibility.c tests/cluster/views.c tests/lib/expect.c
tests/visibility_LDLIBS      := -lcmocka
tests/visibility_listing_SOURCES := tests/cluster/visibility_listing.c tests/cluster/views.c \
                                    tests/lib/expect.c
tests/visibility_listing_LDLIBS  := -lcmocka
tests/visibility_rights_SOURCES := tests/cluster/visibility_rights.c tests/cluster/views.c \
                                   tests/lib/expect.c
tests/visibility_rights_LDLIBS  := -lcmocka

define posix_test
tests/posix_$(1)_SOURCES := tests/posix/$(1).c tests/posix/workplace.c tests/lib/expect.c
tests/posix_$(1)_LDLIBS  := -lcmocka
endef
$(foreach test,$(POSIX_TESTS),$(eval $(call posix_test,$(test))))

# These install what is missing first and build in a second make, so that they work on a machine
# that has nothing but make.
.PHONY: packages demo check check-long bench torture sabotage-programs
packages:
	@tests/lib/install-packages

demo: packages
	@$(MAKE) --no-print-directory -j2 all $(BUILD)/tests/open_for_write
	@BUILD=$(BUILD) LUN=$(LUN) tests/demo/demo

check check-long: packages
	@$(MAKE) --no-print-directory -j2 all tests
	@$(if $(or $(filter fuzz%,$(PARTS)),$(if $(PARTS),,all)),$(MAKE) --no-print-directory fuzz-build)
	@printf '%s\n' $(addprefix $(BUILD)/,$(UNIT_TESTS)) > $(BUILD)/unit-tests
	@printf '%s\n' $(foreach library,$(LIBRARIES),$(call objects,$($(library)_PURE))) > $(BUILD)/pure-objects
	@BUILD=$(BUILD) SAN=$(SAN) tests/lib/run-parts $(if $(filter check-long,$@),long,check) $(PARTS)

bench: packages
	@$(MAKE) --no-print-directory -j2 all tests
	@BUILD=$(BUILD) tests/bench/bench

# TIME=10m, SEED=n, NODES=3..5. Interrupted it reports and leaves nothing behind; killed, the next run cleans.
torture: packages
	@$(MAKE) --no-print-directory -j2 all tests
	@BUILD=$(BUILD) TIME=$(or $(TIME),2h) SEED=$(SEED) NODES=$(NODES) tests/lib/contain torture tests/torture/torture

# SEEDS=n histories of whole nodes from FIRST=s on; make sim-shrink SEED=s makes a failing one smaller.
# make sim-campaign LONG=n SHORT=n CAMPAIGN=s goes on where it was interrupted (tests/sim/campaign).
.PHONY: sim sim-shrink sim-campaign
SEEDS ?= 1000
FIRST ?= 1
sim sim-shrink sim-campaign: packages
	@$(MAKE) --no-print-directory -j2 $(BUILD)/tests/ring3-sim
	@REPOSITORY=$(CURDIR) BUILD=$(BUILD) $(SIM_$@) $(OPTIONS)

SIM_sim          = $(BUILD)/tests/ring3-sim --table --jobs $$(nproc) --seeds $(SEEDS) --first $(FIRST)
SIM_sim-shrink   = tests/sim/shrink-ring3 $(SEED)
SIM_sim-campaign = tests/sim/campaign $(LONG) $(SHORT) $(CAMPAIGN)

# With SABOTAGE=1 and a BUILD of its own: what tests/lib/run-sabotage runs.
sabotage-programs:
	@$(MAKE) --no-print-directory $(addprefix $(BUILD)/,$(filter tests/sabotage-% tests/%-sim,$(TEST_PROGRAMS)))
