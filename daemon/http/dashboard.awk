# SPDX-License-Identifier: Apache-2.0
# Prints a text file as a C array of its lines: awk -v name=NAME -f dashboard.awk FILE
BEGIN {
    print "/* Made from dashboard.html by dashboard.awk. */"
    print "#include \"daemon/http/dashboard.h\""
    print ""
    print "const char *const " name "[] = {"
}
{
    gsub(/\\/, "\\\\")
    gsub(/"/, "\\\"")
    print "    \"" $0 "\\n\","
}
END {
    print "    0};"
}
