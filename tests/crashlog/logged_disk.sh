# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A LUN of which every write and flush is logged: source this file after tests/lib/lunfs.sh.
#
#     lunfsd ──► $LUN ──► lun_proxy -1 ──► qemu-storage-daemon: FUSE export ──► blklogwrites ─┬─► disk
#                         one at a time                                                       └─► $LOG
#
# QEMU 7.2's FUSE export reads the next request into the buffer of the one under way (seen: a few of
# 3,000 blocks wrong under fio with 16 at a time), so there is never more than one at a time. All
# nodes of a test share the one $LUN; its byte-range locks are the kernel's.

LOGGED=$RUN_DIR/logged
LOG=$LOGGED/log

# logged_disk_start MIB: an empty disk; $LUN is what to mount.
logged_disk_start() {
    mkdir -p "$LOGGED/path"
    truncate --size "$1M" "$LOGGED/disk"
    touch "$LOG" "$LOGGED/export"
    qemu-storage-daemon --daemonize --pidfile "$LOGGED/pid" \
        --blockdev "driver=file,node-name=disk,filename=$LOGGED/disk,discard=unmap,cache.no-flush=on" \
        --blockdev "driver=file,node-name=log,filename=$LOG,cache.no-flush=on" \
        --blockdev driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512,discard=unmap \
        --export "type=fuse,id=export,node-name=logged,mountpoint=$LOGGED/export,writable=on"
    "$BUILD/tests/lun_proxy" -1 "$LOGGED/export" "$LOGGED/path" /dev/null
    LUN=$LOGGED/path/lun
}

# logged_disk_stop: nobody uses the disk any more, the log is whole and closed.
logged_disk_stop() {
    local pid
    pid=$(cat "$LOGGED/pid")
    wait_until 20 "the last lunfsd to end" umount "$LOGGED/path"
    kill -TERM "$pid"
    wait_until 20 "the logging daemon to end" not kill -0 "$pid"
}

# How long the log is now.
log_position() {
    stat --format %s "$LOG"
}
