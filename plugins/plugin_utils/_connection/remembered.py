# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A few numbers that one task leaves to the next: each has a process of its own. They are in the run's temporary directory, which
Ansible removes. What cannot be kept or read is not known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t

from ansible import constants


def path(kind: str, about: str, directory: str | None = None) -> str:
    name = hashlib.sha256(about.encode("utf-8", "replace")).hexdigest()[:32]
    return os.path.join(directory or constants.DEFAULT_LOCAL_TMP, f"virtops-{kind}-{name}")


def numbers(path: str) -> list[float]:
    try:
        with open(path, encoding="ascii") as file:
            return [float(number) for number in json.load(file)]
    except (OSError, ValueError, TypeError):
        return []


def keep(path: str, numbers: t.Sequence[float]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(list(numbers), file)
        os.replace(temporary, path)
