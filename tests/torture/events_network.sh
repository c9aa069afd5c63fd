# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What happens to the network: source this file after events.sh.

act_partition() {
    may_end "$@"
    partition_make main "$@"
    draw_pause 5 120
    partition_heal main
}

act_link_flaps() {
    may_end "$1"
    for _ in 1 2 3 4 5; do
        link_cut "$1"
        draw_pause 2 15
        link_heal "$1"
        draw_pause 2 15
    done
}

# _one_way add|del FROM TO [PROTOCOL...]: what FROM sends to TO is lost, not what TO sends.
_one_way() {
    node_exec "$2" ip rule "$1" to "${NODE_ADDRESS[$3]}" "${@:4}" blackhole
}

# It hears everybody, and nobody hears it.
act_mute() {
    local node
    may_end "$1"
    for node in $NODE_NAMES; do [ "$node" = "$1" ] || _one_way add "$1" "$node"; done
    draw_pause 10 120
    for node in $NODE_NAMES; do [ "$node" = "$1" ] || _one_way del "$1" "$node"; done
}

act_mute_to_one() {
    may_end "$@"
    _one_way add "$1" "$2"
    draw_pause 10 120
    _one_way del "$1" "$2"
}

# Nobody has quorum; whose ring is whole again first may go on without the others.
act_quorum_lost() {
    local node
    may_end "$@"
    switch_off main
    for node in "$@"; do wait_until 60 "$node to lose quorum" corosync_is_inquorate "$node"; done
    draw_pause 10 80
    switch_on main
}

act_lock_link_cut() {
    may_end "$@"
    mesh_cut "$@"
    draw_pause 10 120
    mesh_heal "$@"
}

act_lock_link_one_way() {
    may_end "$@"
    _one_way add "$1" "$2" ipproto tcp
    draw_pause 10 120
    _one_way del "$1" "$2" ipproto tcp
}

# Connections break at once, and can be made again at once.
act_lock_links_reset() {
    for _ in 1 2 3 4 5 6 7 8; do
        node_exec "$1" ss --kill --tcp state established > /dev/null
        draw_pause 1 8
    done
}
