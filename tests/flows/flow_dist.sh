#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# `make dist` gives the same bytes from two folders: from this one, and from
# what its archive unpacks to, with another umask, time zone and language. The
# package for Debian has the same version.
set -u

# The make that runs this test has settings of its own.
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS TEST_SUITE_LOG SOURCE_DATE_EPOCH

not_ok() {
    echo "not ok $*"
    exit 1
}

# again FOLDER: the archive of the sources in FOLDER, made beside it.
again() {
    mkdir "$1.build" && cd "$1.build" || return
    "$1/configure" && make dist
}

echo "1..3"
cd "$top_builddir" || exit 1
rm -f mneme-*.tar.xz
make dist >&2 || not_ok 1 - "make dist"
first=$(ls "$PWD"/mneme-*.tar.xz)
echo "ok 1 - make dist"

mkdir "$MNEME_TEST_TMP/other" && cd "$MNEME_TEST_TMP/other" || exit 1
tar -xJf "$first" || exit 1
(
    umask 077
    TZ=Asia/Tokyo LC_ALL=C again "$(echo "$PWD"/mneme-*)"
) >&2 || not_ok 2 - "make dist from the unpacked archive"
second=$(ls "$PWD"/mneme-*.build/mneme-*.tar.xz)
cmp "$first" "$second" >&2 || not_ok 2 - "the archives differ"
echo "ok 2 - the same bytes from another folder"

version=${first##*/mneme-}
version=${version%.tar.xz}
head -n 1 "$MNEME_TEST_TMP/other/mneme-$version/debian/changelog" |
    grep -qF "mneme ($version" ||
    not_ok 3 - "debian/changelog has another version"
echo "ok 3 - debian/changelog has the version of the archive"
