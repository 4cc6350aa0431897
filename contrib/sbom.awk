# SPDX-License-Identifier: Apache-2.0
#
# sbom.awk - the bill of materials of a release, CycloneDX 1.5 as JSON.
#
#     awk -v version=V -v time=2026-01-02T03:04:05Z -f sbom.awk \
#         configure.ac learner/tokenizer/builtin_merges.py \
#         learner/tokenizer/unicode_classes.c
#
# Libraries come from the table MNEME_NEED of configure.ac. A release is source
# code, so it says which version is the least, and not which one is installed.
# The packages of whose text the built-in vocabulary was made have the scope
# "excluded": their text is not part of mneme. The page has no code of others.

BEGIN {
    # A library without a licence here is an error: look it up and add it.
    split("rdkafka BSD-2-Clause sqlite3 blessing yaml-0.1 MIT " \
          "libmicrohttpd LGPL-2.1-or-later jansson MIT libcrypto Apache-2.0 " \
          "libssl Apache-2.0 libxxhash BSD-2-Clause libzstd BSD-3-Clause " \
          "zlib Zlib libcurl curl openblas BSD-3-Clause", words, " ")
    for (i = 1; i in words; i += 2)
        licence[words[i]] = words[i + 1]
}

function fail(why) {
    print "sbom.awk: " why > "/dev/stderr"
    failed = 1
    exit 1
}

function quote(s) {
    gsub(/\\/, "\\\\", s)
    gsub(/"/, "\\\"", s)
    return "\"" s "\""
}

function property(name, value) {
    return "{\"name\": " quote("mneme:" name) ", \"value\": " quote(value) "}"
}

# kind is id for a name of SPDX's list, else name.
function component(ref, type, name, scope, kind, of, rest) {
    components[++n] = "{\"type\": " quote(type) ", \"bom-ref\": " quote(ref) \
        ", \"name\": " quote(name) ", \"scope\": " quote(scope) \
        ", \"licenses\": [{\"license\": {" quote(kind) ": " quote(of) "}}], " \
        rest "}"
    if (scope != "excluded")
        refs[++n_refs] = ref
}

FILENAME ~ /configure\.ac$/ && /MNEME_NEED\(\[[A-Z0-9]*\], / {
    sub(/^.*MNEME_NEED/, "") # leaves ([NAME], [MODULE >= VERSION], [PACKAGE])
    split($0, part, /[][]/)
    module = part[4]
    least = ""
    if (split(module, word, / >= /) == 2) {
        module = word[1]
        least = property("least_version", word[2]) ", "
    }
    if (!(module in licence))
        fail("configure.ac: no licence is known for " module)
    n_libraries++
    component("library:" module, "library", module,
              module == "openblas" ? "optional" : "required", "id",
              licence[module], "\"purl\": " \
              quote("pkg:deb/debian/" part[6]) ", \"properties\": [" least \
              property("debian_package", part[6]) "]")
}

FILENAME ~ /builtin_merges\.py$/ && /^PACKAGES = / { in_packages = 1; next }
FILENAME ~ /builtin_merges\.py$/ && /^'/ { in_packages = 0 }
in_packages {
    of = $3
    for (i = 4; i <= NF; i++)
        of = of " " $i
    purl = $2
    gsub(/:/, "%3A", purl)
    gsub(/\+/, "%2B", purl)
    n_packages++
    component("text:" $1, "data", $1, "excluded", "name", of,
              "\"version\": " quote($2) ", \"purl\": " \
              quote("pkg:deb/debian/" $1 "@" purl) ", \"description\": " \
              "\"text from which the built-in vocabulary was counted\"")
}

FILENAME ~ /unicode_classes\.c$/ && /from Unicode [0-9]/ {
    match($0, /Unicode [0-9.]*[0-9]/)
    n_unicode++
    component("data:unicode", "data", "Unicode Character Database", "required",
              "id", "Unicode-DFS-2016", "\"version\": " \
              quote(substr($0, RSTART + 8, RLENGTH - 8)) ", \"description\": " \
              "\"classes of characters in learner/tokenizer\"")
}

END {
    if (failed)
        exit 1
    if (!n_libraries || !n_packages || n_unicode != 1 || !version || !time)
        fail("a table is missing: it may have another form now")
    print "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\","
    print "  \"version\": 1,\n  \"metadata\": {"
    print "    \"timestamp\": " quote(time) ","
    print "    \"component\": {\"type\": \"application\", \"bom-ref\": " \
          "\"mneme\", \"name\": \"mneme\", \"version\": " quote(version) ", " \
          "\"licenses\": [{\"license\": {\"id\": \"Apache-2.0\"}}]}"
    print "  },\n  \"components\": ["
    for (i = 1; i <= n; i++)
        print "    " components[i] (i < n ? "," : "")
    print "  ],\n  \"dependencies\": [\n    {\"ref\": \"mneme\", \"dependsOn\": ["
    for (i = 1; i <= n_refs; i++)
        print "      " quote(refs[i]) (i < n_refs ? "," : "")
    print "    ]}\n  ]\n}"
}
