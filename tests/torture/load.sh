# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What runs on each node while it is tortured, and how it is judged: source this file after
# tests/cluster/prologue.sh.
#
#     witness        fsynced records and files (tests/cluster/witness.c)
#     crash-client   operations of all kinds in a folder of its own, with a history of what may be lost
#     fio-loop       fio --verify on a file of the node, and on its part of one that all share
#     lock_load      byte-range locks on a file that all nodes share
#     pulse          how long I/O stands still
#
# and, beside the nodes, the roamer: a crash-client that goes from one node's mount to the next, so
# that what it works on moves with it.
#
# A load has a number, its life: each gets folders of its own, which others judge when the life has
# ended, however it ended, and remove.

LOAD_PROGRAMS=(witness crash-client fio-loop lock_load pulse)
FAR_FUTURE=18446744073709551614 # a position behind all that a history says
HISTORY_BYTES_MAX=$((48 * 50000)) # half of what crash-replay reads
RECORDS_MAX=2000                  # of one of a witness's files

# lives_next: a number that was not given out before; load_life NODE: the node's newest.
lives_next() {
    {
        flock 9
        echo >> "$RUN_DIR/lives"
        wc -l < "$RUN_DIR/lives"
    } 9> "$RUN_DIR/lives-lock"
}
load_life() {
    cat "$RUN_DIR/load.$1"
}

# load_prepare NODE: what all lives share, made there.
load_prepare() {
    local node path
    path=$(node_path "$1")
    mkdir "$path/shared"
    truncate --size 64K "$path/shared/locks"
    dd if=/dev/zero of="$path/shared/fio-shared" bs=1M count=$((NODE_COUNT * 4)) conv=fsync status=none
    for node in $NODE_NAMES; do
        dd if=/dev/zero of="$path/shared/fio-$node" bs=1M count=4 conv=fsync status=none
        dd if=/dev/zero of="$path/shared/pulse-$node" bs=4k count=1 conv=fsync status=none
    done
}

# _load_spawn NODE LOG PROGRAM ARGUMENT...
_load_spawn() {
    node_spawn "$1" "$RUN_DIR/$1/log/$2" "${@:3}"
    disown "$SPAWNED_PID"
}

load_start() {
    local node=$1 life
    life=$(lives_next)
    echo "$life" > "$RUN_DIR/load.$node"
    : > "$RUN_DIR/pulse-count.$node"
    writer_start "$node" "witness-$life" 10000
    disown "$SPAWNED_PID"
    _load_spawn "$node" "client-$life" "$TESTS/crash-client" - "$RUN_DIR/history-$life" "$life" \
        $((SEED + life)) 1000000000 "$MOUNT"
    _load_spawn "$node" "fio-$life" "$REPOSITORY/tests/torture/fio-loop" "$MOUNT/shared/fio-$node" \
        "$MOUNT/shared/fio-shared" "$((${NODE_ID[$node]} * 4 - 4))"
    _load_spawn "$node" "locks-$life" "$TESTS/lock_load" "$MOUNT/shared/locks" "$life"
    _load_spawn "$node" "pulse-$life" "$TESTS/pulse" "$MOUNT/shared/pulse-$node" "$RUN_DIR/pulse-count.$node"
    wait_until 120 "the load of $node to run" load_runs "$node"
    wait_until 120 "the pulse of $node" pulse_passed "$node" 0
}

# _running NODE PROGRAM...: those that run there, one a line. One look for all: it is taken often.
_running() {
    node_exec "$1" ps -e -o stat=,comm= | awk -v wanted=" ${*:2} " \
        '$1 !~ /^Z/ && index(wanted, " " $2 " ") > 0 { print $2 }' | sort -u
}

# load_lost NODE: those of the programs that do not run.
load_lost() {
    comm -23 <(printf '%s\n' "${LOAD_PROGRAMS[@]}" | sort) <(_running "$1" "${LOAD_PROGRAMS[@]}")
}

# load_runs NODE: all of it.
load_runs() {
    node_is_up "$1" && [ -z "$(load_lost "$1")" ]
}

pulse_count() {
    local count
    count=$(cat "$RUN_DIR/pulse-count.$1")
    echo "${count:-0}"
}
pulse_passed() {
    [ "$(pulse_count "$1")" -gt "$2" ]
}

# nsenter stops when what it waits for does, and takes no notice when that goes on.
nsenters_go_on() {
    pkill -CONT -x nsenter || true
    ! pgrep --runstates T -x nsenter > /dev/null
}

_load_is_gone() {
    nsenters_go_on && [ -z "$(_running "$1" "${LOAD_PROGRAMS[@]}" fio)" ]
}

# load_kill NODE: whatever is left of it.
load_kill() {
    local program
    for program in "${LOAD_PROGRAMS[@]}" fio; do
        node_exec "$1" pkill -KILL -x "$program" || true
    done
    wait_until 120 "the load of $1 to end" _load_is_gone "$1"
}

# load_finish NODE: as load_kill, but the client syncs all, so that its history has one end.
load_finish() {
    node_exec "$1" pkill -TERM -x crash-client || true
    wait_until 120 "the client of $1 to sync" not node_exec "$1" pgrep -x crash-client
    load_kill "$1"
}

# load_is_long NODE: it will soon be more than can be judged in a short time.
load_is_long() {
    local life
    life=$(load_life "$1")
    [ "$(stat -c %s "$RUN_DIR/history-$life")" -gt "$HISTORY_BYTES_MAX" ] || writer_passed "witness-$life" "$RECORDS_MAX"
}

# --- the roamer -------------------------------------------------------------------------------

# It stands outside of the nodes, with all of their mounts; they cannot be unmounted while it runs.
roamer_start() {
    local node life mounts=()
    life=$(lives_next)
    echo "$life" > "$RUN_DIR/load.roamer"
    for node in $NODE_NAMES; do mounts+=("$(node_path "$node")"); done
    "$TESTS/crash-client" - "$RUN_DIR/history-$life" "$life" $((SEED + life)) 1000000000 \
        "${mounts[@]}" > "$RUN_DIR/roamer-log" 2>&1 &
    echo "$!" > "$RUN_DIR/roamer"
    disown "$!"
}

roamer_runs() {
    kill -0 "$(cat "$RUN_DIR/roamer")" 2> /dev/null
}

# roamer_stop TERM|KILL: with TERM its history has one end.
roamer_stop() {
    kill "-$1" "$(cat "$RUN_DIR/roamer")" 2> /dev/null || true
    wait_until 120 "the roamer to end" not roamer_runs
}

# --- judging ----------------------------------------------------------------------------------

# logs_are_good: no event excuses data that is not what was written, a lock that two had, a daemon
# that crashed or asked the kernel for what it may not. (Signal 9 is ours.)
logs_are_good() {
    local bad
    bad=$(grep -aE 'verify:|bad (magic|header)|wrote .* into it' "$RUN_DIR"/*/log/{fio,locks}-* | head -n 3) || true
    [ -z "$bad" ] || fail "wrong data: $bad"
    bad=$(grep -aE 'broken invariant|killed by signal ([0-8]|[1-9][0-9]) |which it may not: refused|Sanitizer: |runtime error: ' \
        "$RUN_DIR"/*/log/lunfs | head -n 3) || true
    [ -z "$bad" ] || fail "a daemon crashed: $bad"
}

# load_judge WHO MOUNT LIFE: what that life did, as WHO's MOUNT shows it, is what it may be.
load_judge() {
    if [ -e "$RUN_DIR/promises.witness-$3" ]; then
        "$TESTS/witness" verify "$2/witness-$3" "$RUN_DIR/promises.witness-$3" ||
            fail "witness $3, seen by $1: what fsync promised is not there"
    fi
    [ -s "$RUN_DIR/history-$3" ] || return 0 # it had not begun
    "$TESTS/crash-replay" -m "$2" "$FAR_FUTURE" "$RUN_DIR/history-$3" ||
        fail "client $3, seen by $1: its history does not allow that"
}

# load_forget NODE LIFE: removes its folders.
load_forget() {
    local path
    path=$(node_path "$1")
    rm -rf "$path/witness-$2" "$path/client-$2" "$RUN_DIR/history-$2" "$RUN_DIR/promises.witness-$2"
}
