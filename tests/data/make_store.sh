#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# make_store.sh NAME - makes tests/data/NAME.tar.gz, a data directory as the
# present program writes it. tests/test_golden opens every store_*.tar.gz, now
# and later: add one whenever the schema or the page format has changed, and
# never make an old one again.
#
#   store_1         schema 1, pages without checksums
#   store_1_pages   schema 1, pages with checksums
#   store_2         schema 2: quarantine kept whole, releases, forgets
#   store_3         schema 3: what the guard knew
#   store_4         schema 4: tags
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${top_builddir:-build}
dir=$(mktemp -d)
make -C "$build" tests/tools/write_store
"$build/tests/tools/write_store" "$dir/data"
rm -f "$dir"/data/*-shm "$dir/data/mnemed.pid"
tar -C "$dir" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime=2020-01-01 -cf - data | gzip -9n >"$here/$1.tar.gz"
rm -rf "$dir"
