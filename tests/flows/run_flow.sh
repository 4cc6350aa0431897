#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# run_flow.sh TEST - run one flow test: a story told with the whole daemon.
#
# The test is an executable that prints TAP on stdout. It finds
#
#   MNEMED, MNEME     the two programs that were built
#   MNEME_KAFKA       tests/kafka/kafka.sh, which starts a real Kafka
#   MNEME_TEST_TMP    an empty folder of its own, removed when the test passed
#
# and may leave processes behind: they are in its process group and end with
# it. What it writes to stderr follows its TAP as comments, so that no line of
# TAP is torn. MNEME_FLOW_SECONDS (1800) bounds it.
set -u

top_builddir=$(cd "${top_builddir:-.}" && pwd)
top_srcdir=$(cd "${top_srcdir:-.}" && pwd)
seconds=${MNEME_FLOW_SECONDS:-1800}
MNEMED=$top_builddir/daemon/mnemed
MNEME=$top_builddir/cli/mneme
MNEME_KAFKA=$top_srcdir/tests/kafka/kafka.sh
# not below the build folder: the path of a unix socket is short
MNEME_TEST_TMP=$(mktemp -d "${TMPDIR:-/tmp}/mneme-flow.XXXXXX") || exit 1
export MNEMED MNEME MNEME_KAFKA MNEME_TEST_TMP
stderr=$MNEME_TEST_TMP.stderr

# timeout(1) makes itself the leader of a process group: the test and what it
# started, and what is left of them once it has ended.
timeout -k 10 "$seconds" "$@" 2>"$stderr" </dev/null &
group=$!
trap 'kill -TERM -- "-$group" 2>/dev/null' HUP INT TERM
wait "$group"
status=$?
kill -KILL -- "-$group" 2>/dev/null

sed 's/^/# /' "$stderr"
test "$status" -ne 124 || echo "Bail out! still running after $seconds s"
if test "$status" -eq 0; then
    rm -rf "$MNEME_TEST_TMP"
else
    echo "# its files are in $MNEME_TEST_TMP"
fi
rm -f "$stderr"
exit "$status"
