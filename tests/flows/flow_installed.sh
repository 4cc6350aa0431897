#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What `make install` installs: every file is there, the programs start, and
# they have the hardening that configure found (SECURITY.md). What it did not
# find is skipped, but in CI it is a failure.
set -u

# The make that runs this test has settings of its own.
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS TEST_SUITE_LOG

root=$MNEME_TEST_TMP/root
offered=" $(sed -n 's/^HARDENING = //p' "$top_builddir/Makefile") "
number=0
failed=0

result() {
    number=$((number + 1))
    if test "$1" -eq 0; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        failed=1
    fi
}

# has NAME PROGRAM: succeeds when the program shows the hardening.
has() {
    case $1 in
    pie)
        readelf -hW "$2" | grep -q 'Type:.*DYN' &&
            readelf -dW "$2" | grep -q 'FLAGS_1.*PIE'
        ;;
    relro)
        readelf -lW "$2" | grep -q GNU_RELRO &&
            readelf -dW "$2" | grep -q 'FLAGS_1.*NOW'
        ;;
    noexecstack)
        readelf -lW "$2" | grep 'GNU_STACK' | grep -q ' RW '
        ;;
    stack-protector)
        readelf -W --dyn-syms "$2" | grep -q '__stack_chk_fail'
        ;;
    fortify)
        readelf -W --dyn-syms "$2" | grep -v '__stack_chk_fail' |
            grep -q '_chk\(@\|$\)'
        ;;
    stack-clash)
        # A frame of more than a page is touched page by page.
        test "$(uname -m)" != x86_64 ||
            objdump -d "$2" | grep -q 'or[a-z]* *\$0x0,(%rsp)'
        ;;
    cet)
        objdump -d "$2" | grep -A 1 '<main>:$' | grep -q endbr64 || return
        # The linker marks a program only where libc's part is marked.
        ! readelf -nW "$(cc -print-file-name=crt1.o)" | grep -q 'IBT.*SHSTK' ||
            readelf -nW "$2" | grep -q 'IBT.*SHSTK'
        ;;
    esac
}

hardening="pie relro noexecstack stack-protector stack-clash cet fortify"
set -- $hardening
echo "1..$((2 + 2 * (1 + $#)))"

make -C "$top_builddir" install DESTDIR="$root" >&2
result $? "make install"

missing=0
for name in bin/mneme sbin/mnemed share/mneme/mneme.yaml \
    share/man/man1/mneme.1 share/man/man5/mneme.yaml.5 \
    share/man/man8/mnemed.8 share/man/man3/libmneme.3 \
    include/mneme.h lib/libmneme.so.0 lib/pkgconfig/mneme.pc \
    share/mneme/python/mneme.py share/doc/mneme/examples/score_file.c \
    share/bash-completion/completions/mneme \
    share/zsh/site-functions/_mneme \
    share/fish/vendor_completions.d/mneme.fish \
    share/mneme/prometheus/mneme.rules.yml share/mneme/grafana/mneme.json \
    share/doc/mneme/RUNBOOK.md; do
    find "$root" -type f -path "*/$name" | grep -q . || {
        echo "$name is not installed" >&2
        missing=1
    }
done
rules=$(find "$root" -name mneme.rules.yml)
runbook=$root$(sed -n 's|.*runbook_url: file://\(.*\)#mnemedown$|\1|p' "$rules")
test -f "$runbook" || {
    echo "the alerts name $runbook, which is not installed" >&2
    missing=1
}
unit_dir=$(sed -n 's/^systemdsystemunitdir = //p' "$top_builddir/Makefile")
test "$unit_dir" = no ||
    find "$root" -type f -path "*/systemd/system/mnemed.service" | grep -q . || {
    echo "mnemed.service is not installed" >&2
    missing=1
}
result $missing "programs, library, manual pages, configuration, completion and unit"

for name in mneme mnemed; do
    program=$(find "$root" -type f -path "*bin/$name")
    "$program" --version >&2
    result $? "$name starts"
    for what in $hardening; do
        case $offered in
        *" $what "*)
            has "$what" "$program" 2>/dev/null
            result $? "$name: $what"
            ;;
        *)
            if test -n "${CI:-}"; then
                result 1 "$name: $what: configure did not find it"
            else
                result 0 "$name: $what # SKIP configure did not find it"
            fi
            ;;
        esac
    done
done
exit $failed
