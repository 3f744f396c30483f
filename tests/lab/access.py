# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hypervisor that asks polkit before each call, with a polkitd and a message bus of its own: nothing of this host's is used."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .daemons import daemon_socket, start_mounted, stop_daemons
from .errors import LabError
from .lab import Lab
from .processes import Process
from .records import DaemonRecord, daemon_dir, daemon_records, state_lock
from .shell import run
from .teardown import release

_ROLE = "access"
#: Everybody may connect, and polkit decides what is done then.
_SETTINGS = """unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
auth_unix_ro = "none"
auth_unix_rw = "none"
access_drivers = [ "polkit" ]
"""
#: It is there when its name is.
_POLKITD = """
/usr/lib/polkit-1/polkitd --no-debug >/run/polkitd.log 2>&1 </dev/null &
echo $! >/run/polkitd.pid
for _ in $(seq 100); do
    dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner \\
        string:org.freedesktop.PolicyKit1 >/dev/null 2>&1 && exec "$@"
    sleep 0.1
done
cat /run/polkitd.log >&2
exit 1
"""
#: The bus starts nothing by itself. polkitd looks for sessions where systemd has them.
_BUS = f"""
mkdir -p /run/dbus /run/systemd/seats /run/systemd/sessions /run/systemd/users /run/systemd/machines
sed 's,<standard_system_servicedirs/>,,; s,<includedir>system.d,<includedir>/usr/share/dbus-1/system.d,' \\
    /usr/share/dbus-1/system.conf >/run/bus.conf
dbus-daemon --config-file=/run/bus.conf --fork --nopidfile --print-pid=3 3>/run/bus.pid
{_POLKITD}
"""


class AccessHypervisor:
    """``rules``: JavaScript for polkit's rules.d. polkitd lets root do everything, so identities are other users."""

    def __init__(self, rules: str) -> None:
        self._rules = rules
        self._place = daemon_dir(_ROLE)
        self._daemon: Process | None = None
        #: Root's.
        self.uri = f"qemu+unix:///system?socket={daemon_socket(self.run)}"

    def start(self) -> None:
        """Start the message bus, polkitd and libvirtd."""
        place = self._place
        rules = place / "rules"
        rules.mkdir(parents=True)
        (rules / "00-lab.rules").write_text(self._rules)
        mounts = {self.run: "/run", rules: "/etc/polkit-1/rules.d"}
        before = ["sh", "-ec", _BUS, "sh"]
        with state_lock():
            try:
                self._daemon = start_mounted(_ROLE, self.uri, mounts, before=before, settings=_SETTINGS)
            finally:
                self._put_on_record()

    def _put_on_record(self) -> None:
        for name in ("bus", "polkitd"):
            file = self.run / f"{name}.pid"
            if file.exists() and (text := file.read_text().strip()):
                DaemonRecord(f"{_ROLE}-{name}", self.uri, Process.of(int(text)), ()).save()

    def uri_of(self, user: str, read_only: bool = False) -> str:
        """A URI by which libvirtd sees another user than the one who opens it, as over SSH."""
        account = pwd.getpwnam(user)
        script = self._place / f"as-{user}{'-ro' * read_only}"
        enter = " ".join(self._enter())
        become = f"setpriv --reuid={account.pw_uid} --regid={account.pw_gid} --clear-groups"
        script.write_text(f"#!/bin/sh\nexec {enter} {become} virt-ssh-helper {'-r ' * read_only}qemu:///system\n")
        script.chmod(0o755)
        return f"qemu+ext:///system?command={script}"

    @contextmanager
    def without_polkitd(self) -> Iterator[None]:
        """For a while, as during its upgrade: libvirt refuses everything then."""
        for record in daemon_records():
            if record.role == f"{_ROLE}-polkitd":
                record.process.end()
        try:
            yield
        finally:
            run([*self._enter(), "sh", "-ec", _POLKITD, "sh", "true"])
            self._put_on_record()

    def _enter(self) -> list[str]:
        if self._daemon is None:
            raise LabError("the hypervisor has not been started")
        return ["nsenter", f"--mount=/proc/{self._daemon.pid}/ns/mnt"]

    @property
    def run(self) -> Path:
        """Its /run, where the rules may leave what they were asked."""
        return self._place / "run"

    def lab(self) -> Lab:
        """Return root's lab on this hypervisor."""
        return Lab(self.uri)

    def close(self) -> None:
        """End what was started."""
        with state_lock():
            stop_daemons(self.uri)
        shutil.rmtree(self._place, ignore_errors=True)
        release()


@contextmanager
def access_hypervisor(rules: str) -> Iterator[AccessHypervisor]:
    """Start such a hypervisor and end it afterwards; LabError where this host cannot."""
    if os.geteuid() != 0:
        raise LabError("only root can run a polkitd of its own")
    hypervisor = AccessHypervisor(rules)
    try:
        hypervisor.start()
        yield hypervisor
    finally:
        hypervisor.close()
