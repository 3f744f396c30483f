# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""agent_channel from its arguments to its result, over domains whose XML libvirt's plugging changes."""

from __future__ import annotations

import functools
import typing as t
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import agent_channel as _agent_channel
from ansible_collections.virtops.guest_agent.plugins.module_utils._task.run import Task
from ansible_collections.virtops.guest_agent.plugins.modules import agent_channel
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

CONTROLLER = "<controller type='virtio-serial' index='0'><alias name='virtio-serial0'/></controller>"
PORT = "org.virtops.guest_agent.0"


class Pluggable(Domain):
    """As libvirt does it: a running domain takes no channel without a controller, its definition gets one with the channel."""

    def __init__(self, running: bool, persistent: bool, controller: bool = True, live: bool = False, defined: bool = False) -> None:
        super().__init__(state=1 if running else 5, channel=None)
        parts = {"running": running, "persistent": persistent, "controller": controller, "live": live, "defined": defined}
        self.label = "+".join(part for part, has in parts.items() if has)
        self.flags = 4 if persistent else 0
        if controller:
            self.text = self.text.replace("<devices>", f"<devices>{CONTROLLER}")
        self.defined = self.text
        #: how many looks it takes until the guest has let a port go; None: it never does
        self.lets_go_after: int | None = 0
        for wanted, flags in ((live, 1), (defined, 2)):
            if wanted:
                self.attachDeviceFlags(domain_xml.channel_device(domain_xml.AGENT_CHANNEL), flags)
        if not running:
            self.text = self.defined
        self.did.clear()

    def attachDeviceFlags(self, device: str, flags: int) -> int:
        self._do(f"attach {flags}")
        root = self._root(flags)
        devices = root.find("devices")
        assert devices is not None
        if devices.find("controller[@type='virtio-serial']") is None:
            if flags == 1:
                raise Error(1, "internal error: no virtio-serial controllers are available")
            devices.append(ET.fromstring(CONTROLLER))
        channel = ET.fromstring(device)
        ET.SubElement(channel, "address", type="virtio-serial", port="1")
        devices.append(channel)
        self._keep(root, flags)
        return 0

    def detachDeviceFlags(self, device: str, flags: int) -> int:
        self._do(f"detach {flags}")
        root = self._root(flags)
        devices = root.find("devices")
        assert devices is not None
        found = [child for child in devices if ET.tostring(child, encoding="unicode") == device]
        assert len(found) == 1, "libvirt compares all of it"
        if self.lets_go_after == 0 or flags == 2:
            devices.remove(found[0])
        self._keep(root, flags)
        return 0

    def XMLDesc(self, flags: int) -> str:
        if "detach 1" in self.did and self.lets_go_after:
            self.lets_go_after -= 1
            if not self.lets_go_after:
                self.did.remove("detach 1")
                self.detachDeviceFlags(domain_xml.plugged_channel(self.text, domain_xml.AGENT_CHANNEL), 1)
        return super().XMLDesc(flags)

    def _root(self, flags: int) -> ET.Element:
        return ET.fromstring(self.text if flags == 1 else self.defined or "")

    def _keep(self, root: ET.Element, flags: int) -> None:
        text = ET.tostring(root, encoding="unicode")
        if flags == 1:
            self.text = text
        else:
            self.defined = text
            if self.current == 5:
                self.text = text

    @property
    def changes(self) -> list[str]:
        return [what for what in self.did if what.startswith(("attach", "detach"))]


@pytest.fixture
def domains(monkeypatch: pytest.MonkeyPatch) -> list[Domain]:
    monkeypatch.setattr(_agent_channel, "_PAUSE", 0.05)
    return []


@pytest.fixture
def run(run: Run) -> Run:
    return functools.partial(run, agent_channel, diff=True)


CASES = [
    # the domain, state, what is done, (running, definition, restart_required) afterwards
    (Pluggable(True, True), "present", ["attach 2", "attach 1"], ("present", "present", False)),
    (Pluggable(True, True, defined=True), "present", ["attach 1"], ("present", "present", False)),
    (Pluggable(True, True, live=True), "present", ["attach 2"], ("present", "present", False)),
    (Pluggable(True, True, live=True, defined=True), "present", [], ("present", "present", False)),
    (Pluggable(True, False), "present", ["attach 1"], ("present", None, False)),
    (Pluggable(True, False, live=True), "present", [], ("present", None, False)),
    (Pluggable(False, True), "present", ["attach 2"], (None, "present", False)),
    (Pluggable(False, True, controller=False), "present", ["attach 2"], (None, "present", False)),
    (Pluggable(False, True, defined=True), "present", [], (None, "present", False)),
    (Pluggable(True, True, controller=False), "present", ["attach 2"], ("absent", "present", True)),
    (Pluggable(True, True, controller=False, defined=True), "present", [], ("absent", "present", True)),
    (Pluggable(True, False, controller=False), "present", [], None),
    (Pluggable(True, True, live=True, defined=True), "absent", ["detach 2", "detach 1"], ("absent", "absent", False)),
    (Pluggable(True, True, live=True), "absent", ["detach 1"], ("absent", "absent", False)),
    (Pluggable(True, True, defined=True), "absent", ["detach 2"], ("absent", "absent", False)),
    (Pluggable(True, False, live=True), "absent", ["detach 1"], ("absent", None, False)),
    (Pluggable(False, True, defined=True), "absent", ["detach 2"], (None, "absent", False)),
    (Pluggable(True, True), "absent", [], ("absent", "absent", False)),
    (Pluggable(True, True, controller=False), "absent", [], ("absent", "absent", False)),
]


@pytest.mark.parametrize(("domain", "state", "changes", "after"), CASES)
def test_agent_channel(host: Hypervisor, run: Run, domain: Pluggable, state: str, changes: list, after: t.Any) -> None:
    host.domains = [domain]
    expected = run(state=state, check=True)
    assert domain.changes == []
    result = run(state=state)
    assert domain.changes == changes
    if after is None:
        assert (result["failure"]["kind"], expected["failure"]) == ("libvirt_error", result["failure"])
        return
    for found in (expected, result):
        assert (found["running"], found["definition"], found["restart_required"]) == after
        assert found["changed"] is bool(changes)
    assert expected.get("diff") == result.get("diff"), "check mode predicts what comes, addresses aside"
    again = run(state=state)
    assert (again["changed"], again["running"], again["definition"], again["restart_required"]) == (False, *after)


@pytest.mark.parametrize("controller", [True, False])
@pytest.mark.parametrize("check", [True, False])
def test_a_channel_that_waits_for_a_start_is_warned_of(host: Hypervisor, check: bool, controller: bool) -> None:
    host.domains = [Pluggable(True, True, controller=controller)]
    warned: list[str] = []
    params = {"domain": "web", "uri": samples.URI, "agent_timeout": 5, "state": "present", "channel_name": PORT, "timeout": 5}
    agent_channel.ensure(Task(params, check, False, warned.append))
    assert bool(warned) is not controller
    assert all("Domain web:" in warning and "shut the domain off and start it" in warning for warning in warned)


def test_the_diff_shows_the_parts(host: Hypervisor, run: Run) -> None:
    host.domains = [Pluggable(False, True, controller=False)]
    channel = '<channel type="unix"><target type="virtio" name="org.virtops.guest_agent.0" /></channel>'
    assert run(channel_name=PORT)["diff"] == {
        "before": "<!-- definition -->\n",
        "after": f'<!-- definition -->\n<controller type="virtio-serial" index="0"/>\n{channel}\n',
    }


def test_another_channel_is_another_one(host: Hypervisor, run: Run) -> None:
    host.domains = [Pluggable(True, True, live=True, defined=True)]
    assert run(channel_name=PORT)["changed"] is True
    assert set(domain_xml.channels(host.domains[0].text)) == {domain_xml.AGENT_CHANNEL, PORT}
    assert run(channel_name=PORT, state="absent")["changed"] is True
    assert set(domain_xml.channels(host.domains[0].text)) == {domain_xml.AGENT_CHANNEL}


@pytest.mark.parametrize("persistent", [True, False])
def test_a_running_domain_that_will_not_have_it(host: Hypervisor, run: Run, persistent: bool) -> None:
    host.domains = [Pluggable(True, persistent)]
    host.domains[0].raises["attach 1"] = Error(1, "internal error: unable to execute QEMU command 'device_add': full")
    result = run()
    if persistent:
        assert (result["running"], result["definition"], result["restart_required"]) == ("absent", "present", True)
        assert "'device_add': full" in result["warned"]  # once in a process: nobody else warns of the same
    else:
        assert "'device_add': full" in result["msg"]


def test_a_guest_that_does_not_let_it_go(host: Hypervisor, run: Run) -> None:
    domain = Pluggable(True, True, live=True, defined=True)
    domain.lets_go_after = None
    host.domains = [domain]
    result = run(state="absent", timeout=1)
    assert result["failure"]["kind"] == "wait_timeout"
    assert "has not released the channel org.qemu.guest_agent.0 within 1 s" in result["msg"]


def test_a_guest_that_takes_its_time_to_let_it_go(host: Hypervisor, run: Run) -> None:
    domain = Pluggable(True, False, live=True)
    domain.lets_go_after = 3
    host.domains = [domain]
    assert run(state="absent")["running"] == "absent"


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 256])
def test_names_that_are_none(host: Hypervisor, run: Run, name: str) -> None:
    host.domains = [Pluggable(True, True)]
    assert run(channel_name=name)["failure"]["kind"] == "invalid_input"


def test_a_name_cannot_break_the_xml(host: Hypervisor, run: Run) -> None:
    host.domains = [Pluggable(True, True)]
    name = "a'/><evil/>"
    assert run(channel_name=name)["running"] == "present"
    assert name in domain_xml.channels(host.domains[0].text)
    assert ET.fromstring(host.domains[0].text).find(".//evil") is None


def test_a_domain_that_is_not_there(host: Hypervisor, run: Run) -> None:
    assert run()["failure"]["kind"] == "domain_not_found"


@pytest.mark.parametrize(("running", "persistent"), [(True, True), (True, False), (False, True)])
def test_a_channel_of_another_type_is_replaced(host: Hypervisor, run: Run, running: bool, persistent: bool) -> None:
    domain = Pluggable(running, persistent, live=running, defined=persistent)
    domain.text = domain.text.replace('<channel type="unix">', '<channel type="pty">')
    domain.defined = (domain.defined or "").replace('<channel type="unix">', '<channel type="pty">')
    host.domains = [domain]
    checked = run(check=True)
    assert checked["changed"]
    assert domain.changes == []
    result = run()
    assert (result["changed"], result["restart_required"]) == (True, False)
    assert 'type="pty"' in result["diff"]["before"]
    assert 'type="pty"' not in result["diff"]["after"]
    assert 'type="pty"' not in domain.XMLDesc(0)
    changes = ["detach 2", "attach 2"] * persistent + ["detach 1", "attach 1"] * running
    assert domain.changes == changes
    assert not run()["changed"]
    assert run(state="absent")["changed"]
