# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the inventory become a plan, or are refused."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.exec import Probe
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.addresses import address_policy
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.query import Selection
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory import options as _options

DEFAULTS: dict[str, t.Any] = {
    "agent_timeout": 5,
    "timeout": 30.0,
    "concurrency": 10,
    "max_items": 10,
    "ssh_persist": 60,
    "states": ["running"],
    "gather_subset": ["os"],
    "probes": {},
    "address_families": ["ipv6"],
    "address_cidrs": ["10.0.0.0/8"],
    "address_exclude_cidrs": [],
    "address_networks": ["default"],
    "address_sources": ["agent"],
}


def _plan(**options: t.Any) -> t.Any:
    get = {**DEFAULTS, **options}.__getitem__
    return _options.plan(get, Selection([], []), address_policy(get))


def test_options_become_a_plan() -> None:
    plan = _plan()
    assert (plan.subsets, plan.states, plan.agent_timeout, plan.timeout, plan.concurrency) == (("os",), ("running",), 5, 30.0, 10)
    assert (plan.policy.families, plan.policy.networks, plan.policy.sources) == (("ipv6",), ("default",), ("agent",))
    assert str(plan.policy.cidrs[0]) == "10.0.0.0/8"
    assert _plan(states=["running", "all"]).states == ()
    assert _plan(ssh_persist=0).ssh_persist == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"agent_timeout": 0}, "agent_timeout must be from 1 to"),
        ({"timeout": 0.5}, "timeout must be from 1 to"),
        ({"concurrency": 0}, "concurrency must be from 1 to"),
        ({"max_items": -1}, "max_items must be from 0 to"),
        ({"ssh_persist": -1}, "ssh_persist must be from 0 to"),
        ({"address_cidrs": ["x"]}, "address_cidrs"),
        ({"address_exclude_cidrs": ["10.0.0.0/99"]}, "address_exclude_cidrs"),
        *[
            ({"probes": {"load": probe}}, "probes: load must be")
            for probe in ("", [], {}, {"timeout": 5}, {"command": "x", "shell": 1}, {"command": ""}, 5, None, [[]], [{}])
        ],
        *[
            ({"probes": {"load": {"command": "x", "timeout": timeout}}}, "probes: the timeout of load must be a number of seconds")
            for timeout in ("fast", "", None, [], {}, -1, 0, "0", float("nan"), "nan", float("inf"), 3600.1)
        ],
    ],
)
def test_options_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(_errors.InvalidInput, match=words):
        _plan(**options)


@pytest.mark.parametrize(
    ("value", "probe"),
    [
        ("cat /proc/loadavg", Probe(("/bin/sh", "-c", "cat /proc/loadavg"), 5.0)),
        (["/bin/echo", 5, 1.5], Probe(("/bin/echo", "5", "1.5"), 5.0)),
        ({"command": "x", "timeout": 2}, Probe(("/bin/sh", "-c", "x"), 2.0)),
        ({"command": ["x"]}, Probe(("x",), 5.0)),
        ({"command": ["x"], "timeout": "2.5"}, Probe(("x",), 2.5)),
        ({"command": ["x"], "timeout": 3600}, Probe(("x",), 3600.0)),
    ],
)
def test_probes(value: t.Any, probe: Probe) -> None:
    assert _plan(probes={"load": value}).probes == {"load": probe}
