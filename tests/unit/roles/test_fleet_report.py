# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of all guests, whatever one of them or its hypervisor lacks. libvirt's own test driver is the hypervisor."""

from __future__ import annotations

import base64
import collections
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt.domain_xml import parse
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import record
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.templates import rendered

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

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


def _rendered(template: str, *guests: t.Any, unreached: t.Sequence[str] = (), **others: t.Any) -> str:
    variables = {
        "fleet_report_asked": {"results": [{"item": samples.URI}]},
        "fleet_report_notes": [],
        "fleet_report_title": "Guests",
        "fleet_report_guests": list(guests),
        "fleet_report_unreached": list(unreached),
        "fleet_report_full_percent": 90,
        **others,
    }
    text = (ROLE / "templates" / template).read_text(encoding="utf-8")
    return str(rendered(text, variables, convert_data=False))


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


def test_the_page_runs_its_own_script_and_nothing_else() -> None:
    harm = "</script><script>harm()</script><img src=x onerror='harm()'>\" onclick='harm()'"
    guest = samples.record(harm, 1, libvirt={"hypervisor": harm, "uri": harm}, os={"pretty_name": harm}, hostname=harm)
    text = _rendered("report.html.j2", guest, unreached=[harm], fleet_report_title=harm)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy.split("; ") == [
        "default-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]
    elements = _Elements()
    elements.feed(text)
    assert elements.found["script"] == 1
    assert "img" not in elements.found
    assert not any(name.startswith("on") for name in elements.attributes)


class _Elements(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: collections.Counter[str] = collections.Counter()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.attributes.update(name for name, _value in attrs)


def test_guests_stand_by_their_hypervisors() -> None:
    guests = [
        samples.record(f"g{n}", n, libvirt={"uri": f"qemu://kvm{n % 2}/system", "hypervisor": f"kvm{n % 2}"}) for n in (1, 2, 3)
    ]
    sections = _rendered("report.html.j2", *guests).split("<section>")[1:]
    assert [re.findall(r'data-name="(\w+)"', section) for section in sections] == [["g2"], ["g1", "g3"]]
    assert "kvm0" in sections[0]


Sample = tuple[str, dict[str, str], float]


def _samples(text: str) -> list[Sample]:
    """As the parser of Prometheus' own client reads them."""
    parser = pytest.importorskip(
        "prometheus_client.parser", reason="SKIPPED OUT LOUD: metrics are not parsed, for there is no prometheus-client here"
    )
    families = list(parser.text_string_to_metric_families(text))
    assert all(family.documentation and family.type == "gauge" for family in families)
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    found = [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
    assert len({(name, *sorted(labels.items())) for name, labels, _value in found}) == len(found), "the collector refuses it"
    assert text.endswith("\n")
    return found


def _of(found: list[Sample], name: str, *labels: str) -> list[tuple[t.Any, ...]]:
    return [(*(of[label] for label in labels), value) for told, of, value in found if told == f"guest_agent_{name}"]


def _note(number: int, begun: str, quiesced: bool = True, seconds: float | None = 0.25) -> str:
    note = {"name": "nightly", "domain": "web", "uuid": samples.uuid(number), "begun": begun, "quiesced": quiesced, "reason": ""}
    return json.dumps({**note, "seconds_frozen": seconds})


def test_metrics() -> None:
    os = {"id": "debian", "version_id": "13", "kernel_release": "6.12"}
    web = samples.record("web", 1, os=os, filesystems=[_mount("/", 100, 95), _mount("/srv", 100, None), _mount("/", 7, 7)])
    off = samples.record("off", 2, libvirt={"state": "shutoff"}, agent={"status": "not_running", "version": None})
    notes = [
        _note(1, "2026-11-30T02:00:07.000000Z", seconds=0.5),
        _note(1, "2026-11-29T02:00:07.000000Z"),
        _note(1, "2026-11-30T03:00:00.000000Z", quiesced=False),
        _note(2, "2026-11-30T02:00:07.000000Z", seconds=None),
        _note(3, "2026-11-30T02:00:07.000000Z"),
        '{"quiesced": true, "uuid": ',
    ]
    asked = {"results": [{"item": samples.URI}, {"item": "", "failure": {"kind": "hypervisor_unreachable"}}, {"item": samples.URI}]}
    found = _samples(_rendered("report.prom.j2", web, off, web, fleet_report_notes=notes, fleet_report_asked=asked))
    assert _of(found, "hypervisor_up", "uri") == [(samples.URI, 1), ("default", 0)]
    assert _of(found, "status", "domain", "status") == [("web", "connected", 1), ("off", "not_running", 1)]
    assert _of(found, "connected", "uuid") == [(samples.uuid(1), 1), (samples.uuid(2), 0)]
    assert _of(found, "domain_state", "uri", "hypervisor", "state") == [
        (samples.URI, "kvm1", "running", 1), (samples.URI, "kvm1", "shutoff", 1),
    ]  # fmt: skip
    assert _of(found, "info", "version", "os", "os_version", "kernel") == [("10.0.13", "debian", "13", "6.12", 1)]
    assert _of(found, "filesystem_size_bytes", "mountpoint", "fstype") == [("/", "ext4", 100)]
    assert _of(found, "filesystem_used_bytes", "mountpoint", "fstype") == [("/", "ext4", 95)]
    assert _of(found, "last_freeze_timestamp_seconds", "domain") == [("web", 1796004007), ("off", 1796004007)]
    assert _of(found, "last_freeze_duration_seconds", "domain") == [("web", 0.5)]
    ((when,),) = _of(found, "report_timestamp_seconds")
    assert abs(when - time.time()) < 3600


def test_the_readme_has_every_metric() -> None:
    families = re.findall(r"^# TYPE (\S+) gauge$", _rendered("report.prom.j2"), re.MULTILINE)
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"`(guest_agent_\w+)`", text)) == sorted(families)


def test_metrics_of_a_guest_that_means_harm() -> None:
    harm = 'a"} 1\nguest_agent_connected{uuid="x"} 1\n\\" \\'
    os = {"id": harm, "version_id": harm, "kernel_release": harm}
    guest = samples.record(harm, 1, os=os, agent={"version": harm}, filesystems=[_mount(harm, 100, 95), _mount(harm + "x", 100, 9)])
    found = _samples(_rendered("report.prom.j2", guest, samples.record("last", 2)))
    assert _of(found, "connected", "domain") == [(harm, 1), ("last", 1)]
    assert _of(found, "info", "os", "os_version", "kernel", "version")[0] == (harm, harm, harm, harm, 1)
    assert _of(found, "filesystem_used_bytes", "mountpoint") == [(harm, 95), (harm + "x", 9)]


def test_mount_points_that_differ_in_their_case_only() -> None:
    guest = samples.record("web", 1, filesystems=[_mount("/srv", 100, 95), _mount("/SRV", 100, 9), _mount("/Srv", 7, 7)])
    found = _samples(_rendered("report.prom.j2", guest))
    assert sorted(_of(found, "filesystem_used_bytes", "mountpoint")) == [("/SRV", 9), ("/Srv", 7), ("/srv", 95)]


@pytest.mark.parametrize("parts", [parts for _what, parts in LACKS], ids=[what for what, _parts in LACKS])
def test_metrics_of_a_guest_that_does_not_say_all(parts: dict) -> None:
    odd = {**record.build(samples.libvirt_part("odd"), parse(samples.domain_xml()), samples.agent_part(), t.cast(t.Any, parts))}
    found = _samples(_rendered("report.prom.j2", odd, samples.record("last", 2)))
    assert _of(found, "filesystem_used_bytes", "domain", "mountpoint") == [("odd", "/b", 95)]
    assert _of(found, "connected", "domain") == [("odd", 1), ("last", 1)]


def test_metrics_of_no_guest() -> None:
    assert _of(_samples(_rendered("report.prom.j2")), "hypervisor_up", "uri") == [(samples.URI, 1)]


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
    files = {f"fleet_report_{kind}": str(tmp_path / kind) for kind in ("html", "markdown", "json", "metrics")}
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "web.nightly.backup.json").write_text(_note(1, "2026-11-30T02:00:07.000000Z"), encoding="utf-8")
    options = {
        **files,
        "fleet_report_uris": ["test:///default", DOWN],
        "fleet_report_backup_directories": [str(tmp_path), str(tmp_path / "backups")],
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
    assert not (tmp_path / "metrics.part").exists()
    metrics = _samples((tmp_path / "metrics").read_text(encoding="utf-8"))
    assert _of(metrics, "hypervisor_up", "uri") == [("test:///default", 1), (DOWN, 0)]
    assert _of(metrics, "connected", "domain") == [("test", 0)]
    assert "/nonexistent/libvirt-sock" in done.stdout.split("See that every hypervisor was asked")[1]
