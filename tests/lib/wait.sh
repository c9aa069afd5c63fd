# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Waiting for conditions, never for time: source this file.

# Milliseconds of a clock that nothing sets back.
clock_ms() {
    local up
    read -r up _ < /proc/uptime
    up=${up/./}0
    echo "$((10#$up))"
}

# wait_until SECONDS WHAT COMMAND...: runs the command every 50 ms until it succeeds.
# Returns 1, and says on stderr what did not come true, when SECONDS have passed.
wait_until() {
    local seconds=$1 what=$2 end
    shift 2
    end=$(($(clock_ms) + seconds * 1000))
    until "$@" > /dev/null 2>&1; do
        if [ "$(clock_ms)" -ge "$end" ]; then
            echo "waited ${seconds} s in vain: $what" >&2
            return 1
        fi
        sleep 0.05
    done
}

# not COMMAND...: succeeds when the command fails; for use with wait_until.
not() {
    ! "$@"
}

# hold_true SECONDS WHAT COMMAND...: the command must succeed all the time for SECONDS.
hold_true() {
    local seconds=$1 what=$2 end
    shift 2
    end=$(($(clock_ms) + seconds * 1000))
    while [ "$(clock_ms)" -lt "$end" ]; do
        if ! "$@" > /dev/null 2>&1; then
            echo "did not hold for ${seconds} s: $what" >&2
            return 1
        fi
        sleep 0.1
    done
}
