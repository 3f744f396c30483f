# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one process has compiled the next one finds, and nothing that another user may have put there. In processes of their own."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.plugin_utils import _compiled

SCRIPT = """
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
from ansible_collections.virtops.guest_agent.plugins.plugin_utils import _compiled
from ansible_collections.virtops.guest_agent.plugins.module_utils import _x
print(_x.VALUE, _x.__file__)
"""


class Place:
    """A collection of our name with one file, and a home."""

    def __init__(self, path: Path) -> None:
        self.home = path / "home"
        plugins = path / "collections/ansible_collections/virtops/guest_agent/plugins"
        self.source = plugins / "module_utils/_x.py"
        self.source.parent.mkdir(parents=True)
        self.source.write_text("VALUE = 'source'\n")
        (plugins / "plugin_utils").mkdir()
        shutil.copy(_compiled.__file__, plugins / "plugin_utils")
        self._env = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_COLLECTIONS_PATH": str(path / "collections"),
            "PYTHONPATH": "",
        }

    def value(self) -> str:
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        value, file = done.stdout.split()
        assert file == str(self.source)
        return value

    @property
    def kept(self) -> Path:
        return self.home / "virtops/compiled"

    def exchange(self) -> None:
        """Other code in what was kept of the file, as whoever can write there could do it."""
        (file,) = self.kept.iterdir()
        file.write_bytes(file.read_bytes()[:16] + marshal.dumps(compile("VALUE = 'kept'", "x", "exec")))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    assert found.value() == "source"
    return found


def test_what_was_compiled_is_used(place: Place) -> None:
    place.exchange()
    assert place.value() == "kept"
    assert place.kept.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in place.kept.iterdir()] == [0o600]
    assert not list(place.source.parent.glob("__pycache__"))


def test_another_source_is_compiled_anew(place: Place) -> None:
    place.exchange()
    place.source.write_text("VALUE = 'changed'\n")
    assert place.value() == "changed"


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_what_others_can_write_to_is_not_used(place: Place, mode: int) -> None:
    place.exchange()
    place.kept.chmod(mode)
    assert place.value() == "source"


def test_a_link_is_not_followed(place: Place, tmp_path: Path) -> None:
    place.exchange()
    place.kept.rename(tmp_path / "elsewhere")
    place.kept.symlink_to(tmp_path / "elsewhere")
    assert place.value() == "source"


@pytest.mark.skipif(
    os.geteuid() != 0, reason="SKIPPED OUT LOUD: what another user owns is not tried, for only root can give it away"
)
def test_what_is_anothers_is_not_used(place: Place) -> None:
    place.exchange()
    os.chown(place.kept, 65534, 65534)
    assert place.value() == "source"


def test_without_a_place_nothing_is_kept(place: Place) -> None:
    shutil.rmtree(place.kept)
    place.kept.write_text("a file")
    assert place.value() == "source"


def test_the_doors_begin_with_it() -> None:
    """Before anything else of the collection is imported, or that would be compiled in each process."""
    plugins = Path(_compiled.__file__).parents[1]
    for door in ("connection/agent.py", "connection/windows.py", "action/agent_command.py", "inventory/libvirt.py"):
        lines = [line for line in (plugins / door).read_text().splitlines() if line.startswith("from ..")]
        assert lines[0].startswith("from ..plugin_utils import _compiled"), door
