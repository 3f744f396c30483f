#!/bin/sh
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap runs this on the finished tree: late.sh ROOT PUBLIC-KEY
set -eu
root=$1
key=$2
here=$(dirname -- "$0")

install -D -m 644 "$here/agent.conf" "$root/etc/systemd/system/qemu-guest-agent.service.d/lab.conf"
install -D -m 644 "$here/lab.network" "$root/etc/systemd/network/10-lab.network"
install -m 644 "$here/lab-shell.service" "$here/lab-ticks.service" "$root/etc/systemd/system/"
install -m 755 "$here/agent" "$root/usr/local/sbin/lab-agent"
install -m 755 "$here/../tiny/lab/shell" "$root/usr/local/sbin/lab-shell"
install -m 755 "$here/../tiny/lab/ticks" "$root/usr/local/sbin/lab-ticks"
install -D -m 755 "$here/fsfreeze-hook" "$root/etc/qemu/fsfreeze-hook"
mkdir -p "$root/etc/qemu/fsfreeze-hook.d" "$root/data"

chroot "$root" useradd --create-home --shell /bin/bash --groups sudo ansible
echo ansible:ansible | chroot "$root" chpasswd
install -D -m 600 "$key" "$root/root/.ssh/authorized_keys"
install -D -m 600 "$key" "$root/home/ansible/.ssh/authorized_keys"
chroot "$root" chown -R ansible: /home/ansible/.ssh

printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
echo "/dev/vda / ext4 defaults 0 0" >"$root/etc/fstab"
# Every guest is somebody else.
: >"$root/etc/machine-id"
chroot "$root" systemctl --quiet enable systemd-networkd lab-shell lab-ticks
chroot "$root" systemctl --quiet mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer logrotate.timer systemd-networkd-wait-online.service systemd-pstore.service \
    getty@tty1.service systemd-binfmt.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
    modprobe@drm.service modprobe@configfs.service modprobe@fuse.service modprobe@efi_pstore.service systemd-update-utmp-runlevel.service
