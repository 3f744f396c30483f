# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of all guests, whatever one of them or its hypervisor lacks. libvirt's own test driver is the hypervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.domain_xml import parse
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import record
from ansible_collections.virtops.guest_agent.tests.unit import samples

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: no libvirt-python here")

ROLE = Path(__file__).parents[3] / "roles" / "fleet_report"
DOWN = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


def _mount(path: str, total: int | None, used: int | None) -> dict[str, t.Any]:
    return {
        "disk_name": "vda1",
        "mount_point": path,
        "file_system_type": "ext4",
        "total_bytes": total,
        "used_bytes": used,
        "disks": [],
    }


def _rendered(template: str, *guests: t.Any, unreached: t.Sequence[str] = ()) -> str:
    variables = {
        "fleet_report_title": "Guests",
        "fleet_report_guests": list(guests),
        "fleet_report_unreached": list(unreached),
        "fleet_report_full_percent": 90,
    }
    text = (ROLE / "templates" / template).read_text(encoding="utf-8")
    try:
        from ansible.template import trust_as_template
    except ImportError:  # ansible-core before 2.19
        pass
    else:
        text = trust_as_template(text)
    return str(Templar(loader=DataLoader(), variables=variables).template(text, convert_data=False))


#: What a guest may not say, each alone.
LACKS: list[tuple[str, dict[str, t.Any]]] = [
    ("used bytes", {"filesystems": [_mount("/a", 100, None), _mount("/b", 100, 95)]}),
    ("total bytes", {"filesystems": [_mount("/a", None, 5), _mount("/b", 100, 95)]}),
    ("either", {"filesystems": [_mount("/a", None, None), _mount("/c", 0, 0), _mount("/b", 100, 95)]}),
    ("a system's name", {"os": {"id": None, "pretty_name": None}, "filesystems": [_mount("/b", 100, 95)]}),
]


@pytest.mark.parametrize("template", ["report.html.j2", "report.md.j2"])
@pytest.mark.parametrize("parts", [parts for _what, parts in LACKS], ids=[what for what, _parts in LACKS])
def test_what_a_guest_does_not_say_costs_only_itself(template: str, parts: dict) -> None:
    odd = {**record.build(samples.libvirt_part("odd"), parse(samples.domain_xml()), samples.agent_part(), t.cast(t.Any, parts))}
    text = _rendered(template, odd, samples.record("last", 2))
    assert "odd" in text
    assert "last" in text
    assert "/b" in text
    assert "95 %" in text


@pytest.mark.parametrize("template", ["report.html.j2", "report.md.j2"])
def test_a_domain_of_which_libvirt_tells_nothing(template: str) -> None:
    bare = samples.record("bare", libvirt={"vcpus": None, "memory_mib": None}, agent={"status": "unknown", "version": None})
    assert "bare" in _rendered(template, bare)


@pytest.mark.parametrize("template", ["report.html.j2", "report.md.j2", "report.json.j2"])
def test_a_hypervisor_that_is_down_is_said(template: str) -> None:
    text = _rendered(template, samples.record("last", 2), unreached=["kvm<1> cannot be reached"])
    assert "last" in text
    assert ("kvm&lt;1&gt; cannot be reached" if "html" in template else "kvm<1> cannot be reached") in text


def test_the_role_knows_the_kinds_of_failure() -> None:
    text = (ROLE / "vars" / "main.yml").read_text(encoding="utf-8")
    for kind in (_errors.HypervisorUnreachable, _errors.ConnectionLost, _errors.PermissionDenied, _errors.LibvirtFailure):
        assert kind.kind in text


def test_a_report_of_the_hypervisors_that_are_up(tmp_path: Path) -> None:
    files = {f"fleet_report_{kind}": str(tmp_path / kind) for kind in ("html", "markdown", "json")}
    options = {
        **files,
        "fleet_report_uris": ["test:///default", DOWN],
        "ansible_python_interpreter": sys.executable,
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "virtops.guest_agent.report", "-i", "localhost,"]
    done = subprocess.run(
        [*command, "-c", "local", "-e", json.dumps(options)], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    report = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert [guest["libvirt"]["name"] for guest in report["guests"]] == ["test"]
    assert "/nonexistent/libvirt-sock" in report["unreached"][0]
    assert "/nonexistent/libvirt-sock" in (tmp_path / "html").read_text(encoding="utf-8")
    assert "/nonexistent/libvirt-sock" in (tmp_path / "markdown").read_text(encoding="utf-8")
    assert "/nonexistent/libvirt-sock" in done.stdout.split("See that every hypervisor was asked")[1]
