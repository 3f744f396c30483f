# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compiled code that the next process finds: ansible-core compiles a collection's files anew in each process, and each task is one.

Importing this does it, for all of this collection that is imported after it. Python's own loader decides whether what was kept
still is that file's; it is kept below ``ANSIBLE_HOME`` instead of beside the file. Where that cannot be, nothing is kept.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import stat
import sys
import typing as t

from ansible import constants
from ansible.utils.collection_loader import AnsibleCollectionConfig

_OURS: t.Final = __name__.rpartition(".plugin_utils.")[0] + "."
_SUFFIX: t.Final = ".pyc"


class _Loader(importlib.machinery.SourceFileLoader):
    """Python's own, with another place for what it has compiled."""

    def __init__(self, name: str, path: str, place: str) -> None:
        super().__init__(name, path)
        self._place = place

    def get_data(self, path: str) -> bytes:
        return super().get_data(self._kept(path) if path.endswith(_SUFFIX) else path)

    def set_data(self, path: str, data: t.Any, *, _mode: int = 0o600) -> None:
        super().set_data(self._kept(path), data, _mode=0o600)

    def _kept(self, path: str) -> str:
        return os.path.join(self._place, hashlib.sha256(os.fsencode(path)).hexdigest()[:32] + _SUFFIX)


class _Finder(importlib.abc.MetaPathFinder):
    """Comes before ansible-core's, for files of this collection only."""

    def __init__(self, place: str) -> None:
        self._place = place

    def find_spec(self, name: str, path: t.Sequence[str] | None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(_OURS):
            return None
        for directory in path or ():
            file = os.path.join(directory, name.rpartition(".")[2] + ".py")
            if os.path.isfile(file):
                return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, file, self._place))
        return None


def _place() -> str:
    """A directory where no other user can put code; "" where there is none."""
    place = os.path.join(constants.config.get_config_value("ANSIBLE_HOME"), "virtops", "compiled")
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        found = os.lstat(place)
    except OSError:
        return ""
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return place if own else ""


def _keep() -> None:
    theirs = AnsibleCollectionConfig.collection_finder
    place = _place()
    if place and theirs in sys.meta_path:
        sys.meta_path.insert(sys.meta_path.index(theirs), _Finder(place))


_keep()
