# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Which kinds of events there are, and how one or two of them are drawn: source this file after
# load.sh. What they do is in events_nodes.sh, events_network.sh, events_lun.sh: act_KIND NODE...,
# which runs in a subshell, says whom it may hurt (may_fail, may_end, must_end), and returns when
# its cause is over. What has ended then is put right by settle.sh. Everybody else must come
# through without an error.

EVENTS=()
declare -A EVENT_NODES=() EVENT_IS_ALONE=()

# event_define KIND NODES [alone]: so many nodes are drawn for it (`minority`, `all`); alone: never
# at one moment with another one.
event_define() {
    EVENTS+=("$1")
    EVENT_NODES[$1]=$2
    EVENT_IS_ALONE[$1]=${3:-}
}

event_define worker_killed 1
event_define daemon_killed 1
event_define node_killed 1
event_define nodes_killed_in_a_row 2
event_define workers_killed_at_once 2
event_define recoverer_killed 1 alone
event_define all_killed all alone
event_define worker_stopped 1
event_define worker_paused 1
event_define daemon_stopped 1
event_define machine_stopped 1
event_define corosync_killed 1
event_define leave_and_join 1 alone
event_define partition minority
event_define link_flaps 1
event_define mute 1
event_define mute_to_one 2
event_define quorum_lost all alone
event_define lock_link_cut 2
event_define lock_link_one_way 2
event_define lock_links_reset 1
event_define lun_hangs_a_moment 1
event_define lun_hangs 1
event_define lun_fails 1
event_define lun_vanishes 1
event_define lun_vanishes_for_all all alone
event_define lun_hangs_for_all all alone
event_define volume_full 1
event_define freeze 1 alone
event_define freezer_killed 1 alone
event_define killed_in_freeze 2 alone

# --- what a node must stand -------------------------------------------------------------------

# In the acts: what it says of each node is in $VICTIMS_FILE, the last word counts.
# may_fail: its programs may see errors; may_end: its mount may end; must_end: if it does not, the
# event has not done its work.
_victims_are() {
    printf "%s $1\n" "${@:2}" >> "$VICTIMS_FILE"
}
may_fail() { _victims_are may_fail "$@"; }
may_end() { _victims_are may_end "$@"; }
must_end() { _victims_are must_end "$@"; }

# --- drawing ----------------------------------------------------------------------------------

# draw BOUND: DRAWN, a number below it. (Not printed: a subshell would not move RANDOM on.)
draw() {
    DRAWN=$((RANDOM % $1))
}

# draw_pause FROM TO: a time that is part of the event, in tenths of a second.
draw_pause() {
    draw $(($2 - $1 + 1))
    sleep "$(((DRAWN + $1) / 10)).$(((DRAWN + $1) % 10))"
}

# draw_order WORD...: DRAWN_ORDER, all of them in an order of its own.
draw_order() {
    local left=("$@")
    DRAWN_ORDER=()
    while [ "${#left[@]}" -gt 0 ]; do
        draw "${#left[@]}"
        DRAWN_ORDER+=("${left[DRAWN]}")
        unset "left[DRAWN]"
        left=("${left[@]}")
    done
}

_event_node_count() {
    case ${EVENT_NODES[$1]} in
    all) echo "$NODE_COUNT" ;;
    minority) echo $(((NODE_COUNT - 1) / 2)) ;;
    *) echo "${EVENT_NODES[$1]}" ;;
    esac
}

_can_come_together() {
    local count
    count=$(($(_event_node_count "$1") + $(_event_node_count "$2")))
    [ -z "${EVENT_IS_ALONE[$1]}${EVENT_IS_ALONE[$2]}" ] && [ "$count" -lt "$NODE_COUNT" ]
}

ROUND=() # kinds that are still to come

# _kind_next: TURN_KINDS gets the round's next one. A round has each kind once, in an order of its own.
_kind_next() {
    if [ "${#ROUND[@]}" -eq 0 ]; then
        draw_order "${EVENTS[@]}"
        ROUND=("${DRAWN_ORDER[@]}")
    fi
    TURN_KINDS+=("${ROUND[0]}")
    ROUND=("${ROUND[@]:1}")
}

# turn_draw: TURN_KINDS, one kind or two; for each TURN_NODES, its nodes, nobody in both, and
# TURN_SEEDS. TURN_IS_SLOW: the LUN is slow meanwhile. All of it follows from the seed alone, not
# from what becomes of the nodes.
turn_draw() {
    local kind count at=0
    TURN_KINDS=() TURN_NODES=() TURN_SEEDS=() TURN_IS_SLOW=""
    _kind_next
    draw 3
    if [ "$DRAWN" -eq 0 ] && [ "${#ROUND[@]}" -gt 0 ] && _can_come_together "${TURN_KINDS[0]}" "${ROUND[0]}"; then
        _kind_next
    fi
    draw 4
    if [ "$DRAWN" -eq 0 ]; then TURN_IS_SLOW=1; fi
    # shellcheck disable=SC2086
    draw_order $NODE_NAMES
    for kind in "${TURN_KINDS[@]}"; do
        count=$(_event_node_count "$kind")
        TURN_NODES+=("${DRAWN_ORDER[*]:at:count}")
        at=$((at + count))
        TURN_SEEDS+=("$RANDOM")
    done
}

# --- acting -----------------------------------------------------------------------------------

# Each request of a node's path to the LUN takes so many milliseconds more.
_lun_is_slow() {
    local node
    for node in $NODE_NAMES; do
        draw 60
        lun_path_set "$node" "delay $DRAWN"
    done
}
_lun_is_quick() {
    local node
    for node in $NODE_NAMES; do
        # Killed, its path is gone with it.
        if node_is_up "$node"; then lun_path_set "$node" pass 2> /dev/null || true; fi
    done
}

# turn_act: all that was drawn, at one moment; returns when all causes are over.
turn_act() {
    local i acts=()
    : > "$VICTIMS_FILE"
    if [ -n "$TURN_IS_SLOW" ]; then _lun_is_slow; fi
    for i in "${!TURN_KINDS[@]}"; do
        (
            RANDOM=${TURN_SEEDS[i]}
            # shellcheck disable=SC2086
            "act_${TURN_KINDS[i]}" ${TURN_NODES[i]}
        ) &
        acts+=("$!")
    done
    for i in "${!TURN_KINDS[@]}"; do
        wait "${acts[i]}" || fail "${TURN_KINDS[i]} could not be done to ${TURN_NODES[i]}"
    done
    if [ -n "$TURN_IS_SLOW" ]; then _lun_is_quick; fi
}
