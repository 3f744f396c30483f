# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that answered a moment ago is not asked whether it is there; one that may have gone since is."""

from __future__ import annotations

import math
import os
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.transport import UnixSocketTransport
from ansible_collections.virtops.guest_agent.plugins.module_utils._reach import guest as reach
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._connection import remembered
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._connection.heard import Heard

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

WAY = {"uri": None, "transport": "libvirt", "channel": "org.qemu.guest_agent.1", "socket": None}


@pytest.fixture(autouse=True)
def long_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has to do."""
    monkeypatch.setattr(reach, "MOMENT", 600.0)


def heard(directory: Path, guest: str = "web1", **way: str) -> Heard:
    return Heard(guest, {**WAY, **way}, str(directory))


def test_what_one_task_heard_the_next_one_knows(tmp_path: Path) -> None:
    assert heard(tmp_path).ago() == math.inf
    heard(tmp_path).now()
    assert 0 <= heard(tmp_path).ago() < 600
    heard(tmp_path).forget()
    assert heard(tmp_path).ago() == math.inf
    heard(tmp_path).forget()


def test_another_guest_and_another_way_have_not_been_heard(tmp_path: Path) -> None:
    heard(tmp_path).now()
    assert heard(tmp_path, guest="web2").ago() == math.inf
    for name in WAY:
        assert heard(tmp_path, **{name: "other"}).ago() == math.inf


@pytest.mark.parametrize("text", ["", "[", "7", "[]", "[1, 2]", '["x"]', "[1e99]", "[NaN]", "é"])
def test_what_makes_no_sense_was_not_heard(tmp_path: Path, text: str) -> None:
    heard(tmp_path).now()
    (path,) = tmp_path.iterdir()
    path.write_text(text, encoding="utf-8")
    assert heard(tmp_path).ago() == math.inf


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that go to the agent."""
    found: list[str] = []
    exchange = UnixSocketTransport.exchange

    def watched(transport: t.Any, request: t.Any, seconds: int) -> str:
        found.append(request.command)
        return exchange(transport, request, seconds)

    monkeypatch.setattr(UnixSocketTransport, "exchange", watched)
    return found


@pytest.fixture
def task(real_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Callable[..., t.Any]]:
    """The connection of one more task of the run. The agent has one at a time."""
    opened: list[t.Any] = []
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(remembered.constants, "DEFAULT_LOCAL_TMP", str(run))

    def one_more(**options: t.Any) -> t.Any:
        while opened:
            opened.pop().close()
        found = connection_loader.get("virtops.guest_agent.agent", PlayContext(), os.devnull)
        found.set_options(
            direct={"domain": "web1", "transport": "unix", "socket": str(real_socket), "resident": "never", **options}
        )
        opened.append(found)
        return found

    yield one_more
    while opened:
        opened.pop().close()


def asked(sent: list[str]) -> list[str]:
    """Before anything is run."""
    found = sent[: sent.index("guest-exec")]
    sent.clear()
    return found


def test_only_the_first_task_asks(task: t.Callable[..., t.Any], sent: list[str], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    task().exec_command("true")
    assert asked(sent) == ["guest-info"]
    task().exec_command("true")
    assert asked(sent) == []
    task().put_file(str(tmp_path / "x"), str(tmp_path / "y"))
    assert asked(sent) == []
    task(domain="web2").exec_command("true")
    assert asked(sent) == ["guest-info"]


def test_after_a_moment_the_agent_is_asked_whether_it_is_there(
    task: t.Callable[..., t.Any], sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task().exec_command("true")
    sent.clear()
    monkeypatch.setattr(reach, "MOMENT", -1.0)
    task().exec_command("true")
    assert asked(sent) == ["guest-ping"]


def test_a_reset_forgets(task: t.Callable[..., t.Any], sent: list[str]) -> None:
    """A restart begins with it, and by another task's connection."""
    task().exec_command("true")
    sent.clear()
    task().reset()
    task().exec_command("true")
    assert asked(sent) == ["guest-info"]


def test_what_went_wrong_is_asked_about(task: t.Callable[..., t.Any], sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    task().exec_command("true")
    silent = task(patience=1, agent_timeout=1)
    with monkeypatch.context() as broken:
        broken.setattr(UnixSocketTransport, "exchange", _silent)
        with pytest.raises(AnsibleConnectionFailure, match="did not answer in time"):
            silent.exec_command("true")
    sent.clear()
    task().exec_command("true")
    assert asked(sent) == ["guest-info"]


def _silent(*_arguments: t.Any) -> t.NoReturn:
    raise _errors.AgentTimeout("the agent did not answer in time")
