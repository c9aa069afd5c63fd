# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The line protocol that tests speak to the runner: source this file.
#
#     ok NAME            not ok NAME            skip NAME # REASON
#
# on stdout, each alone on its line; all else that a test prints is its log.

# test_case NAME FUNCTION...: runs it in a subshell with `set -e`; prints its result line. Always
# returns 0; TEST_STATUS says how it went, for tests that cannot go on after a failure.
# A function that returns 77 skips: the last line it printed is the reason.
test_case() {
    local name=$1 log status=0 begin
    shift
    log=$(mktemp "${RUN_DIR:-/tmp}/case.XXXXXX")
    begin=$(clock_ms)
    # The subshell must not stand in a condition, or bash ignores its set -e.
    set +e
    (
        set -e
        "$@"
    ) > "$log" 2>&1
    status=$?
    set -e
    sed 's/^/# /' "$log"
    # shellcheck disable=SC2034 # for the caller
    TEST_STATUS=$status
    case $status in
    0) echo "ok $name" ;;
    77) echo "skip $name # $(tail -n 1 "$log")" ;;
    *) echo "not ok $name" ;;
    esac
    echo "# $name: $(($(clock_ms) - begin)) ms, status $status"
    rm -f "$log"
}

# fail MESSAGE: ends the running test case.
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect WHAT COMMAND...: the command must succeed.
expect() {
    local what=$1
    shift
    "$@" || fail "$what: '$*' returned $?"
}

# expect_status STATUS COMMAND...: the command must exit with exactly this status.
expect_status() {
    local wanted=$1 status=0
    shift
    "$@" || status=$?
    [ "$status" -eq "$wanted" ] || fail "'$*' exited $status, wanted $wanted"
}

# expect_equal WHAT GOT WANTED
expect_equal() {
    [ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}
