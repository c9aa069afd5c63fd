# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What happens to the LUN and to the volume: source this file after events.sh.

act_lun_hangs_a_moment() {
    lun_path_set "$1" hang
    draw_pause 3 15
    lun_path_set "$1" pass
}

act_lun_hangs_for_all() {
    local node
    for node in "$@"; do lun_path_set "$node" hang; done
    draw_pause 3 12
    for node in "$@"; do lun_path_set "$node" pass; done
}

# lines_said NODE: of its daemons' log; has_ended_since NODE LINES: behind them one said why it ended.
lines_said() {
    wc -l < "$RUN_DIR/$1/log/lunfs"
}
has_ended_since() {
    tail -n "+$(($2 + 1))" "$RUN_DIR/$1/log/lunfs" | grep -E 'LUNFS-14[0-9][0-9]' > /dev/null
}

# What hung fails before it comes back, as a device whose timeout is shorter than the lease assumes.
act_lun_hangs() {
    local said
    must_end "$1"
    said=$(lines_said "$1")
    lun_path_set "$1" hang
    draw_pause 60 150
    lun_path_set "$1" fail
    wait_until 60 "$1 to say why it ended" has_ended_since "$1" "$said"
    lun_path_set "$1" pass
}

act_lun_fails() {
    may_fail "$1"
    lun_path_set "$1" fail
    draw_pause 2 30
    lun_path_set "$1" pass
}

# _lun_gone NODE...: until all of them have ended.
_lun_gone() {
    local node
    declare -A said=()
    for node in "$@"; do
        said[$node]=$(lines_said "$node")
        lun_path_set "$node" fail
    done
    for node in "$@"; do
        wait_until 60 "$node to say why it ended" has_ended_since "$node" "${said[$node]}"
    done
    for node in "$@"; do lun_path_set "$node" pass; done
}

act_lun_vanishes() {
    must_end "$1"
    _lun_gone "$1"
}

act_lun_vanishes_for_all() {
    must_end "$@"
    _lun_gone "$@"
}

act_volume_full() {
    local path step count=0
    path=$(node_path "$1")/filler
    mkdir "$path"
    for step in 64M 8M 1M 64K; do
        while fallocate --length "$step" "$path/$step-$((++count))" 2> /dev/null; do :; done
    done
    draw_pause 10 50
    rm -rf "$path"
}

# --- frozen -----------------------------------------------------------------------------------

_freeze() {
    node_exec "$1" lunfs freeze "$MOUNT" --timeout 120 > /dev/null
}

# A copy made meanwhile is clean as it stands.
act_freeze() {
    local copy=$RUN_DIR/copy
    _freeze "$1"
    cp --sparse=always "$LUN" "$copy"
    node_exec "$1" lunfs thaw "$MOUNT" > /dev/null || fail "the freeze of $1 did not hold"
    fsck.lunfs -n -f "$copy" > "$RUN_DIR/copy-log" 2>&1 || fail "the copy: $(cat "$RUN_DIR/copy-log")"
    rm "$copy"
}

act_freezer_killed() {
    must_end "$1"
    _freeze "$1"
    draw_pause 0 20
    node_kill "$1"
}

# The second one, which thaws only when nobody waits for the dead any more.
act_killed_in_freeze() {
    must_end "$2"
    _freeze "$1"
    node_kill "$2"
    draw_pause 0 60
    node_exec "$1" lunfs thaw "$MOUNT" > /dev/null || fail "the freeze of $1 did not hold"
}
