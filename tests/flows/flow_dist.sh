#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# `make dist` gives the same bytes from two folders: from this one, and from
# what its archive unpacks to, with another umask, time zone and language. The
# package for Debian has the same version. The bill of materials is the same,
# too, and has the fields that CycloneDX 1.5 requires.
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

echo "1..6"
cd "$top_builddir" || exit 1
rm -f mneme-*.tar.xz mneme-*.cdx.json
make dist >&2 || not_ok 1 - "make dist"
first=$(ls "$PWD"/mneme-*.tar.xz)
echo "ok 1 - make dist"

mkdir "$MNEME_TEST_TMP/other" && cd "$MNEME_TEST_TMP/other" || exit 1
tar -xJf "$first" || exit 1
(
    umask 077
    TZ=Asia/Tokyo LC_ALL=C again "$(echo "$PWD"/mneme-*)"
) >&2 || not_ok 2 - "make dist from the unpacked archive"
first_source=$(echo "$PWD"/mneme-*[0-9])
second=$(ls "$PWD"/mneme-*.build/mneme-*.tar.xz)
cmp "$first" "$second" >&2 || not_ok 2 - "the archives differ"
echo "ok 2 - the same bytes from another folder"

version=${first##*/mneme-}
version=${version%.tar.xz}
head -n 1 "$MNEME_TEST_TMP/other/mneme-$version/debian/changelog" |
    grep -qF "mneme ($version" ||
    not_ok 3 - "debian/changelog has another version"
echo "ok 3 - debian/changelog has the version of the archive"

bom=$(ls "${first%.tar.xz}".cdx.json) &&
    cmp "$bom" "${second%.tar.xz}.cdx.json" >&2 &&
    cmp "$bom" "$(echo "$PWD"/mneme-*/mneme.cdx.json)" >&2 ||
    not_ok 4 - "the bills of materials differ"
echo "ok 4 - the same bill of materials, in the archive and beside it"

command -v jq >/dev/null || {
    echo "ok 5 - # SKIP no jq"
    echo "ok 6 - # SKIP no jq"
    exit 0
}
# The fields and words that bom-1.5.schema.json requires of what is used here,
# and references that lead somewhere.
jq -e '
    def text: type == "string" and length > 0;
    .bomFormat == "CycloneDX" and .specVersion == "1.5" and .version == 1 and
    (.metadata.timestamp | fromdate > 1500000000) and
    ([.metadata.component, .components[]] | all(
        (.type | IN("application", "library", "data")) and
        (.name | text) and (."bom-ref" | text) and
        (.licenses | length == 1 and
            all(.license | [.id, .name] | map(values) | length == 1 and
                all(text))) and
        (.scope // "required" | IN("required", "optional", "excluded")) and
        ((.purl // "pkg:deb/debian/x") | test("^pkg:deb/debian/[a-z]")) and
        (.properties // [] | all((.name | text) and (.value | text))))) and
    ([.metadata.component, .components[]] | map(."bom-ref") as $refs |
        ($refs | unique | length) == ($refs | length)) and
    ([.components[]."bom-ref"] as $refs | .dependencies |
        length == 1 and .[0].ref == "mneme" and
        (.[0].dependsOn - $refs | length) == 0)' "$bom" >/dev/null ||
    not_ok 5 - "a required field of CycloneDX 1.5"
echo "ok 5 - the required fields of CycloneDX 1.5"

# Another reading of the table: all that pkg-config is asked for.
wanted=$(grep -o '^[^#]*MNEME_NEED(.*' "$first_source/configure.ac" |
    sed 's/.*MNEME_NEED(\[[A-Z0-9]*\], \[\([^] ]*\).*/\1/' |
    grep -v AC_DEFUN | sort)
test "$(jq -r '.components[] | select(.type == "library") | .name' "$bom" |
    sort)" = "$wanted" || not_ok 6 - "a library is missing: $wanted"
echo "ok 6 - every library that configure asks for"
