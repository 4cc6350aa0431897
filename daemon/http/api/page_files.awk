# SPDX-License-Identifier: Apache-2.0
# Prints text files as C arrays of their lines, and a table of the files:
# awk -f page_files.awk FILE...
BEGIN {
    print "/* Made from the files of the folder page by page_files.awk. */"
    print "#include \"daemon/http/api/page_files.h\""
    print ""
    print "#include <stddef.h>"
}
FNR == 1 {
    if (n++)
        print "    NULL};"
    name[n] = FILENAME
    sub(/.*\//, "", name[n])
    print ""
    print "static const char *const lines_" n "[] = {"
}
{
    gsub(/\\/, "&&")
    gsub(/"/, "\\\"")
    gsub(/\?/, "\\?") # ?? begins a trigraph
    print "    \"" $0 "\\n\","
}
END {
    print "    NULL};"
    print ""
    print "const struct page_file page_files[] = {"
    for (i = 1; i <= n; i++)
        print "    {\"" name[i] "\", lines_" i "},"
    print "    {NULL, NULL}};"
}
