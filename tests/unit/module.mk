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

UNIT_TESTS += tests/unit/test_mkfs_geometry
tests/unit/test_mkfs_geometry_SOURCES   := tests/unit/test_mkfs_geometry.c
tests/unit/test_mkfs_geometry_LIBRARIES := mkfs_layout format base
tests/unit/test_mkfs_geometry_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_cluster_lock
tests/unit/test_cluster_lock_SOURCES   := tests/unit/test_cluster_lock.c $(LOCK_TABLE) fs/dlm_service.c
tests/unit/test_cluster_lock_LIBRARIES := dlm base
tests/unit/test_cluster_lock_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_mkfs_layout
tests/unit/test_mkfs_layout_SOURCES   := tests/unit/test_mkfs_layout.c tests/lib/sparse_device.c
tests/unit/test_mkfs_layout_LIBRARIES := mkfs_layout fs_structures journal format base
tests/unit/test_mkfs_layout_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_journal_pure
tests/unit/test_journal_pure_SOURCES   := tests/unit/test_journal_pure.c
tests/unit/test_journal_pure_LIBRARIES := journal base
tests/unit/test_journal_pure_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_journal
tests/unit/test_journal_SOURCES   := tests/unit/test_journal.c tests/sim/world.c tests/sim/disk.c \
                                     tests/sim/disk_pages.c tests/sim/journal_format.c
tests/unit/test_journal_LIBRARIES := journal base
tests/unit/test_journal_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_lease
tests/unit/test_lease_SOURCES   := tests/unit/test_lease.c
tests/unit/test_lease_LIBRARIES := dlm base
tests/unit/test_lease_LDLIBS    := -lcmocka

# The FUSE front end on a real mount, over a fake volume.
FUSE_TESTS := data names gate locks loans
UNIT_TESTS += $(addprefix tests/unit/test_fuse_,$(FUSE_TESTS))
define fuse_test
tests/unit/test_fuse_$(1)_SOURCES   := tests/unit/test_fuse_$(1).c tests/unit/fuse_world.c tests/unit/fake_volume.c fs/pass.c
tests/unit/test_fuse_$(1)_LIBRARIES := frontend base
tests/unit/test_fuse_$(1)_LDLIBS    := -lcmocka -lfuse3 -levent_core
endef
$(foreach test,$(FUSE_TESTS),$(eval $(call fuse_test,$(test))))

UNIT_TESTS += tests/unit/test_membership_merge
tests/unit/test_membership_merge_SOURCES   := tests/unit/test_membership_merge.c tests/sim/merge_rivals.c
tests/unit/test_membership_merge_LIBRARIES := dlm format base
tests/unit/test_membership_merge_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_fuse_dialect
tests/unit/test_fuse_dialect_SOURCES   := tests/unit/test_fuse_dialect.c
tests/unit/test_fuse_dialect_LIBRARIES := frontend base
tests/unit/test_fuse_dialect_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_device_timeouts
tests/unit/test_device_timeouts_SOURCES   := tests/unit/test_device_timeouts.c
tests/unit/test_device_timeouts_LIBRARIES := base
tests/unit/test_device_timeouts_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_gated_device
tests/unit/test_gated_device_SOURCES   := tests/unit/test_gated_device.c
tests/unit/test_gated_device_LIBRARIES := fs_core base
tests/unit/test_gated_device_LDLIBS    := -lcmocka -levent_core

UNIT_TESTS += tests/unit/test_guard_helpers
tests/unit/test_guard_helpers_SOURCES   := tests/unit/test_guard_helpers.c
tests/unit/test_guard_helpers_LIBRARIES := frontend dlm base
tests/unit/test_guard_helpers_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_guard_rules
tests/unit/test_guard_rules_SOURCES   := tests/unit/test_guard_rules.c
tests/unit/test_guard_rules_LIBRARIES := frontend base
tests/unit/test_guard_rules_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_mount_options
tests/unit/test_mount_options_SOURCES   := tests/unit/test_mount_options.c
tests/unit/test_mount_options_LIBRARIES := frontend base
tests/unit/test_mount_options_LDLIBS    := -lcmocka

# The lock core and its sessions.
UNIT_TESTS += tests/unit/test_dlm_core
tests/unit/test_dlm_core_SOURCES   := tests/unit/test_dlm_core.c tests/unit/test_dlm_cluster.c
tests/unit/test_dlm_core_LIBRARIES := dlm base
tests/unit/test_dlm_core_LDLIBS    := -lcmocka -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

UNIT_TESTS += tests/unit/test_dlm_recovery
tests/unit/test_dlm_recovery_SOURCES   := tests/unit/test_dlm_recovery.c tests/unit/test_dlm_cluster.c
tests/unit/test_dlm_recovery_LIBRARIES := dlm base
tests/unit/test_dlm_recovery_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_traces
tests/unit/test_dlm_traces_SOURCES   := tests/unit/test_dlm_traces.c tests/unit/test_dlm_cluster.c
tests/unit/test_dlm_traces_LIBRARIES := dlm base
tests/unit/test_dlm_traces_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_table
tests/unit/test_dlm_table_SOURCES   := tests/unit/test_dlm_table.c
tests/unit/test_dlm_table_LIBRARIES := dlm base
tests/unit/test_dlm_table_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_service
tests/unit/test_dlm_service_SOURCES   := tests/unit/test_dlm_service.c fs/dlm_service.c
tests/unit/test_dlm_service_LIBRARIES := dlm base
tests/unit/test_dlm_service_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_shadow
tests/unit/test_dlm_shadow_SOURCES   := tests/unit/test_dlm_shadow.c tests/unit/test_dlm_cluster.c
tests/unit/test_dlm_shadow_LIBRARIES := dlm base
tests/unit/test_dlm_shadow_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_ranges
tests/unit/test_dlm_ranges_SOURCES   := tests/unit/test_dlm_ranges.c tests/unit/test_dlm_cluster.c
tests/unit/test_dlm_ranges_LIBRARIES := dlm base
tests/unit/test_dlm_ranges_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_message
tests/unit/test_dlm_message_SOURCES   := tests/unit/test_dlm_message.c tests/unit/test_dlm_cluster.c
tests/unit/test_dlm_message_LIBRARIES := dlm base
tests/unit/test_dlm_message_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_dlm_session
tests/unit/test_dlm_session_SOURCES   := tests/unit/test_dlm_session.c
tests/unit/test_dlm_session_LIBRARIES := dlm base
tests/unit/test_dlm_session_LDLIBS    := -lcmocka

# What stands in metadata blocks, on a LUN in memory (tests/lib/structure_world.h).
STRUCTURE_WORLD := tests/lib/structure_world.c tests/lib/memory_device.c $(LOCK_TABLE)
STRUCTURE_LIBRARIES := fs_structures journal format base

UNIT_TESTS += tests/unit/test_tree
tests/unit/test_tree_SOURCES   := tests/unit/test_tree.c $(STRUCTURE_WORLD)
tests/unit/test_tree_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_tree_LDLIBS    := -lcmocka

ALLOCATOR_MODEL := tests/unit/allocator_model.c $(STRUCTURE_WORLD)

UNIT_TESTS += tests/unit/test_allocator
tests/unit/test_allocator_SOURCES   := tests/unit/test_allocator.c $(ALLOCATOR_MODEL)
tests/unit/test_allocator_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_allocator_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_acl
tests/unit/test_acl_SOURCES   := tests/unit/test_acl.c
tests/unit/test_acl_LIBRARIES := fs_structures base
tests/unit/test_acl_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_allocator_full
tests/unit/test_allocator_full_SOURCES   := tests/unit/test_allocator_full.c $(ALLOCATOR_MODEL)
tests/unit/test_allocator_full_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_allocator_full_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_allocator_locks
tests/unit/test_allocator_locks_SOURCES   := tests/unit/test_allocator_locks.c $(ALLOCATOR_MODEL)
tests/unit/test_allocator_locks_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_allocator_locks_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_allocator_bad_input
tests/unit/test_allocator_bad_input_SOURCES   := tests/unit/test_allocator_bad_input.c $(ALLOCATOR_MODEL)
tests/unit/test_allocator_bad_input_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_allocator_bad_input_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_extent_map
tests/unit/test_extent_map_SOURCES   := tests/unit/test_extent_map.c $(STRUCTURE_WORLD)
tests/unit/test_extent_map_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_extent_map_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_control
tests/unit/test_control_SOURCES   := tests/unit/test_control.c
tests/unit/test_control_LIBRARIES := frontend base
tests/unit/test_control_LDLIBS    := -lcmocka -ljson-c -levent_core

UNIT_TESTS += tests/unit/test_daemon_files
tests/unit/test_daemon_files_SOURCES   := tests/unit/test_daemon_files.c
tests/unit/test_daemon_files_LIBRARIES := frontend format base
tests/unit/test_daemon_files_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_directory
tests/unit/test_directory_SOURCES   := tests/unit/test_directory.c $(STRUCTURE_WORLD)
tests/unit/test_directory_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_directory_LDLIBS    := -lcmocka -Wl,--wrap=siphash24

UNIT_TESTS += tests/unit/test_xattr
tests/unit/test_xattr_SOURCES   := tests/unit/test_xattr.c $(STRUCTURE_WORLD)
tests/unit/test_xattr_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_xattr_LDLIBS    := -lcmocka -Wl,--wrap=siphash24

UNIT_TESTS += tests/unit/test_cache
tests/unit/test_cache_SOURCES   := tests/unit/test_cache.c $(STRUCTURE_WORLD)
tests/unit/test_cache_LIBRARIES := $(STRUCTURE_LIBRARIES)
tests/unit/test_cache_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_transport
tests/unit/test_transport_SOURCES   := tests/unit/test_transport.c
tests/unit/test_transport_LIBRARIES := dlm base
tests/unit/test_transport_LDLIBS    := -lcmocka -levent_core -lssl -lcrypto

UNIT_TESTS += tests/unit/test_format_document
tests/unit/test_format_document_SOURCES   := tests/unit/test_format_document.c
tests/unit/test_format_document_LIBRARIES := format base
tests/unit/test_format_document_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_format_decode
tests/unit/test_format_decode_SOURCES   := tests/unit/test_format_decode.c
tests/unit/test_format_decode_LIBRARIES := format base
tests/unit/test_format_decode_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_pass
tests/unit/test_pass_SOURCES   := tests/unit/test_pass.c
tests/unit/test_pass_LIBRARIES := fs_operations base
tests/unit/test_pass_LDLIBS    := -lcmocka

# Operations of one node on a simulated disk.
OPERATION_WORLD := tests/unit/operation_world.c tests/sim/ring2_fsck.c tests/sim/ring2_interrupt.c \
                   tests/sim/ring2_node.c tests/sim/disk.c tests/sim/disk_pages.c tests/sim/world.c
OPERATION_LIBRARIES := fsck_check fs_core fs_operations fs_core fs_structures journal dlm \
                       mkfs_layout format base

UNIT_TESTS += tests/unit/test_operation_names
tests/unit/test_operation_names_SOURCES   := tests/unit/test_operation_names.c $(OPERATION_WORLD)
tests/unit/test_operation_names_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_operation_names_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_operation_damage
tests/unit/test_operation_damage_SOURCES   := tests/unit/test_operation_damage.c $(OPERATION_WORLD)
tests/unit/test_operation_damage_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_operation_damage_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_chunk_cache
tests/unit/test_chunk_cache_SOURCES   := tests/unit/test_chunk_cache.c
tests/unit/test_chunk_cache_LIBRARIES := fsck_check format base
tests/unit/test_chunk_cache_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_scrub
tests/unit/test_scrub_SOURCES   := tests/unit/test_scrub.c $(OPERATION_WORLD)
tests/unit/test_scrub_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_scrub_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_operation_unnamed
tests/unit/test_operation_unnamed_SOURCES   := tests/unit/test_operation_unnamed.c $(OPERATION_WORLD)
tests/unit/test_operation_unnamed_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_operation_unnamed_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_freeze
tests/unit/test_freeze_SOURCES   := tests/unit/test_freeze.c $(OPERATION_WORLD)
tests/unit/test_freeze_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_freeze_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_operation_project
tests/unit/test_operation_project_SOURCES   := tests/unit/test_operation_project.c $(OPERATION_WORLD)
tests/unit/test_operation_project_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_operation_project_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_operation_protection
tests/unit/test_operation_protection_SOURCES   := tests/unit/test_operation_protection.c $(OPERATION_WORLD)
tests/unit/test_operation_protection_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_operation_protection_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_create_ahead
tests/unit/test_create_ahead_SOURCES   := tests/unit/test_create_ahead.c tests/unit/silent_masters.c \
                                          $(OPERATION_WORLD)
tests/unit/test_create_ahead_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_create_ahead_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_interrupt
tests/unit/test_interrupt_SOURCES   := tests/unit/test_interrupt.c tests/unit/silent_masters.c \
                                       $(OPERATION_WORLD)
tests/unit/test_interrupt_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_interrupt_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_operation_files
tests/unit/test_operation_files_SOURCES   := tests/unit/test_operation_files.c $(OPERATION_WORLD)
tests/unit/test_operation_files_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_operation_files_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_claim
tests/unit/test_claim_SOURCES   := tests/unit/test_claim.c tests/lib/sparse_device.c
tests/unit/test_claim_LIBRARIES := mkfs_layout dlm format base
tests/unit/test_claim_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_slot_takeover
tests/unit/test_slot_takeover_SOURCES   := tests/unit/test_slot_takeover.c fs/slot_takeover.c fs/slots.c \
                                           tests/lib/sparse_device.c
tests/unit/test_slot_takeover_LIBRARIES := mkfs_layout dlm format base
tests/unit/test_slot_takeover_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_claim_rivals
tests/unit/test_claim_rivals_SOURCES   := tests/unit/test_claim_rivals.c $(CLAIM_RIVALS_SOURCES)
tests/unit/test_claim_rivals_LIBRARIES := mkfs_layout dlm format base
tests/unit/test_claim_rivals_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_cluster_watch
tests/unit/test_cluster_watch_SOURCES   := tests/unit/test_cluster_watch.c fs/cluster_watch.c
tests/unit/test_cluster_watch_LIBRARIES := base
tests/unit/test_cluster_watch_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_cluster_strangers
tests/unit/test_cluster_strangers_SOURCES   := tests/unit/test_cluster_strangers.c fs/cluster_strangers.c
tests/unit/test_cluster_strangers_LIBRARIES := base
tests/unit/test_cluster_strangers_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_io_buffers
tests/unit/test_io_buffers_SOURCES   := tests/unit/test_io_buffers.c fs/pass.c
tests/unit/test_io_buffers_LIBRARIES := frontend base
tests/unit/test_io_buffers_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_fence
tests/unit/test_fence_SOURCES   := tests/unit/test_fence.c dlm/fence.c dlm/fence_command.c dlm/fence_lease.c
tests/unit/test_fence_LIBRARIES := base
tests/unit/test_fence_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_membership
tests/unit/test_membership_SOURCES   := tests/unit/test_membership.c
tests/unit/test_membership_LIBRARIES := dlm format base
tests/unit/test_membership_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_heartbeat_machine
tests/unit/test_heartbeat_machine_SOURCES   := tests/unit/test_heartbeat_machine.c
tests/unit/test_heartbeat_machine_LIBRARIES := dlm format base
tests/unit/test_heartbeat_machine_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_fsck_progress
tests/unit/test_fsck_progress_SOURCES   := tests/unit/test_fsck_progress.c
tests/unit/test_fsck_progress_LIBRARIES := fsck_check base
tests/unit/test_fsck_progress_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_flipped_bit
tests/unit/test_flipped_bit_SOURCES   := tests/unit/test_flipped_bit.c
tests/unit/test_flipped_bit_LIBRARIES := fsck_check format base
tests/unit/test_flipped_bit_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_sandbox
tests/unit/test_sandbox_SOURCES   := tests/unit/test_sandbox.c
tests/unit/test_sandbox_LIBRARIES := frontend base
tests/unit/test_sandbox_LDLIBS    := -lseccomp -laio -lcmocka

UNIT_TESTS += tests/unit/test_helper_process
tests/unit/test_helper_process_SOURCES   := tests/unit/test_helper_process.c
tests/unit/test_helper_process_LIBRARIES := frontend dlm base
tests/unit/test_helper_process_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_format_quota
tests/unit/test_format_quota_SOURCES   := tests/unit/test_format_quota.c
tests/unit/test_format_quota_LIBRARIES := format base
tests/unit/test_format_quota_LDLIBS    := -lcmocka

UNIT_TESTS += tests/unit/test_quota
tests/unit/test_quota_SOURCES   := tests/unit/test_quota.c $(OPERATION_WORLD)
tests/unit/test_quota_LIBRARIES := $(OPERATION_LIBRARIES)
tests/unit/test_quota_LDLIBS    := -lcmocka -lz

UNIT_TESTS += tests/unit/test_tool_quota
tests/unit/test_tool_quota_SOURCES   := tests/unit/test_tool_quota.c fs/tool_quota_request.c fs/tool_quota_text.c
tests/unit/test_tool_quota_LIBRARIES := base
tests/unit/test_tool_quota_LDLIBS    := -lcmocka
