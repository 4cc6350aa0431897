#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# summary.sh - what a run of `make check` came to, counted by single tests.
#
#   summary.sh SUITE STATUS FOLDER COUNTS
#       reads the .trs and .log files that automake left below FOLDER, prints one
#       line for each program, the tests that failed or were skipped, the end
#       of the log of each program that failed, and appends the line "SUITE
#       passed failed skipped" to the file COUNTS. STATUS is make's exit
#       status.
#   summary.sh --total COUNTS
#       prints "N passed, N failed, N skipped" over all suites in COUNTS.
#       Exits 1 unless something passed and nothing failed.
#
# A program that crashed, ran fewer tests than its plan, or printed none is a
# failure; its exit status is not one more where it has a failure already. A
# make that failed though no test did is a failure: something was not built.
set -u

total() {
    awk '{ passed += $2; failed += $3; skipped += $4 }
        END {
            printf "%d passed, %d failed, %d skipped\n",
                passed, failed, skipped
            exit failed > 0 || passed == 0
        }' "$1"
}

# Print "passed failed skipped" for one program's .trs and .log.
count_program() {
    awk '
        /^:test-result: PASS/ { passed++ }
        /^:test-result: (FAIL|XPASS|ERROR)/ { failed++ }
        /^:test-result: (SKIP|XFAIL)/ { skipped++ }
        /^ERROR: .* - exited with status [0-9]+/ { status = 1 }
        END {
            if (status && failed > 1)
                failed--
            if (passed + failed + skipped == 0)
                failed = 1
            print passed + 0, failed + 0, skipped + 0
        }' "$1.trs" "$1.log"
}

# show_program FOLDER/NAME PASSED FAILED SKIPPED
show_program() {
    echo "  $(basename "$1"): $2 passed, $3 failed, $4 skipped"
    grep -E '^(FAIL|XPASS|ERROR|SKIP|XFAIL): ' "$1.log" | sed 's/^/    /'
    test "$3" -eq 0 || {
        echo "    the end of $1.log:"
        tail -n 30 "$1.log" | sed 's/^/    | /'
    }
}

if test $# -eq 2 && test "$1" = --total; then
    total "$2"
    exit
fi
test $# -eq 4 || {
    echo "usage: summary.sh SUITE STATUS FOLDER COUNTS | --total COUNTS" >&2
    exit 2
}
suite=$1 status=$2 folder=$3 counts=$4

passed=0 failed=0 skipped=0
for trs in $(find "$folder" -name '*.trs' | sort); do
    # shellcheck disable=SC2046
    set -- $(count_program "${trs%.trs}")
    show_program "${trs%.trs}" "$@"
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
done
if test "$status" -ne 0 && test "$failed" -eq 0; then
    echo "  $suite: make failed, and no test says why"
    failed=1
fi
echo "$suite $passed $failed $skipped" >>"$counts"
