// SPDX-License-Identifier: Apache-2.0
// The control protocol of lunfsd: a stream socket in /run/lunfs for root alone, one JSON object a
// line in each direction, one answer a request, in order.
//
//   -> {"verb": "stat", "arguments": {"inode": 8241}}
//   <- {"ok": true, "result": {...}}
//   <- {"ok": false, "error": "no such node", "errno": 2, "code": 0}
//
// `code` is a number of errors.def if a check of ours failed, else 0. Unknown members are ignored
// on both sides, so that either may be newer. docs/daemon.md lists verbs and members.
#pragma once

enum {
    CONTROL_REQUEST_BYTES_MAX = 16384, // a line with its newline
    CONTROL_ANSWER_BYTES_MAX = 8 << 20,
    CONTROL_DEPTH_MAX = 8,     // of nesting in a request
    CONTROL_PATIENCE_MS = 900, // the daemon answers within it, if only that it cannot
    CONTROL_CLIENTS_MAX = 16,
};

#define CONTROL_SOCKET_SUFFIX ".sock"
