# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source as ansible-rulebook runs it: by its path, with a queue that may be full."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import typing as t
from pathlib import Path

import pytest
import yaml

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import ledger as _ledger, watch as _watch
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.events import Options
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.outbox import WAITING_MAX, Outbox
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Hypervisor

SECONDS = 60


@pytest.fixture(scope="module")
def source() -> dict[str, t.Any]:
    """From a place that is below ansible_collections, as ansible-rulebook finds it."""
    package = importlib.import_module("ansible_collections.virtops.guest_agent")
    file = Path(package.__path__[0], "extensions/eda/plugins/event_source/events.py")
    spec = importlib.util.spec_from_file_location("event_source", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ({}, Options()),
        ({"uri": "qemu:///system"}, Options(uris=("qemu:///system",))),
        ({"uri": "qemu:///a, qemu:///b"}, Options(uris=("qemu:///a", "qemu:///b"))),
        ({"uri": ["qemu:///a"], "timeout": "5"}, Options(uris=("qemu:///a",), timeout=5)),
        (
            {"filesystem_interval": "600", "filesystem_thresholds": "80,95", "agent_timeout": 2},
            Options(filesystem_interval=600, filesystem_thresholds=(80, 95), agent_timeout=2),
        ),
        ({"filesystem_thresholds": 70}, Options(filesystem_thresholds=(70,))),
        ({"filesystem_thresholds": []}, Options()),
    ],
)
def test_arguments(source: dict[str, t.Any], args: dict[str, t.Any], options: Options) -> None:
    assert source["options"](args) == options


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"uris": []}, "no argument uris"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": 1.5}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"agent_timeout": True}, "agent_timeout"),
        ({"filesystem_interval": -1}, "filesystem_interval"),
        ({"filesystem_interval": 10**9}, "filesystem_interval"),
        ({"filesystem_thresholds": [101]}, "filesystem_thresholds"),
    ],
)
def test_arguments_that_make_no_sense(source: dict[str, t.Any], args: dict[str, t.Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        source["options"](args)


def test_its_documentation_is_that_of_its_arguments(source: dict[str, t.Any]) -> None:
    documented = yaml.safe_load(source["DOCUMENTATION"])["options"]
    with pytest.raises(ValueError, match="it has " + ", ".join(documented)):
        source["options"]({"x": 1})
    defaults = Options()
    for name, about in documented.items():
        if name != "uri":
            value = getattr(defaults, name)
            assert about["default"] == (list(value) if isinstance(value, tuple) else value)


def test_the_guide_has_every_type_and_argument(source: dict[str, t.Any]) -> None:
    page = (Path(__file__).parents[3] / "docs/docsite/rst/events.rst").read_text(encoding="utf-8")
    terms = re.findall(r"^``(\w+)`` ", page, re.MULTILINE)
    arguments = list(yaml.safe_load(source["DOCUMENTATION"])["options"])
    others = ["filesystem_above", "filesystem_below", "hypervisor_lost", "hypervisor_connected"]
    assert sorted(terms) == sorted([*arguments, *_ledger._OLD, *others])


def test_events_wait_for_a_queue_that_is_full(source: dict[str, t.Any], host: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """ansible-rulebook's has room for one: what comes meanwhile waits in the core, which bounds it."""
    monkeypatch.setattr(_watch, "_SETTLING_SECONDS", 0.0)
    subjects: list[str] = []
    put = Outbox.put
    monkeypatch.setattr(Outbox, "put", lambda box, subject, event: (put(box, subject, event), subjects.append(subject)))

    async def play() -> list[dict[str, t.Any]]:
        events: asyncio.Queue[dict[str, t.Any]] = asyncio.Queue(1)
        task = asyncio.create_task(source["main"](events, {"uri": "test:///default"}))
        while events.empty():
            assert not task.done()
            host.tell(host.domains[0], 1)
            await asyncio.sleep(0.01)
        for _number in range(1000):
            host.tell(host.domains[0], 18, 2, 2)
            host.tell(host.domains[0], 18, 1, 2)
        while sum(subject.startswith("agent") for subject in subjects) < 2000:
            await asyncio.sleep(0.01)
        found = []
        while sum(1 + event["replaced"] for event in found if event["type"].startswith("agent")) < 2000:
            found.append(await asyncio.wait_for(events.get(), SECONDS))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return found

    found = asyncio.run(play())
    agents = [event for event in found if event["type"].startswith("agent")]
    # Those that wait, one in the queue, and one on its way there.
    assert len(agents) <= WAITING_MAX + 2
    assert (agents[-1]["type"], agents[-1]["domain"]) == ("agent_connected", "web")


def test_an_argument_that_makes_no_sense_ends_it_at_once(source: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError, match="uris"):
        asyncio.run(source["main"](asyncio.Queue(), {"uris": "x"}))
