#!/bin/sh
# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Install the Debian packages of packages.txt that are missing, and nothing when none is.
set -eu

list=$(dirname -- "$0")/packages.txt
missing=
while read -r package; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done <"$list"
if [ -z "$missing" ]; then
    echo "lab: every package is installed"
    exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "lab: these packages are missing:$missing" >&2
    echo "lab: run this script as root, or install sudo" >&2
    exit 1
fi

# An SSH server that was not here before is for the lab alone: its service starts neither now nor at boot.
policy=/usr/sbin/policy-rc.d
case "$missing " in
*" openssh-server "*)
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2064 # sudo or not is known now
        trap "$as_root rm -f $policy" EXIT
        # shellcheck disable=SC2016 # $1 is the script's
        printf '#!/bin/sh\ncase "$1" in ssh | ssh.* | sshd.*) exit 101 ;; esac\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    ;;
esac

echo "lab: installing$missing"
# shellcheck disable=SC2086 # the list and the optional sudo are words, not one argument
{
    $as_root apt-get update
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
}
case "$missing " in
*" openssh-server "*) ! command -v systemctl >/dev/null || $as_root systemctl disable --quiet ssh.service ssh.socket || true ;;
esac
