#!/usr/bin/env bash
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# build.sh TARGET: qemu-ga.exe of the QEMU of Debian 12 and of that of Debian 13, cross-built from Debian's sources with mingw-w64, in
# TARGET/7.2 and TARGET/10.0. Root, five minutes on two cores, 2 GB for a while beside TARGET.
set -euo pipefail

here=$(cd -- "$(dirname -- "$0")" && pwd)
target=$(cd -- "$1" && pwd)
work=$(mktemp -d -- "$target.work-XXXXXX")
trap 'rm -rf -- "$work"' EXIT
# Another Python first in the path breaks QEMU's configure.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
host=x86_64-w64-mingw32
prefix=$work/prefix
mkdir -p "$work"/apt/lists/partial "$work"/apt/cache/archives/partial "$work"/src "$prefix"/lib "$prefix"/include

sources() { # sources of Debian, by the mirror that this machine is set up with
    local mirror suite
    # shellcheck disable=SC2016 # apt's own
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u | head -n 1)
    for suite in bookworm trixie; do
        printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite"
    done >"$work/apt/sources.list"
    local apt=(-o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache")
    apt-get -qq "${apt[@]}" update
    cd "$work/src"
    for name in libffi/bookworm pcre2/bookworm glib2.0/bookworm qemu/bookworm qemu/trixie; do
        apt-get -qq "${apt[@]}" source --only-source "$name"
    done
}

libraries() { # what GLib is built upon: static, and without translations
    cd "$work"/src/libffi-*/
    mkdir b && cd b
    ../configure -q --host=$host --prefix="$prefix" --disable-shared --enable-static --disable-docs --disable-multi-os-directory
    make -s -j2
    make -s install
    cd "$work"/src/pcre2-*/
    mkdir b && cd b
    ../configure -q --host=$host --prefix="$prefix" --disable-shared --enable-static --disable-jit CFLAGS=-O1
    make -s -j2 libpcre2-8.la libpcre2-posix.la
    make -s install-libLTLIBRARIES install-pkgconfigDATA install-nodist_includeHEADERS install-includeHEADERS
    $host-gcc -O2 -I"$here/stub" -c "$here/stub/libintl.c" -o "$work/libintl.o"
    $host-ar rcs "$prefix/lib/libintl.a" "$work/libintl.o"
    cp "$here/stub/libintl.h" "$prefix/include/"
}

glib() { # with the helpers that every guest-exec needs beside the agent
    cat >"$work/pkg-config" <<END
#!/bin/sh
export PKG_CONFIG_LIBDIR=$prefix/lib/pkgconfig:/usr/$host/lib/pkgconfig PKG_CONFIG_PATH=
exec /usr/bin/pkg-config "\$@"
END
    printf '#!/bin/sh\nexec /usr/bin/%s-widl "$@"\n' $host >"$work/widl"
    chmod +x "$work/pkg-config" "$work/widl"
    cat >"$work/cross.txt" <<END
[host_machine]
system = 'windows'
cpu_family = 'x86_64'
cpu = 'x86_64'
endian = 'little'
[binaries]
c = '$host-gcc'
cpp = '$host-g++'
ar = '$host-ar'
strip = '$host-strip'
windres = '$host-windres'
pkgconfig = '$work/pkg-config'
[properties]
needs_exe_wrapper = true
[built-in options]
c_args = ['-O1', '-I$prefix/include', '-DPCRE2_STATIC']
cpp_args = ['-O1', '-I$prefix/include', '-DPCRE2_STATIC']
c_link_args = ['-L$prefix/lib']
cpp_link_args = ['-L$prefix/lib']
END
    cd "$work"/src/glib2.0-*/
    meson setup b --cross-file "$work/cross.txt" --prefix="$prefix" --libdir=lib --buildtype=plain --default-library=static \
        -Dtests=false -Dnls=disabled -Dlibelf=disabled --wrap-mode=nodownload
    ninja -C b -j2
    meson install -C b --no-rebuild
    sed -i '/^Libs:/s/$/ -lole32 -lshlwapi -luuid/' "$prefix/lib/pkgconfig/glib-2.0.pc"
}

agent() { # agent SOURCE OPTIONS...: in SOURCE/b
    mkdir "$1/b"
    cd "$1/b"
    shift
    WIDL=$work/widl PKG_CONFIG=$work/pkg-config ../configure --cross-prefix=$host- --without-default-features --disable-system \
        --disable-user --disable-tools --disable-docs --enable-guest-agent --disable-guest-agent-msi --enable-qga-vss --disable-werror \
        --extra-ldflags="-static -Wl,--allow-multiple-definition -L$prefix/lib" "$@"
    ninja -j2 qga/qemu-ga.exe qga/vss-win32/qga-vss.dll
}

placed() { # placed SOURCE VERSION
    mkdir "$target/$2"
    cp "$1"/b/qga/qemu-ga.exe "$1"/b/qga/vss-win32/qga-vss.dll "$prefix"/bin/gspawn-win64-helper*.exe "$target/$2/"
    for name in vssapi netapi32; do
        $host-gcc -O1 -shared -static -o "$target/$2/$name.dll" "$here/stub/$name.c" "$here/stub/$name.def"
    done
    $host-gcc -O1 -municode -static -o "$target/$2/probe.exe" "$here/probe.c"
    $host-strip "$target/$2"/*.exe "$target/$2"/*.dll
}

sources
libraries
glib
agent "$(echo "$work"/src/qemu-7.*)"
placed "$(echo "$work"/src/qemu-7.*)" 7.2
# Debian 12's meson is too old for this one.
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install meson==1.5.0
agent "$(echo "$work"/src/qemu-10.*)" --disable-download --disable-install-blobs --python="$work/venv/bin/python"
placed "$(echo "$work"/src/qemu-10.*)" 10.0
