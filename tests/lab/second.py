# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another hypervisor on this host: a session daemon with its own directories, as another user where possible."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .daemons import daemon_socket, start_session
from .lab import Lab
from .records import DaemonRecord, daemon_dir, daemon_records, guest_records, state_lock
from .teardown import release, remove_guests

# Exists everywhere and owns nothing. Root's own libvirtd is always the system one.
_USER = "nobody"


class SecondHypervisor:
    """A libvirt daemon that tests may stop and start."""

    def __init__(self) -> None:
        self._user = _USER if os.geteuid() == 0 else None
        # The name is short because libvirt makes sockets with long paths below it.
        self._base = Path(tempfile.mkdtemp(prefix="vgal-", dir="/tmp"))
        self._role = self._base.name
        self.uri = f"qemu+unix:///session?socket={self.socket}"

    def start(self) -> None:
        """Start the daemon; guests that ran while it was stopped are found again."""
        with state_lock():
            start_session(self._role, self.uri, self._base, self._base / "r", self._user)

    def stop(self) -> None:
        """Stop the daemon and leave its guests running: the hypervisor is down."""
        if record := self._record():
            record.process.end()

    def kill(self) -> None:
        """Kill the daemon as the kernel does that is out of memory; its guests go on."""
        if record := self._record():
            record.process.end(signal.SIGKILL)

    @property
    def user(self) -> str | None:
        """Whose daemon it is; None for the one who runs this."""
        return self._user

    @property
    def place(self) -> Path:
        """The user's home."""
        return self._base

    @property
    def environment(self) -> dict[str, str]:
        """In which the user's qemu:///session is this daemon."""
        return {"HOME": str(self._base), "XDG_CONFIG_HOME": str(self._base / "c"), "XDG_RUNTIME_DIR": str(self._base / "r")}

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return daemon_socket(self._base / "r")

    def lab(self) -> Lab:
        """Return a lab whose guests run on this hypervisor."""
        account = pwd.getpwnam(self._user) if self._user else None
        return Lab(self.uri, owner=(account.pw_uid, account.pw_gid) if account else None)

    def close(self) -> None:
        """Remove the daemon and the guests it still has."""
        self.stop()
        remove_guests([record for record in guest_records() if record.uri == self.uri], None)
        shutil.rmtree(daemon_dir(self._role), ignore_errors=True)
        shutil.rmtree(self._base, ignore_errors=True)
        release()

    def _record(self) -> DaemonRecord | None:
        return next((record for record in daemon_records() if record.role == self._role), None)


@contextmanager
def second_hypervisor() -> Iterator[SecondHypervisor]:
    """Start another hypervisor and remove it afterwards."""
    hypervisor = SecondHypervisor()
    try:
        hypervisor.start()
        yield hypervisor
    finally:
        hypervisor.close()
