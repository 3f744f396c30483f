# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user of a real guest lays out links and exchanges files where root works: nothing of root's is read or changed."""

from __future__ import annotations

import base64
import importlib
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab

PACKAGE = "ansible_collections.virtops.guest_agent.plugins.module_utils."
PLACE, USER = "/srv/race", "games"
MINE, TREASURE = f"{PLACE}/mine", f"{PLACE}/treasure"
SECRET = "the secret of root"
LARGE = os.urandom(600 * 1024)
#: Read is what has another atime: an access later than the change is told once a day only.
LOOK = f"stat -c '%n %a %u %g %s %i %X %Y %Z' {TREASURE}/x; stat -c '%n %a %u %g %i %Y %Z' {TREASURE}; ls -a {TREASURE}"
LAY_OUT = f"""
rm -rf {PLACE}; mkdir -p {MINE}/sub {TREASURE}; chown -R {USER} {MINE}
printf '%s' '{SECRET}' >{TREASURE}/x; chmod 600 {TREASURE}/x; touch -a -d '2001-01-01' {TREASURE}/x
"""


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(ROOT / ".collections")
    names = {"files": "_inside.files", "errors": "_errors", "guest": "_reach.guest"}
    return SimpleNamespace(**{name: importlib.import_module(PACKAGE + module) for name, module in names.items()})


@pytest.fixture
def place(lab: Lab, debian: str) -> Iterator[str]:
    lab.run(debian, LAY_OUT)
    yield lab.run(debian, LOOK).output
    lab.run(debian, f"pkill -KILL -f {PLACE}/racer.py; rm -rf {PLACE}")


def start_racer(lab: Lab, guest: str) -> None:
    text = base64.b64encode(Path(__file__).with_name("racer.py").read_bytes()).decode()
    lab.run(guest, f"echo {text} | base64 -d >{PLACE}/racer.py")
    racer = f"setpriv --reuid={USER} --regid={USER} --clear-groups python3 {PLACE}/racer.py {MINE} {TREASURE}"
    lab.run(guest, f"{racer} >/dev/null 2>&1 </dev/null &")


def works(core: SimpleNamespace, agent: Any) -> list[Callable[[], object]]:
    """What root does there."""
    Where, Attributes = core.files.Where, core.files.Attributes
    read: list[bytes] = []

    def push(path: str, content: bytes = b"new", **options: Any) -> None:
        core.files.push(agent, io.BytesIO(content), Where(f"{MINE}/{path}", links="none"), **options)

    def pull(path: str) -> None:
        read.clear()
        core.files.pull(agent, Where(f"{MINE}/{path}"), read.append)
        assert SECRET.encode() not in b"".join(read)

    return [
        lambda: push("x", attributes=Attributes("0666", USER, USER)),
        lambda: push("x", backup="before"),
        lambda: core.files.set_attributes(agent, Where(f"{MINE}/x", links="none"), Attributes("0666", USER)),
        lambda: pull("x"),
        lambda: push("sub/x", attributes=Attributes("0666", USER, USER)),
        lambda: pull("sub/x"),
        lambda: core.files.stat(agent, Where(f"{MINE}/x")),
        lambda: push("x", LARGE),
    ]


@pytest.mark.parametrize("rounds", [24, pytest.param(1000, marks=pytest.mark.full)])
def test_nothing_of_root_is_touched(lab: Lab, core: SimpleNamespace, debian: str, place: str, rounds: int) -> None:
    start_racer(lab, debian)
    outcomes: Counter[str] = Counter()
    with core.guest.open_guest({"uri": lab.uri, "domain": debian, "agent_timeout": 20}) as guest:
        todo = works(core, guest.agent)
        for number in range(rounds):
            try:
                todo[number % len(todo)]()
                outcomes["done"] += 1
            except core.errors.FileFailed as error:
                outcomes[error.reason] += 1
    assert lab.run(debian, f"pgrep -f {PLACE}/racer.py").output.strip(), "nobody was in the way"
    assert lab.run(debian, LOOK).output == place, outcomes
    assert lab.run(debian, f"cat {TREASURE}/x").output.strip() == SECRET
    assert outcomes["done"] > rounds / 10, outcomes
    sys.stderr.write(f"\n{rounds} rounds: {dict(outcomes)}\n")


def test_what_follow_means(lab: Lab, ansible: Ansible, debian: str, place: str, tmp_path: Path) -> None:
    """As ansible.builtin.copy documents it."""
    guest = {"domain": debian, "uri": lab.uri, "agent_timeout": 20}
    links = f"ln -s {TREASURE}/x {MINE}/x; ln -s {TREASURE} {MINE}/way; chown -h {USER} {MINE}/x {MINE}/way"
    assert place
    lab.run(debian, links)
    refused = ansible.module("pull_file", src=f"{MINE}/x", dest=f"{tmp_path}/x", **guest)
    assert refused["failure"]["kind"] == "file_failed"
    assert "follow=true" in refused["msg"]
    pulled = ansible.module("pull_file", src=f"{MINE}/x", dest=f"{tmp_path}/x", follow=True, **guest)
    assert (pulled["changed"], (tmp_path / "x").read_text()) == (True, SECRET)
    refused = ansible.module("push_file", content="new", dest=f"{MINE}/way/x", **guest)
    assert refused["failure"]["kind"] == "file_failed"
    replaced = ansible.module("push_file", content="new", dest=f"{MINE}/x", **guest)
    assert (replaced["changed"], replaced["owner"]) == (True, "root")
    state = f"stat -c '%F %U' {MINE}/x; cat {MINE}/x {TREASURE}/x"
    assert lab.run(debian, state).output.split("\n") == ["regular file root", f"new{SECRET}"]
    lab.run(debian, f"rm {MINE}/x; ln -s {TREASURE}/x {MINE}/x")
    followed = ansible.module("push_file", content="new", dest=f"{MINE}/x", follow=True, **guest)
    assert (followed["changed"], followed["mode"]) == (True, "0600")
    assert lab.run(debian, f"stat -c %F {MINE}/x; cat {TREASURE}/x").output.split("\n") == ["symbolic link", "new"]
