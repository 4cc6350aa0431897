#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# summary.sh - what a run of `make check` came to, counted by single tests.
#
#   summary.sh SUITE STATUS FOLDER COUNTS
#       reads the .trs files that automake left in FOLDER, prints one line for
#       each program and one for each test that failed or was skipped, and
#       appends "SUITE passed failed skipped" to the file COUNTS. STATUS is
#       the exit status of make.
#   summary.sh --total COUNTS
#       prints "N passed, N failed, N skipped" over all suites in COUNTS.
#       Exits 1 unless something passed and nothing failed.
#
# A program that crashed, ran fewer tests than its plan, or printed none is a
# failure. So is a make that failed though no test did: something was not
# built. A program that ends with an error only because a test of its own
# failed, which is counted already, is not counted twice.
set -u

total() {
    awk '{ passed += $2; failed += $3; skipped += $4 }
        END {
            printf "%d passed, %d failed, %d skipped\n",
                passed, failed, skipped
            exit failed > 0 || passed == 0
        }' "$1"
}

# From one .trs file: a line for the console each, and "= P F S" at the end.
read_trs() {
    awk -v program="$(basename "$1" .trs)" '
        /^:test-result: PASS/ { passed++ }
        /^:test-result: (FAIL|XPASS)/ { failed++; show("FAIL") }
        /^:test-result: (SKIP|XFAIL)/ { skipped++; show("SKIP") }
        /^:test-result: ERROR/ {
            if (!(failed && /exited with status/)) {
                failed++
                show("FAIL")
            }
        }
        function show(what, text) {
            text = $0
            sub(/^:test-result: [A-Z]+ */, "", text)
            print "  " what ": " program ": " text
        }
        END {
            if (passed + failed + skipped == 0) {
                failed = 1
                print "  FAIL: " program ": no test was run"
            }
            printf "  %s: %d passed, %d failed, %d skipped\n",
                program, passed, failed, skipped
            print "=", passed + 0, failed + 0, skipped + 0
        }' "$1"
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

for trs in "$folder"/*.trs; do
    test ! -e "$trs" || read_trs "$trs"
done | awk -v suite="$suite" -v status="$status" -v counts="$counts" '
    $1 != "=" { print; next }
    { passed += $2; failed += $3; skipped += $4 }
    END {
        if (status != 0 && !failed) {
            failed = 1
            print "  FAIL: " suite ": make failed, and no test says why"
        }
        print suite, passed + 0, failed + 0, skipped + 0 >>counts
    }'
