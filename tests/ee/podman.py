# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""podman with all that it keeps in one directory, and what of this machine's settings a build is given."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.lab.shell import run

_STORAGE = """[storage]
driver = "overlay"
graphroot = "{place}/storage"
runroot = "{place}/run"
[storage.options.overlay]
skip_mount_home = "true"
"""
# The network is this machine's: podman would make a bridge. No more is asked for than an ordinary limit allows.
_CONTAINERS = """[containers]
netns = "host"
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
log_driver = "none"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{place}/run/libpod"
image_copy_tmp_dir = "storage"
[network]
network_config_dir = "{place}/networks"
"""
#: A file of the base image that a build sees the settings of this machine in.
APT_SETTINGS = "/etc/apt/apt.conf.d/99mmdebstrap"
#: The root of control groups, and what podman makes there.
_GROUPS, _PARENT = Path("/sys/fs/cgroup"), "libpod_parent"
#: Root's podman notes here from where it has layers, whatever its settings say.
_NOTES = Path("/var/lib/containers")


class Podman:
    """``env`` makes every program that calls podman use this one."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        settings = {"CONTAINERS_STORAGE_CONF": _STORAGE, "CONTAINERS_CONF": _CONTAINERS}
        self.env = {"TMPDIR": str(place / "tmp")}
        for name, text in settings.items():
            path = place / f"{name.lower()}.toml"
            path.write_text(text.format(place=place), encoding="utf-8")
            self.env[name] = str(path)
        (place / "tmp").mkdir(exist_ok=True)
        self._before = _elsewhere()

    def run(self, *words: str, timeout: float = 60) -> str:
        """What it prints; LabError with what it says when it fails."""
        return run(["podman", *words], timeout=timeout, environment={**os.environ, **self.env})

    def images(self) -> list[str]:
        """Their names; those without one are removed."""
        self.run("image", "prune", "--force")
        return self.run("images", "--format", "{{.Repository}}:{{.Tag}}").split()

    def size(self, image: str) -> int:
        """Bytes of all its layers."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))

    def settings_of_this_machine(self) -> Iterator[str]:
        """Mounts for a build: how apt and pip are to fetch here. They hide what the base has, so that the image gets none of it."""
        apt = self.place / "apt.conf"
        apt.write_text(run(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"]), encoding="utf-8")
        yield f"{apt}:{APT_SETTINGS}:ro"
        home = self.place / "root"
        shutil.rmtree(home, ignore_errors=True)
        _write_pip_settings(home)
        yield f"{home}:/root"

    def clean(self) -> None:
        """Remove what podman leaves elsewhere, where it had nothing before: control groups and a note."""
        for place in _elsewhere() - self._before - {_NOTES}:
            for path, _folders, _files in os.walk(place, topdown=False):
                Path(path).rmdir()
        if _NOTES not in self._before:
            shutil.rmtree(_NOTES, ignore_errors=True)

    def left(self) -> list[str]:
        """Containers and mounts of its own that are still there, and what it has elsewhere."""
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.place) in line]
        return [*self.run("ps", "--all", "--external", "--quiet").split(), *mounts, *map(str, _elsewhere() - self._before)]


def _elsewhere() -> set[Path]:
    """What podman has made beside its storage."""
    return {*_GROUPS.glob(_PARENT), *_GROUPS.glob(f"*/{_PARENT}"), *([_NOTES] if _NOTES.exists() else [])}


def _write_pip_settings(home: Path) -> None:
    """What pip is told here by files and by the environment, for a root whose home this is; files that it names come along."""
    place = home / ".config" / "pip"
    place.mkdir(parents=True)
    settings: dict[str, str] = {}
    for line in run([sys.executable, "-m", "pip", "config", "list"]).splitlines():
        name, _sign, value = line.partition("=")
        words = [_brought(word, place) for word in str(ast.literal_eval(value)).split()]
        settings[name.rpartition(".")[2]] = "\n  ".join(words)
    text = "".join(f"{name} = {value}\n" for name, value in settings.items())
    (place / "pip.conf").write_text(f"[global]\n{text}", encoding="utf-8")


def _brought(word: str, place: Path) -> str:
    if not Path(word).is_file():
        return word
    shutil.copy(word, place)
    return f"/root/.config/pip/{Path(word).name}"
