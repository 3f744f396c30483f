# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One SSH connection to a hypervisor for all that this user does there: a master of OpenSSH's own (ControlMaster, ControlPersist).

libvirt would start an ssh for each connection: a login, a shell and a helper on the hypervisor. Here the first that needs one
starts a master in the background, which ends by itself some time after the last connection. libvirt then connects to a socket
that the master forwards to the daemon's: that is a channel, and no session, of which sshd allows ten.

Where there can be no master, or it may not forward, libvirt's own way is left. It sends nothing before it is connected.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import re
import stat
import subprocess
import tempfile
import typing as t
import urllib.parse

from .._deadline import Deadline
from .._errors import HypervisorUnreachable
from . import ssh_mux, ssh_uri

T = t.TypeVar("T")

#: Of a socket (sun_path without its end) on BSD and macOS; Linux has four more.
_PATH_MAX: t.Final = 103
#: What neither ssh's configuration nor a URI gives a meaning.
_PLAIN: t.Final = re.compile(r"/[A-Za-z0-9/._,@+-]*")
#: ssh makes a socket by the name of its control socket, a dot and this many characters, and renames it.
_LONGEST_SUFFIX: t.Final = max(17, ssh_mux.SUFFIX)
_NAME: t.Final = 16
#: A master answers at once, however bad the network is. One that does not is stopped or starved.
_ANSWER_SECONDS: t.Final = 5.0
_PAUSE: t.Final = 0.05


def through(open_at: t.Callable[[str, float], T], persist: int, uri: str, seconds: float) -> T:
    """What ``open_at(uri, seconds)`` gives, over the SSH connection that all share, where there can be one.

    :raise HypervisorUnreachable: what ``open_at`` raises, or ssh cannot log in.
    """
    deadline = Deadline(seconds)
    remote = ssh_uri.remote(uri)
    master = None
    if remote is not None:
        with contextlib.suppress(OSError):  # of the lock, on a disk that is full
            master = _master(remote, persist, uri, deadline)
    if remote is not None and master is not None:
        with contextlib.closing(master):
            # The network below a master that idles may have gone away: half of the time is left for a connection of its own.
            warm = Deadline(deadline.remaining() / 2)
            for path in remote.sockets:
                with contextlib.suppress(OSError, HypervisorUnreachable), master.forwarded(path) as local:
                    return open_at(f"qemu+unix:///system?socket={urllib.parse.quote(local)}", warm.remaining())
                if warm.expired():
                    with contextlib.suppress(OSError):
                        master.stop()
                    break
    if deadline.expired():
        raise HypervisorUnreachable(f"libvirt at {uri} did not answer within {seconds:g} s")
    return open_at(uri, deadline.remaining())


def _master(remote: ssh_uri.Remote, persist: int, uri: str, deadline: Deadline) -> ssh_mux.Master | None:
    """The one that runs, else one that is started now: by one alone, however many want it.

    None where there can be none, where ssh_config has one of the user's own, or where another has just tried in vain.
    """
    directory = _directory()
    if directory is None:
        return None
    name = hashlib.sha256("\0".join((*remote.ssh, remote.host, str(persist))).encode(errors="surrogateescape")).hexdigest()
    control = os.path.join(directory, name[:_NAME])
    if (master := _running(control)) is not None:
        return master
    has_waited = False
    while not deadline.expired():
        with _locked(control) as is_ours:
            if (master := _running(control)) is not None or (is_ours and has_waited):
                return master
            if is_ours:
                return None if _is_the_users_own(remote, deadline) else _started(remote, persist, control, uri, deadline)
        has_waited = True
        deadline.sleep(random.uniform(_PAUSE / 2, _PAUSE))
    return None


def _running(control: str) -> ssh_mux.Master | None:
    try:
        return ssh_mux.Master(control, _ANSWER_SECONDS)
    except OSError:
        return None


def _started(remote: ssh_uri.Remote, persist: int, control: str, uri: str, deadline: Deadline) -> ssh_mux.Master | None:
    """
    :raise HypervisorUnreachable: it cannot log in, as libvirt's ssh could not.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(control)  # of one that was killed: ssh would go on beside it, without an end
    options = ["ControlMaster=yes", f"ControlPath={control}", f"ControlPersist={persist}", "ClearAllForwardings=yes"]
    words = [*remote.ssh, "-f", "-N", *(word for option in options for word in ("-o", option)), "--", remote.host]
    code, said = _run(words, deadline)
    master = _running(control)
    if master is None and code == 255 and control not in said:
        reason = (said.splitlines() or ["no reason given"])[-1].rstrip(". ")
        raise HypervisorUnreachable(f"{uri} cannot be reached: {reason}") from OSError(said)
    return master


def _run(words: t.Sequence[str], deadline: Deadline) -> tuple[int | None, str]:
    """Its exit code, None for none, and its last words."""
    # Into a file: an older master keeps it open.
    with tempfile.TemporaryFile() as said:
        try:
            # pylint: disable-next=ansible-bad-function
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        except OSError:
            return None, ""
        try:
            code = process.wait(deadline.remaining())
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return None, ""
            raise
        said.seek(0)
        return code, said.read().decode(errors="replace").strip()


def _is_the_users_own(remote: ssh_uri.Remote, deadline: Deadline) -> bool:
    """Whether ssh_config has a master for this host, or cannot be read."""
    try:
        # pylint: disable-next=ansible-bad-function
        said = subprocess.run(
            [*remote.ssh, "-G", "--", remote.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline.remaining(),
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return True
    settings = dict(line.partition(" ")[::2] for line in said.decode(errors="replace").splitlines())
    return settings.get("controlmaster") not in ("false", "no") or settings.get("controlpath", "none") != "none"


@contextlib.contextmanager
def _locked(control: str) -> t.Iterator[bool]:
    """Whether the lock on ``control`` was free. It is a file that goes with the lock."""
    path = f"{control}.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        is_ours = _lock(descriptor, path)
        try:
            yield is_ours
        finally:
            if is_ours:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:  # held, or removed by who held it
        return False


def _directory() -> str | None:
    """A directory for sockets that no other user can get at; None where there is none."""
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        path = os.path.join(base, f"virtops-{os.geteuid()}")
        is_short = len(path) + 1 + _NAME + _LONGEST_SUFFIX <= _PATH_MAX
        if is_short and _PLAIN.fullmatch(base) and _is_private(base, path):
            return path
    return None


def _is_private(base: str, path: str) -> bool:
    """Whether ``path`` is a directory of ours alone, made if need be, in one where no other user can replace it."""
    try:
        around = os.stat(base)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        about = os.lstat(path)
    except OSError:
        return False
    is_safe = around.st_uid in (0, os.geteuid()) and (not around.st_mode & 0o022 or bool(around.st_mode & stat.S_ISVTX))
    return is_safe and stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077
