# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A domain is started, and its agent answers when the task ends; and what keeps a domain from that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.ansible_cli import Ansible
from tests.integration.guests_by_agent import ok
from tests.lab import Lab


def started(lab: Lab, ansible: Ansible, name: str, /, **options: Any) -> dict[str, Any]:
    return ansible.module("start", domain=name, uri=lab.uri, **options)


def test_from_off_to_an_agent_that_answers(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start(persistent=True)
    before = ok(started(lab, ansible, name))
    assert (before["changed"], before["method"], before["agent"]) == (False, "none", True)
    lab.domain(name).destroy()
    would = ok(started(lab, ansible, name, check=True, diff=True))
    assert (would["outcome"], would["changed"]) == ("requested", True)
    assert not lab.domain(name).isActive()
    done = ok(started(lab, ansible, name, diff=True))
    assert (done["outcome"], done["method"], done["agent"]) == ("running", "started", True)
    assert done["diff"] == {"before": {"state": "shutoff"}, "after": {"state": "running"}} == would["diff"]
    assert done["boot_id"] not in (None, before["boot_id"])
    # It answers now, and not after a while.
    ok(ansible.module("run_command", domain=name, uri=lab.uri, argv=["true"]))


def test_what_a_user_has_paused_is_resumed(lab: Lab, ansible: Ansible, a_tiny: str) -> None:
    lab.domain(a_tiny).suspend()
    done = ok(started(lab, ansible, a_tiny))
    assert (done["method"], done["agent"], done["changed"]) == ("resumed", True, True)
    assert not ok(started(lab, ansible, a_tiny))["changed"]


def test_a_guest_without_an_agent(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    name = start(persistent=True, agent="absent")
    lab.domain(name).destroy()
    failed = started(lab, ansible, name, timeout=8)
    assert (failed["failure"]["kind"], failed["method"], failed["changed"]) == ("not_ready", "started", True)
    assert lab.domain(name).isActive()


def test_a_guest_that_does_not_stay_on(lab: Lab, ansible: Ansible, start: Callable[..., str]) -> None:
    """Its kernel panics and nothing restarts it: nobody waits for its agent until the time is over."""
    name = start(persistent=True)
    domain = lab.domain(name)
    xml = domain.XMLDesc(2)
    domain.destroy()
    broken = xml.replace("<cmdline>", "<cmdline>rdinit=/none panic=1 ").replace("<on_reboot>restart", "<on_reboot>destroy")
    assert broken.count("rdinit=/none") == 1
    lab.connection.defineXML(broken)
    failed = started(lab, ansible, name, timeout=500)
    assert failed["failure"]["kind"] == "not_started"
    assert "again" in failed["msg"]


def test_no_such_domain(lab: Lab, ansible: Ansible) -> None:
    assert started(lab, ansible, "nobody")["failure"]["kind"] == "domain_not_found"
