# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this checkout importable as ansible_collections.<namespace>.<name>, wherever it lies.

Nothing here depends on the user: no ansible.cfg and no directory in the home takes part in a unit test.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

if t.TYPE_CHECKING:
    from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
    from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run

ROOT = Path(__file__).resolve().parents[2]


def _full_name() -> str:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    return "ansible_collections.{namespace}.{name}".format_map(galaxy)


def _is_found() -> bool:
    try:
        return importlib.util.find_spec(_full_name()) is not None
    except ModuleNotFoundError:
        return False


def _collections_path(scratch: Path) -> Path:
    """A directory under which this checkout has its full name: what `make collections` made, or a link of our own."""
    below = Path(*_full_name().split("."))
    made = ROOT / ".collections"
    if (made / below).exists() and (made / below).samefile(ROOT):
        return made
    link = scratch / below
    link.parent.mkdir(parents=True)
    link.symlink_to(ROOT, target_is_directory=True)
    return scratch


def _install_loader() -> None:
    scratch = tempfile.TemporaryDirectory(prefix="unit-")
    atexit.register(scratch.cleanup)
    home = Path(scratch.name)
    (home / "ansible.cfg").touch()
    # Read by ansible when it is first imported, and by the commands that a test starts.
    os.environ["ANSIBLE_CONFIG"] = str(home / "ansible.cfg")
    os.environ["ANSIBLE_HOME"] = str(home / "home")
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(_collections_path(home))

    from ansible.plugins.loader import init_plugin_loader

    # The real loader, not a stand-in in sys.modules: only it lets plugins be found by their full names as well.
    init_plugin_loader()


# ansible-test comes with a loader of its own.
if not _is_found():
    _install_loader()

# The same examples on every run: a failure belongs to a commit, not to a day.
settings.register_profile("unit", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_address_is_ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What guests say in tests may be an address of the computer that runs them; ``test_own_addresses`` is about those."""
    if request.node.path.name != "test_own_addresses.py":
        from ansible_collections.virtops.guest_agent.plugins.module_utils._records import own_addresses

        monkeypatch.setattr(own_addresses, "_is_ours", lambda _address: False)


def pytest_make_parametrize_id(val: object) -> str | None:
    from ansible_collections.virtops.guest_agent.tests.unit import rows

    return rows.word(val)


@pytest.fixture
def domains() -> list[Domain]:
    """What ``host`` has. A file that needs others has a fixture of this name."""
    from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
    from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain

    return [Domain(guest=FakeGuest())]


@pytest.fixture
def host(domains: list[Domain], monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Hypervisor]:
    """The hypervisor at every URI, of which no connection may be left open."""
    from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import hosting

    with hosting(monkeypatch, *domains) as hypervisor:
        yield hypervisor
        assert all(handle.closed for handle in hypervisor.handles)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A module on the domain ``web``, unless told otherwise; None stands for an option that is not given."""
    from ansible_collections.virtops.guest_agent.tests.unit import samples
    from ansible_collections.virtops.guest_agent.tests.unit.module_runs import run_module

    def run_it(module: t.Any, /, **arguments: t.Any) -> dict[str, t.Any]:
        given = {"domain": "web", "uri": samples.URI, **arguments}
        return run_module(module.main, capsys, **{name: value for name, value in given.items() if value is not None})

    return run_it
