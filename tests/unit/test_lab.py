# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab takes from the kernel of the Debian it runs on, and how the demo says that it cannot go on."""

from __future__ import annotations

import gzip
import lzma
import typing as t
from pathlib import Path

import pytest

from tests.lab import LabError, demo, domain_xml
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
