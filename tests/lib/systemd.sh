# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A machine of its own that systemd boots: source this file inside contain, after cluster.sh.
#
# Process, mount, network, IPC, host-name and cgroup namespaces; /run, /dev and /etc/systemd are its
# own; of the units only those that systemd_boot is given, and what orders them: nothing of the
# host's is started, mounted, or set. Programs of `make install` lie over /usr/sbin.
#
# Scripts for the machine stand in single quotes on purpose; they get what they need as arguments.
# shellcheck disable=SC2016

SYSTEMD_TARGETS="sysinit basic shutdown umount final poweroff local-fs local-fs-pre remote-fs
    remote-fs-pre network network-online sockets timers paths slices multi-user swap"

# Where the kernel's one cgroup tree is, unified or beside the old ones.
_cgroup_root() {
    awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts
}

# systemd_is_possible: else says why not, for a skip.
systemd_is_possible() {
    [ -x /lib/systemd/systemd ] || { echo "no systemd is installed"; return 1; }
    [ -w "$(_cgroup_root)/cgroup.procs" ] || { echo "no cgroup2 tree that may be written to"; return 1; }
}

# systemd_boot INSTALLED UNIT...: INSTALLED is make install's DESTDIR. SYSTEMD_PID is its first process.
systemd_boot() {
    local installed=$1 cgroup folder=$RUN_DIR/systemd name
    shift
    mkdir -p "$folder/units" "$folder/etc"
    for name in $SYSTEMD_TARGETS; do cp "/lib/systemd/system/$name.target" "$folder/units/"; done
    cp /lib/systemd/system/systemd-poweroff.service "$@" "$folder/units/"
    cat > "$folder/units/lunfs-test.target" << 'END'
[Unit]
DefaultDependencies=no
Requires=multi-user.target
END
    cgroup=$(_cgroup_root)/${RUN_ID//[^A-Za-z0-9-]/}
    mkdir "$cgroup"
    echo "$cgroup" >> "$RUN_DIR/cgroups"
    (
        echo "$BASHPID" > "$cgroup/cgroup.procs"
        exec unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc --cgroup \
            --uts --ipc --net "$REPOSITORY/tests/lib/systemd-init" "$installed" "$folder"
    ) > "$folder/console" 2>&1 < /dev/null &
    SYSTEMD_UNSHARE_PID=$!
    wait_until 20 "systemd to start" _systemd_is_up
}

_systemd_is_up() {
    SYSTEMD_PID=$(pgrep --parent "$SYSTEMD_UNSHARE_PID" --exact systemd) &&
        systemd_exec systemctl is-active multi-user.target
}

# systemd_exec COMMAND...: in the machine.
systemd_exec() {
    timeout 90 nsenter --target "$SYSTEMD_PID" --mount --net --uts --ipc --pid --cgroup --wdns=/ -- "$@"
}

# systemd_is_down: the machine has powered off.
systemd_is_down() {
    ! kill -0 "$SYSTEMD_PID" 2> /dev/null
}
