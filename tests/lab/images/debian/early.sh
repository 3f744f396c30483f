#!/bin/sh
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap runs this before the kernel is installed: an initrd with only what these guests need
# is half the boot under emulation.
set -eu
root=$1
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/etc/initramfs-tools/hooks"
echo "MODULES=list" >"$root/etc/initramfs-tools/conf.d/lab"
cat >"$root/etc/initramfs-tools/hooks/lab" <<'HOOK'
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk ext4
HOOK
chmod 755 "$root/etc/initramfs-tools/hooks/lab"
