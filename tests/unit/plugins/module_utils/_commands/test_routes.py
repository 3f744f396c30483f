# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes, as agents and the kernel tell them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import routes
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest


def _default_route(guest: FakeGuest) -> tuple[t.Any, ...] | None:
    found = routes.default_route(guest.agent())
    return found and (found["interface_name"], found["gateway"], found["metric"])


def test_the_default_route() -> None:
    assert _default_route(FakeGuest("10.0")) == ("eth0", "10.0.2.2", 1024)
    with pytest.raises(_errors.CommandFailed):
        _default_route(FakeGuest("7.2"))


def _route(**values: t.Any) -> dict[str, t.Any]:
    return {
        "iface": "eth0",
        "destination": "0.0.0.0",
        "mask": "0.0.0.0",
        "metric": 5,
        "version": 4,
        "gateway": "10.0.0.1",
        **values,
    }


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ([], None),
        ([_route()], ("eth0", "10.0.0.1", 5)),
        ([_route(), _route(iface="eth1", metric=1)], ("eth1", "10.0.0.1", 1)),
        ([_route(version=6)], None),
        ([_route(destination="10.0.0.0", mask="255.0.0.0")], None),
        ([_route(mask="128.0.0.0")], None),
        ([_route(gateway="{{ evil }}")], ("eth0", None, 5)),
        ([_route(gateway="fe80::1%x")], ("eth0", None, 5)),
        ([_route(gateway=None)], ("eth0", None, 5)),
        ([_route(gateway="0.0.0.0")], ("eth0", None, 5)),
    ],
)
def test_routes(routes: list, found: t.Any) -> None:
    guest = FakeGuest()
    guest.replies["guest-network-get-route"] = routes
    assert _default_route(guest) == found


HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HEAD + "eth0\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n", ("eth0", "10.0.2.2", 1024)),
        (
            HEAD + "eth0\t00000000\t0202000A\t0003\t0\t0\t9\t00000000\t0\t0\t0\neth1\t00000000\t0302000A\t3\t0\t0\t1\t00000000\n",
            ("eth1", "10.0.2.3", 1),
        ),
        (HEAD + "eth0\t0002000A\t00000000\t0001\t0\t0\t1024\t00FFFFFF\t0\t0\t0\n", None),
        (HEAD + "eth0\t00000000\tnonsense\t0003\t0\t0\t1024\t00000000\n", None),
        (HEAD + "eth0\t00000000\t02\t0003\t0\t0\t1024\t00000000\n", None),
        (HEAD + "eth0\t00000000\n", None),
        (HEAD, None),
        ("", None),
    ],
)
def test_proc_net_route(text: str, found: t.Any) -> None:
    assert _default_route(FakeGuest("7.2", files={"/proc/net/route": text.encode()})) == found
