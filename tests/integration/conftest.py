# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for the whole run. Debian guests are booted once, with a channel for a second agent; tests leave them as they were.

There are two forms. INTEGRATION=full runs everything. The short one, for every change, leaves out tests marked ``full``, which
take long and widen what a shorter one shows, and runs a test that both Debian guests are for on one of them, by turns.
INTEGRATION_PART=1/2 takes every second file, 2/2 the others: two can run side by side, each in a lab of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import second_agent
from tests.integration.ansible_cli import Ansible
from tests.lab import Guest, Lab

DEBIANS = ("debian12", "debian13")
FULL = os.environ.get("INTEGRATION") == "full"
PART = os.environ.get("INTEGRATION_PART") or "1/1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _keep(config, items, _of_this_part(items))
    if not FULL:
        _keep(config, items, _short_form(items))


def _keep(config: pytest.Config, items: list[pytest.Item], kept: list[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _of_this_part(items: list[pytest.Item]) -> list[pytest.Item]:
    """Whole files, for what they share is made once a run."""
    number, _sign, count = PART.partition("/")
    files = list(dict.fromkeys(item.path for item in items))
    mine = set(files[int(number) - 1 :: int(count)])
    return [item for item in items if item.path in mine]


def _short_form(items: list[pytest.Item]) -> list[pytest.Item]:
    twins: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("full") is None:
            twins.setdefault(_but_for_the_debian(item), []).append(item)
    turns = itertools.count()
    return [same[next(turns) % len(same)] if len(same) > 1 else same[0] for same in twins.values()]


def pytest_report_collectionfinish() -> str:
    """Nothing is left out in silence."""
    return "" if FULL else "LEFT OUT LOUD: the short form; what is deselected below runs in make full"


def _but_for_the_debian(item: pytest.Item) -> tuple[str, str]:
    params = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    if params.pop("debian", None) is None:
        return item.nodeid, ""
    return item.nodeid.partition("[")[0], repr(sorted(params.items()))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.fixture(scope="session")
def debians(lab: Lab) -> dict[str, str]:
    """Kind -> name of a guest of that kind."""
    # Two processors each: what runs in one guest at a time is faster by a quarter.
    same: dict[str, Any] = {"vcpus": 2, "devices": second_agent.DEVICE}
    guests = [Guest(kind=kind, name=f"it-{kind}", title=f"{kind} of the tests", **same) for kind in DEBIANS]  # type: ignore[arg-type]
    lab.start_all(guests, parallel=2)
    return {guest.kind: guest.name for guest in guests}


@pytest.fixture(params=DEBIANS)
def debian(request: pytest.FixtureRequest, debians: dict[str, str]) -> str:
    return debians[request.param]


@pytest.fixture
def start(lab: Lab) -> Iterator[Callable[..., str]]:
    """Starts a tiny guest for one test: ``start(agent="stopped")``."""
    started: list[str] = []
    numbers = itertools.count(1)

    def start_one(name: str = "", **options: object) -> str:
        guest = Guest(name=name or f"it-tiny-{next(numbers)}", **options)  # type: ignore[arg-type]
        started.extend(lab.start_all([guest]))
        return guest.name

    yield start_one
    for name in started:
        if name in lab.names():
            lab.destroy(name)


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("ansible"))


@pytest.fixture
def options_file(tmp_path: Path) -> Path:
    return tmp_path / "it.libvirt.yml"
