# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A socket between a client and libvirt that a test can make slow, silent or broken."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

_CHUNK = 65536


class Wire:
    """Carries each connection to ``path`` on to ``target``.

    delay: seconds that each piece of data takes, each way. ``hold`` makes it half open: it takes everything and delivers nothing.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.delay = 0.0
        self._target = target
        self._going = threading.Event()
        self._going.set()
        self._links: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        path.chmod(0o777)
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()
        self.cut()

    def hold(self) -> None:
        self._going.clear()

    def cut(self) -> None:
        """Break the connections there are."""
        links, self._links = self._links, []
        self._going.set()
        for link in links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def mend(self) -> None:
        """What was held back goes on; what was cut stays so."""
        self.delay = 0.0
        self._going.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(str(self._target))
                except OSError:
                    near.close()
                    continue
                self._links += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), name="wire-link", daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                time.sleep(self.delay)
                self._going.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
