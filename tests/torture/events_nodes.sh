# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What happens to processes and machines: source this file after events.sh.
# shellcheck disable=SC2016 # scripts for a node's shell

act_worker_killed() {
    must_end "$1"
    lunfs_kill_worker "$1"
}

act_daemon_killed() {
    must_end "$1"
    lunfs_kill_daemon "$1"
}

act_node_killed() {
    must_end "$1"
    node_kill "$1"
}

# The second one perhaps in the recovery of the first; with three nodes the quorum goes with it.
act_nodes_killed_in_a_row() {
    must_end "$@"
    node_kill "$1"
    draw_pause 0 60
    node_kill "$2"
}

act_workers_killed_at_once() {
    local node killers=()
    must_end "$@"
    for node in "$@"; do
        lunfs_kill_worker "$node" &
        killers+=("$!")
    done
    wait "${killers[@]}"
}

# The node that replays a journal now, as any node knows it; nothing while none does.
_recoverer() {
    local node said
    for node in $NODE_NAMES; do
        node_is_up "$node" || continue
        said=$(node_exec "$node" lunfs nodes "$MOUNT" 2> /dev/null) || continue
        said=$(sed -n 's/^waiting: replaying journal [0-9]* ([^)]*) on //p' <<< "$said")
        [ -z "$said" ] || break
    done
    echo "${said%%$'\n'*}"
}
_recovery_has_begun() {
    [ -n "$(_recoverer)" ]
}

# Slow paths keep the replay from ending before its node is killed.
act_recoverer_killed() {
    local node recoverer
    must_end "$1"
    for node in $NODE_NAMES; do lun_path_set "$node" "delay 200"; done
    node_kill "$1"
    wait_until 60 "the journal of $1 to be replayed" _recovery_has_begun
    recoverer=$(_recoverer)
    if [ -n "$recoverer" ]; then
        must_end "$recoverer"
        node_kill "$recoverer"
    fi
    _lun_is_quick
}

act_all_killed() {
    local node
    must_end "$@"
    for node in "$@"; do node_kill "$node"; done
}

# The guard kills it before its lease ends.
act_worker_stopped() {
    local worker
    must_end "$1"
    worker=$(lunfs_worker "$1")
    node_exec "$1" kill -STOP "$worker"
    wait_until 60 "the guard of $1 to kill its stopped worker" not node_exec "$1" kill -0 "$worker"
}

act_worker_paused() {
    local worker
    worker=$(lunfs_worker "$1")
    node_exec "$1" kill -STOP "$worker"
    draw_pause 1 15
    node_exec "$1" kill -CONT "$worker"
}

# _recovered_count NODE: how often the other nodes' logs say that it is recovered.
_recovered_count() {
    local node
    for node in $NODE_NAMES; do
        if [ "$node" != "$1" ]; then cat "$RUN_DIR/$node/log/lunfs"; fi
    done | grep -cE "$1 \(slot [0-9]+\) is recovered" || true
}
_recovered_again() {
    [ "$(_recovered_count "$1")" -gt "$2" ]
}

# _stop_past_recovery NODE PIDS...: stopped until the others have recovered it, if they can, or for
# long at least; then it goes on, and finds out by itself.
_stop_past_recovery() {
    local node=$1 before
    shift
    before=$(_recovered_count "$node")
    node_exec "$node" kill -STOP "$@"
    wait_until 30 "$node to be recovered while it stands still" _recovered_again "$node" "$before" || true
    draw_pause 0 20
    node_exec "$node" kill -CONT "$@"
    wait_until 20 "those who wait for stopped processes to go on" nsenters_go_on
}

act_daemon_stopped() {
    local pids
    must_end "$1"
    mapfile -t pids < <(_lunfs_processes "$1" | cut -d ' ' -f 1)
    _stop_past_recovery "$1" "${pids[@]}"
}

# All but its path to the LUN: what is on its way there lands, as from a host whose system stands still.
act_machine_stopped() {
    local pids
    must_end "$1"
    mapfile -t pids < <(node_exec "$1" ps -e -o pid=,comm= |
        awk '$1 != 1 && $2 !~ /^(lun_proxy|ps|sleep)$/ { print $1 }')
    _stop_past_recovery "$1" "${pids[@]}"
}

act_corosync_killed() {
    may_end "$1"
    node_exec "$1" pkill -KILL -x corosync
    draw_pause 5 100
}

act_leave_and_join() {
    must_end "$1"
    roamer_stop KILL
    load_finish "$1"
    lunfs_umount "$1"
}
