# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command families, through agents of both versions and through agents that lie."""

from __future__ import annotations

import base64
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import filesystems, freeze, system
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import exec as exec_, files
from ansible_collections.virtops.guest_agent.tests.unit.fakes.clock import FakeClock
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest) -> FakeGuest:
    return FakeGuest(request.param)


def test_system(guest: FakeGuest) -> None:
    agent = guest.agent()
    os = system.os_info(agent)
    assert (os["id"], os["variant"]) == ("debian", None)
    assert (os["pretty_name"] or "").startswith("Debian GNU/Linux")
    assert system.hostname(agent) == "guest.example.com"
    assert system.timezone(agent) == {"name": "UTC", "offset_seconds": 0, "text": "UTC, 0"}
    assert system.users(agent) == []
    guest.replies["guest-get-users"] = [{"user": "ann", "login-time": 1795234700.25}, {"user": "b", "domain": "D", "login-time": 1}]
    assert system.users(agent) == [
        {"user_name": "ann", "domain": None, "login_time": 1795234700.25},
        {"user_name": "b", "domain": "D", "login_time": 1.0},
    ]
    guest.replies["guest-get-timezone"] = {"offset": -3600}
    assert system.timezone(agent)["text"] == "unknown, -3600"


def test_filesystems(guest: FakeGuest) -> None:
    root = filesystems.filesystems(guest.agent())[0]
    assert (root["mount_point"], root["disk_name"], root["file_system_type"]) == ("/", "vda", "ext4")
    slot = {"7.2.22": 2, "10.0.13": 4}[guest.agent().capabilities().version]
    assert root["disks"][0]["pci"] == (0, 0, slot, 0)
    assert root["total_bytes"]


def test_filesystems_come_in_mount_order_and_without_what_the_agent_does_not_know(guest: FakeGuest) -> None:
    unknown = {"bus-type": "scsi", "pci-controller": {"domain": -1, "bus": -1, "slot": -1, "function": -1}}
    guest.replies["guest-get-fsinfo"] = [
        {"name": "b", "mountpoint": "/b", "type": "xfs", "disk": [unknown, {"bus-type": "sata"}]},
        {"name": "a", "mountpoint": "/", "type": "ext4", "disk": None},
    ]
    found = filesystems.filesystems(guest.agent())
    assert [entry["mount_point"] for entry in found] == ["/", "/b"]
    assert (found[0]["disks"], found[0]["total_bytes"]) == ([], None)
    for disk in found[1]["disks"]:
        assert (disk["pci"], disk["bus_number"], disk["target_number"], disk["unit"]) == (None, -1, -1, -1)


def test_privileged_totals() -> None:
    argv = ("stat", "-f", "-c", "%S %b %n", "--", "/", "/a\u2028 b")
    guest = FakeGuest(
        "7.2",
        programs={argv: Program(1, "4096 100 /\n4096 7 /a\u2028 b\nnonsense\n-1 5 /c\n1 ".encode() + b"x" * 9999, b"stat: no")},
    )
    assert filesystems.privileged_totals(guest.agent(), ["/", "/a\u2028 b"]) == {"/": 409600, "/a\u2028 b": 28672}


def test_a_process_is_asked_until_it_has_ended() -> None:
    clock = FakeClock()
    guest = FakeGuest(programs={("/bin/x", "1"): Program(3, b"out", b"err", polls=4)})
    assert exec_.run(guest.agent(), ["/bin/x", "1"], 60, clock) == (3, None, b"out", b"err")
    assert clock.slept == sorted(clock.slept)
    # The last asks whether that was the end of an older process of its number.
    assert guest.sent == ["guest-exec"] + ["guest-exec-status"] * 6


def test_a_process_that_does_not_end_costs_its_time() -> None:
    clock = FakeClock()
    guest = FakeGuest(programs={("/bin/x",): Program(polls=10**6)})
    with pytest.raises(_errors.WaitTimeout, match=r"/bin/x did not end within 7 s"):
        exec_.run(guest.agent(), ["/bin/x"], 7, clock)
    assert sum(clock.slept) == pytest.approx(7)
    assert max(clock.slept) <= 1.25


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("guest-exec", {}),
        ("guest-exec", {"pid": -1}),
        ("guest-exec", {"pid": True}),
        ("guest-exec", []),
        ("guest-exec-status", {}),
        ("guest-exec-status", {"exited": 1}),
        ("guest-exec-status", {"exited": True, "out-data": "!"}),
        ("guest-exec-status", {"exited": True, "out-data": "YQ"}),
        ("guest-exec-status", {"exited": True, "err-data": 5}),
        ("guest-exec-status", {"exited": True, "exitcode": "0"}),
        ("guest-exec-status", {"exited": True, "exitcode": -1}),
    ],
)
def test_an_exec_that_lies(command: str, reply: t.Any) -> None:
    guest = FakeGuest(programs={("/bin/x",): Program()})
    guest.replies[command] = reply
    with pytest.raises(_errors.ProtocolError):
        exec_.run(guest.agent(), ["/bin/x"], 5, FakeClock())


def _probe_guest(program: Program | None) -> FakeGuest:
    return FakeGuest(programs=lambda argv: program)


@pytest.mark.parametrize(
    ("program", "result"),
    [
        (Program(0, b"5\n", b"0\n"), {"rc": 0, "output": "5", "json": 5, "error": None}),
        (Program(0, b"a\nb\x1b[2J", b"0\n"), {"rc": 0, "output": "a b\N{REPLACEMENT CHARACTER}[2J", "json": None, "error": None}),
        (Program(0, b"", b"127\n"), {"rc": 127, "output": "", "json": None, "error": "the guest has no such program"}),
        (Program(0, b"", b""), {"rc": None, "output": "", "json": None, "error": "it reported no exit code"}),
        (
            Program(0, b"\xff", b"99999\n"),
            {"rc": None, "output": "\N{REPLACEMENT CHARACTER}", "json": None, "error": "it reported no exit code"},
        ),
        (Program(0, b'{"a\\u001b": ["\\u202e"]}', b"0"), {"json": {"a\N{REPLACEMENT CHARACTER}": ["\N{REPLACEMENT CHARACTER}"]}}),
        (Program(0, b"[" * 9 + b"1" + b"]" * 9, b"0"), {"json": [[[[[[[[None]]]]]]]]}),
        (Program(0, b'{"a":' * 9 + b"1" + b"}" * 9, b"0"), {"json": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": None}}}}}}}}}),
        (Program(0, b"[" * 60000, b"0"), {"json": None}),
        *[(Program(0, text, b"0"), {"json": None}) for text in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999")],
        (Program(0, b'[NaN, {"a": Infinity, "b": 1e999}, 1.5, 7]', b"0"), {"json": [None, {"a": None, "b": None}, 1.5, 7]}),
        (Program(0, b'{"__ansible_unsafe": "x"}', b"0"), {"json": {}}),
        (Program(0, b'[{"a": {"__ansible_vault": 1, "__ansible_type": 2, "b": 3}}]', b"0"), {"json": [{"a": {"b": 3}}]}),
        (
            Program(0, b'{"\\u005f_ansible_type": 1, "x__ansible": 2, "_ansible": 3}', b"0"),
            {"json": {"x__ansible": 2, "_ansible": 3}},
        ),
    ],
)
def test_probes(program: Program, result: dict) -> None:
    found = exec_.run_probe(_probe_guest(program).agent(), exec_.Probe(("/bin/x",)))
    assert {key: found[key] for key in result} == result  # type: ignore[literal-required]


def test_a_probe_that_fails_says_so() -> None:
    found = exec_.run_probe(_probe_guest(None).agent(), exec_.Probe(("/bin/x",)))
    assert found["rc"] is None
    assert "the agent says" in (found["error"] or "")


def test_a_probe_is_given_its_time_in_the_guest() -> None:
    seen = []

    def programs(argv: tuple[str, ...]) -> Program:
        seen.append(argv)
        return Program(0, b"", b"0")

    exec_.run_probe(FakeGuest(programs=programs).agent(), exec_.Probe(("/bin/x", "$(reboot)"), 2.5))
    assert seen[0][:2] == ("/bin/sh", "-c")
    assert seen[0][3].startswith("probe-")
    assert seen[0][4:] == ("3", "/bin/x", "$(reboot)")


def test_a_file_is_closed_whatever_happens(guest: FakeGuest) -> None:
    guest = FakeGuest(files={"/etc/x": b"0123456789" * 100})
    agent = guest.agent()
    assert files.read_small(agent, "/etc/x") == b"0123456789" * 100
    assert files.read_small(agent, "/etc/x", 5) == b"01234"
    guest.raises["guest-file-read"] = _errors.CommandFailed("no")
    with pytest.raises(_errors.CommandFailed):
        files.read_small(agent, "/etc/x")
    assert guest.open_handles == 0
    with pytest.raises(_errors.CommandFailed):
        files.read_small(agent, "/etc/none")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("guest-file-open", "1"),
        ("guest-file-open", None),
        ("guest-file-read", []),
        ("guest-file-read", {}),
        ("guest-file-read", {"buf-b64": "!"}),
        ("guest-file-read", {"buf-b64": "YQ"}),
        ("guest-file-read", {"buf-b64": "ä"}),
    ],
)
def test_a_file_that_lies(command: str, reply: t.Any) -> None:
    guest = FakeGuest(files={"/x": b"x"})
    guest.replies[command] = reply
    with pytest.raises(_errors.ProtocolError):
        files.read_small(guest.agent(), "/x")


def test_more_than_was_asked_for_is_no_answer() -> None:
    guest = FakeGuest(files={"/x": b"x"})
    guest.replies["guest-file-read"] = {"buf-b64": base64.b64encode(b"x" * 999).decode()}
    with pytest.raises(_errors.ProtocolError, match="more of the file"):
        files.read_small(guest.agent(), "/x", 10)


def test_freeze_and_thaw(guest: FakeGuest) -> None:
    agent = guest.agent()
    assert freeze.freeze(agent, None, 30) == 2
    assert agent.frozen()
    with pytest.raises(_errors.GuestFrozen):
        freeze.freeze(agent, None, 30)
    assert freeze.thaw(agent, 30) == (2, "")
    assert freeze.thaw(agent, 30) == (0, "")
    assert freeze.freeze(agent, ["/data", "/data", "/none"], 9) == 1
    assert guest.timeouts[-1] == 9


@pytest.mark.parametrize("reply", [None, -1, True, 2**40, "2", []])
def test_a_count_that_lies(reply: t.Any) -> None:
    guest = FakeGuest()
    guest.replies["guest-fsfreeze-thaw"] = reply
    with pytest.raises(_errors.ProtocolError):
        freeze.thaw(guest.agent(), 5)


def test_thawing_goes_on_until_the_guest_is_thawed(guest: FakeGuest) -> None:
    clock = FakeClock()
    guest.busy = 5  # at work on a freeze that it will complete
    assert freeze.thaw_until_thawed(guest.agent(), 60, clock).filesystems == 2
    assert not guest.frozen
    assert len(clock.slept) == 5


def test_thawing_says_why_it_gave_up(guest: FakeGuest) -> None:
    clock = FakeClock()
    guest.silent = {"guest-fsfreeze-thaw"}
    guest.frozen = True
    with pytest.raises(_errors.AgentTimeout):
        freeze.thaw_until_thawed(guest.agent(), 10, clock)
    assert sum(clock.slept) == pytest.approx(10)
    guest.silent.clear()
    guest.replies["guest-fsfreeze-thaw"] = 0
    with pytest.raises(_errors.CommandFailed, match="still frozen"):
        freeze.thaw_until_thawed(guest.agent(), 10, FakeClock())


def test_a_thaw_hook_runs_once(guest: FakeGuest) -> None:
    """The agent has thawed when the hook that it runs then fails; or when its reply gets lost."""
    guest.frozen = True
    guest.thaw_hook = "hook exit 1"
    assert freeze.thaw_until_thawed(guest.agent(), 30, FakeClock()) == (None, "the agent says: hook exit 1")
    assert guest.sent == ["guest-fsfreeze-thaw", "guest-fsfreeze-status"]
    guest.raises["guest-fsfreeze-thaw"] = _errors.AgentTimeout("no reply")
    guest.sent.clear()
    assert freeze.thaw_until_thawed(guest.agent(), 30, FakeClock()).filesystems is None
    assert guest.sent == ["guest-fsfreeze-thaw", "guest-fsfreeze-status"]


def test_what_is_frozen_after_the_thaw_is_not_ours(guest: FakeGuest) -> None:
    """Another client was waiting for the agent, and froze the guest as soon as it was thawed."""
    guest.frozen = True
    guest.after["guest-fsfreeze-thaw"] = lambda: setattr(guest, "frozen", True)
    assert freeze.thaw_until_thawed(guest.agent(), 30, FakeClock()).filesystems == 2
    assert guest.frozen


MOUNTS = """22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:30 / /tank\\040x rw - zfs tank rw
31 22 0:40 / /nfs rw - nfs4 host:/x rw
broken line
32 22 0:41 / /run rw - tmpfs tmpfs rw
"""


EXTENTS = [
    # device, mount point, type; the mount table; mount points; wanted, beyond reach, spared, doubtful
    ([("vda1", "/", "ext4"), ("vdb", "/srv", "xfs"), ("vdb", "/srv/bind", "xfs")], "", None, (2, (), (), ())),
    ([("vda1", "/", "ext4"), ("vdb", "/srv", "xfs"), ("vdb", "/bind", "xfs")], None, ["/srv", "/bind"], (1, (), (), ())),
    ([("vda1", "/", "ext4"), ("loop1", "/snap/x", "squashfs")], "", None, (1, (), (), ())),
    ([("vda1", "/", "ext4"), ("vda15", "/boot/efi", "vfat")], "", None, (1, (), ("/boot/efi (vfat)",), ())),
    ([("vda1", "/", "ext4"), ("vdb", "/x", "exfat")], "", None, (2, (), (), ("/x (exfat)",))),
    ([("vda1", "/", "ext4")], MOUNTS, None, (1, ("/tank x (zfs)",), (), ())),
    (
        [("vda1", "/", "ext4")],
        "31 22 0:30 / /a\u2028\xa0b\x0bc rw - zfs tank rw",
        None,
        (1, ("/a\ufffd\xa0b\ufffdc (zfs)",), (), ()),
    ),
    ([("vda1", "/boot", "ext4")], None, None, (1, ("/",), (), ())),
    ([("vda1", "/boot", "ext4")], "22 1 0:1 / / rw - rootfs rootfs rw", None, (1, (), (), ())),
    ([("vda1", "/sysroot", "xfs")], None, None, (1, (), (), ())),
    ([("\\\\?\\Volume{1}\\", "C:\\", "NTFS"), ("x", "D:\\", "CDFS")], None, None, (1, (), (), ())),
    ([], None, None, (1, (), (), ())),
]


@pytest.mark.parametrize(("found", "table", "mountpoints", "expected"), EXTENTS)
def test_what_a_freeze_can_reach(found: t.Any, table: str | None, mountpoints: t.Any, expected: t.Any) -> None:
    filesystems_ = [{"disk_name": name, "mount_point": place, "file_system_type": kind} for name, place, kind in found]
    assert freeze.extent(t.cast(t.Any, filesystems_), table, mountpoints) == expected
