# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One odd entry in an answer costs that entry, one odd answer costs that command: the rest is used, and what is missing is said."""

from __future__ import annotations

import datetime
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import memory_blocks, network, trim
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import ask
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.subsets import SUBSETS
from ansible_collections.virtops.guest_agent.tests.unit.fakes.liar import TEXTS, Liar, honest

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
HONEST = honest()
HONEST["guest-info"]["supported_commands"].append({"name": "guest-get-devices", "enabled": True})  # of Windows only
#: Commands whose answers have lists -> the subset that they are asked for.
SUBSET_OF = {
    **{subset.command: name for name, subset in SUBSETS.items() if subset.command in HONEST},
    "guest-get-memory-blocks": "memory_blocks",
    "guest-info": "os",
}
NO_OBJECTS: tuple[t.Any, ...] = (None, 5, "x", [], [{}])
Place = tuple[t.Any, ...]


def _lists(value: t.Any, place: Place = ()) -> t.Iterator[Place]:
    """The way to every list of objects, or that could have some."""
    if isinstance(value, list):
        yield place
    members = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, member in members:
        yield from _lists(member, (*place, key))


def _with(value: t.Any, place: Place, change: t.Callable[[t.Any], t.Any]) -> t.Any:
    if not place:
        return change(value)
    changed = _with(value[place[0]], place[1:], change)
    if isinstance(value, dict):
        return {**value, place[0]: changed}
    return [*value[: place[0]], changed, *value[place[0] + 1 :]]


def _one_more(odd: t.Any, position: float) -> t.Callable[[list[t.Any]], list[t.Any]]:
    def change(entries: list[t.Any]) -> list[t.Any]:
        at = round(position * len(entries))
        return [*entries[:at], odd, *entries[at:]]

    return change


def _ask(lies: t.Mapping[str, t.Any], *subsets: str, out: str = "") -> tuple[t.Any, t.Any]:
    return ask.ask(Liar({**HONEST, **lies}, out=out.encode()).agent(), subsets, {}, NOW)


#: An object that is none of these either; within an address or a disk it is one of which nothing is known.
CASES = [
    (command, place, odd)
    for command in sorted(SUBSET_OF)
    for place in _lists(HONEST[command])
    for odd in (*NO_OBJECTS, *([] if place and command != "guest-info" else [{}, {"name": {}}]))
    if place[-1:] != ("dependencies",) or odd != "x"
]


@pytest.mark.parametrize(("command", "place", "odd"), CASES, ids=str)
def test_of_n_entries(command: str, place: Place, odd: t.Any) -> None:
    subset = SUBSET_OF[command]
    right = _ask({}, subset)[1]
    for position in (0.0, 0.5, 1.0):
        reply = _with(HONEST[command], place, _one_more(odd, position))
        part, parts = _ask({command: reply}, subset)
        emptied = not _value_at(HONEST[command], place) and not place
        assert parts == ({} if emptied else right), position
        assert part["status"] == "connected"
        assert part["reason"].startswith(f"{command}: ")
        assert emptied or "1 of " in part["reason"]
        assert emptied or " left out, because " in part["reason"]


def _value_at(value: t.Any, place: Place) -> t.Any:
    for key in place:
        value = value[key]
    return value


@pytest.mark.parametrize("command", sorted(name for name in SUBSET_OF if "-get-" in name and name != "guest-get-osinfo"))
@pytest.mark.parametrize("odd", [5, "x", {"a": 1}, [5]], ids=str)
def test_of_n_answers(command: str, odd: t.Any) -> None:
    subset = SUBSET_OF[command]
    if command == "guest-get-host-name" and odd == {"a": 1}:
        odd = {"host-name": 1}
    part, parts = _ask({command: odd}, "os", subset)
    assert set(parts) == {"os"}
    assert (part["status"], part["connected"]) == ("connected", True)
    assert part["reason"].startswith(f"{command}: the agent's reply has ")
    assert part["hint"]


@pytest.mark.parametrize("command", sorted(command for command in SUBSET_OF if isinstance(HONEST[command], list)))
def test_null_is_a_list_of_nothing(command: str) -> None:
    part, parts = _ask({command: None}, SUBSET_OF[command])
    found = parts[SUBSET_OF[command]]
    assert not (found["blocks"] if isinstance(found, dict) else found)
    assert (part["status"], part["reason"][: len(command)]) == ("connected", command)


@pytest.mark.parametrize("status", [90, 0], ids=str)
def test_an_interface_without_what_others_have(status: int) -> None:
    known = {"name": "eth0", "hardware-address": "52:54:00:00:00:01", "ip-addresses": None, "statistics": {"rx-bytes": -1}}
    known["statistics"] = {"rx-bytes": -1, "tx-bytes": status, "rx-packets": None}
    agent = Liar({"guest-network-get-interfaces": [known, {"hardware-address": "52:54:00:00:00:02"}]}).agent()
    (found,) = network.interfaces(agent)
    assert (found["ip_addresses"], found["statistics"]) == ([], {"tx_bytes": status})
    assert [sentence.split(" left out")[0] for sentence in agent.left_out()] == [
        "guest-network-get-interfaces: 2 of the interfaces' counters",
        "guest-network-get-interfaces: 1 of the interfaces",
    ]


def test_a_disk_of_which_only_device_and_serial_are_known() -> None:
    filesystem = {"name": "vda1", "mountpoint": "/", "type": "ext4", "disk": [{"dev": "/dev/vda1", "serial": "abc"}]}
    part, parts = _ask({"guest-get-fsinfo": [filesystem]}, "filesystems")
    (disk,) = parts["filesystems"][0]["disks"]
    assert (disk["device"], disk["serial"], disk["bus"], disk["unit"]) == ("/dev/vda1", "abc", "unknown", -1)
    assert (part["status"], part["reason"]) == ("connected", "")


def test_the_same_number_twice() -> None:
    twice = [{"logical-id": 0, "online": True}, {"logical-id": 0, "online": False}, {"logical-id": 1, "online": True}]
    part, parts = _ask({"guest-get-vcpus": twice}, "vcpus")
    assert [(unit["id"], unit["online"]) for unit in parts["vcpus"]] == [(0, True), (1, True)]
    assert "logical-id 0 twice" in part["reason"]


@pytest.mark.parametrize(
    ("name", "odd"), [("sessions", "Id=\n\n"), ("sessions", "Id=2\nRemote=perhaps\n\n"), ("packages", "dpkg\nii\tonly\n")]
)
def test_of_what_programs_print(name: str, odd: str) -> None:
    text = TEXTS[name]
    right = _ask({}, name, out=text)[1]
    spoilt = odd + text if name == "sessions" else text.replace("dpkg\n", odd, 1)
    part, parts = _ask({}, name, out=spoilt)
    assert parts == right
    assert f"1 of the {name} left out, because the guest's list of {name} cannot be read" in part["reason"]


def test_of_what_was_changed() -> None:
    paths = [{"path": "/", "trimmed": 5, "minimum": 0}, {"path": 5}, {"path": "/data", "error": "no"}]
    agent = Liar({"guest-fstrim": {"paths": paths}}).agent()
    assert [found["path"] for found in trim.trim(agent, 0, 5)] == ["/", "/data"]
    blocks = [{"phys-index": 1, "response": "success"}, {"phys-index": -1, "response": "success"}]
    agent = Liar({"guest-set-memory-blocks": blocks}).agent()
    assert memory_blocks.switch(agent, [(1, True), (2, True)], Deadline(5)) == {2: "the agent does not say"}
    assert len(agent.left_out()) == 1


def test_nothing_of_many() -> None:
    agent = Liar({"guest-get-users": [5, {}, None]}).agent()
    part, parts = ask.ask(agent, ("users",), {}, NOW)
    assert (parts, agent.left_out()) == ({}, [])
    assert part["reason"].startswith("guest-get-users: the agent's reply has int where ")


def test_what_makes_no_sense_names_its_guest() -> None:
    agent = Liar({"guest-get-users": 5}).agent()
    with pytest.raises(_errors.ProtocolError, match="Domain liar: guest-get-users: "), agent.named():
        SUBSETS["users"].read(agent)


def test_a_system_with_one_odd_value() -> None:
    part, parts = _ask({"guest-get-osinfo": {"id": "debian", "version-id": 12, "name": "Debian"}}, "os")
    assert (parts["os"]["id"], parts["os"]["name"], parts["os"]["version_id"]) == ("debian", "Debian", None)
    assert part["reason"].startswith(
        "guest-get-osinfo: 1 of what it says of its system left out, because the agent's reply has int"
    )


def test_what_is_asked_again_and_again_is_said_once() -> None:
    agent = Liar({"guest-network-get-interfaces": [{"name": "eth0"}, {}]}).agent()
    for _look in range(3):
        agent.retry()
        network.interfaces(agent)
    assert [sentence[:50] for sentence in agent.left_out()] == ["guest-network-get-interfaces: 1 of the interfaces "]
