# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image, built once a run, and a guest to reach from it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.ee.image import PLACE, REPORT, build, lay_out, step
from tests.ee.podman import Podman
from tests.integration.conftest import ansible, lab
from tests.lab import Guest, Lab

__all__ = ["ansible", "lab"]


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    if os.geteuid() != 0:
        pytest.fail("make ee takes root: it makes a Debian, and reaches root's libvirt")
    running = Podman(PLACE / "podman")
    yield running
    running.clean()


@pytest.fixture(scope="session")
def image(podman: Podman) -> Podman:
    """podman, with the image that was built."""
    build(podman, lay_out(PLACE / "build"))
    return podman


@pytest.fixture(scope="session")
def guest(lab: Lab) -> Iterator[str]:
    """A tiny guest with the name that the guide's has."""
    with step("a guest"):
        (name,) = lab.start_all([Guest(name="db1")])
    yield name
    lab.destroy(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for told in REPORT:
        terminalreporter.write_line(f"ee: {told}")
