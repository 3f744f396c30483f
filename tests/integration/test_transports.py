# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second qemu-ga on a channel that libvirt leaves alone, reached through libvirt's stream."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration import second_agent
from tests.integration.ansible_cli import ROOT
from tests.lab import Guest, Lab

PACKAGE = "ansible_collections.virtops.guest_agent.plugins.module_utils."


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(ROOT / ".collections")
    names = {"client": "_agent", "domain_xml": "_libvirt", "transport": "_libvirt", "guest": "_reach"}
    found = {name: importlib.import_module(f"{PACKAGE}{room}.{name}") for name, room in names.items()}
    return SimpleNamespace(**found, errors=importlib.import_module(f"{PACKAGE}_errors"))


@pytest.fixture(scope="module")
def tiny(lab: Lab) -> Iterator[str]:
    """A tiny guest with a second agent."""
    guest = Guest(name="it-channel", devices=second_agent.DEVICE)
    lab.start_all([guest])
    second_agent.start(lab, guest.name)
    yield guest.name
    lab.destroy(guest.name)


@pytest.fixture
def opened(lab: Lab, core: SimpleNamespace) -> Iterator[Callable[..., Any]]:
    """``opened(name)``: the domain, and ``agent`` over the channel."""
    with contextlib.ExitStack() as stack:

        def open_one(name: str, channel: str = second_agent.CHANNEL) -> SimpleNamespace:
            lab.touch(name)
            guest = stack.enter_context(core.guest.open_guest({"uri": lab.uri, "domain": name, "agent_timeout": 5}))
            transport = core.transport.ChannelTransport(guest.domain, channel)
            stack.callback(transport.close)
            return SimpleNamespace(domain=guest.domain, transport=transport, agent=core.client.GuestAgent(transport, 2))

        yield open_one


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_commands_of_every_size(lab: Lab, tiny: str, opened: Callable[..., Any]) -> None:
    guest = opened(tiny)
    for _number in range(50):
        assert guest.agent.call("guest-ping") == {}
    assert guest.agent.call("guest-exec", {"path": "/bin/echo", "arg": ["x" * 100_000]})["pid"] > 0
    lab.run(tiny, "head -c 300000 /dev/zero | tr '\\0' a > /run/large")
    handle = guest.agent.call("guest-file-open", {"path": "/run/large"})
    reply = guest.agent.call("guest-file-read", {"handle": handle, "count": 262144})
    assert reply["count"] == 262144
    guest.agent.call("guest-file-close", {"handle": handle})


def test_a_late_reply_is_not_taken_for_another(lab: Lab, tiny: str, core: SimpleNamespace, opened: Callable[..., Any]) -> None:
    guest = opened(tiny)
    assert guest.agent.call("guest-get-host-name")["host-name"] == "it-channel"
    lab.run(tiny, f"kill -STOP {second_agent.PROCESS}")
    for command in ("guest-get-host-name", "guest-get-timezone"):
        started = time.monotonic()
        with pytest.raises(core.errors.AgentTimeout):
            guest.agent.call(command)
        assert time.monotonic() - started < 15
        guest.agent.retry()
    lab.run(tiny, f"kill -CONT {second_agent.PROCESS}")
    assert "version" in guest.agent.call("guest-info")
    assert guest.agent.call("guest-get-host-name")["host-name"] == "it-channel"


def test_a_client_that_went_away_leaves_nothing_for_the_next(
    lab: Lab, tiny: str, core: SimpleNamespace, opened: Callable[..., Any]
) -> None:
    first = opened(tiny)
    first.agent.call("guest-ping")
    lab.run(tiny, f"kill -STOP {second_agent.PROCESS}")
    with pytest.raises(core.errors.AgentTimeout):
        first.agent.call("guest-get-host-name")
    first.transport.close()
    lab.run(tiny, f"kill -CONT {second_agent.PROCESS}")
    assert opened(tiny).agent.call("guest-get-timezone").keys() >= {"offset"}


def test_the_channel_has_one_client(tiny: str, core: SimpleNamespace, opened: Callable[..., Any]) -> None:
    first, second = opened(tiny), opened(tiny)
    first.agent.call("guest-ping")
    with pytest.raises(core.errors.ChannelBusy):
        second.agent.call("guest-ping")
    first.transport.close()
    second.agent.retry()
    assert second.agent.call("guest-ping") == {}


def test_taken_over_in_the_middle(tiny: str, core: SimpleNamespace, opened: Callable[..., Any]) -> None:
    guest = opened(tiny)
    guest.agent.call("guest-ping")
    guest.domain.open_channel(second_agent.CHANNEL, force=True).close()
    with pytest.raises(core.errors.AgentDisappeared):
        guest.agent.call("guest-ping")
    guest.agent.retry()
    assert guest.agent.call("guest-ping") == {}


def test_a_send_that_nobody_reads_leaves_libvirt_working(
    lab: Lab, tiny: str, core: SimpleNamespace, opened: Callable[..., Any]
) -> None:
    guest = opened(tiny)
    guest.agent.call("guest-ping")
    lab.run(tiny, f"kill -STOP {second_agent.PROCESS}")
    try:
        for _number in range(12):
            started = time.monotonic()
            with pytest.raises(core.errors.UnknownOutcome):
                guest.agent.call("guest-exec", {"path": "/bin/true", "arg": ["x" * 120_000]}, timeout=1)
            guest.agent.retry()
            assert time.monotonic() - started < 15
            assert guest.domain.state() == "running"
        started = time.monotonic()
        guest.transport.close()
        assert time.monotonic() - started < 15
    finally:
        lab.run(tiny, f"kill -CONT {second_agent.PROCESS}")
    assert wait_for(lambda: opened(tiny).agent.call("guest-ping", timeout=8) == {})


def test_nobody_listens_and_starts_again(lab: Lab, tiny: str, core: SimpleNamespace, opened: Callable[..., Any]) -> None:
    lab.run(tiny, f"kill {second_agent.PROCESS}")
    second_agent.await_state(lab, tiny, "disconnected")
    guest = opened(tiny)
    with pytest.raises(core.errors.AgentDisconnected):
        guest.agent.call("guest-ping")
    second_agent.start(lab, tiny)
    guest.agent.retry()
    assert guest.agent.call("guest-ping") == {}


def test_channels_that_are_none(start: Callable[..., str], tiny: str, core: SimpleNamespace, opened: Callable[..., Any]) -> None:
    for name, channel, kind in (
        (tiny, "org.virtops.none", core.errors.AgentNotConfigured),
        (tiny, "org.qemu.guest_agent.0", core.errors.InvalidInput),
    ):
        with pytest.raises(kind) as raised:
            opened(name, channel).agent.call("guest-ping")
        assert raised.value.hint


def test_on_debian(lab: Lab, debian: str, opened: Callable[..., Any]) -> None:
    guest = opened(debian)
    try:
        second_agent.start(lab, debian)
        assert guest.agent.call("guest-ping") == {}
        assert guest.agent.call("guest-get-osinfo")["id"] == "debian"
    finally:
        guest.transport.close()
        second_agent.remove(lab, debian)
