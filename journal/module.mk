# SPDX-License-Identifier: Apache-2.0
LIBRARIES += journal
journal_PURE  := journal/ring.c journal/header.c journal/record.c journal/plan.c
journal_SHELL := journal/io.c journal/header_store.c journal/block.c journal/lock_table.c \
                 journal/admission.c journal/transaction.c journal/commit.c \
                 journal/record_write.c journal/write_back.c journal/checkpoint.c \
                 journal/rest.c journal/retire.c journal/life.c journal/scan.c journal/replay.c \
                 journal/status.c
