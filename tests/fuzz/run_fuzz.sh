#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# run_fuzz.sh SECONDS CORPUS PROGRAM... - fuzz each program for SECONDS.
#
# Starts from the inputs in CORPUS/NAME. An input that a program fails on is kept
# in CORPUS/NAME, and the run fails. Prints one line for each program.
seconds=$1 corpus=$2
shift 2
status=0
for program in "$@"; do
    name=${program##*/fuzz_}
    log=$program.log
    new=$(mktemp -d) || exit 1
    if "./$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$corpus/$name/found-" \
        "$new" "$corpus/$name" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "ok - fuzz_$name: $runs inputs in $seconds s"
    else
        echo "not ok - fuzz_$name: see $log"
        tail -n 20 "$log" | sed 's/^/# /'
        status=1
    fi
    rm -rf "$new"
done
exit $status
