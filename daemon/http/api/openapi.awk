# SPDX-License-Identifier: Apache-2.0
# Prints a text file as a C array of its lines: awk -v name=NAME -f openapi.awk FILE
BEGIN {
    print "/* Made from openapi.json by openapi.awk. */"
    print "#include \"config.h\""
    print ""
    print "extern const char *const " name "[];"
    print "const char *const " name "[] = {"
}
{
    gsub(/\\/, "&&")
    gsub(/"/, "\\\"")
    print "    \"" $0 "\\n\","
}
END {
    print "    0};"
}
