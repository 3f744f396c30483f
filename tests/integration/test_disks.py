# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest with disks of many kinds: what they are called, and which of them can have snapshots that are merged again."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.conftest import HYPERVISOR
from tests.integration.guests_by_agent import ok
from tests.lab import Guest, Lab
from tests.lab.hypervisor_root import MODULAR

NAME = "it-disks"
SIZE = 4 * 1024 * 1024
DEVICES = """
<disk type='file' device='cdrom'><source file='{place}/cd'/><target dev='sda' bus='ide'/><readonly/></disk>
<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='it-disks' volume='volume'/>
  <target dev='vdb' bus='virtio'/><serial>a serial number of more than twenty</serial></disk>
<disk type='network' device='disk'><driver name='qemu' type='raw'/>
  <source protocol='nbd'><host transport='unix' socket='{place}/nbd'/></source><target dev='vdc' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='{place}/both'/>
  <target dev='vdd' bus='virtio'/><shareable/></disk>
"""


@pytest.fixture(scope="module")
def place(lab: Lab, images: Path) -> Iterator[Path]:
    """Where the images are; the guest ``NAME`` has them."""
    if HYPERVISOR == MODULAR:
        pytest.skip("SKIPPED OUT LOUD: disks of many kinds are not tried, for the lab has no virtstoraged for the one of a pool")
    place = images / "disks"
    place.mkdir()
    for name in ("cd", "nbd.raw", "both"):
        with (place / name).open("wb") as image:
            image.truncate(SIZE)
    (place / "over").mkdir()
    server = subprocess.Popen(
        ["qemu-nbd", "--persistent", "--format=raw", f"--socket={place}/nbd", str(place / "nbd.raw")], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not (place / "nbd").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lab.give_away(place, *place.iterdir())
    pool = lab.connection.storagePoolCreateXML(
        f"<pool type='dir'><name>it-disks</name><target><path>{place}</path></target></pool>", 0
    )
    try:
        pool.createXML(f"<volume><name>volume</name><capacity>{SIZE}</capacity><target><format type='raw'/></target></volume>", 0)
        lab.start_all([Guest(name=NAME, devices=DEVICES.format(place=place))])
        yield place
    finally:
        if NAME in lab.names():
            lab.destroy(NAME)
        pool.destroy()
        server.terminate()
        server.wait(10)


@pytest.fixture
def snapshot(lab: Lab, ansible: Ansible, place: Path) -> Callable[..., dict[str, Any]]:
    return lambda name, **options: ansible.module("snapshot", name=name, domains=[NAME], uri=lab.uri, diff=True, **options)


def test_each_disk_has_its_own_name(lab: Lab, ansible: Ansible, place: Path) -> None:
    """The agent calls a virtio disk 0:0:0, which is the CD-ROM's address too."""
    found = ok(ansible.module("guest_info", domains=[NAME], uri=lab.uri, gather_subset=["filesystems"]))["guests"][0]
    assert [disk["target"] for each in found["filesystems"] for disk in each["disks"]] == ["vda"]


def test_one_disk_among_others(snapshot: Callable[..., dict[str, Any]]) -> None:
    assert "set directory for the new images" in snapshot("none")["msg"]
    assert "no snapshot of disk vdd is possible" in snapshot("none", disks=["vda", "vdd"])["msg"]
    taken = ok(snapshot("one", disks=["vda"]))["domains"][0]
    assert [disk["target"] for disk in taken["disks"]] == ["vda"]
    assert ok(snapshot("one", state="absent"))["changed"]


def test_disks_that_are_no_files(lab: Lab, snapshot: Callable[..., dict[str, Any]], place: Path) -> None:
    over = str(place / "over")
    first = ok(snapshot("first", directory=over))
    assert set(first["domains"][0]["spared"]) == {"sda", "vdd"}
    bases = {disk["target"]: disk["base"] for disk in first["domains"][0]["disks"]}
    assert (bases["vdb"], bases["vdc"]) == ("it-disks/volume", f"nbd://{place}/nbd")
    lab.run(NAME, "for disk in vdb vdc; do echo of the guest >/dev/$disk; done; sync")
    second = ok(snapshot("second", directory=over))
    # What keeps the moment of the newer one is merged, and another image keeps it then.
    assert ok(snapshot("first", state="absent"))["changed"]
    again = ok(snapshot("second"))
    assert not again["changed"]
    assert {disk["target"]: disk["base"] for disk in again["domains"][0]["disks"]} == bases
    assert {disk["target"]: disk["base"] for disk in second["domains"][0]["disks"]} != bases
    assert ok(snapshot("second", state="absent"))["diff"]["after"][NAME]["images"] == first["diff"]["before"][NAME]["images"]
    assert list((place / "over").iterdir()) == []
    for name in ("volume", "nbd.raw"):
        deadline = time.monotonic() + 10
        while not (place / name).read_bytes().startswith(b"of the guest"):
            assert time.monotonic() < deadline, name
            time.sleep(0.1)
