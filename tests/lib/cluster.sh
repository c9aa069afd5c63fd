# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Nodes on one kernel: source this file inside `contain`.
#
# A node is a process namespace (node_init is its first process), with its own network, mount, IPC
# and host-name namespace, its own /run, /dev/shm, /etc/corosync, /var/lib/corosync, and its own
# corosync. Killing the first process kills all the node's processes at once, as a power cut does,
# and takes its mounts and its network interface with it. Nodes of a cluster hang on a bridge in a
# namespace of its own, the switch; each node's cable is a veth pair, pulled at the switch's end.
#
#     host (container of the run)
#     ├── switch CLUSTER      bridge br0 (and br1: the other side of a partition)
#     │     ├─ port-n1 ═══ eth0 of n1   10.77.K.1    corosync, lunfsd, ...
#     │     ├─ port-n2 ═══ eth0 of n2   10.77.K.2
#     └── ...
#
# Several clusters may live side by side or one after another; node names are unique in the run.
# All paths given to a node are absolute: a node's working directory is /.
#
# What changes in a test's course (a node's first process) lies in files, so that test cases may run
# in subshells; what is fixed by cluster_define lies in variables.
#
# Scripts for a node's shell stand in single quotes on purpose; they get what they need as arguments.
# shellcheck disable=SC2016

declare -A NODE_CLUSTER=()  # name -> cluster
declare -A NODE_ADDRESS=()  # name -> IPv4 address
declare -A NODE_ID=()       # name -> corosync's nodeid
declare -A SWITCH_PID=()    # cluster -> first process of the switch
declare -A CLUSTER_NODES=() # cluster -> names, in the order of their ids

COROSYNC_TOKEN_MS=${COROSYNC_TOKEN_MS:-1000}
COROSYNC_WAIT_FOR_ALL=${COROSYNC_WAIT_FOR_ALL:-1} # of clusters of two

# Runs `sleep infinity` as first process of new namespaces; prints nothing; sets SPAWNED_PID to the
# first process as seen from here. Arguments: unshare's.
_namespace_spawn() {
    local unshare_pid
    unshare "$@" --kill-child=KILL --fork -- \
        bash -c 'trap : CHLD TERM INT; while :; do sleep infinity & wait; done' > /dev/null 2>&1 &
    unshare_pid=$!
    disown "$unshare_pid"
    wait_until 5 "namespaces of a node" _child_of "$unshare_pid"
    SPAWNED_PID=$(_child_of "$unshare_pid")
}

# The shell that an unshare process has forked: prints its pid, fails before the fork and exec.
_child_of() {
    pgrep --parent "$1" --exact bash
}

_switch_exec() {
    nsenter --target "${SWITCH_PID[$1]}" --net -- "${@:2}"
}

_switch_start() {
    local cluster=$1
    _namespace_spawn --net --pid
    SWITCH_PID[$cluster]=$SPAWNED_PID
    _switch_exec "$cluster" sh -c '
        for bridge in br0 br1; do
            ip link add "$bridge" type bridge forward_delay 0 && ip link set "$bridge" up || exit 1
        done'
}

# node_pid NODE: its first process, as seen from here; fails when the node is down.
node_pid() {
    local pid
    read -r pid < "$RUN_DIR/$1/pid" && echo "$pid"
}

# node_exec NODE COMMAND...: runs a command in the node, waits, passes its status on.
node_exec() {
    nsenter --target "$(node_pid "$1")" --mount --net --uts --ipc --pid --wdns=/ -- "${@:2}"
}

# node_spawn NODE LOG COMMAND...: starts a command in the node; SPAWNED_PID is what to wait for.
# It ends by itself, by a signal sent inside the node, or with the node.
node_spawn() {
    local node=$1 log=$2
    shift 2
    node_exec "$node" "$@" > "$log" 2>&1 < /dev/null &
    SPAWNED_PID=$!
}

node_is_up() {
    local pid
    pid=$(node_pid "$1" 2> /dev/null) && kill -0 "$pid" 2> /dev/null
}

# node_boot NODE: namespaces, private folders, cable; no corosync yet.
node_boot() {
    local node=$1 cluster=${NODE_CLUSTER[$1]}
    _namespace_spawn --mount --propagation private --net --uts --ipc --pid --mount-proc
    mkdir -p "$RUN_DIR/$node/log"
    echo "$SPAWNED_PID" > "$RUN_DIR/$node/pid"
    node_exec "$node" sh -c '
        hostname "$1"
        for folder in /run /dev/shm /etc/corosync /var/lib/corosync; do
            mkdir -p "$folder" && mount -t tmpfs -o mode=0755 lunfs-test "$folder" || exit 1
        done
        mkdir -p /run/lock && ip link set lo up' sh "$node"
    _cable_plug "$node"
    _corosync_configure "$cluster" | node_exec "$node" sh -c 'cat > /etc/corosync/corosync.conf'
    node_exec "$node" sh -c 'umask 077; cat > /etc/corosync/authkey' < "$RUN_DIR/$cluster.authkey"
}

_cable_plug() {
    local node=$1 cluster=${NODE_CLUSTER[$1]}
    # A dead node's interface lingers until the kernel has torn its namespace down.
    wait_until 5 "port of $node to be free" _port_add "$cluster" "$node"
    _switch_exec "$cluster" sh -c '
        ip link set "port-$1" master br0 && ip link set "port-$1" up &&
            ip link set "cable-$1" name eth0 netns "$2"' sh "$node" "$(node_pid "$node")"
    node_exec "$node" sh -c '
        ip address add "$1/24" dev eth0 && ip link set eth0 up' sh "${NODE_ADDRESS[$node]}"
}

_port_add() {
    _switch_exec "$1" ip link add "port-$2" type veth peer name "cable-$2"
}

_corosync_configure() {
    local cluster=$1 node count=0
    cat << END
totem {
    version: 2
    cluster_name: $cluster
    transport: knet
    crypto_cipher: aes256
    crypto_hash: sha256
    token: $COROSYNC_TOKEN_MS
}
nodelist {
END
    for node in ${CLUSTER_NODES[$cluster]}; do
        count=$((count + 1))
        cat << END
    node {
        ring0_addr: ${NODE_ADDRESS[$node]}
        name: $node
        nodeid: ${NODE_ID[$node]}
    }
END
    done
    cat << END
}
quorum {
    provider: corosync_votequorum
END
    [ "$count" -ne 2 ] || printf '    two_node: 1\n    wait_for_all: %s\n' "$COROSYNC_WAIT_FOR_ALL"
    cat << END
}
logging {
    to_stderr: yes
    to_syslog: no
    timestamp: hires
}
END
}

# corosync_start NODE
corosync_start() {
    node_spawn "$1" "$RUN_DIR/$1/log/corosync" corosync -f
    disown "$SPAWNED_PID"
}

# The members that a node's corosync sees, when it is quorate: "1 2 3"; fails when it is not.
corosync_members() {
    local status
    status=$(node_exec "$1" corosync-quorumtool -s 2> /dev/null) || true
    grep -q '^Quorate: *Yes' <<< "$status" || return 1
    sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p' <<< "$status" | sort -n | paste -s -d ' '
}

corosync_sees() {
    [ "$(corosync_members "$1")" = "$2" ]
}

corosync_is_inquorate() {
    local status
    status=$(node_exec "$1" corosync-quorumtool -s 2> /dev/null) || true
    grep -q '^Quorate: *No' <<< "$status"
}

# corosync_wait NODE "1 2 3": until the node is quorate with exactly these members.
corosync_wait() {
    wait_until "${3:-30}" "corosync of $1 to be quorate with members $2" corosync_sees "$1" "$2"
}

_cluster_ids() {
    local node ids=()
    for node in ${CLUSTER_NODES[$1]}; do
        ids+=("${NODE_ID[$node]}")
    done
    echo "${ids[*]}"
}

# cluster_define CLUSTER NODE...: names, addresses and a fresh authkey; starts the switch only.
cluster_define() {
    local cluster=$1 node id=0 subnet=$((1 + ${#SWITCH_PID[@]}))
    shift
    CLUSTER_NODES[$cluster]=$*
    for node in "$@"; do
        id=$((id + 1))
        NODE_CLUSTER[$node]=$cluster
        NODE_ID[$node]=$id
        NODE_ADDRESS[$node]=10.77.$subnet.$id
    done
    head -c 256 /dev/urandom > "$RUN_DIR/$cluster.authkey"
    _switch_start "$cluster"
}

# cluster_start CLUSTER NODE...: all of the above, until every node sees every other one, quorate.
cluster_start() {
    local cluster=$1 node
    cluster_define "$@"
    for node in ${CLUSTER_NODES[$cluster]}; do
        node_boot "$node"
        corosync_start "$node"
    done
    for node in ${CLUSTER_NODES[$cluster]}; do
        corosync_wait "$node" "$(_cluster_ids "$cluster")"
    done
}

# node_start NODE: a node that was killed comes back, with corosync, until it is quorate.
node_start() {
    node_boot "$1"
    corosync_start "$1"
    wait_until 30 "corosync of $1 to be quorate" corosync_members "$1"
}

# node_kill NODE: the power cut. Returns when none of its processes is left.
node_kill() {
    local pid
    pid=$(node_pid "$1")
    kill -KILL "$pid" 2> /dev/null || return 0
    wait_until 20 "the processes of $1 to end" not kill -0 "$pid"
    rm -f "$RUN_DIR/$1/pid"
}

# cluster_stop CLUSTER: nothing when it is stopped already; power cut for all of its nodes, and no switch.
cluster_stop() {
    local node
    for node in ${CLUSTER_NODES[$1]}; do
        if node_is_up "$node"; then node_kill "$node"; fi
    done
    kill -KILL "${SWITCH_PID[$1]}" 2> /dev/null || true
}

# link_cut NODE / link_heal NODE: pulls the node's cable / plugs it in again.
link_cut() {
    _switch_exec "${NODE_CLUSTER[$1]}" ip link set "port-$1" down
}
link_heal() {
    _switch_exec "${NODE_CLUSTER[$1]}" ip link set "port-$1" up
}

# partition_make CLUSTER NODE...: these nodes on one side, the rest on the other.
partition_make() {
    local cluster=$1 node
    shift
    for node in "$@"; do
        _switch_exec "$cluster" ip link set "port-$node" master br1
    done
}

# partition_heal CLUSTER
partition_heal() {
    local node
    for node in ${CLUSTER_NODES[$1]}; do
        _switch_exec "$1" ip link set "port-$node" master br0
    done
}

# switch_off CLUSTER / switch_on CLUSTER: all links of all nodes at once.
switch_off() {
    _switch_exec "$1" ip link set br0 down
}
switch_on() {
    _switch_exec "$1" ip link set br0 up
}

# mesh_cut A B / mesh_heal A B: TCP alone is lost between two nodes, both ways; corosync's UDP passes.
mesh_cut() {
    node_exec "$1" ip rule add to "${NODE_ADDRESS[$2]}" ipproto tcp blackhole
    node_exec "$2" ip rule add to "${NODE_ADDRESS[$1]}" ipproto tcp blackhole
}
mesh_heal() {
    node_exec "$1" ip rule del to "${NODE_ADDRESS[$2]}" ipproto tcp blackhole
    node_exec "$2" ip rule del to "${NODE_ADDRESS[$1]}" ipproto tcp blackhole
}

# node_logs_keep FOLDER: copies the logs of all nodes there, for reading after the run.
node_logs_keep() {
    local node
    for node in "${!NODE_CLUSTER[@]}"; do
        if [ -d "$RUN_DIR/$node/log" ]; then
            mkdir -p "$1/$node" && cp -r "$RUN_DIR/$node/log/." "$1/$node/"
        fi
    done
}
