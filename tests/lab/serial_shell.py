# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command on the shell that a guest keeps on its second serial port."""

from __future__ import annotations

import base64
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError


@dataclass(frozen=True)
class Completed:
    """What a command in a guest left behind; both output streams are in `output`."""

    returncode: int
    output: str


def run_on_socket(path: Path, command: str, timeout: float) -> Completed:
    """Send a command line to the shell behind a serial port's socket and return its result."""
    mark = f"lab-{secrets.token_hex(8)}"
    line = f"{mark} {base64.b64encode(command.encode()).decode()}\n"
    deadline = time.monotonic() + timeout
    received = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(line.encode())
        while b"\n" not in received.partition(mark.encode())[2]:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"no answer to {command!r} from the guest's serial shell in {timeout:g} seconds")
            received += _receive(connection, left)
    output, _mark, status = received.decode(errors="replace").replace("\r\n", "\n").partition(mark)
    return Completed(int(status), output)


def _receive(connection: socket.socket, timeout: float) -> bytes:
    connection.settimeout(timeout)
    try:
        data = connection.recv(65536)
    except TimeoutError:
        return b""
    if not data:
        raise LabError("the guest ended while it ran a command on its serial shell")
    return data
