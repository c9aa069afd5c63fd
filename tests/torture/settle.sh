# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# After each turn: who has ended, whether they might, all nodes mounted again, and what the ended
# ones had acknowledged looked for. Source this file after events.sh.

VICTIMS_FILE=$RUN_DIR/victims
VICTIMS=""        # of this turn: " node ..."
BEFORE_VICTIMS="" # of the one before

# within SECONDS WHAT FUNCTION...: it must have ended by then.
within() {
    local seconds=$1 what=$2 pid
    shift 2
    "$@" &
    pid=$!
    wait_until "$seconds" "$what" not kill -0 "$pid" || fail "$what takes more than $seconds s"
    wait "$pid" || fail "$what: status $?"
}

# at_once FUNCTION NODE...: for all of them at one moment; until all have done it.
at_once() {
    local node done_by=()
    for node in "${@:2}"; do
        "$1" "$node" &
        done_by+=("$!")
    done
    for node in "${done_by[@]}"; do wait "$node" || fail "$1 failed"; done
}

node_mount() {
    [ -e "/proc/$(node_pid "$1")/root$RUN_DIR/$1/lun-path/lun" ] || lun_path_watch "$1"
    within 240 "the mount on $1" lunfs_mount "$1"
    within 240 "the start of the load on $1" load_start "$1"
}

corosync_runs() {
    node_exec "$1" pgrep -x corosync > /dev/null
}

# All machines and corosyncs first: a mount needs a quorum.
corosyncs_return() {
    local node ids
    ids=$(_cluster_ids main)
    for node in $NODE_NAMES; do
        node_is_up "$node" || node_boot "$node"
        corosync_runs "$node" || corosync_start "$node"
    done
    for node in $NODE_NAMES; do
        corosync_wait "$node" "$ids" 180 || fail "corosync of $node does not come together with the others"
    done
}

# Whether it came through, for some beats more, or has ended; neither while it still waits.
_is_decided() {
    ! load_runs "$1" || pulse_passed "$1" $((PULSES[$1] + 10))
}

# _victim_word NODE: may_fail, may_end or must_end, nothing if nothing was aimed at it. Of the turn
# before, too, which may take its time: somebody may be expelled for what is over by now.
_victim_word() {
    local word
    word=$(awk -v node="$1" '$1 == node { word = $2 } END { print word }' "$VICTIMS_FILE")
    if [ -z "$word" ] && [[ " $BEFORE_VICTIMS " == *" $1 "* ]]; then word=may_end; fi
    echo "$word"
}

# A mount that goes on answers; one that has ended does so with an error, which is what it is for.
_mount_goes_on() {
    node_is_up "$1" && ! lunfs_is_gone "$1" &&
        node_exec "$1" timeout 60 touch "$MOUNT/shared/probe-$1" 2> /dev/null
}

# _may_have_ended NODE: a program of its load has seen an error; is that right?
_may_have_ended() {
    local word
    word=$(_victim_word "$1")
    case $word in
    may_fail | must_end) return 0 ;;
    may_end) ! _mount_goes_on "$1" || fail "$(load_lost "$1" | paste -s -d ' ') of $1 failed ($TURN), and its mount goes on" ;;
    *) fail "$(load_lost "$1" | paste -s -d ' ') of $1 failed by $TURN, which was aimed at:$VICTIMS" ;;
    esac
}

# Sets ENDED to the nodes that are to be mounted again.
find_ended() {
    local node
    declare -gA PULSES=()
    ENDED=""
    VICTIMS=$(cut -d ' ' -f 1 "$VICTIMS_FILE" | sort -u | sed 's/^/ /' | tr -d '\n')
    for node in $NODE_NAMES; do PULSES[$node]=$(pulse_count "$node"); done
    for node in $NODE_NAMES; do
        wait_until 180 "$node to go on or to end ($TURN)" _is_decided "$node" ||
            fail "$node hangs after $TURN: $(node_exec "$node" timeout 20 lunfs nodes "$MOUNT" 2>&1)"
        if load_runs "$node"; then
            [ "$(_victim_word "$node")" != must_end ] || fail "$node goes on after $TURN, which should have ended it"
            continue
        fi
        _may_have_ended "$node"
        ENDED="$ENDED $node"
    done
}

# What still runs of a node that has ended goes, it is unmounted.
node_clear() {
    load_kill "$1"
    if lunfs_is_gone "$1" && ! node_exec "$1" grep -q " $MOUNT fuse" /proc/self/mounts; then return; fi
    within 120 "umount on $1" lunfs_umount "$1"
}

# judge_of: one that lived on all the time; else the first of those that are back.
judge_of() {
    local node
    for node in $NODE_NAMES; do
        if [[ " $ENDED " != *" $node "* ]]; then
            echo "$node"
            return
        fi
    done
    echo n1
}

# _judge_and_forget LIFE NODE...: by each of these nodes.
_judge_and_forget() {
    local life=$1 node
    for node in "${@:2}"; do load_judge "$node" "$(node_path "$node")" "$life"; done
    load_forget "$2" "$life"
}

# The roamer ends with the first node that does: it is at home on all of them.
_roamer_settle() {
    local life
    life=$(load_life roamer)
    if [ -z "$ENDED" ] && [ "$(stat -c %s "$RUN_DIR/history-$life")" -le "$HISTORY_BYTES_MAX" ]; then
        if roamer_runs; then return; fi
        grep -q may_fail "$VICTIMS_FILE" || fail "the roamer failed by $TURN: $(cat "$RUN_DIR/roamer-log")"
    fi
    roamer_stop KILL
    ROAMER_ENDED=$life
}

# Loads whose histories get long end in good order and begin anew.
_loads_renew() {
    local node life
    for node in $NODE_NAMES; do
        [[ " $ENDED " != *" $node "* ]] || continue
        load_is_long "$node" || continue
        life=$(load_life "$node")
        load_finish "$node"
        _judge_and_forget "$life" "$node"
        within 240 "the start of the load on $node" load_start "$node"
    done
}

settle() {
    local node judge
    declare -A lives=()
    ROAMER_ENDED=""
    corosyncs_return
    find_ended
    _roamer_settle
    for node in $ENDED; do lives[$node]=$(load_life "$node"); done
    # shellcheck disable=SC2086
    at_once node_clear $ENDED
    # shellcheck disable=SC2086
    at_once node_mount $ENDED
    # shellcheck disable=SC2034 # for torture
    WELL_MS=$(clock_ms)
    judge=$(judge_of)
    for node in $ENDED; do _judge_and_forget "${lives[$node]}" "$judge" "$node"; done
    if [ -n "$ROAMER_ENDED" ]; then
        _judge_and_forget "$ROAMER_ENDED" "$judge"
        roamer_start
    fi
    _loads_renew
    logs_are_good
    for node in $NODE_NAMES; do : > "$RUN_DIR/$node/lun-writes"; done
    BEFORE_VICTIMS=$VICTIMS
}
