# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh_host_keys_info from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import functools
import subprocess
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import ssh_host_keys_info
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.plugins.module_utils._commands.test_public_keys import (
    HARDWARE,
    KEY,
    ed25519,
    packed,
)

ED25519, RSA = "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/ssh_host_rsa_key.pub"
OPEN, READ, CLOSE = (f"guest-file-{what}" for what in ("open", "read", "close"))
RSA_KEY = f"ssh-rsa {packed(b'ssh-rsa', b'e', b'x' * 384)}"
#: of the interfaces that the recorded replies have, and what these have
MAC, OTHER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:03"
ADDRESSES = {"7.2": ["192.0.2.2", "fd00::2"], "10.0": ["10.0.2.15"]}


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(macs=[MAC, OTHER_MAC])]


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest, host: Hypervisor) -> t.Iterator[FakeGuest]:
    files = {ED25519: f"{KEY} root@web\n".encode(), RSA: f"{RSA_KEY}\n".encode()}
    guest = host.domains[0].guest = FakeGuest(request.param, files=files)
    yield guest
    assert guest.open_handles == 0


@pytest.fixture
def run(run: Run) -> Run:
    return functools.partial(run, ssh_host_keys_info)


def _told(tmp_path: Path, text: str, *arguments: str) -> str:
    path = tmp_path / "file"
    path.write_text(text)
    return subprocess.run(["ssh-keygen", *arguments, "-f", str(path)], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("check", [False, True])
def test_the_keys(guest: FakeGuest, run: Run, check: bool, tmp_path: Path) -> None:
    result = run(hosts=["web", "10.0.0.5"], check=check)
    assert [(key["type"], key["bits"], key["comment"], key["path"]) for key in result["host_keys"]] == [
        ("ssh-ed25519", 256, "root@web", ED25519),
        ("ssh-rsa", 3071, "", RSA),
    ]
    assert _told(tmp_path, KEY, "-l").split()[1] == result["host_keys"][0]["fingerprint"]
    assert result["known_hosts"] == [f"web {KEY}", f"web {RSA_KEY}", f"10.0.0.5 {KEY}", f"10.0.0.5 {RSA_KEY}"]
    assert result["changed"] is False
    assert {"guest-exec", "guest-get-host-name", "guest-network-get-interfaces"}.isdisjoint(guest.sent)


@pytest.mark.parametrize(
    ("hosts", "port", "names"),
    [
        (["Web.Example.COM", "web.example.com"], 22, ["web.example.com"]),
        (["web", "10.0.0.5"], 2222, ["[web]:2222", "[10.0.0.5]:2222"]),
        (["2001:DB8::0:1"], 22, ["2001:db8::1"]),
        (["fe80::1"], 2222, ["[fe80::1]:2222"]),
        (["my_host"], 22, ["my_host"]),
    ],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_ssh_finds_the_hosts(
    guest: FakeGuest, run: Run, hosts: list[str], port: int, names: list[str], hashed: bool, tmp_path: Path
) -> None:
    lines = run(hosts=hosts, port=port, hashed=hashed)["known_hosts"]
    assert len(lines) == 2 * len(names)
    for name in names:
        found = _told(tmp_path, "".join(f"{line}\n" for line in lines), "-F", name)
        assert found.count("found") == 2
        assert KEY in found
        assert any(name in line for line in lines) is not hashed


def test_what_the_guest_calls_itself(guest: FakeGuest, run: Run) -> None:
    result = run()
    assert result["hosts"] == ["guest.example.com", *ADDRESSES[guest._version]]
    assert len(result["known_hosts"]) == 2 * len(result["hosts"])


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "localhost.localdomain", "LOCALHOST", "localhost4", "", "*", "web*", "!web", "a,b", "a b", "@cert-authority",
        "#x", "|1|a|b", "10.0.0.9", "[web]:22", "web\nother", "web ssh-ed25519 AAAA", "x" * 300, "{{ 7 }}", "-x", "..", "w\u0435b",
    ],
)  # fmt: skip
def test_a_name_that_is_none(guest: FakeGuest, run: Run, name: str) -> None:
    guest.replies["guest-get-host-name"] = {"host-name": name}
    assert run()["hosts"] == ADDRESSES[guest._version]


def test_addresses_that_are_not_the_domains(host: Hypervisor, guest: FakeGuest, run: Run) -> None:
    addresses = ["127.0.0.1", "169.254.1.1", "fe80::1", "::1", "0.0.0.0", "10.0.0.7", "10.0.0.7%eth0", "2001:db8::7", "x", "*"]
    interfaces = [
        {"name": name, "hardware-address": mac, "ip-addresses": [{"ip-address": text, "prefix": 24} for text in addresses]}
        for name, mac in (("docker0", "02:42:00:00:00:01"), ("eth0", MAC.upper()), ("tun0", None))
    ]
    guest.replies["guest-network-get-interfaces"] = interfaces[1:2]
    assert run()["hosts"] == ["guest.example.com", "10.0.0.7", "2001:db8::7"]
    del interfaces[2]["hardware-address"]
    guest.replies["guest-network-get-interfaces"] = [interfaces[0], interfaces[2]]
    assert run()["hosts"] == ["guest.example.com"]


def test_a_guest_that_does_not_say_who_it_is(guest: FakeGuest, run: Run) -> None:
    guest.blocked.update({"guest-get-host-name", "guest-network-get-interfaces"})
    result = run()
    assert (result["hosts"], result["known_hosts"], len(result["host_keys"])) == ([], [], 2)


def test_no_lines_are_warned_of(host: Hypervisor, run: Run) -> None:
    host.domains[0].guest = FakeGuest(files={ED25519: KEY.encode()})
    name = samples.uuid(1)  # each text is warned of once
    assert f"{name}: there is no name and no address" in run(domain=name, hosts=[])["warned"]


EVIL = ed25519(9, "evil")
CONTENTS = [
    b"",
    b"\n",
    f"{KEY}\n{EVIL}\n".encode(),
    f"{KEY} x\r{EVIL}\n".encode(),
    f"\n{KEY}\n\n{EVIL}".encode(),
    f"@cert-authority * {KEY}\n".encode(),
    f"restrict {KEY}\n".encode(),
    f'command="x" {KEY}\n'.encode(),
    f"* {KEY}\n".encode(),
    f"# {KEY}\n".encode(),
    f"{KEY} \x1b[2J\n".encode(),
    f"{KEY} \u2028{EVIL}".encode(),
    f"{KEY} \0".encode(),
    f"{KEY} {'x' * 17000}".encode(),
    KEY.replace("ssh-ed25519", "ssh-rsa").encode(),
    KEY[:-8].encode(),
    f"{next(iter(HARDWARE))} {packed(next(iter(HARDWARE)).encode(), *next(iter(HARDWARE.values())))}".encode(),
    b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_no_host_key(guest: FakeGuest, run: Run, content: bytes) -> None:
    guest._files[ED25519] = content
    result = run(hosts=["web"])
    assert (result["failure"]["kind"], "known_hosts" in result) == ("protocol_error", False)
    assert f"{ED25519} is not a public host key: it" in result["msg"]
    assert "b3Blbn" not in result["msg"]
    assert result["msg"].isprintable()


def test_a_comment_is_plain_text_and_in_no_line(guest: FakeGuest, run: Run) -> None:
    guest._files[ED25519] = f"{KEY} {{{{ 7 * 7 }}}} {'c' * 5000}".encode() + b"\xff\r\n"
    result = run(hosts=["web"])
    assert len(result["host_keys"][0]["comment"]) == 255
    assert result["known_hosts"][0] == f"web {KEY}"


def test_other_files(guest: FakeGuest, run: Run) -> None:
    path = "C:\\ProgramData\\ssh\\ssh_host_ed25519_key.pub"
    guest._files[path] = f"{EVIL}\r\n".encode()
    assert [key["path"] for key in run(hosts=["web"], paths=[path, path])["host_keys"]] == [path]
    result = run(hosts=["web"], paths=[ED25519, "/opt/none.pub"])
    assert (result["failure"]["kind"], "/opt/none.pub" in result["msg"]) == ("command_failed", True)


def test_a_guest_without_keys(guest: FakeGuest, run: Run) -> None:
    guest._files.clear()
    result = run(hosts=["web"])
    assert result["failure"]["kind"] == "command_failed"
    assert "check that the guest has an SSH server that was started once" in result["msg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"port": 0}, "port must be from 1"),
        ({"port": 65536}, "port must be from 1"),
        ({"paths": ["/etc/ssh/ssh_host_ed25519_key"]}, "not an absolute path that ends in .pub"),
        ({"paths": ["etc/x.pub"]}, "not an absolute path"),
        ({"paths": ["/etc/\n.pub"]}, "not an absolute path"),
        *[
            ({"hosts": ["web", name]}, "is neither the name nor the address")
            for name in ("*", "", "a b", "a,b", "!a", "|1|a", "[a]:2")
        ],
        ({"hosts": ["fe80::1%eth0"]}, "is neither the name nor the address"),
        ({"hosts": ["a\nb"]}, "is neither the name nor the address"),
        ({"hosts": ["#a"]}, "is neither the name nor the address"),
        ({"hosts": ["x" * 300]}, "is neither the name nor the address"),
    ],
)
def test_what_cannot_be(guest: FakeGuest, run: Run, arguments: dict, words: str) -> None:
    result = run(**arguments)
    assert (result["failure"]["kind"], guest.sent) == ("invalid_input", [])
    assert words in result["msg"]


@pytest.mark.parametrize("blocked", [OPEN, READ, CLOSE])
@pytest.mark.parametrize("paths", [None, [ED25519]])
def test_files_that_only_a_program_may_read(host: Hypervisor, run: Run, blocked: str, paths: list[str] | None) -> None:
    def cat(argv: tuple[str, ...]) -> Program:
        return Program(0, f"{KEY} root@web\n".encode(), b"0\n") if argv[-1] == ED25519 else Program(0, b"", b"1\n")

    host.domains[0].guest = FakeGuest(block=[blocked], programs=cat)
    result = run(hosts=["web"], paths=paths)
    assert result["known_hosts"] == [f"web {KEY}"]
    assert [(key["comment"], key["path"]) for key in result["host_keys"]] == [("root@web", ED25519)]


@pytest.mark.parametrize("blocked", [OPEN, READ, CLOSE])
def test_blocked_commands(guest: FakeGuest, run: Run, blocked: str) -> None:
    guest.blocked |= {blocked, "guest-exec"}
    result = run(hosts=["web"])
    assert (result["failure"]["kind"], result["failure"]["command"]) == ("command_blocked", blocked)
    assert "the agent's configuration blocks" in result["msg"]
    assert "/etc/qemu/qemu-ga.conf" in result["failure"]["hint"]
    assert OPEN not in guest.sent


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [("frozen", "guest_frozen"), ("silent", "agent_timeout"), ("silent later", "agent_timeout"), ("off", "domain_not_running")],
)
def test_a_guest_that_cannot(host: Hypervisor, guest: FakeGuest, run: Run, trouble: str, kind: str) -> None:
    if trouble == "off":
        host.domains[0].current = 5
    elif trouble == "frozen":
        guest.frozen = True
    else:
        guest.silent.update(("guest-info", "guest-ping") if trouble == "silent" else (OPEN,))
    assert run(hosts=["web"])["failure"]["kind"] == kind


@pytest.mark.parametrize("reply", [None, [], {}, {"buf-b64": 1}, {"buf-b64": "*"}, {"buf-b64": "x" * 80000}])
def test_a_hostile_agent(guest: FakeGuest, run: Run, reply: t.Any) -> None:
    guest.replies[READ] = reply
    assert run(hosts=["web"])["failure"]["kind"] == "protocol_error"
