# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Running the test guest with QEMU, without KVM: source this file after wait.sh.
#
# A guest's serial output goes to a file; guest_init.c says what stands in it.

# guest_command FOLDER RECORDS SERIAL: prints the QEMU command line, one argument a line, for the
# guest whose vmlinuz, initramfs and disk.raw lie in FOLDER. The disk is opened with O_DIRECT and
# under QEMU's own image lock, which keeps a second QEMU out wherever it runs.
guest_command() {
    printf '%s\n' qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu max -m 256 -smp 1 \
        -display none -nodefaults -no-reboot -serial "file:$3" \
        -kernel "$1/vmlinuz" -initrd "$1/initramfs" \
        -append "console=ttyS0 quiet panic=-1 guest.records=$2" \
        -blockdev "driver=file,node-name=file0,filename=$1/disk.raw,locking=on,cache.direct=on" \
        -blockdev driver=raw,node-name=disk0,file=file0 \
        -device virtio-blk-pci,drive=disk0
}

# The last number that a guest printed with a word: guest_number SERIAL ACK|HIGHEST|DONE. 0: none.
guest_number() {
    local number
    number=$(tr -d '\r' < "$1" 2> /dev/null | sed -n "s/^.*GUEST $2 \([0-9][0-9]*\)\$/\1/p" | tail -n 1)
    echo "${number:-0}"
}

# guest_said SERIAL TEXT
guest_said() {
    grep -q "GUEST $2" "$1" 2> /dev/null
}

guest_acknowledged() {
    [ "$(guest_number "$1" ACK)" -ge "$2" ]
}
