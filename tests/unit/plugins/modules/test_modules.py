# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules from their arguments to their result, over libvirt and guests in memory."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.modules import (
    agent_command,
    agent_info,
    fsfreeze,
    guest_facts,
    push_file,
    restart,
    run_command,
    run_script,
)
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run


@pytest.mark.parametrize(("arguments", "kind"), [({"domain": "none"}, "domain_not_found"), ({"agent_timeout": 0}, "invalid_input")])
@pytest.mark.parametrize("module", [agent_info, guest_facts, fsfreeze, restart])
def test_wrong_arguments(host: Hypervisor, run: Run, module: t.Any, arguments: dict, kind: str) -> None:
    extra = {"state": "thawed"} if module is fsfreeze else {}
    assert run(module, **extra, **arguments)["failure"]["kind"] == kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_errors.CommandFailed("the agent says: failed to open /mnt: Permission denied"), "semanage permissive"),
        (_errors.CommandBlocked("the agent refuses this command"), "FILTER_RPC_ARGS"),
    ],
)
def test_agent_command_names_the_remedy(guest: FakeGuest, run: Run, error: _errors.GuestAgentError, words: str) -> None:
    guest.replies["guest-get-osinfo"] = {"id": "rhel", "version-id": "9.6"}
    guest.add_file("/sys/fs/selinux/enforce", b"1")
    guest.raises["guest-fsfreeze-freeze"] = error
    result = run(agent_command, command="guest-fsfreeze-freeze")
    assert result["failure"]["kind"] == error.kind
    assert words in result["failure"]["hint"]


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (run_command, {"argv": ["reboot"]}),
        (run_script, {"content": "#!/bin/sh\nreboot\n"}),
        (push_file, {"content": "x", "dest": "/etc/x"}),
    ],
)
def test_a_silent_agent_is_sent_nothing_that_it_could_do_later(guest: FakeGuest, run: Run, module: t.Any, arguments: dict) -> None:
    guest.silent = {"guest-ping", "guest-info", "guest-exec", "guest-file-open"}
    assert run(module, **arguments)["failure"]["kind"] == "agent_timeout"
    assert set(guest.sent) <= {"guest-ping", "guest-info"}


def test_an_agent_that_may_not_answer_a_ping_is_awake(guest: FakeGuest, run: Run) -> None:
    guest.blocked = {"guest-ping", "guest-exec"}
    assert run(run_command, argv=["true"])["failure"]["command"] == "guest-exec"
