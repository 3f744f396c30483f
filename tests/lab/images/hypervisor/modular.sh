#!/usr/bin/env bash
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# modular.sh TARGET: adds virtqemud and virtproxyd to a root directory of Debian 13 that has its libvirt. Debian builds the monolithic
# daemon only; its own source package has these. Their drivers and libraries are Debian's binaries, of the same version. Root, four
# minutes on two cores, 1.5 GB for a while beside TARGET.
set -euo pipefail

target=$(cd -- "$1" && pwd)
work=$(mktemp -d -- "$target.work-XXXXXX")
trap 'rm -rf -- "$work"' EXIT
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

packages=ca-certificates,dpkg-dev,gcc,libc6-dev,meson,ninja-build,pkgconf,gettext,xsltproc,python3-docutils,rpcsvc-proto
packages+=,libglib2.0-dev,libgnutls28-dev,libxml2-dev,libxml2-utils,libtirpc-dev,libjson-c-dev,libcap-ng-dev,libnl-3-dev
packages+=,libnl-route-3-dev,libnuma-dev,libacl1-dev
mmdebstrap --quiet --variant=minbase --include="$packages" trixie "$work/root"
apt-config dump --format '%F "%v";%n' Acquire >"$work/root/etc/apt/apt.conf.d/99host"
cp --dereference /etc/resolv.conf /etc/hosts "$work/root/etc/"
for file in /etc/pip.conf /usr/local/share/ca-certificates; do
    [[ ! -e $file ]] || cp --recursive --parents --target-directory "$work/root" "$file"
done

cat >"$work/root/root/build.sh" <<'END'
set -euo pipefail
cd /root
sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >/etc/apt/sources.list.d/src.list
apt-get -qq update
# A mirror may lack the description and the signature; apt has checked what it did get.
apt-get -qq source --download-only libvirt || [ -s libvirt_*.orig.tar.xz ]
tar xf libvirt_*.orig.tar.xz
cd libvirt-*/
tar xf ../libvirt_*.debian.tar.xz
for patch in $(sed 's/ *#.*//' debian/patches/series); do
    patch -s -p1 <"debian/patches/$patch"
done
meson setup build --prefix=/usr --sysconfdir=/etc --localstatedir=/var --libdir="lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" \
    -Drunstatedir=/run --buildtype=plain --auto-features=disabled -Dsystem=true -Ddriver_remote=enabled -Ddriver_libvirtd=enabled \
    -Ddriver_qemu=enabled -Djson_c=enabled -Dcapng=enabled -Dnumactl=enabled -Dlibnl=enabled -Dnls=disabled -Ddocs=disabled \
    -Dtests=disabled -Dinit_script=none >/dev/null
ninja --quiet -C build src/virtqemud src/virtproxyd
strip build/src/virtqemud build/src/virtproxyd
END
# shellcheck disable=SC2016 # for the shell in the namespace
unshare --mount --propagation private bash -c 'mount --rbind /dev "$1/dev" && exec chroot "$1" bash /root/build.sh' bash "$work/root"
cp "$work"/root/root/libvirt-*/build/src/virt{qemu,proxy}d "$target/usr/sbin/"
