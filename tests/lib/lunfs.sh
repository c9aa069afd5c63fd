# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lunfs on the nodes of cluster.sh: source this file after it.
#
# One LUN file, $LUN, and one mount point path, $MOUNT, which each node sees in its own mount
# namespace. The programs are those of $BUILD. Where a node's guard and worker are is found inside
# the node's process namespace, so that nothing outside can be hit by mistake.
# shellcheck disable=SC2016

LUN=${LUN:-$RUN_DIR/lun}
MOUNT=$RUN_DIR/mount
PATH=$BUILD:$PATH
export PATH
mkdir -p "$MOUNT"

# lunfs_is_built: whether there is anything to test.
lunfs_is_built() {
    [ -x "$BUILD/lunfsd" ] && [ -x "$BUILD/mkfs.lunfs" ] && [ -x "$BUILD/mount.lunfs" ]
}

# lun_make MIB [FILE]: a LUN file with all of its blocks allocated.
lun_make() {
    local file=${2:-$LUN}
    rm -f "$file"
    fallocate --length "$(($1 << 20))" "$file"
}

# lunfs_format [MKFS_OPTION...]
lunfs_format() {
    mkfs.lunfs -q -f "$@" "$LUN"
}

# lunfs_mount NODE [OPTIONS]: returns when the mount is live there; its log is NODE/log/lunfs.
lunfs_mount() {
    local node=$1
    shift
    node_exec "$node" mount.lunfs "$(lun_path "$node")" "$MOUNT" -o "log=stderr${1:+,$1}" \
        >> "$RUN_DIR/$node/log/lunfs" 2>&1 < /dev/null
}

# node_path NODE: the node's mount as seen from outside its mount namespace.
node_path() {
    echo "/proc/$(node_pid "$1")/root$MOUNT"
}

# lun_path_watch NODE: from now on the node reaches the LUN through a lun_proxy of its own; its log
# is $RUN_DIR/NODE/lun-writes. Before the node mounts.
lun_path_watch() {
    local folder=$RUN_DIR/$1/lun-path
    mkdir -p "$folder"
    nsenter --target "$(node_pid "$1")" --mount -- \
        "$BUILD/tests/lun_proxy" "$LUN" "$folder" "$RUN_DIR/$1/lun-writes"
}

# lun_path NODE: the LUN as the node sees it.
lun_path() {
    local watched=$RUN_DIR/$1/lun-path/lun
    if [ -e "/proc/$(node_pid "$1")/root$watched" ]; then echo "$watched"; else echo "$LUN"; fi
}

# lun_path_set NODE pass|fail|hang|"delay MS"
lun_path_set() {
    echo "$2" > "/proc/$(node_pid "$1")/root$RUN_DIR/$1/lun-path/control"
}

lunfs_umount() {
    node_exec "$1" umount "$MOUNT"
    wait_until 20 "lunfsd of $1 to end" lunfs_is_gone "$1"
}

# The node's lunfsd processes as "pid parent name" lines, pids of the node's own namespace.
_lunfs_processes() {
    node_exec "$1" ps -e -o pid=,ppid=,stat=,comm= |
        awk '$4 ~ /^lunfsd/ && $3 !~ /^Z/ { print $1, $2, $4 }'
}

lunfs_is_gone() {
    [ -z "$(_lunfs_processes "$1")" ]
}

# lunfs_guard NODE, lunfs_worker NODE, lunfs_helper NODE: the pid inside the node. The guard is the
# parent of all the others; they are its children of that name.
lunfs_guard() {
    _lunfs_processes "$1" |
        awk '{ parent[$1] = $2 } END { for (p in parent) if (!(parent[p] in parent)) print p }'
}
lunfs_worker() {
    _lunfs_processes "$1" | awk '$3 == "lunfsd-worker" { print $1 }'
}
lunfs_helper() {
    _lunfs_processes "$1" | awk '$3 == "lunfsd-helper" { print $1 }'
}

# lunfs_kill_worker NODE, lunfs_kill_daemon NODE (all of it: the guard first, which would otherwise
# see the worker die and tell the others so).
lunfs_kill_worker() {
    node_exec "$1" kill -KILL "$(lunfs_worker "$1")"
}
lunfs_kill_daemon() {
    local pids
    mapfile -t pids < <(lunfs_guard "$1"; _lunfs_processes "$1" | cut -d ' ' -f 1)
    node_exec "$1" sh -c 'kill -KILL "$@" 2> /dev/null || true' sh "${pids[@]}"
}

# lunfs_fsck: the volume, mounted nowhere, must be clean as it stands.
lunfs_fsck() {
    fsck.lunfs -n -f "$LUN"
}

# lunfs_nodes_json NODE
lunfs_nodes_json() {
    node_exec "$1" lunfs nodes "$MOUNT" --json
}

# lunfs_start_all: cluster "main" with these nodes, a fresh volume of LUN_MIB, mounted on all.
lunfs_start_all() {
    local node
    lun_make "${LUN_MIB:-2048}"
    lunfs_format -L test
    cluster_start main "$@"
    for node in "$@"; do
        lunfs_mount "$node"
    done
}

# lunfs_kept_to_its_list NODE: whether no daemon of the node asked the kernel for what it may not.
lunfs_kept_to_its_list() {
    ! grep ', which it may not: refused' "$RUN_DIR/$1/log/lunfs"
}

# lunfs_stop_all: unmounts every node that still has the volume, checks it, ends the cluster.
lunfs_stop_all() {
    local node
    for node in ${CLUSTER_NODES[main]}; do
        if node_is_up "$node" && ! lunfs_is_gone "$node"; then lunfs_umount "$node"; fi
        lunfs_kept_to_its_list "$node"
    done
    lunfs_fsck
    cluster_stop main
}
