# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do about an agent that does not do what is wanted, per distribution of the guest where that differs. Pure."""

from __future__ import annotations

import re
import typing as t

EXEC: t.Final = ("guest-exec", "guest-exec-status")
FILES: t.Final = (
    "guest-file-open",
    "guest-file-close",
    "guest-file-read",
    "guest-file-write",
    "guest-file-seek",
    "guest-file-flush",
)
#: What Enterprise Linux blocks by default, in the order of its file.
_EL_BLOCKS: t.Final = (*FILES, *EXEC)
#: os-release ID -> family of the package's configuration. Those whose versions are not Enterprise Linux's are "fedora".
_FAMILIES: t.Final = {
    **dict.fromkeys(("rhel", "centos", "rocky", "almalinux", "ol", "cloudlinux"), "el"),
    **dict.fromkeys(("fedora", "amzn", "rhcos", "fedora-coreos"), "fedora"),
    **dict.fromkeys(("debian", "ubuntu", "linuxmint"), "debian"),
    **dict.fromkeys(("sles", "sled", "sl-micro", "opensuse-leap", "opensuse-tumbleweed", "suse"), "suse"),
    "alpine": "alpine",
    "mswindows": "windows",
}
#: Families whose SELinux policy confines the agent, as virt_qemu_ga_t, by default.
_CONFINING: t.Final = frozenset({"el", "fedora"})
#: Until 9.4 a block list, whose variable changed its name with qemu-ga 7.2 in 9.2; an allow list since then.
_EL_BLOCK_LISTS: t.Final = (((9, 2), "BLACKLIST_RPC"), ((9, 4), "BLOCK_RPCS"))

_RESTART: t.Final = "then run 'systemctl restart qemu-guest-agent'"
_ALLOW: t.Final = {
    "fedora": (
        "in the guest take {names} out of the block list, or add ,{names} to the allow list, in /etc/sysconfig/qemu-ga"
        f" (the line FILTER_RPC_ARGS, BLOCK_RPCS or BLACKLIST_RPC), {_RESTART}"
    ),
    "debian": (
        "the package blocks nothing, so in the guest look for {names} in block-rpcs= and allow-rpcs= under [general] of"
        " /etc/qemu/qemu-ga.conf and in the options of the service ('systemctl cat qemu-guest-agent', DAEMON_ARGS of"
        f" /etc/default/qemu-guest-agent), {_RESTART}"
    ),
    "suse": (
        'in the guest write a line FILTER_RPC_ARGS="--block-rpcs=..." without {names} into /etc/sysconfig/qemu-ga, which'
        f' overrides the one of /usr/etc/sysconfig/qemu-ga (FILTER_RPC_ARGS="" blocks nothing), {_RESTART}'
    ),
    "alpine": (
        "the package blocks nothing, so in the guest look for {names} in block-rpcs= and allow-rpcs= under [general] of"
        " /etc/qemu/qemu-ga.conf or in /etc/conf.d/qemu-guest-agent, then run 'rc-service qemu-guest-agent restart'"
    ),
    "windows": (
        "in the guest look for {names} in --block-rpcs and --allow-rpcs on the command line of the service QEMU-GA"
        " (sc qc QEMU-GA), then restart the service"
    ),
}
_ALLOW_ANYWHERE: t.Final = (
    "in the guest allow {names} in the agent's configuration (block-rpcs and allow-rpcs of /etc/qemu/qemu-ga.conf or"
    " /etc/sysconfig/qemu-ga) and restart the agent"
)

_PERMISSIVE: t.Final = "'semanage permissive -a virt_qemu_ga_t'"
#: Beginning of a command's name -> what lets the confined agent do it.
_UNCONFINE: t.Final = {
    "guest-exec": (
        f"run {_PERMISSIVE} (the boolean virt_qemu_ga_run_unconfined frees only programs of the type"
        " virt_qemu_ga_unconfined_exec_t, which no shell is)"
    ),
    "guest-file-": f"run 'setsebool -P virt_qemu_ga_read_nonsecurity_files on' for reading, {_PERMISSIVE} for writing too",
    "guest-ssh-": "run 'setsebool -P virt_qemu_ga_manage_ssh on'",
    "": f"run {_PERMISSIVE}",
}

_LINUX_ONLY: t.Final = (
    *("guest-set-vcpus", "guest-get-memory-blocks", "guest-set-memory-blocks", "guest-get-memory-block-info"),
    *("guest-suspend-hybrid", "guest-get-diskstats", "guest-get-cpustats"),
)
_BSD_LACKS: t.Final = (
    *_LINUX_ONLY,
    *("guest-get-vcpus", "guest-suspend-ram", "guest-suspend-disk", "guest-fstrim", "guest-get-disks", "guest-get-devices"),
    "guest-get-fsinfo",
)
_FREEZE: t.Final = ("guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw")
#: System -> what qemu-ga cannot do there, in all or in most versions. Before 9.1 it lists such commands as disabled, like those
#: that its configuration blocks; since then it does not list them.
_IMPOSSIBLE: t.Final[dict[str, tuple[str, ...]]] = {
    "Linux": ("guest-get-devices",),
    "Windows": _LINUX_ONLY,
    "FreeBSD": _BSD_LACKS,
    **dict.fromkeys(("OpenBSD", "NetBSD", "DragonFly"), (*_BSD_LACKS, *_FREEZE)),
}

_INSTALL: t.Final = (
    "in the guest install and start qemu-guest-agent (Debian, Ubuntu: apt install qemu-guest-agent; Fedora, EL: dnf install"
    " qemu-guest-agent; Windows: the virtio-win guest tools)"
)


def allow_commands(os_id: str | None, version_id: str | None = None, commands: t.Sequence[str] = ()) -> str:
    """How to make the agent accept ``commands``, which its configuration blocks: the file and the line in it."""
    names = ",".join(commands) or "COMMAND"
    family = _family(os_id)
    if family == "el":
        return _allow_on_el(_version(version_id), names, commands)
    return _ALLOW.get(family, _ALLOW_ANYWHERE).format(names=names)


def impossible(system: str, command: str, agent_version: str = "") -> bool:
    """Whether ``command``, which the agent does not accept, is one that it cannot do on this system, whatever its configuration."""
    if system == "FreeBSD" and command in _FREEZE:
        return _version(agent_version) < (7, 2)
    return command in _IMPOSSIBLE.get(system, ())


def unconfine(os_id: str | None, selinux: str | None, command: str) -> str:
    """What to do when the agent, which is root, says that ``command`` was denied; "" where SELinux cannot be the reason.

    ``selinux``: enforcing, permissive, off, or None where it is not known.
    """
    if selinux in ("permissive", "off") or (selinux is None and _family(os_id) not in _CONFINING):
        return ""
    # Root is also denied a program that is not executable, hence never more than likely there.
    sure = selinux == "enforcing" and not command.startswith("guest-exec")
    state = "it is enforcing and" if selinux else "it"
    cause = f"SELinux is the {'' if sure else 'likely '}reason ({state} confines the agent, which is root, as virt_qemu_ga_t)"
    remedy = next(text for beginning, text in _UNCONFINE.items() if command.startswith(beginning))
    return f"{cause}: in the guest {remedy}; 'ausearch -m avc' there shows what was denied"


def install_agent() -> str:
    """How to get an agent to listen on the channel."""
    return _INSTALL


def _family(os_id: str | None) -> str:
    return _FAMILIES.get(os_id or "", "")


def _version(version_id: str | None) -> tuple[int, int]:
    """Where the minor version is not said, as in CentOS Stream, it is the newest; and so is the major one."""
    found = re.match(r"(\d{1,3})(?:\.(\d{1,3}))?", version_id or "")
    return (int(found[1]), int(found[2] or 99)) if found else (99, 99)


def _allow_on_el(version: tuple[int, int], names: str, commands: t.Sequence[str]) -> str:
    where = f"in the guest (Enterprise Linux{f' {version[0]}' if version[0] < 99 else ''})"
    variable = next((name for until, name in _EL_BLOCK_LISTS if version < until), None)
    if variable is None:
        line = 'FILTER_RPC_ARGS="--allow-rpcs=..."'
        return f"{where} append ,{names} to the list in the line {line} of /etc/sysconfig/qemu-ga, {_RESTART}"
    left = ",".join(name for name in _EL_BLOCKS if name not in commands)
    line = f"the line {variable}=... of /etc/sysconfig/qemu-ga"
    return f"{where} take {names} out of {line} (of the default list it leaves {variable}={left}), {_RESTART}"
