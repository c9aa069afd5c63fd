# SPDX-License-Identifier: Apache-2.0
LIBRARIES += dlm
dlm_PURE  := dlm/mode.c dlm/message.c dlm/session.c dlm/core.c dlm/core_client.c \
             dlm/core_deadlock.c dlm/core_depart.c dlm/core_master.c dlm/core_note.c \
             dlm/core_range_client.c dlm/core_range_master.c dlm/core_ranges.c \
             dlm/core_recovery.c dlm/core_resource.c dlm/core_table.c dlm/core_text.c \
             dlm/core_view.c dlm/core_work.c
dlm_SHELL :=

# Membership, leases, fencing, transport. Whoever uses the heartbeat's thread, corosync or the mesh
# links -levent_core, -lcpg -lquorum -lvotequorum -lcmap, -lssl -lcrypto; and libformat for the blocks.
dlm_PURE  += dlm/lease.c dlm/heartbeat_block.c dlm/heartbeat_machine.c dlm/membership.c \
             dlm/membership_events.c dlm/membership_facts.c dlm/membership_install.c \
             dlm/membership_merge.c dlm/membership_message.c dlm/membership_prepared.c \
             dlm/membership_round.c dlm/membership_state.c dlm/membership_tasks.c \
             dlm/membership_text.c dlm/membership_wishes.c
dlm_SHELL += dlm/heartbeat.c dlm/claim.c dlm/claim_clock.c dlm/fence.c dlm/fence_command.c dlm/fence_lease.c \
             dlm/transport.c dlm/transport_key.c dlm/transport_listen.c dlm/transport_tls.c \
             dlm/membership_config.c dlm/membership_corosync.c dlm/membership_guard.c
