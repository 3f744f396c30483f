# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest is shut down and seen off; off, still on and gone are three different things."""

from __future__ import annotations

import time
from collections.abc import Callable

import libvirt
import pytest

from tests.integration.ansible_cli import FULL, Ansible
from tests.integration.guests_by_agent import booted, ok
from tests.lab import Lab
from tests.lab.hostile import ScriptedAgent, agent_info


def exists(lab: Lab, uuid: str) -> bool:
    try:
        lab.connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError:
        return False
    return True


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=pytest.mark.full), "agent", "acpi"])
def test_transient_domain_is_gone(lab: Lab, ansible: Ansible, start: Callable[..., str], mode: str) -> None:
    name = start()
    uuid = lab.domain(name).UUIDString()
    would = ansible.module("shutdown", check=True, diff=True, domain=name, uri=lab.uri, mode=mode)
    assert would["changed"]
    assert lab.domain(name).isActive()
    done = ansible.module("shutdown", diff=True, domain=name, uri=lab.uri, mode=mode)
    assert (done["changed"], done["outcome"]) == (True, "gone")
    assert done["method"] == {"auto": "agent"}.get(mode, mode)
    assert done["diff"] == {"before": {"state": "running"}, "after": {"state": "gone"}}
    assert not exists(lab, uuid)


def test_persistent_domain_is_off_and_stays_off(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start(persistent=True)
    done = ansible.module("shutdown", domain=name, uri=lab.uri)
    assert (done["changed"], done.get("outcome")) == (True, "off"), done
    assert not lab.domain(name).isActive()
    again = ansible.module("shutdown", domain=name, uri=lab.uri)
    assert (again["changed"], again["outcome"], again["method"]) == (False, "off", "none")


def test_debian_guest(lab: Lab, ansible: Ansible, debian: str) -> None:
    """Asked only: the session's guest is needed on."""
    assert ansible.module("shutdown", check=True, domain=debian, uri=lab.uri)["method"] == "agent"


def test_auto_presses_the_power_button_without_agent(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    for options in ({"agent": "absent"}, {"block": ["guest-shutdown"]}, *([{"channel": False}] if FULL else [])):
        name = booted(lab, start(**options))
        done = ansible.module("shutdown", domain=name, uri=lab.uri)
        assert (done["outcome"], done["method"]) == ("gone", "acpi"), options


def test_hung_agent_gives_way_to_the_power_button(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = booted(lab, start(agent="stopped"))
    done = ansible.module("shutdown", domain=name, uri=lab.uri, agent_timeout=2)
    assert (done["outcome"], done["method"]) == ("gone", "acpi")


def test_still_on_is_a_failure_of_its_own(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start()
    assert (
        lab.run(name, "rm -f /sbin/shutdown; printf '#!/bin/sh\\nexit 0\\n' > /sbin/shutdown; chmod +x /sbin/shutdown").returncode
        == 0
    )
    failed = ansible.module("shutdown", domain=name, uri=lab.uri, mode="agent", timeout=4)
    assert failed["failed"]
    assert failed["failure"]["kind"] == "still_on"
    assert lab.domain(name).isActive()
    forced = ansible.module("shutdown", domain=name, uri=lab.uri, mode="agent", timeout=30, force_after=3)
    assert (forced["outcome"], forced["method"]) == ("gone", "forced")


def test_not_waiting(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start()
    uuid = lab.domain(name).UUIDString()
    asked = ansible.module("shutdown", domain=name, uri=lab.uri, wait=False)
    assert (asked["changed"], asked["outcome"]) == (True, "requested")
    for _second in range(90):
        if not exists(lab, uuid):
            return
        time.sleep(1)
    pytest.fail("it was asked, and is still on")


def test_frozen_guest_is_not_shut_down(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    lab.domain(a_tiny).fsFreeze(None, 0)
    try:
        for mode in ("auto", "agent"):
            failed = ansible.module("shutdown", domain=a_tiny, uri=lab.uri, mode=mode, timeout=10)
            assert failed["failure"]["kind"] == "guest_frozen"
    finally:
        lab.domain(a_tiny).fsThaw(None, 0)
    assert lab.domain(a_tiny).isActive()


def test_no_reply_is_not_asked_twice(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    """It may be going down: neither the agent nor the power button is asked again after an unknown outcome."""
    name = start(agent="relay")
    commands = ["guest-ping", "guest-info", "guest-shutdown"]
    with ScriptedAgent(lab.relay(name), {"guest-info": agent_info(commands), "guest-shutdown": None}) as agent:
        failed = ansible.module("shutdown", domain=name, uri=lab.uri, agent_timeout=2, timeout=8)
        assert failed["failure"]["kind"] == "still_on"
        assert agent.commands().count("guest-shutdown") == 1
    assert lab.domain(name).isActive()


@pytest.mark.parametrize(
    ("options", "kind"), [({"agent": "absent"}, "agent_disconnected"), ({"block": ["guest-shutdown"]}, "command_blocked")]
)
def test_agent_wanted_and_not_to_be_had(
    lab: Lab, ansible: Ansible, start: Callable[..., str], options: dict[str, object], kind: str
) -> None:
    name = start(**options)
    failed = ansible.module("shutdown", domain=name, uri=lab.uri, mode="agent")
    assert failed["failure"]["kind"] == kind
    assert lab.domain(name).isActive()


def test_paused_and_missing_domains(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    lab.pause(a_tiny)
    try:
        assert ansible.module("shutdown", domain=a_tiny, uri=lab.uri)["failure"]["kind"] == "domain_not_running"
    finally:
        lab.resume(a_tiny)
    # libvirt keeps no trace of a transient domain that is off: what it does not know may be one.
    unknown = ok(ansible.module("shutdown", domain="nobody", uri=lab.uri))
    assert (unknown["changed"], unknown["outcome"]) == (False, "gone")
