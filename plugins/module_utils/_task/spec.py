# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several modules share, and the SPEC of a module as one value."""

from __future__ import annotations

import typing as t

Options = dict[str, dict[str, t.Any]]

#: What Ansible itself puts in the place of what an option with no_log says.
WITHHELD: t.Final = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"

URI: t.Final[Options] = {"uri": {"type": "str"}, "ssh_persist": {"type": "int", "default": 60}}
AGENT_TIMEOUT: t.Final[Options] = {"agent_timeout": {"type": "int", "default": 5}}
DOMAIN: t.Final[Options] = {"domain": {"type": "str", "required": True, "aliases": ["name"]}}
GUEST: t.Final[Options] = {**DOMAIN, **URI, **AGENT_TIMEOUT}
#: The ways of _reach.py to a guest; what each of them needs is in REACH_REQUIRES.
REACH: t.Final[Options] = {
    "domain": {"type": "str", "aliases": ["name"]},
    **URI,
    **AGENT_TIMEOUT,
    "transport": {"type": "str", "choices": ["libvirt", "channel", "unix"], "default": "libvirt"},
    "channel": {"type": "str", "default": "org.qemu.guest_agent.1"},
    "socket": {"type": "path"},
    "data_lane": {"type": "str", "choices": ["auto", "attach", "never"], "default": "auto"},
    "resident": {"type": "str", "choices": ["auto", "never"], "default": "auto"},
    "resident_idle": {"type": "int", "default": 60},
}
REACH_REQUIRES: t.Final = (
    ("transport", "libvirt", ["domain"]),
    ("transport", "channel", ["domain"]),
    ("transport", "unix", ["socket"]),
)


class Spec(t.NamedTuple):
    """What AnsibleModule is made from. Every module of this collection supports check mode."""

    options: Options
    required_if: t.Sequence[tuple[t.Any, ...]] = ()
    mutually_exclusive: t.Sequence[t.Sequence[str]] = ()
    required_one_of: t.Sequence[t.Sequence[str]] = ()
    #: Whether results may hold what options with no_log say: what a command prints, what a diff shows. Such options are then kept
    #: out of logs and of the result's ``invocation`` only. Otherwise Ansible blots them out to the last letter.
    echoes: bool = False
    #: Options that name a file to read, and where a role keeps such. Where the module runs in the controller's process, a relative
    #: path is looked for there, as ansible.builtin.copy and script do.
    searched: t.Mapping[str, str] = {}
