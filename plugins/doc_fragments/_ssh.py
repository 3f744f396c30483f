# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import yaml
from ansible.plugins.connection import ssh


def _without_versions(value: t.Any) -> t.Any:
    """The versions are those of ansible-core, and would be read as this collection's."""
    if isinstance(value, dict):
        return {key: _without_versions(member) for key, member in value.items() if key not in ("version_added", "deprecated")}
    return [_without_versions(member) for member in value] if isinstance(value, list) else value


class ModuleDocFragment:
    """The options of ansible.builtin.ssh, whichever the ansible-core has that is here."""

    # With its type, because ansible-test's yamllint takes any other assignment here for a text.
    DOCUMENTATION: t.ClassVar[str] = yaml.safe_dump({"options": _without_versions(yaml.safe_load(ssh.DOCUMENTATION)["options"])})
