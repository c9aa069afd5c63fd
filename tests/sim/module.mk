# SPDX-License-Identifier: Apache-2.0
# The simulator, ring by ring. Ring 1: lock cores and sessions alone.

LOCK_SIM_SOURCES := tests/sim/lock_agreement.c tests/sim/lock_check.c tests/sim/lock_clients.c tests/sim/lock_history.c \
                    tests/sim/lock_membership.c tests/sim/lock_network.c tests/sim/lock_ranges.c \
                    tests/sim/lock_world.c tests/sim/sabotage_switch.c

TEST_PROGRAMS += tests/lock-sim
tests/lock-sim_SOURCES   := tests/sim/lock_sim.c $(LOCK_SIM_SOURCES)
tests/lock-sim_LIBRARIES := dlm base

# `make sabotage` builds this in a folder of its own, with SABOTAGE=1.
ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-lock
tests/sabotage-lock_SOURCES   := tests/sim/sabotage_lock.c $(LOCK_SIM_SOURCES)
tests/sabotage-lock_LIBRARIES := dlm base
endif

# Every switch of fs/base/sabotage.def has to be found by its ring: programs of a separate build.
SABOTAGE_PROGRAMS += tests/sabotage-lock
