# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an agent that refuses: which commands, the file and the line, and SELinux where it is the reason."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import advice, diagnosis
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest

EXEC, FILES = advice.EXEC, advice.FILES
ENFORCE = "/sys/fs/selinux/enforce"
DENIED_EXEC = "Failed to execute child process \u201c/usr/bin/hostname\u201d (Permission denied)"
DENIED_EXEC_7_2 = f"Guest agent command failed, error was '{DENIED_EXEC}'"
DENIED_FILE = "failed to open file '/etc/shadow' (mode: 'r'): Permission denied"
ALLOW_LINE = (
    'append ,guest-exec,guest-exec-status to the list in the line FILTER_RPC_ARGS="--allow-rpcs=..." of /etc/sysconfig/qemu-ga'
)
FILES_LEFT = ",".join(FILES)


@pytest.mark.parametrize(
    ("os_id", "version_id", "words"),
    [
        ("rhel", "10.0", f"in the guest (Enterprise Linux 10) {ALLOW_LINE}"),
        ("rhel", "9.6", f"in the guest (Enterprise Linux 9) {ALLOW_LINE}"),
        ("rocky", "9.4", ALLOW_LINE),
        ("centos", "9", ALLOW_LINE),  # Stream
        ("almalinux", "9.3", "out of the line BLOCK_RPCS=... of /etc/sysconfig/qemu-ga"),
        ("ol", "9.2", "BLOCK_RPCS=..."),
        ("rhel", "9.1", "BLACKLIST_RPC=..."),
        ("rhel", "9.0", "BLACKLIST_RPC=..."),
        ("rhel", "8.10", "in the guest (Enterprise Linux 8) take guest-exec,guest-exec-status out of the line BLACKLIST_RPC=..."),
        ("rhel", "8.10", f"(of the default list it leaves BLACKLIST_RPC={FILES_LEFT})"),
        ("centos", "8", "BLACKLIST_RPC=..."),
        ("centos", "7", "BLACKLIST_RPC=..."),
        ("rhel", None, ALLOW_LINE),
        ("rhel", "{{ 9 }}", f"in the guest (Enterprise Linux) {ALLOW_LINE}"),
        ("fedora", "41", "add ,guest-exec,guest-exec-status to the allow list, in /etc/sysconfig/qemu-ga"),
        ("amzn", "2023", "take guest-exec,guest-exec-status out of the block list"),
        (
            "debian",
            "12",
            "look for guest-exec,guest-exec-status in block-rpcs= and allow-rpcs= under [general] of /etc/qemu/qemu-ga.conf",
        ),
        ("ubuntu", "24.04", "DAEMON_ARGS of /etc/default/qemu-guest-agent"),
        ("opensuse-tumbleweed", "20261001", "/usr/etc/sysconfig/qemu-ga"),
        ("sles", "16.0", 'FILTER_RPC_ARGS="--block-rpcs=..." without guest-exec,guest-exec-status into /etc/sysconfig/qemu-ga'),
        ("alpine", "3.22.0", "rc-service qemu-guest-agent restart"),
        ("mswindows", "2022", "sc qc QEMU-GA"),
        ("{{ evil }}", "{0}", "allow guest-exec,guest-exec-status in the agent's configuration"),
        (None, None, "/etc/qemu/qemu-ga.conf or /etc/sysconfig/qemu-ga"),
    ],
)
def test_the_line_that_blocks(os_id: str | None, version_id: str | None, words: str) -> None:
    hint = advice.allow_commands(os_id, version_id, EXEC)
    assert words in hint
    assert "restart" in hint
    assert "{" not in hint


def test_nothing_of_the_default_list_is_left() -> None:
    assert "leaves BLACKLIST_RPC=)" in advice.allow_commands("rhel", "8.10", (*FILES, *EXEC))


@pytest.mark.parametrize(
    ("os_id", "selinux", "command", "words"),
    [
        ("rhel", "enforcing", "guest-file-open", "SELinux is the reason (it is enforcing and confines"),
        ("rhel", "enforcing", "guest-file-open", "setsebool -P virt_qemu_ga_read_nonsecurity_files on"),
        ("rhel", "enforcing", "guest-exec", "SELinux is the likely reason (it is enforcing and confines"),
        ("rhel", "enforcing", "guest-exec", "semanage permissive -a virt_qemu_ga_t"),
        (
            "rhel",
            "enforcing",
            "guest-exec",
            "virt_qemu_ga_run_unconfined frees only programs of the type virt_qemu_ga_unconfined_exec_t",
        ),
        ("rhel", "enforcing", "guest-ssh-add-authorized-keys", "setsebool -P virt_qemu_ga_manage_ssh on"),
        ("rhel", "enforcing", "guest-fsfreeze-freeze", "in the guest run 'semanage permissive -a virt_qemu_ga_t'"),
        ("rhel", None, "guest-file-open", "SELinux is the likely reason (it confines the agent"),
        ("fedora", None, "guest-exec", "SELinux is the likely reason (it confines the agent"),
        ("opensuse-tumbleweed", "enforcing", "guest-file-open", "SELinux is the reason"),
    ],
)
def test_selinux_is_named(os_id: str, selinux: str | None, command: str, words: str) -> None:
    assert words in advice.unconfine(os_id, selinux, command)


@pytest.mark.parametrize(
    ("os_id", "selinux"), [("rhel", "permissive"), ("rhel", "off"), ("debian", None), ("sles", None), (None, None)]
)
def test_selinux_is_not_blamed(os_id: str | None, selinux: str | None) -> None:
    assert advice.unconfine(os_id, selinux, "guest-file-open") == ""


def _guest(os_id: str = "rhel", version_id: str = "9.6", block: t.Iterable[str] = (), **options: t.Any) -> FakeGuest:
    guest = FakeGuest(block=block, **options)
    guest.replies["guest-get-osinfo"] = {"id": os_id, "version-id": version_id}
    return guest


@pytest.mark.parametrize(
    ("files", "state", "trips"),
    [({ENFORCE: b"1"}, "enforcing", 3), ({ENFORCE: b"0\n"}, "permissive", 3), ({}, "off", 1), ({ENFORCE: b"?"}, None, 3)],
)
def test_selinux_state(files: dict[str, bytes], state: str | None, trips: int) -> None:
    guest = _guest(files=files)
    assert diagnosis.selinux_state(guest.agent()) == state
    assert len(guest.sent) == trips
    assert guest.open_handles == 0


@pytest.mark.parametrize(
    ("error", "state"),
    [
        # The file is everybody's to read.
        (_errors.CommandFailed(f"failed to open file '{ENFORCE}' (mode: 'r'): Permission denied"), "enforcing"),
        (_errors.CommandFailed(f"failed to open file '{ENFORCE}' (mode: 'r'): Too many open files"), None),
        (_errors.AgentTimeout("too late"), None),
    ],
)
def test_selinux_state_that_is_not_read(error: _errors.GuestAgentError, state: str | None) -> None:
    guest = _guest()
    guest.raises["guest-file-open"] = error
    assert diagnosis.selinux_state(guest.agent()) == state
    assert guest.sent == ["guest-file-open"]


def test_selinux_state_is_not_asked_where_files_are_blocked() -> None:
    guest = _guest(block=FILES)
    agent = guest.agent()
    agent.capabilities()
    assert diagnosis.selinux_state(agent) is None
    assert guest.sent == ["guest-info"]


def _explained(guest: FakeGuest, error: _errors.GuestAgentError, needed: t.Sequence[str] = EXEC) -> _errors.GuestAgentError:
    return diagnosis.explain(guest.agent(), error, needed)


def _refusal(guest: FakeGuest, command: str) -> _errors.CommandRefused:
    with pytest.raises(_errors.CommandRefused) as refused:
        guest.agent().call(command, {"path": "/bin/true"})
    guest.sent.clear()
    return refused.value


@pytest.mark.parametrize("block", [EXEC, ("guest-exec-status",)])
def test_all_that_is_blocked_is_named(block: tuple[str, ...]) -> None:
    guest = _guest(block=block)
    error = _explained(guest, _refusal(guest, block[0]))
    assert error.__class__ is _errors.CommandBlocked
    assert (error.domain, error.command) == ("fake", block[0])
    assert error.detail == f"the agent's configuration blocks {', '.join(block)}"
    assert f"append ,{','.join(block)} to the list" in error.hint
    assert guest.sent == ["guest-info", "guest-get-osinfo"]


def test_the_whole_sentence() -> None:
    guest = _guest("rhel", "8.10", block=(*EXEC, *FILES))
    assert str(_explained(guest, _refusal(guest, "guest-exec"))) == (
        "Domain fake: guest-exec: the agent's configuration blocks guest-exec, guest-exec-status; in the guest (Enterprise Linux 8)"
        f" take guest-exec,guest-exec-status out of the line BLACKLIST_RPC=... of /etc/sysconfig/qemu-ga (of the default list it"
        f" leaves BLACKLIST_RPC={FILES_LEFT}), then run 'systemctl restart qemu-guest-agent'."
    )


def test_what_the_agent_does_not_have() -> None:
    guest = _guest()
    error = _explained(guest, _refusal(guest, "guest-new"), ("guest-new", "guest-newer", *EXEC))
    assert error.__class__ is _errors.CommandUnknown
    assert error.detail == "qemu-ga 10.0.13 has no guest-new, guest-newer"
    assert "a newer qemu-guest-agent" in error.hint


def test_blocked_and_missing_together() -> None:
    guest = _guest(block=EXEC)
    error = _explained(guest, _refusal(guest, "guest-exec"), (*EXEC, "guest-new"))
    assert error.__class__ is _errors.CommandBlocked
    assert error.detail == "the agent's configuration blocks guest-exec, guest-exec-status, and qemu-ga 10.0.13 has no guest-new"
    assert "FILTER_RPC_ARGS" in error.hint
    assert "a newer qemu-guest-agent" in error.hint


def test_an_agent_that_says_nothing_of_itself() -> None:
    guest = _guest(block=("guest-exec", "guest-info", "guest-get-osinfo"))
    error = _explained(guest, _refusal(guest, "guest-exec"))
    assert error.detail == "the agent's configuration blocks guest-exec"
    assert "allow guest-exec in the agent's configuration" in error.hint


def test_an_agent_that_changed_its_mind() -> None:
    """What it could do was asked before its configuration changed."""
    guest = _guest()
    agent = guest.agent()
    agent.capabilities()
    error = diagnosis.explain(agent, _errors.CommandBlocked("no", domain="fake", command="guest-exec"), EXEC)
    assert error.detail == "the agent's configuration blocks guest-exec"


@pytest.mark.parametrize(
    ("command", "detail", "words"),
    [
        ("guest-exec", DENIED_EXEC, "SELinux is the likely reason (it is enforcing"),
        ("guest-exec", DENIED_EXEC_7_2, "SELinux is the likely reason (it is enforcing"),
        ("guest-file-open", DENIED_FILE, "SELinux is the reason (it is enforcing"),
    ],
)
def test_root_that_is_denied(command: str, detail: str, words: str) -> None:
    guest = _guest(files={ENFORCE: b"1"})
    error = _explained(guest, _errors.CommandFailed(detail, domain="fake", command=command))
    assert error.__class__ is _errors.CommandFailed
    assert (error.domain, error.command, error.detail) == ("fake", command, detail)
    assert error.hint.startswith(words)
    assert guest.sent == ["guest-get-osinfo", "guest-file-open", "guest-file-read", "guest-file-close"]


def test_root_that_is_denied_where_files_are_blocked() -> None:
    guest = _guest(block=FILES)
    error = _explained(guest, _errors.CommandFailed(DENIED_EXEC, command="guest-exec"))
    assert error.hint.startswith("SELinux is the likely reason (it confines the agent")


def test_without_selinux_the_hint_stays() -> None:
    guest = _guest(files={})
    error = _explained(guest, _errors.CommandFailed(DENIED_FILE, command="guest-file-open", hint="try harder"))
    assert (error.detail, error.hint) == (DENIED_FILE, "try harder")


@pytest.mark.parametrize(
    "error",
    [
        _errors.CommandFailed("failed to open file '/Permission denied' (mode: 'r'): No such file or directory"),
        _errors.GuestFrozen("frozen"),
        _errors.AgentTimeout("too late"),
        _errors.DomainNotRunning("off"),
    ],
)
def test_what_is_not_explained(error: _errors.GuestAgentError) -> None:
    guest = _guest(block=EXEC)
    assert _explained(guest, error) is error
    assert guest.sent == []


@pytest.mark.parametrize(
    "silence", [_errors.AgentTimeout("too late"), _errors.AgentDisconnected("gone"), _errors.ProtocolError("?")]
)
def test_a_silent_agent_leaves_an_error(silence: _errors.GuestAgentError) -> None:
    guest = _guest(block=EXEC)
    error = _refusal(guest, "guest-exec")
    guest.raises.update(dict.fromkeys(("guest-info", "guest-get-osinfo", "guest-file-open"), silence))
    found = _explained(guest, error)
    assert found is error or "guest-exec" in found.detail
    assert found.__class__ is error.__class__
    denied = _errors.CommandFailed(DENIED_FILE, command="guest-file-open")
    assert str(_explained(guest, denied)) == str(denied)


@pytest.mark.parametrize(
    ("block", "limited"), [((), ()), (EXEC, EXEC), (("guest-file-read", "guest-get-time"), ("guest-file-read",))]
)
def test_limits(block: tuple[str, ...], limited: tuple[str, ...]) -> None:
    guest = _guest(block=block)
    agent = guest.agent()
    agent.capabilities()
    found = diagnosis.limits(agent)
    assert (found.detail if found else "") == (f"the agent's configuration blocks {', '.join(limited)}" if limited else "")
    assert guest.sent == ["guest-info", "guest-get-osinfo"][: 1 + bool(limited)]
