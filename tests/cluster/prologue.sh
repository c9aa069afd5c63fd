# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every cluster test begins with: source this file inside contain.
. "$REPOSITORY/tests/lib/wait.sh"
. "$REPOSITORY/tests/lib/tap.sh"
. "$REPOSITORY/tests/lib/cluster.sh"
. "$REPOSITORY/tests/lib/lunfs.sh"

TESTS=$BUILD/tests
SEED=${SEED:-$(od -A n -t u4 -N 4 /dev/urandom | tr -d ' ')}
echo "# seed $SEED (SEED=... repeats it)"

keep_logs() {
    local folder
    folder=$BUILD/test-logs/$(basename "$0")
    rm -rf "$folder"
    node_logs_keep "$folder"
}
trap keep_logs EXIT
trap 'exit 143' TERM INT HUP

# writer_start NODE NAME [REST_US]: witness writes in $MOUNT/NAME on the node; its promises: promises.NAME.
writer_start() {
    mkdir -p "$(node_path "$1")/$2"
    node_spawn "$1" "$RUN_DIR/$1/log/witness-$2" \
        "$TESTS/witness" write "$MOUNT/$2" "$RUN_DIR/promises.$2" "${3:-0}"
}

# writer_count NAME: how many records of its first file were promised so far.
writer_count() {
    local count
    count=$(od -A n -t u8 -N 8 "$RUN_DIR/promises.$1" 2> /dev/null | tr -d ' ')
    echo "${count:-0}"
}

writer_passed() {
    [ "$(writer_count "$1")" -ge "$2" ]
}

# writer_advances NAME [SECONDS]: until it has promised some more records than now.
writer_advances() {
    wait_until "${2:-60}" "promises of writer $1" writer_passed "$1" $(($(writer_count "$1") + 5))
}

# writer_stop NODE: the witnesses of that node end; what they promised can be verified.
writer_stop() {
    node_exec "$1" pkill -KILL -x witness || true
    wait_until 20 "witnesses of $1 to end" not node_exec "$1" pgrep -x witness
}

# writer_verify NODE NAME: looks at NAME's records through the node's mount.
writer_verify() {
    node_exec "$1" "$TESTS/witness" verify "$MOUNT/$2" "$RUN_DIR/promises.$2"
}

# The write log of a node's path (lun_path_watch): times of the first write after, the last write
# before a moment in milliseconds of CLOCK_BOOTTIME; empty when there is none.
lun_writes_after() {
    awk -v after="$2" '$1 == "write" && $2 > after { print $2; exit }' "$RUN_DIR/$1/lun-writes"
}
boottime_ms() {
    # The test hosts never sleep, so that uptime, BOOTTIME and MONOTONIC agree.
    clock_ms
}

# lunfs_logged NODE PATTERN: whether the node's daemons, of all its mounts, said so.
lunfs_logged() {
    grep -qE "$2" "$RUN_DIR/$1/log/lunfs"
}

# lunfs_remount NODE: a mount that has ended, or whose daemon is dead, is unmounted and mounted anew.
lunfs_remount() {
    writer_stop "$1"
    node_exec "$1" umount "$MOUNT"
    wait_until 20 "lunfsd of $1 to end" lunfs_is_gone "$1"
    lunfs_mount "$1"
}
