// SPDX-License-Identifier: Apache-2.0
// The options of `mount -o` and of lunfsd: one table for parsing, checking and the manual page's
// list. Pure apart from the strings that it copies.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text;

enum mount_atime { MOUNT_RELATIME, MOUNT_NOATIME, MOUNT_STRICTATIME };
enum mount_log { MOUNT_LOG_AUTO, MOUNT_LOG_STDERR, MOUNT_LOG_SYSLOG, MOUNT_LOG_FILE };

struct mount_options {
    bool is_local;        // local: one host, no corosync
    bool is_read_only;    // ro
    bool no_recovery;     // norecovery: only with ro; no journal replay, no cluster
    bool allow_unbounded; // lease-unsafe: mount though the LUN's timeouts outlast the lease
    bool debug;
    bool is_direct;  // direct: the kernel keeps no data
    bool keep_names; // keep-names: the kernel may keep names and attributes while we hold their
                     // locks
    enum mount_atime atime;
    enum mount_log log;
    uint16_t port;             // of the lock traffic
    uint32_t lease_ms;         // how long a node may write after its last acknowledged heartbeat
    uint32_t beat_ms;          // how often it beats
    uint32_t lanes;            // data threads; 0: by the number of CPUs
    uint64_t cache_bytes;      // of metadata kept in memory; 0: by the size of memory
    unsigned long mount_flags; // MS_* of the generic options, MS_RDONLY among them
    char log_path[256];        // MOUNT_LOG_FILE: lines are appended
    char fence[256];           // command that fences a node; empty: by lease alone
    char watchdog[64];         // device; empty: none
};

enum {
    MOUNT_CACHE_BYTES_MIN = 8 << 20,
    MOUNT_PORT_DEFAULT = 7713,
    MOUNT_BEAT_MS_DEFAULT = 1000,
    MOUNT_LEASE_MS_DEFAULT = 5000,
};

void mount_options_init(struct mount_options *options);

// Takes one `-o` argument, "a,b=c,..."; a later option overrides an earlier one. False with a
// sentence in `why` that names the option.
bool mount_options_parse(struct mount_options *options, const char *list, struct text *why);
// What options say together: ranges, and pairs that exclude or need each other.
bool mount_options_verify(const struct mount_options *options, struct text *why);

// The options as a list that parses to the same.
void mount_options_to_text(const struct mount_options *options, struct text *text);
