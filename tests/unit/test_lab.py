# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab takes from the Debian it runs on and from another one, and how the demo says that it cannot go on."""

from __future__ import annotations

import gzip
import lzma
import os
import typing as t
from pathlib import Path

import pytest

from tests.lab import LabError, daemons, demo, domain_xml, hypervisor_root
from tests.lab.guest import Guest
from tests.lab.kernel_modules import needed_modules

PACK: dict[str, t.Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def module(*dependencies: str) -> bytes:
    return b"\x7fELF...\0vermagic=6.1\0softdepends=x\0depends=" + ",".join(dependencies).encode() + b"\0retpoline=Y\0"


@pytest.fixture
def kernel(tmp_path: Path) -> t.Callable[..., Path]:
    def made(modules: dict[str, bytes], built_in: t.Iterable[str] = (), packed: str = "") -> Path:
        tree = tmp_path / "usr" / "lib" / "modules" / "6.1"
        tree.mkdir(parents=True)
        (tree / "modules.builtin").write_text("".join(f"kernel/drivers/{name}.ko\n" for name in built_in))
        for name, content in modules.items():
            (tree / f"{name}.ko{packed}").write_bytes(PACK.get(packed, bytes)(content))
        return tmp_path

    return made


@pytest.mark.parametrize("packed", PACK)
def test_modules_are_unpacked_and_in_the_order_of_what_they_depend_on(kernel: t.Callable[..., Path], packed: str) -> None:
    modules = {
        "virtio_net": module("net_failover", "virtio-bus"),
        "net_failover": module("failover"),
        "failover": module(),
        "unneeded": module("missing"),
    }
    found = needed_modules(kernel(modules, ["virtio-bus", "virtio_pci"], packed), ["virtio_pci", "virtio_net", "failover"])
    assert list(found) == ["failover", "net_failover", "virtio_net"]
    assert found == {name: modules[name] for name in found}


def test_a_dash_in_a_name_is_an_underscore(kernel: t.Callable[..., Path]) -> None:
    modules = {"crc-itu": module(), "disk": module("crc-itu")}
    assert list(needed_modules(kernel(modules), ["disk"])) == ["crc_itu", "disk"]


@pytest.mark.parametrize(
    ("modules", "packed", "why"),
    [
        ({"disk": module("bus")}, "", "no module bus"),
        ({}, "", "no module disk"),
        ({"disk": module()}, ".zst", "cannot unpack"),
        ({"disk": b"\x7fELF"}, "", "does not say which modules"),
    ],
)
def test_what_is_missing_is_said(kernel: t.Callable[..., Path], modules: dict[str, bytes], packed: str, why: str) -> None:
    with pytest.raises(LabError, match=why):
        needed_modules(kernel(modules, packed=packed), ["disk"])


def test_a_kernel_that_does_not_say_what_is_built_in(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"modules\.builtin"):
        needed_modules(tmp_path, ["disk"])


def test_the_demo_says_in_one_sentence_what_stops_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def lab() -> t.NoReturn:
        raise LabError("apt knows no kernel: run apt-get update")

    monkeypatch.setattr(demo, "Lab", lab)
    assert demo.main() == 1
    assert capsys.readouterr().err == "demo: apt knows no kernel: run apt-get update\n"


@pytest.mark.parametrize("has_option", [False, True])
def test_a_tiny_guest_is_given_what_its_agent_may_do_as_its_agent_can_take_it(
    monkeypatch: pytest.MonkeyPatch, has_option: bool
) -> None:
    monkeypatch.setattr(domain_xml, "tiny_has_allow_option", lambda: has_option)
    line = domain_xml._command_line(Guest(name="limited", allow=("guest-ping",)))
    assert ("lab.allow=guest-ping" in line, "lab.block=" in line) == (has_option, not has_option)


class OtherDebian:
    """A lab in ``place``, and what it runs there: nothing happens but that the daemon's pid file is written."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[list[str]] = []
        self.user = 0
        for name in ("LAB_CACHE", "LAB_STATE"):
            monkeypatch.setenv(name, str(place / name))
        monkeypatch.setattr("os.geteuid", lambda: self.user)
        monkeypatch.setattr(hypervisor_root, "run", self._run)
        monkeypatch.setattr(daemons, "run", self._run)
        # Where this machine has no libvirt.
        monkeypatch.setattr(Path, "is_dir", lambda path: path.exists() or str(path).startswith(("/etc/", "/var/")))

    def _run(self, words: t.Sequence[str], timeout: float) -> None:
        del timeout
        self.ran.append([*words])
        if "--pid-file" in words:
            Path(words[-1]).write_text(str(os.getpid()))


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OtherDebian:
    return OtherDebian(tmp_path, monkeypatch)


def test_another_debian_is_built_once(other: OtherDebian) -> None:
    root = hypervisor_root.hypervisor_root("debian13")
    assert hypervisor_root.hypervisor_root("debian13") == root
    ((*words, suite, _target),) = other.ran
    assert suite == "trixie"
    assert any("libvirt-daemon-system" in word and "qemu-system-x86" in word for word in words)


def test_another_debian_that_cannot_be(other: OtherDebian) -> None:
    with pytest.raises(LabError, match="HYPERVISOR=debian9 is none of debian12, debian13, testing, debian13-modular"):
        hypervisor_root.hypervisor_root("debian9")
    other.user = 1000
    with pytest.raises(LabError, match="only root can run HYPERVISOR=debian13"):
        hypervisor_root.hypervisor_root("debian13")


def test_a_daemon_of_another_debian_is_apart(other: OtherDebian, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted last is seen: the daemon's own configuration is over that Debian's. Its socket is a path here."""
    monkeypatch.setenv("HYPERVISOR", "debian13")
    uri = daemons.default_hypervisor()
    base = daemons.daemon_dir("debian13")
    assert uri == f"qemu+unix:///system?socket={base}/run/libvirt/libvirt-sock"
    words = other.ran[-1]
    pairs = words[words.index("sh", words.index("-c")) + 1 : words.index("--")]
    assert pairs[1::2] == ["/usr", "/etc", "/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"]
    assert pairs[4] == str(base / "run")
    assert len(set(pairs)) == len(pairs)
    (record,) = daemons.daemon_records()
    assert (record.role, record.uri) == ("debian13", uri)
    assert record.role in daemons.SHARED_ROLES
