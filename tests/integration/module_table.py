# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module once, and what becomes of it on a guest that is well and on one that is not. test_every_module.py runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0Wgu5GWvgn9xvGhdBCSWlKk/hTUQKPUbBDVDFDk2Vx table"
USER = "virtops"
CHANNEL = "org.virtops.guest_agent.0"
#: Ends the session that guest_session starts.
LOGGED_OUT = f"loginctl kill-user --signal=KILL {USER} 2>/dev/null; sleep 2"
#: Frees blocks, so that there is something to trim.
FREED = "dd if=/dev/zero of=/var/tmp/freed bs=1M count=16 conv=fsync 2>/dev/null && rm /var/tmp/freed && sync"
#: What a task says when the guest is not well; "" when that does not stop it.
FROZEN, SILENT, STOPPED, BLOCKED = "guest_frozen", "agent_timeout", "domain_not_running", "command_blocked"


class Case(NamedTuple):
    """before: makes, in the guest's shell, the state in which ``args`` change something. converges: whether nothing is left to do
    afterwards; None where the guest itself may make some. really: whether it is run, or only predicted here since it would take
    the guest away; it has its own tests. blocked: the command without which it does nothing.
    """

    module: str
    args: Mapping[str, Any] = {}
    changes: bool = False
    converges: bool | None = True
    before: str = ""
    really: bool = True
    blocked: str = ""
    frozen: str = FROZEN
    silent: str = SILENT
    stopped: str = STOPPED

    def __str__(self) -> str:
        return self.module


#: Does not need the guest to be well: it tells how it is, or waits until it is.
_TELLS: dict[str, Any] = {"frozen": "", "silent": "", "stopped": ""}

CASES = (
    Case("agent_info", **_TELLS),
    Case("guest_facts", {"gather_subset": ["os", "hostname"]}, **_TELLS),
    Case("guest_info", {"gather_subset": ["os", "hostname", "timezone"]}, **_TELLS),
    Case("agent_command", {"command": "guest-get-host-name"}, blocked="guest-get-host-name"),
    Case("fsfreeze", {"state": "thawed"}, blocked="guest-fsfreeze-status", frozen=""),
    Case("fsfreeze", {"state": "frozen"}, changes=True, really=False, blocked="guest-fsfreeze-status"),
    Case("snapshot", {"name": "table"}, changes=True, really=False, blocked="guest-fsfreeze-status"),
    Case("backup", {"name": "table", "directory": "/var/tmp"}, changes=True, really=False, blocked="guest-fsfreeze-status"),
    Case("snapshot_info", **_TELLS),
    Case("fstrim", changes=True, converges=None, before=FREED, blocked="guest-fstrim"),
    Case("guest_time", {"tolerance": 30}, changes=True, before="date -s '-1 hour'", blocked="guest-get-time"),
    Case("guest_vcpus", {"count": 2}, blocked="guest-get-vcpus"),
    Case("guest_memory_blocks", blocked="guest-get-memory-blocks"),
    Case(
        "user_password",
        {"user": USER, "password": "Tr0ub4dor&3"},
        changes=True,
        before=f"passwd -d {USER}",
        blocked="guest-set-user-password",
    ),
    Case(
        "authorized_keys",
        {"user": USER, "keys": [KEY]},
        changes=True,
        before=f"rm -rf /home/{USER}/.ssh",
        blocked="guest-ssh-get-authorized-keys",
    ),
    Case("ssh_host_keys_info", {"hosts": ["web1"]}, blocked="guest-file-open"),
    Case("run_command", {"argv": ["echo", "table"]}, changes=True, converges=False, blocked="guest-exec"),
    Case("run_script", {"content": "#!/bin/sh\necho table\n"}, changes=True, converges=False, blocked="guest-exec"),
    Case("push_file", {"content": "table\n", "dest": "/srv/table"}, changes=True, before="rm -f /srv/table", blocked="guest-exec"),
    Case("guest_session", {"state": "present", "user": USER, "tty": "tty8"}, changes=True, before=LOGGED_OUT, blocked="guest-exec"),
    Case("agent_channel", {"channel_name": CHANNEL, "state": "present"}, changes=True, **_TELLS),
    Case("wait_for_guest", {"agent": True, "timeout": 4}, frozen="", silent="not_ready", stopped="not_ready"),
    Case("shutdown", {"mode": "agent"}, changes=True, really=False, blocked="guest-shutdown", stopped=""),
    Case("restart", {"mode": "agent"}, changes=True, really=False, blocked="guest-shutdown"),
    Case("suspend", {"state": "suspended"}, changes=True, really=False, blocked="guest-suspend-ram"),
    # The last one, since it ends what is wrong with a domain that is off.
    Case("start", {"wait": False}, **_TELLS),
)
