# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests go back to a snapshot where libvirt can do that, such as Debian 13's. Where it cannot, one sentence says so."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import ok
from tests.integration.test_snapshot import images, snapshots
from tests.lab import Guest, Lab

A, B = "it-revert-a", "it-revert-b"
Group = Callable[..., dict[str, Any]]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where each user's QEMU may read."""
    with tempfile.TemporaryDirectory(prefix="vgal-", dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


@pytest.fixture
def group(lab: Lab, ansible: Ansible, place: Path) -> Iterator[Group]:
    """``group(state="reverted")``: the module on two tiny guests, of which one has a medium in its drive."""
    medium = place / "seed.iso"
    medium.write_bytes(bytes(1 << 20))
    drive = f"""<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{medium}'/>
      <target dev='hdc' bus='ide'/><readonly/></disk>"""
    lab.start_all([Guest(name=A, persistent=True, devices=drive), Guest(name=B, persistent=True)])
    yield lambda **options: ansible.module("snapshot", **{"name": "s", "domains": [A, B], "uri": lab.uri, "diff": True, **options})
    for name in (A, B):
        lab.destroy(name)


def files(lab: Lab, name: str) -> set[str]:
    return set(lab.run(name, "ls /data").output.split()) & {"before", "after", "later"}


def write(lab: Lab, name: str, file: str) -> None:
    assert lab.run(name, f"echo x >/data/{file} && sync").returncode == 0


def can_revert(lab: Lab) -> bool:
    return "<externalSnapshot/>" in lab.connection.getCapabilities()


@pytest.mark.hypervisor
def test_what_was_written_since_is_gone(lab: Lab, ansible: Ansible, group: Group, place: Path) -> None:
    for name in (A, B):
        write(lab, name, "before")
    ok(group())
    taken = {name: images(lab, name) for name in (A, B)}
    write(lab, A, "after")
    write(lab, B, "after")
    if not can_revert(lab):
        for check in (True, False):
            _one_sentence_and_nothing_done(lab, group(state="reverted", check=check), taken)
        return
    would = ok(group(state="reverted", check=True))
    assert files(lab, A) == {"before", "after"}
    done = ok(group(state="reverted"))
    # It answers when the task ends, and not after a while.
    ok(ansible.module("run_command", domain=B, uri=lab.uri, argv=["true"]))
    for found, name in zip(done["domains"], (A, B)):
        assert files(lab, name) == {"before"}
        assert (found["agent"], bool(found["boot_id"])) == (True, True)
        now = images(lab, name)
        _check_chain(now, taken[name])
        assert found["disks"] == [{"target": "vda", "image": now[0], "base": now[1]}]
        assert done["diff"]["after"][name]["images"]["vda"] == now
        assert would["diff"]["after"][name]["images"]["vda"] == ["a new image", *now[1:]]
        assert done["diff"]["before"][name] == {"snapshot": "present", "images": would["diff"]["before"][name]["images"]}
    # No image was put over the medium, which is in its drive again.
    assert done["diff"]["after"][A]["images"]["hdc"] == [str(place / "seed.iso")]
    assert [path.name for path in place.glob("seed*")] == ["seed.iso"]
    _listed_as_it_is(lab, ansible)
    _once_more_and_merged(lab, group, taken)


def _one_sentence_and_nothing_done(lab: Lab, failed: dict[str, Any], taken: dict[str, list[str]]) -> None:
    assert (failed["failure"]["kind"], failed["changed"]) == ("libvirt_error", False)
    assert "cannot revert external snapshots, which takes 9.9" in failed["msg"]
    assert "\n" not in failed["msg"]
    for name in (A, B):
        assert files(lab, name) == {"before", "after"}
        assert images(lab, name) == taken[name]


def _check_chain(now: list[str], taken: list[str]) -> None:
    """As the module's notes say: over the image that keeps the moment, named after it, and the one before it is gone."""
    assert now[1:] == taken[1:]
    stem, _dot, seconds = now[0].rpartition(".")
    assert (stem, seconds.isdigit()) == (taken[1].removesuffix(".qcow2"), True)
    assert not Path(taken[0]).exists()


def _listed_as_it_is(lab: Lab, ansible: Ansible) -> None:
    for each in ok(ansible.module("snapshot_info", domains=[A, B], uri=lab.uri))["domains"]:
        (snapshot,) = each["snapshots"]
        image, base, *_below = images(lab, each["domain"])
        # libvirt has named its image.
        assert (snapshot["name"], snapshot["external"], snapshot["mergeable"], snapshot["ours"]) == ("s", True, True, False)
        assert snapshot["disks"] == [{"target": "vda", "image": image, "base": base}]


def _once_more_and_merged(lab: Lab, group: Group, taken: dict[str, list[str]]) -> None:
    write(lab, A, "later")
    lab.domain(B).destroy()  # it is started too
    again = ok(group(state="reverted", after_revert="running"))
    assert again["changed"]
    lab.wait_agents()
    assert (files(lab, A), files(lab, B)) == ({"before"}, {"before"})
    assert not ok(group())["changed"]
    ok(group(state="absent"))
    for name in (A, B):
        assert (snapshots(lab, name), images(lab, name)) == ([], taken[name][1:])
        assert files(lab, name) == {"before"}


def test_later_snapshots_are_removed_first(lab: Lab, group: Group) -> None:
    if not can_revert(lab):
        pytest.skip("SKIPPED OUT LOUD: no guest goes back to a snapshot, for this libvirt cannot revert external ones")
    ok(group(domains=[B]))
    write(lab, B, "after")
    ok(group(domains=[B], name="t"))
    failed = group(domains=[B], state="reverted")
    assert "changed since by the snapshot t; remove later snapshots first" in failed["msg"]
    ok(group(domains=[B], name="t", state="absent"))
    done = ok(group(domains=[B], state="reverted", after_revert="stopped"))
    assert (lab.domain(B).isActive(), done["domains"][0]["agent"]) == (0, None)
    shown = subprocess.run(
        ["qemu-img", "info", done["domains"][0]["disks"][0]["image"]], capture_output=True, text=True, check=True
    )
    assert done["domains"][0]["disks"][0]["base"] in shown.stdout
