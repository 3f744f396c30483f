# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""FakeWindows is asked what real Windows agents were asked, and must answer the same, as far as it is a model of them."""

from __future__ import annotations

import base64
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import (
    filesystems,
    hardware,
    network,
    system,
    users,
    vcpus,
)
from ansible_collections.virtops.guest_agent.tests.unit.fakes.windows import VERSIONS, FakeWindows, answer, arguments_of, exchanges

TEMP = r"C:\windows\temp\x.txt"
#: Of these the fake has no model: a name that cannot be, a device, a name that is too long, a relative one, and where nothing is.
UNMODELLED = ("?", "NUL", "rel", "a" * 40)
HANDLES = ("guest-file-read", "guest-file-write", "guest-file-seek", "guest-file-close", "guest-file-flush")


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest) -> FakeWindows:
    found = FakeWindows(request.param)
    found.passwords["tester"] = ""
    return found


def _of_files(version: str) -> list[tuple[dict[str, t.Any], dict[str, t.Any]]]:
    found = []
    for request, reply in exchanges(version):
        path = request.get("arguments", {}).get("path", "")
        if request["execute"] == "guest-file-open" and (not path or any(word in path for word in UNMODELLED)):
            continue
        if request["execute"].startswith("guest-file-"):
            found.append((request, reply))
    return found


def test_files_as_recorded(guest: FakeWindows) -> None:
    """Each in turn: modes, positions, what is open and by whom. Handles have other numbers, and no word of Win32 is compared."""
    numbers: dict[int, int] = {}
    for request, reply in _of_files(guest._version):
        arguments = dict(request.get("arguments", {}))
        if request["execute"] in HANDLES:
            if arguments["handle"] not in numbers and "error" not in reply:
                continue  # of a file that is left out above
            arguments["handle"] = numbers.get(arguments["handle"], arguments["handle"])
            if (
                "denied" in str(reply)
                or "***" in str(arguments)
                or abs(arguments.get("count", 0)) > 2**31
                or arguments.get("count", 1) in (-1, 9)
            ):
                continue  # no model has these
        found = answer(guest, {"execute": request["execute"], "arguments": arguments})
        assert found.keys() == reply.keys(), (request, reply, found)
        if request["execute"] == "guest-file-open" and "return" in reply:
            numbers[reply["return"]] = found["return"]
        elif "return" in reply and request["execute"] != "guest-file-open":
            assert found == reply, request
        elif "error" in reply:
            own = str(reply["error"]["desc"]).partition("': ")[0].partition("handle")[0]
            assert found["error"]["desc"].startswith(own), request


@pytest.mark.parametrize(
    "command", ["guest-set-user-password", "guest-ssh-get-authorized-keys", "guest-no-such-command", "guest-get-load"]
)
def test_errors_as_recorded(guest: FakeWindows, command: str) -> None:
    asked = [
        found
        for found in exchanges(guest._version)
        if found[0]["execute"] == command and "***" not in str(found) and 'eA==", "crypted": false' not in str(found)
    ]
    assert asked
    for request, reply in asked:
        if "(NULL)" not in str(reply):
            assert answer(guest, request) == reply


@pytest.mark.parametrize("capture", ["separated", "merged", "stdout", "stderr", "none", True, False])
def test_what_capture_does(guest: FakeWindows, capture: str | bool) -> None:
    """One stream alone ends the agent of 10.0, as it did when it was asked."""
    request = {
        "execute": "guest-exec",
        "arguments": {"path": "cmd.exe", "arg": ["/u", "/d", "/c", "set"], "capture-output": capture},
    }
    if guest._version == "windows-10.0" and capture in ("stdout", "stderr"):
        with pytest.raises(_errors.AgentDisappeared):
            answer(guest, request)
        return
    fine = isinstance(capture, bool) or (guest._version == "windows-10.0" and capture != "merged")
    assert ("return" in answer(guest, request)) is fine


def _arguments_seen(version: str) -> list[tuple[list[str], str]]:
    """What was given as arguments, and the command line that a program said that it got."""
    found = []
    pending: dict[int, list[str]] = {}
    for request, reply in exchanges(version):
        arguments = request.get("arguments", {})
        if request["execute"] == "guest-exec" and str(arguments.get("path")).endswith("args.exe") and "return" in reply:
            pending[reply["return"]["pid"]] = arguments.get("arg", [])
        elif request["execute"] == "guest-exec-status" and arguments.get("pid") in pending:
            printed = base64.b64decode(reply["return"].get("out-data", "")).decode("utf-8", "replace")
            if printed.startswith("cmdline="):
                found.append((pending.pop(arguments["pid"]), printed.partition("<")[2].partition(">\nargv")[0]))
    return found


def test_a_command_line_is_taken_apart_as_it_was_there(guest: FakeWindows) -> None:
    seen = _arguments_seen(guest._version)
    assert len(seen) > 10
    for given, line in seen:
        # The agent loses what is empty.
        assert list(arguments_of(line))[1:] == [word for word in given if word], line


def test_the_typed_commands_can_read_it(guest: FakeWindows) -> None:
    agent = guest.agent()
    assert system.os_info(agent)["id"] == "mswindows"
    assert system.hostname(agent)
    assert system.timezone(agent)["offset_seconds"] == 0
    assert [found["mount_point"] for found in filesystems.filesystems(agent)] == ["C:\\", "Z:\\"]
    assert "192.0.2.2/24" in [text for found in network.interfaces(agent) for text in found["ip_addresses"]]
    assert not [text for found in network.interfaces(agent) for text in found["ip_addresses"] if "%" in text]
    assert (hardware.devices(agent), hardware.disks(agent), vcpus.vcpus(agent)[0]["id"]) == ([], [], 0)
    with pytest.raises(_errors.CommandFailed):
        users.set_password(agent, "nobody-here", "secret", crypted=False)
