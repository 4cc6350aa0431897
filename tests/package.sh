#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# package.sh FOLDER [--demo] - installs the packages of `./setup package` (in
# FOLDER: build/package) in a new Debian, learns, upgrades, and purges. --demo
# also runs `mneme demo` there, which takes minutes. Prints TAP.
#
# Needs root, mmdebstrap, and the network for the packages of Debian. The new
# system is in a temporary folder; nothing is installed on this machine.
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
folder=$(cd "$1" && pwd) || exit 2
demo=${2:-}
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/mneme-package.XXXXXX") || exit 1
root=$work/root
number=0
failed=0

clean_up() {
    umount "$root/proc" 2>/dev/null
    grep -q " $root/" /proc/mounts || rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# check NAME COMMAND...: one result.
check() {
    name=$1
    shift
    number=$((number + 1))
    if "$@" >"$work/output" 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        tail -n 30 "$work/output" | sed 's/^/# /'
        failed=1
    fi
}

# in_root COMMAND...: in the new system.
in_root() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive TMPDIR=/tmp \
        AUTOPKGTEST_TMP=/autopkgtest chroot "$root" "$@"
}

# shell TEXT: a line of shell in the new system.
shell() {
    in_root sh -euc "$1"
}

# digest: of all that the daemon has learned.
digest() {
    (cd "$root/var/lib/mneme" && find versions -type f | sort |
        xargs sha256sum | sha256sum)
}

install_all() {
    shell 'apt-get -qq install --no-install-recommends -y \
        /debs/libmneme0_*.deb /debs/mneme_*.deb /debs/mneme-dev_*.deb'
}

# The same files under a higher version, and another configuration, as the next
# release has it.
repack() {
    for deb in "$folder"/mneme_*.deb "$folder"/libmneme0_*.deb \
        "$folder"/mneme-dev_*.deb; do
        rm -rf "$work/unpacked"
        dpkg-deb -R "$deb" "$work/unpacked" || return
        sed -i 's/^Version: .*/&+next/; s/(= \([^)]*\))/(= \1+next)/' \
            "$work/unpacked/DEBIAN/control"
        [ ! -e "$work/unpacked/etc/mneme/mneme.yaml" ] ||
            echo '# a line of the next release' \
                >>"$work/unpacked/etc/mneme/mneme.yaml"
        dpkg-deb --root-owner-group -b "$work/unpacked" \
            "$root/next/$(basename "$deb")" || return
    done
}

purge() {
    shell 'apt-get -qq purge -y mneme mneme-dev libmneme0'
}

learn='seq -f "The ferry leaves the harbour at %g." 3000 >/tmp/lines
setpriv --reuid mneme --regid mneme --clear-groups \
    mnemed -c /etc/mneme/mneme.yaml --set source.type=file \
    --set source.path=/tmp/lines --set source.at_end=exit \
    --set model.preset=nano --set http.listen=127.0.0.1:0'

check "a new Debian" mmdebstrap --variant=apt \
    --include=adduser,debconf,ca-certificates bookworm "$root"
mount -t proc proc "$root/proc" || exit 1
mkdir "$root/debs" "$root/next" "$root/autopkgtest"
cp "$folder"/*.deb "$root/debs/"
cp "$top"/debian/tests/demo "$top"/debian/tests/library "$root/"

check "package lists" shell 'apt-get -qq update'
check "install" install_all
check "the daemon's user and its directory" shell '
    test "$(stat -c "%U:%G %a" /var/lib/mneme)" = "mneme:mneme 700"
    test "$(stat -c "%U:%G %a" /etc/mneme/mneme.yaml)" = "root:mneme 640"
    test "$(getent passwd mneme | cut -d: -f7)" = /usr/sbin/nologin'
check "the question of the purge is known" shell '
    debconf-show mneme | grep mneme/remove_data'
check "the runbook of the alerts" shell '
    sed -n "s|.*runbook_url: file://\(.*\)#.*|\1|p" \
        /usr/share/mneme/prometheus/mneme.rules.yml | sort -u | grep . |
        xargs ls'
check "the unit is not enabled" shell '
    test -e /lib/systemd/system/mnemed.service
    ! find /etc/systemd -name mnemed.service | grep -q .'
check "the configuration is good" shell 'mnemed -t -c /etc/mneme/mneme.yaml'
check "learn" shell "$learn"
check "autopkgtest library" shell 'apt-get -qq install -y \
    --no-install-recommends gcc libc6-dev pkg-config python3 && /library'
test "$demo" != --demo || check "autopkgtest demo" shell /demo

before=$(digest)
echo '# a line of the operator' >>"$root/etc/mneme/mneme.yaml"
check "a package of a higher version" repack
check "upgrade" shell 'dpkg --force-confold -i /next/*.deb'
check "the data is the same" test "$before" = "$(digest)"
check "the configuration is the operator's" shell '
    grep -q "a line of the operator" /etc/mneme/mneme.yaml
    ! grep -q "a line of the next release" /etc/mneme/mneme.yaml
    grep -q "a line of the next release" /etc/mneme/mneme.yaml.dpkg-dist
    test "$(stat -c "%U:%G %a" /etc/mneme/mneme.yaml)" = "root:mneme 640"'
check "the versions are whole" shell 'mneme verify --all --data-dir /var/lib/mneme'

check "purge" purge
check "the data and its user stay" test "$before" = "$(digest)" -a \
    -n "$(in_root getent passwd mneme)"
check "nothing else stays" shell '
    ! find / -xdev \( -path /proc -o -path /sys -o -path /debs -o -path /next \
        -o -path /var/lib/mneme -o -path /autopkgtest -o -path /tmp \
        -o -path /var/log \) -prune -o -name "*mneme*" -print | grep .'
check "install again" install_all
check "the versions are whole" shell 'mneme verify --all --data-dir /var/lib/mneme'
check "say yes to the question" shell \
    'echo "mneme mneme/remove_data boolean true" | debconf-set-selections'
check "purge again" purge
check "the data is gone" test ! -e "$root/var/lib/mneme"
echo "1..$number"
exit "$failed"
