# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for the whole run. A Debian guest is booted once, with a channel for a second agent; tests leave it as it was.

There are two forms. INTEGRATION=full runs everything. The short one, for every change, leaves out tests marked ``full``, which
take long and widen what a shorter one shows, and runs a test that both Debian guests are for on one of them: the part's own.
INTEGRATION_PART=1/2 takes every second file, 2/2 the others: two can run side by side, each in a lab of its own.
HYPERVISOR=debian13 runs them on the libvirt and QEMU of Debian 13; the controller stays here. A few are marked ``hypervisor``.
DOOR=ssh has tasks and inventories reach it by qemu+ssh, over a server of the lab; DOOR=session is an ordinary user's own libvirt.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import libvirt
import libvirt_qemu
import pytest

from tests.integration import second_agent, tested
from tests.integration.ansible_cli import FULL, Ansible
from tests.lab import Guest, Lab
from tests.lab.hypervisor_root import asked_for
from tests.lab.paths import state_dir
from tests.lab.second import second_hypervisor
from tests.lab.ssh_server import ssh_server

DEBIANS = ("debian12", "debian13")
PART = os.environ.get("INTEGRATION_PART") or "1/1"
#: Of two runs side by side each boots one of the Debian guests: under emulation that takes half a minute of a processor.
OWN = DEBIANS[(int(PART.partition("/")[0]) - 1) % len(DEBIANS)]
HYPERVISOR = asked_for()
DOOR = os.environ.get("DOOR", "")
SHARED = "it-tiny-shared"


def pytest_configure(config: pytest.Config) -> None:
    tested.record(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if any("::" in argument for argument in config.args):
        return  # A test that is named is run, whatever part or form it belongs to, as tests/tools/pytest-again does it.
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
    turns = itertools.count() if PART == "1/1" and not HYPERVISOR else itertools.repeat(DEBIANS.index(OWN))
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
    if HYPERVISOR and os.geteuid() != 0:
        pytest.skip(f"SKIPPED OUT LOUD: nothing is tried on the libvirt of {HYPERVISOR}, for that takes root")
    with contextlib.ExitStack() as stack:
        yield DOORS[DOOR](stack)


def _system(stack: contextlib.ExitStack) -> Lab:
    return stack.enter_context(Lab())


def _by_ssh(stack: contextlib.ExitStack) -> Lab:
    lab = _system(stack)
    socket_of_another = parse_qsl(urlsplit(lab.uri).query)
    uri = stack.enter_context(ssh_server()).uri
    lab.uri = f"{uri}&{urlencode(socket_of_another)}" if socket_of_another else uri
    return lab


def _session(stack: contextlib.ExitStack) -> Lab:
    if HYPERVISOR:
        pytest.skip(f"SKIPPED OUT LOUD: a user's own libvirt of {HYPERVISOR} is not tried, for the lab starts this machine's")
    return stack.enter_context(stack.enter_context(second_hypervisor()).lab())


DOORS: Mapping[str, Callable[[contextlib.ExitStack], Lab]] = {"": _system, "ssh": _by_ssh, "session": _session}


class Debians(Mapping[str, str]):
    """Kind -> name of a guest of that kind, which is booted when it is first asked for. Of the short form is one kind."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._names: dict[str, str] = {}

    def __getitem__(self, kind: str) -> str:
        self._boot([kind])
        self._lab.touch(self._names[kind])
        return self._names[kind]

    def __iter__(self) -> Iterator[str]:
        kinds = DEBIANS if FULL else (OWN,)
        self._boot(kinds)
        return iter(kinds)

    def __len__(self) -> int:
        return len(DEBIANS) if FULL else 1

    def _boot(self, kinds: Sequence[str]) -> None:
        # Two processors each: what runs in one guest at a time is faster by a quarter.
        same: dict[str, Any] = {"vcpus": 2, "devices": second_agent.DEVICE}
        missing = [kind for kind in kinds if kind not in self._names]
        guests = [Guest(kind=kind, name=f"it-{kind}", title=f"{kind} of the tests", **same) for kind in missing]  # type: ignore[arg-type]
        self._lab.start_all(guests, parallel=2)
        self._names.update({guest.kind: guest.name for guest in guests})


@pytest.fixture(scope="session")
def debians(lab: Lab) -> Mapping[str, str]:
    return Debians(lab)


@pytest.fixture(params=DEBIANS)
def debian(request: pytest.FixtureRequest, debians: Mapping[str, str]) -> str:
    return debians[request.param]


@pytest.fixture(scope="session")
def spare(lab: Lab) -> Iterator[str]:
    """A Debian guest that tests may spoil. It has 192.168.122.5 on a NIC that leads nowhere: an address of QEMU's own network
    counts as none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nic = f"""<interface type='udp'><mac address='52:54:00:77:00:05'/><model type='virtio'/>
      <source address='127.0.0.1' port='9'><local address='127.0.0.1' port='{port}'/></source></interface>"""
    (name,) = lab.start_all([Guest(name="it-spare", kind="debian13", vcpus=2, devices=nic)])
    network = "[Match]\\nMACAddress=52:54:00:77:00:05\\n[Network]\\nAddress=192.168.122.5/24\\n"
    lab.run(name, f"printf '{network}' >/etc/systemd/network/05-nowhere.network; networkctl reload")
    yield name
    lab.destroy(name)


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


@pytest.fixture
def a_tiny(lab: Lab) -> Iterator[str]:
    """A tiny guest that tests leave as it was: most of such a test was the boot of its guest. One that is spoilt is replaced."""
    if SHARED not in lab.names():
        lab.start_all([Guest(name=SHARED)])
    lab.touch(SHARED)
    yield SHARED
    if not _is_well(lab, SHARED):
        lab.destroy(SHARED)


def _is_well(lab: Lab, name: str) -> bool:
    try:
        said = libvirt_qemu.qemuAgentCommand(lab.domain(name), '{"execute": "guest-fsfreeze-status"}', 30, 0)
    except libvirt.libvirtError:
        return False
    return json.loads(said) == {"return": "thawed"}


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("ansible"))


@pytest.fixture(scope="session")
def images(lab: Lab) -> Iterator[Path]:
    """A directory for images of the guests, in which their QEMU may write whoever's that is."""
    path = Path(tempfile.mkdtemp(prefix="images-", dir=state_dir()))
    path.chmod(0o755)
    lab.give_away(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def options_file(tmp_path: Path) -> Path:
    return tmp_path / "it.libvirt.yml"
