# SPDX-License-Identifier: Apache-2.0
# The simulator, ring by ring. Ring 1: lock cores and sessions alone.

LOCK_SIM_SOURCES := tests/sim/lock_agreement.c tests/sim/lock_check.c tests/sim/lock_clients.c \
                    tests/sim/lock_history.c tests/sim/lock_membership.c tests/sim/lock_network.c \
                    tests/sim/lock_probe.c tests/sim/lock_ranges.c tests/sim/lock_step.c \
                    tests/sim/lock_world.c tests/sim/sabotage_switch.c

TEST_PROGRAMS += tests/lock-sim
tests/lock-sim_SOURCES   := tests/sim/lock_sim.c $(LOCK_SIM_SOURCES)
tests/lock-sim_LIBRARIES := dlm base

TEST_PROGRAMS += tests/lock-bench
tests/lock-bench_SOURCES   := tests/sim/lock_bench.c
tests/lock-bench_LIBRARIES := dlm base

# `make sabotage` builds this in a folder of its own, with SABOTAGE=1.
ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-lock
tests/sabotage-lock_SOURCES   := tests/sim/sabotage_lock.c tests/sim/sabotage_hunt.c $(LOCK_SIM_SOURCES)
tests/sabotage-lock_LIBRARIES := dlm base
endif

# One node's journal after the other on a mean disk: crashes at any write, replays, sabotage.
JOURNAL_SIM_SOURCES := tests/sim/journal_format.c tests/sim/journal_locks.c tests/sim/journal_node.c \
                       tests/sim/journal_operations.c tests/sim/journal_recovery.c \
                       tests/sim/journal_shadow.c tests/sim/journal_truth.c \
                       tests/sim/journal_work.c tests/sim/journal_world.c tests/sim/disk.c \
                       tests/sim/disk_pages.c tests/sim/world.c tests/sim/sabotage_switch.c

TEST_PROGRAMS += tests/journal-sim
tests/journal-sim_SOURCES   := tests/sim/journal_sim.c $(JOURNAL_SIM_SOURCES)
tests/journal-sim_LIBRARIES := journal base

ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-journal
tests/sabotage-journal_SOURCES   := tests/sim/sabotage_journal.c tests/sim/sabotage_hunt.c $(JOURNAL_SIM_SOURCES)
tests/sabotage-journal_LIBRARIES := journal base
endif

# Membership: whole lives of nodes, their heartbeats and leases, under a simulated corosync.
MEMBERSHIP_SIM_SOURCES := tests/sim/membership_check.c tests/sim/membership_corosync.c \
                          tests/sim/membership_disk.c tests/sim/membership_found.c \
                          tests/sim/membership_history.c tests/sim/membership_life.c \
                          tests/sim/membership_node.c tests/sim/membership_reports.c \
                          tests/sim/totem.c tests/sim/world.c tests/sim/sabotage_switch.c

TEST_PROGRAMS += tests/membership-sim
tests/membership-sim_SOURCES   := tests/sim/membership_sim.c $(MEMBERSHIP_SIM_SOURCES)
tests/membership-sim_LIBRARIES := dlm format base

ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-membership
tests/sabotage-membership_SOURCES   := tests/sim/sabotage_membership.c tests/sim/sabotage_hunt.c $(MEMBERSHIP_SIM_SOURCES)
tests/sabotage-membership_LIBRARIES := dlm format base
endif

# What kernels keep: the lock table of three nodes, and a model of a kernel on each.
LOAN_SIM_SOURCES := tests/sim/loan_history.c tests/sim/loan_pages.c fs/page_loans.c $(LOCK_TABLE) \
                    fs/dlm_service.c tests/sim/sabotage_switch.c

TEST_PROGRAMS += tests/loan-sim
tests/loan-sim_SOURCES   := tests/sim/loan_sim.c $(LOAN_SIM_SOURCES)
tests/loan-sim_LIBRARIES := dlm base

ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-loan
tests/sabotage-loan_SOURCES   := tests/sim/sabotage_loan.c tests/sim/sabotage_hunt.c $(LOAN_SIM_SOURCES)
tests/sabotage-loan_LIBRARIES := dlm base
endif

# The claim block: hosts that know nothing of one another (tests/unit/test_claim_rivals.c).
CLAIM_RIVALS_SOURCES := tests/sim/claim_rivals.c tests/sim/disk.c tests/sim/disk_pages.c \
                        tests/sim/world.c

ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-claim
tests/sabotage-claim_SOURCES   := tests/sim/sabotage_claim.c tests/sim/sabotage_hunt.c \
                                  tests/sim/sabotage_switch.c $(CLAIM_RIVALS_SOURCES)
tests/sabotage-claim_LIBRARIES := mkfs_layout dlm format base
endif

# Joiners in rings that break (tests/unit/test_membership_merge.c).
ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-merge
tests/sabotage-merge_SOURCES   := tests/sim/sabotage_merge.c tests/sim/sabotage_hunt.c \
                                  tests/sim/sabotage_switch.c tests/sim/merge_rivals.c
tests/sabotage-merge_LIBRARIES := dlm format base
endif

# Programs that run seeded histories of rings 2 and 3.
SEEDS_SOURCES := tests/sim/seeds.c tests/sim/seeds_jobs.c tests/sim/seeds_state.c

# Ring 2: one whole node on a disk that is cut off at any write.
RING2_SIM_SOURCES := tests/sim/ring2_acl.c tests/sim/ring2_attributes.c tests/sim/ring2_check.c \
                     tests/sim/ring2_client.c tests/sim/ring2_cut.c tests/sim/ring2_damage.c \
                     tests/sim/ring2_damage_met.c tests/sim/ring2_data.c \
                     tests/sim/ring2_files.c tests/sim/ring2_fsck.c tests/sim/ring2_handles.c \
                     tests/sim/ring2_history.c tests/sim/ring2_interrupt.c tests/sim/ring2_names.c \
                     tests/sim/ring2_node.c tests/sim/ring2_protection.c tests/sim/ring2_quota.c tests/sim/ring2_rows.c tests/sim/ring2_tree.c tests/sim/ring2_unnamed.c \
                     tests/sim/disk.c tests/sim/disk_pages.c tests/sim/world.c \
                     tests/sim/sabotage_switch.c
RING2_SIM_LIBRARIES := fsck_check fs_core fs_operations fs_core fs_structures journal dlm \
                       mkfs_layout format base

TEST_PROGRAMS += tests/ring2-sim
tests/ring2-sim_SOURCES   := tests/sim/ring2_sim.c $(SEEDS_SOURCES) $(RING2_SIM_SOURCES)
tests/ring2-sim_LIBRARIES := $(RING2_SIM_LIBRARIES)
tests/ring2-sim_LDLIBS    := -lz

ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-ring2
tests/sabotage-ring2_SOURCES   := tests/sim/sabotage_ring2.c tests/sim/sabotage_hunt.c $(RING2_SIM_SOURCES)
tests/sabotage-ring2_LIBRARIES := $(RING2_SIM_LIBRARIES)
tests/sabotage-ring2_LDLIBS    := -lz
endif

# Ring 3: whole nodes on one LUN. Its own heartbeat, transport, corosync and event loop come first, so
# that the libraries' are not linked.
RING3_SIM_SOURCES := tests/sim/ring3_check.c tests/sim/ring3_check_fenced.c tests/sim/ring3_check_frozen.c \
                     tests/sim/ring3_check_journals.c tests/sim/ring3_check_quota.c tests/sim/ring3_check_replay.c \
                     tests/sim/ring3_check_rights.c tests/sim/ring3_client.c \
                     tests/sim/ring3_content.c tests/sim/ring3_copy.c tests/sim/still_device.c \
                     tests/sim/ring3_corosync.c tests/sim/ring3_faults.c \
                     tests/sim/ring3_faults_disk.c tests/sim/ring3_faults_network.c \
                     tests/sim/ring3_faults_nodes.c tests/sim/ring3_files.c \
                     tests/sim/ring3_freeze.c tests/sim/ring3_guard.c tests/sim/ring3_harm.c \
                     tests/sim/ring3_heartbeat.c tests/sim/ring3_history.c \
                     tests/sim/ring3_life.c tests/sim/ring3_machine.c tests/sim/ring3_model.c \
                     tests/sim/ring3_acl.c tests/sim/ring3_attributes.c tests/sim/ring3_lane.c \
                     tests/sim/ring3_looks.c tests/sim/ring3_protection.c tests/sim/ring3_quota.c tests/sim/ring3_space.c \
                     tests/sim/ring3_times.c tests/sim/ring3_xattrs.c tests/sim/ring2_tree.c \
                     tests/sim/ring3_names.c tests/sim/ring3_ranges.c tests/sim/ring3_sight.c \
                     tests/sim/ring3_transport.c tests/sim/ring3_tree.c \
                     tests/sim/totem.c tests/sim/ring2_fsck.c \
                     tests/sim/ring2_interrupt.c tests/sim/ring2_node.c tests/sim/disk.c \
                     tests/sim/disk_pages.c tests/sim/world.c tests/sim/sabotage_switch.c
RING3_SIM_LIBRARIES := fsck_check fs_core fs_operations fs_structures journal dlm frontend \
                       mkfs_layout format base

TEST_PROGRAMS += tests/ring3-sim
tests/ring3-sim_SOURCES   := tests/sim/ring3_sim.c tests/sim/ring3_tally.c $(SEEDS_SOURCES) $(RING3_SIM_SOURCES)
tests/ring3-sim_LIBRARIES := $(RING3_SIM_LIBRARIES)
tests/ring3-sim_LDLIBS    := -lz

ifneq ($(SABOTAGE),)
TEST_PROGRAMS += tests/sabotage-ring3
tests/sabotage-ring3_SOURCES   := tests/sim/sabotage_ring3.c tests/sim/sabotage_hunt.c $(RING3_SIM_SOURCES)
tests/sabotage-ring3_LIBRARIES := $(RING3_SIM_LIBRARIES)
tests/sabotage-ring3_LDLIBS    := -lz
endif
