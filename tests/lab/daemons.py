# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The libvirt daemons of the lab: the one that runs is used, else one of our own is started and later stopped.

A daemon of ours leaves the system's libvirt setup alone: root's runs in a mount namespace in which its configuration
and its data are directories of the lab, a user's has a configuration directory of the lab.

HYPERVISOR=debian13 asks for the libvirt and QEMU of Debian 13 instead: in the daemon's namespace /usr and /etc are those of
that Debian, and /run is its own. All other paths mean the same files there as here.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import libvirt

from .errors import LabError
from .hypervisor_root import HYPERVISORS, MODULAR, asked_for, hypervisor_root
from .paths import cache_dir
from .processes import Process
from .records import DaemonRecord, daemon_dir, daemon_records
from .shell import run

SYSTEM_URI = "qemu:///system"
SESSION_URI = "qemu:///session"
#: The roles of daemons that several labs share; the last lab stops them.
SHARED_ROLES = ("system", "session", *HYPERVISORS, MODULAR)
_MONOLITHIC = ("libvirtd",)
#: virtqemud has the domains; virtproxyd listens where libvirtd would, and leads there.
_MODULAR = ("virtqemud", "virtproxyd")
_START_SECONDS = 60.0

_COMMON_CONF = 'stdio_handler = "file"\n'
_SYSTEM_QEMU_CONF = (
    _COMMON_CONF
    + """security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = [ ]
namespaces = [ ]
"""
)
_SYSTEM_CONF = """unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""
# $1 ... are pairs of a directory and where it is mounted, then "--", then the daemon.
_IN_NAMESPACE = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@"'


def default_hypervisor() -> str:
    """Return the URI to use, with a daemon behind it; call it under the state lock."""
    if other := asked_for():
        return _other_debian(other)
    uri = SYSTEM_URI if os.geteuid() == 0 else SESSION_URI
    if not _reachable(uri):
        if os.geteuid() == 0:
            _start_system()
        else:
            # Below /tmp because libvirt makes sockets in it, whose paths may have 107 bytes.
            base = Path(tempfile.mkdtemp(prefix="vgal-", dir="/tmp"))
            start_session("session", uri, base, _user_runtime_dir())
    return uri


def kill_daemon(uri: str) -> bool:
    """Kill a daemon of the lab as the kernel does that is out of memory; its guests go on. False where it is not the lab's."""
    records = [record for record in daemon_records() if record.uri == uri]
    for record in records:
        record.process.end(signal.SIGKILL)
    return bool(records)


def _reachable(uri: str) -> bool:
    # A client that finds no session daemon starts one, which would not be ours: look for its socket first.
    if uri == SESSION_URI and not daemon_socket(_user_runtime_dir()).exists():
        return False
    try:
        open_connection(uri).close()
    except LabError:
        return False
    return True


def daemon_socket(runtime: Path, name: str = "libvirt-sock") -> Path:
    """Return where a daemon with this runtime directory listens."""
    return runtime / "libvirt" / name


def _user_runtime_dir() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or Path.home() / ".cache")


def open_connection(uri: str) -> Any:
    """Open a connection, or say in one sentence why not."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise LabError(f"cannot connect to {uri}: {error}") from None


def _start_system() -> None:
    remove = () if Path("/run/libvirt").exists() else ("/run/libvirt",)
    start_mounted("system", SYSTEM_URI, {}, remove)


def _other_debian(name: str) -> str:
    root, base = hypervisor_root(name), daemon_dir(name)
    programs, listens = (_MODULAR, "virtqemud-sock") if name == MODULAR else (_MONOLITHIC, "libvirt-sock")
    uri = f"qemu+unix:///system?socket={daemon_socket(base / 'run', listens)}"
    if not _reachable(uri):
        # /var/lock leads there, where libvirt notes who has a channel open.
        (base / "run" / "lock").mkdir(parents=True, exist_ok=True)
        start_mounted(name, uri, {root / "usr": "/usr", root / "etc": "/etc", base / "run": "/run"}, programs=programs)
    return uri


def start_mounted(
    role: str,
    uri: str,
    system: Mapping[Path, str],
    remove: tuple[str, ...] = (),
    before: Sequence[str] = (),
    settings: str = "",
    programs: Sequence[str] = _MONOLITHIC,
) -> Process:
    """Start root's daemons with directories of the lab mounted over the host's: those of ``system`` first. Return the first one.

    before: a command in that namespace that ends by executing its arguments, a daemon. settings: its own, if not the lab's.
    """
    base = daemon_dir(role)
    # What libvirt found out about QEMU is worth keeping, and says which QEMU by its path alone.
    known = cache_dir() / ("libvirt" if role == "system" else f"libvirt-{role}")
    own = {
        base / "etc": "/etc/libvirt",
        base / "lib": "/var/lib/libvirt",
        base / "log": "/var/log/libvirt",
        known: "/var/cache/libvirt",
    }
    mounts = {**system, **own}
    for directory, target in mounts.items():
        if not Path(target).is_dir():
            raise LabError("libvirt-daemon-system is not installed: run tests/lab/install.sh")
        directory.mkdir(parents=True, exist_ok=True)
    for program in programs:
        _write_configuration(base / "etc", base / "log", _SYSTEM_QEMU_CONF, settings or _SYSTEM_CONF, program)
    pairs = [str(word) for pair in mounts.items() for word in pair]
    namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _IN_NAMESPACE, "sh", *pairs, "--"]
    records = []
    for program in programs:
        pid_file = base / f"{program}.pid"
        run([*namespace, *before, *_daemon("/etc/libvirt", pid_file, program)], timeout=_START_SECONDS)
        its_role = f"{role}-{program}" if records else role
        records.append(DaemonRecord(its_role, uri, Process.of(int(pid_file.read_text())), remove))
        records[-1].save()
    return records[0].process


def start_session(role: str, uri: str, base: Path, runtime: Path, user: str | None = None) -> None:
    """Start a session daemon with its configuration and data below `base`, as another user if one is named."""
    configuration = base / "c" / "libvirt"
    configuration.mkdir(parents=True, exist_ok=True)
    runtime.mkdir(parents=True, exist_ok=True)
    _write_configuration(configuration, base, _COMMON_CONF, "")
    if user:
        account = pwd.getpwnam(user)
        for path in (base, configuration.parent, configuration, runtime):
            os.chown(path, account.pw_uid, account.pw_gid)
    pid_file = base / "libvirtd.pid"
    environment = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": str(base) if user else str(Path.home()),
        "XDG_CONFIG_HOME": str(base / "c"),
        "XDG_RUNTIME_DIR": str(runtime),
    }
    run(_daemon(configuration, pid_file), timeout=_START_SECONDS, environment=environment, user=user)
    DaemonRecord(role, uri, Process.of(int(pid_file.read_text())), (str(base),)).save()


def stop_daemons(uri: str | None = None) -> None:
    """Stop the daemons on record, or only those of one URI, and remove what they leave behind."""
    for record in daemon_records():
        if uri not in (None, record.uri):
            continue
        record.process.end()
        for path in record.remove:
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(daemon_dir(record.role), ignore_errors=True)


def _write_configuration(directory: Path, logs: Path, qemu: str, daemon: str, program: str = "libvirtd") -> None:
    (directory / "qemu.conf").write_text(qemu)
    (directory / f"{program}.conf").write_text(f'{daemon}log_outputs = "3:file:{logs}/{program}.log"\n')


def _daemon(configuration: str | Path, pid_file: Path, program: str = "libvirtd") -> list[str]:
    return [program, "--daemon", "--config", f"{configuration}/{program}.conf", "--pid-file", str(pid_file)]
