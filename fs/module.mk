# SPDX-License-Identifier: Apache-2.0
# The file system. Append only: each library names its own files.
LIBRARIES += format
format_PURE := fs/format.c fs/format_decode.c fs/format_node.c fs/format_fields.c fs/format_quota.c fs/format_text.c
format_SHELL := fs/format_find.c

# Cache, trees, free space, and what stands in inodes: blocks in, blocks out, all through the journal.
LIBRARIES += fs_structures
fs_structures_PURE  := fs/acl.c fs/quota_charge.c fs/tree_node.c
fs_structures_SHELL := fs/block_pool.c fs/cache.c fs/journal_format.c fs/tree.c fs/tree_change.c \
                       fs/free_extents.c fs/allocator_group.c fs/allocator_map.c \
                       fs/allocator_choose.c fs/allocator_numbers.c \
                       fs/allocator_settle.c fs/allocator_summary.c fs/allocator.c fs/inode.c fs/extent_map.c \
                       fs/directory.c fs/inode_acl.c fs/xattr.c fs/orphans.c

# The mount: FUSE, lanes, guard and the log; who uses it links -lfuse3.
LIBRARIES += frontend
frontend_PURE  := fs/fuse_dialect.c fs/mount_options.c fs/guard_rules.c
frontend_SHELL := fs/fuse_caller.c fs/fuse_mount.c fs/fuse_server.c fs/fuse_server_attributes.c \
                  fs/fuse_server_directories.c fs/fuse_server_files.c fs/fuse_server_locks.c \
                  fs/fuse_server_names.c fs/fuse_server_privileges.c fs/fuse_server_protection.c \
                  fs/fuse_server_recall.c fs/fuse_server_request.c fs/guard.c fs/guard_commands.c \
                  fs/guard_helper.c fs/guard_lock.c fs/guard_processes.c fs/guard_watchdog.c fs/io_buffers.c fs/lane.c fs/lane_fuse.c fs/log_daemon.c \
                  fs/run_lock.c fs/sandbox.c fs/startup.c fs/volume_probe.c
# The control protocol and what it tells; who uses it links -ljson-c.
frontend_SHELL += fs/control_client.c fs/control_request.c fs/control_server.c fs/status.c fs/status_freeze.c fs/status_quota.c fs/status_scrub.c fs/status_volume.c

PROGRAMS += mount.lunfs
mount.lunfs_SOURCES   := fs/mount_lunfs.c
mount.lunfs_LIBRARIES := frontend format base

# umount(8)'s helper is the same program under another name, in the build folder too.
all: $(BUILD)/umount.fuse.lunfs
$(BUILD)/umount.fuse.lunfs: $(BUILD)/mount.lunfs
	@ln -sf mount.lunfs $@

# Locks between coroutines and nodes, the volume, a node's part in the cluster, the worker's life.
LIBRARIES += fs_core
LOCK_TABLE := fs/cluster_lock.c fs/lock_pump.c fs/cluster_lock_table.c fs/freeze_gate.c fs/interruptible.c fs/lock_demotion.c \
              fs/lock_loans.c \
              fs/lock_set.c
fs_core_SHELL := $(LOCK_TABLE) fs/cluster.c fs/cluster_claim.c fs/cluster_effects.c \
                 fs/cluster_status.c fs/cluster_strangers.c fs/cluster_watch.c fs/damage.c \
                 fs/dlm_service.c fs/freeze.c \
                 fs/gated_device.c fs/lock_types.c fs/presence.c fs/scrubber.c \
                 fs/range_locks_dlm.c fs/recovery.c fs/slot_takeover.c fs/slots.c fs/solo.c fs/superblock.c fs/volume.c fs/worker.c

# The operations, and what open files need between them: passes, first writes, the reaper.
LIBRARIES += fs_operations
fs_operations_PURE  := fs/pass.c fs/quota_limits.c fs/written_ranges.c
fs_operations_SHELL := fs/block_ranges.c fs/creation.c fs/data_io.c fs/operation_acl.c fs/file_blocks.c fs/file_inline.c \
                       fs/file_map.c fs/file_size.c fs/inode_free.c fs/inode_table.c \
                       fs/live_inode.c fs/open_file.c fs/open_inode.c fs/open_inode_flush.c fs/page_loans.c \
                       fs/operation_allocate.c fs/operation_attributes.c fs/operation_copy.c fs/operation_create.c \
                       fs/operation_interrupt.c fs/operation_lend.c fs/operation_link.c fs/operation_lookup.c fs/operation_open.c \
                       fs/operation_orphans.c fs/operation_pages.c fs/operation_read.c fs/operation_read_directory.c \
                       fs/operation_rename.c fs/operation_seek.c fs/operation_statfs.c \
                       fs/operation_sync.c fs/operation_together.c fs/operation_unlink.c fs/operation_write.c \
                       fs/operation_xattr.c fs/quota.c fs/quota_count.c fs/quota_idle.c fs/quota_ledger.c \
                       fs/quota_record.c fs/quota_report.c fs/quota_switch.c fs/reaper.c fs/transaction.c

PROGRAMS += lunfsd
lunfsd_SOURCES   := fs/lunfsd.c
lunfsd_LIBRARIES := frontend fs_core fs_operations fs_core fsck_check fs_structures dlm journal format base
lunfsd_LDLIBS    := -lfuse3 -lseccomp -levent_core -ljson-c -laio -lcpg -lquorum -lvotequorum -lcmap -lssl -lcrypto

PROGRAMS += lunfs
lunfs_SOURCES   := fs/tool.c fs/tool_df.c fs/tool_dump.c fs/tool_dump_json.c fs/tool_fence.c fs/tool_freeze.c \
                   fs/tool_image.c fs/tool_info.c \
                   fs/tool_locks.c fs/tool_nodes.c fs/tool_options.c fs/tool_probe.c fs/tool_quota.c \
                   fs/tool_quota_request.c fs/tool_quota_text.c fs/tool_scrub.c \
                   fs/tool_stat.c fs/tool_target.c
lunfs_LIBRARIES := frontend fsck_check journal format base
lunfs_LDLIBS    := -ljson-c

# Installation: DESTDIR for packages. mount(8), mkfs(8) and fsck(8) find the programs by these
# names, also for the type fuse.lunfs that /proc/mounts shows.
SBINDIR   ?= /usr/sbin
MANDIR    ?= /usr/share/man
UNITDIR   ?= /lib/systemd/system
UDEVDIR   ?= /lib/udev/rules.d
INSTALL   ?= install

.PHONY: install
install: all
	$(INSTALL) -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(UDEVDIR) \
	    $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)/etc/lunfs
	for program in lunfs lunfsd mount.lunfs mkfs.lunfs fsck.lunfs; do \
	    $(INSTALL) -m 0755 $(BUILD)/$$program $(DESTDIR)$(SBINDIR) || exit 1; \
	done
	for link in mount.fuse.lunfs umount.fuse.lunfs umount.lunfs; do \
	    ln -sf mount.lunfs $(DESTDIR)$(SBINDIR)/$$link || exit 1; \
	done
	ln -sf mkfs.lunfs $(DESTDIR)$(SBINDIR)/mkfs.fuse.lunfs
	ln -sf fsck.lunfs $(DESTDIR)$(SBINDIR)/fsck.fuse.lunfs
	$(INSTALL) -m 0644 fs/system/lunfs-volume@.service $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 0644 fs/system/61-lunfs.rules $(DESTDIR)$(UDEVDIR)
	$(INSTALL) -m 0644 docs/man/*.8 $(DESTDIR)$(MANDIR)/man8
