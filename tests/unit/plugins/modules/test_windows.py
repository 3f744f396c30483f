# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module on a Windows guest: it works, or says in one sentence what Windows has not, and starts no POSIX shell there."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import (
    guest_facts,
    guest_info,
    pull_file,
    push_file,
    run_command,
    run_script,
    user_password,
    wait_for_guest,
)
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import VERSIONS, FakeWindows
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0Wgu5GWvgn9xvGhdBCSWlKk/hTUQKPUbBDVDFDk2Vx table"
MODULES = Path(run_command.__file__).parent


def _program(argv: tuple[str, ...]) -> Program | None:
    if argv[0] == "hello.exe":
        return Program(0, b"hello\r\n", b"")
    if argv[-1].startswith('"C:\\windows\\Temp\\virtops-') and argv[-2] == "/c":
        return Program(0, b"batch\r\n")
    if argv[0] == "cmd.exe":
        return Program(3, argv[-1].encode(), b"err\r\n")
    if argv[0] == "powershell.exe":
        return Program(0, " ".join(argv[-2:]).encode())
    return None


@pytest.fixture(params=VERSIONS)
def domains(request: pytest.FixtureRequest) -> list[Domain]:
    guest = FakeWindows(
        request.param,
        _program,
        {r"C:\ProgramData\ssh\ssh_host_ed25519_key.pub": b"ssh-ed25519 " + KEY.split()[1].encode() + b"\r\n"},
    )
    guest.directories.add(r"c:\programdata\ssh")
    guest.passwords["tester"] = ""
    guest.authorized["tester"] = ""
    return [Domain(guest=guest)]


@pytest.fixture(autouse=True)
def nothing_left(guest: FakeWindows) -> t.Iterator[None]:
    yield
    assert not [name for name in guest.files if "virtops-" in name]


#: Module -> arguments, and what it says where it says no; "" where it works. By version where they differ.
TABLE: list[tuple[str, dict[str, t.Any], str | dict[str, str]]] = [
    ("agent_info", {}, ""),
    ("agent_command", {"command": "guest-get-host-name"}, ""),
    ("guest_facts", {}, ""),
    ("guest_info", {}, ""),
    ("guest_time", {"source": "none"}, ""),
    ("guest_vcpus", {}, ""),
    ("guest_vcpus", {"count": 1}, "cannot do without 2 vCPUs"),
    ("guest_memory_blocks", {}, "cannot do guest-get-memory-blocks on Windows"),
    ("fstrim", {}, ""),
    ("fsfreeze", {"state": "thawed"}, ""),
    ("user_password", {"user": "tester", "password": "Passw0rd!"}, ""),
    ("user_password", {"user": "none", "password": "Passw0rd!"}, "failed to set password"),
    ("user_password", {"user": "tester", "password_hash": "!"}, "Windows has no passwords that can be set by their hash"),
    ("user_password", {"user": "tester", "password": "x", "update_password": "when_unset"}, "does not show the hashes"),
    (
        "authorized_keys",
        {"user": "tester", "keys": [KEY]},
        {"windows-7.2": "has no guest-ssh-get-authorized-keys", "windows-10.0": ""},
    ),
    (
        "authorized_keys",
        {"user": "none", "keys": [KEY]},
        {"windows-7.2": "has no guest-ssh", "windows-10.0": "the guest has no user 'none'"},
    ),
    ("ssh_host_keys_info", {"hosts": ["win1"]}, ""),
    ("guest_session", {"state": "locked", "user": "tester"}, "Windows has no systemd-logind"),
    ("guest_session", {"state": "present", "user": "tester", "tty": "tty2"}, "Windows has no systemd-logind"),
    ("run_command", {"argv": ["hello", ""]}, ""),
    ("run_command", {"argv": ["hello"], "user": "tester"}, "runs as the agent's own user"),
    ("run_command", {"shell": "true", "executable": "/bin/sh"}, "Windows has no shell /bin/sh"),
    ("run_command", {"argv": ["/bin/true"]}, "Windows has no /bin/true"),
    ("run_script", {"content": "echo batch", "executable": "cmd.exe"}, ""),
    ("run_script", {"content": "#!/bin/sh\n"}, "does not know how to run this script"),
    ("push_file", {"content": "x", "dest": r"C:\Data\x"}, ""),
    ("push_file", {"content": "x", "dest": r"C:\Data\x", "mode": "0600"}, "Windows has no mode"),
    ("push_file", {"content": "x", "dest": "/etc/x"}, "no absolute path on Windows"),
    ("pull_file", {"src": r"C:\Data\none", "dest": "/tmp/"}, "the file does not exist"),
    ("wait_for_guest", {}, ""),
    ("wait_for_guest", {"command": ["hello"]}, ""),
    ("wait_for_guest", {"cloud_init": True}, "Windows has no cloud-init"),
    ("wait_for_guest", {"boot_id": "0b5bca5e-8a3c-4a77-8e0f-2b7a0f9e8f10"}, "Windows has no /proc/sys/kernel/random/boot_id"),
    ("suspend", {"state": "suspended", "mode": "hybrid"}, "guest-suspend-hybrid"),
    ("agent_channel", {"channel_name": "org.x.0", "state": "absent"}, ""),
    ("start", {}, ""),
    ("shutdown", {"wait": False}, ""),
    ("restart", {"wait": False}, ""),
]
#: Have tests of their own: snapshots and backups are libvirt's, and freeze as fsfreeze does.
ELSEWHERE = {"backup", "snapshot", "snapshot_info"}


def test_the_table_has_every_module() -> None:
    modules = {path.stem for path in MODULES.glob("[!_]*.py")}
    assert {name for name, _args, _said in TABLE} | ELSEWHERE == modules


@pytest.mark.parametrize(("name", "args", "said"), TABLE, ids=[f"{number} {row[0]}" for number, row in enumerate(TABLE)])
def test_it_works_or_says_no(guest: FakeWindows, run: Run, name: str, args: dict[str, t.Any], said: str | dict[str, str]) -> None:
    module = importlib.import_module(f"{run_command.__name__.rpartition('.')[0]}.{name}")
    result = run(module, **args)
    expected = said if isinstance(said, str) else said[guest._version]
    assert bool(result.get("failed")) is bool(expected), result
    if expected:
        assert expected in result["msg"]
        assert "\n" not in result["msg"]
    assert not [line for line in guest.lines if "/bin/" in line]
    assert all(captured in (True, False) for captured in guest.captures)


def test_an_exit_code_and_both_streams(run: Run) -> None:
    result = run(run_command, shell='echo "a b" & exit 3')
    assert (result["rc"], result["stdout"], result["stderr"]) == (3, 'echo "a b" & exit 3', "err")
    assert result["failure"]["kind"] == "nonzero_rc"


def test_a_text_for_powershell(guest: FakeWindows, run: Run) -> None:
    result = run(run_command, shell="Write-Output 'ü'\nexit 0", executable="powershell.exe")
    assert "Invoke-Expression" in result["stdout"]
    assert guest.started[-1][1]["VIRTOPS_TEXT"] == "Write-Output 'ü'\nexit 0"


def test_a_script_is_run_under_its_ending_and_removed(guest: FakeWindows, run: Run, tmp_path: Path) -> None:
    script = tmp_path / "x.ps1"
    script.write_text("exit 0")
    result = run(run_script, script=str(script), args=["a b"])
    assert result["stdout"].endswith(".ps1 a b")
    assert result["cmd"] == [str(script), "a b"]


@pytest.mark.parametrize(
    ("option", "pattern", "is_run"),
    [
        ("creates", r"C:\Data\there.txt", False),
        ("creates", "*.txt", False),
        ("creates", r"C:\Data\none", True),
        ("creates", r"C:\Data", False),
        ("removes", "there.txt", True),
        ("removes", r"C:\Data\none*", False),
    ],
)
def test_what_makes_a_command_needless(guest: FakeWindows, run: Run, option: str, pattern: str, is_run: bool) -> None:
    guest._content[r"c:\data\there.txt"] = bytearray(b"x")
    result = run(run_command, argv=["hello"], chdir=r"C:\Data", **{option: pattern})
    assert bool(guest.started) is is_run is result["changed"]


def test_a_file_there_and_back_and_nothing_to_do_then(guest: FakeWindows, run: Run, tmp_path: Path) -> None:
    content = "ü\r\n".encode("utf-16") * 100_000
    (tmp_path / "x.txt").write_bytes(content)
    there = {"src": str(tmp_path / "x.txt"), "dest": "C:/Data/"}
    first = run(push_file, **there)
    assert (first["changed"], first["dest"], first["mode"], first["size"]) == (True, "C:/Data/x.txt", None, len(content))
    assert run(push_file, **there)["changed"] is False
    back = run(pull_file, src=first["dest"], dest=f"{tmp_path}/back")
    assert back["sha256"] == first["sha256"]
    assert (tmp_path / "back").read_bytes() == content
    assert run(pull_file, src=first["dest"], dest=f"{tmp_path}/back")["changed"] is False


def test_facts(run: Run) -> None:
    facts = run(guest_facts)["ansible_facts"]
    assert (facts["ansible_os_family"], facts["ansible_distribution_version"]) == ("Windows", "10.0.18362.0")
    assert [each["connection_name"] for each in facts["ansible_interfaces"]] == ["ifb0", "ifb1", "eth0"]
    assert "192.0.2.2" in facts["ansible_all_ipv4_addresses"]


def test_what_is_only_told_by_posix_is_said_in_the_reason(guest: FakeWindows, run: Run) -> None:
    (record,) = run(guest_info, gather_subset=["os", "memory", "sessions", "packages"], probes={"x": ["hello"]})["guests"]
    assert record["agent"]["status"] == "connected"
    for words in ("Windows has no /proc/meminfo", "Windows has no systemd-logind"):
        assert words in record["agent"]["reason"]
    assert record["probes"]["x"]["output"] == "hello"
    assert guest.sent.count("guest-get-osinfo") == 1


def test_a_secret_that_windows_would_not_take_is_not_sent(guest: FakeWindows, run: Run) -> None:
    assert run(user_password, user="tester", password_hash="!")["failed"]
    assert "guest-set-user-password" not in guest.sent


def test_what_never_comes_is_not_waited_for(run: Run) -> None:
    result = run(wait_for_guest, cloud_init=True, timeout=3000)
    assert result["seconds"] < 300


def test_a_path_of_windows_in_another_guest(domain: Domain, run: Run, tmp_path: Path) -> None:
    domain.guest = FakeGuest()
    for result in (run(push_file, content="x", dest=r"C:\x"), run(pull_file, src="C:/x", dest=str(tmp_path))):
        assert "must be an absolute path of the guest" in result["msg"]
    assert "guest-exec" not in domain.guest.sent
