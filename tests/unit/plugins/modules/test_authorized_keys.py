# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""authorized_keys from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import functools
import typing as t

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.modules import authorized_keys
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.plugins.module_utils._commands.test_public_keys import ed25519

GET, ADD, REMOVE = (f"guest-ssh-{what}-authorized-keys" for what in ("get", "add", "remove"))
A, B, C = (ed25519(number, f"{name}@example") for number, name in enumerate("abc"))
BARE_A = ed25519(0, "")
ONLY_A = f'restrict,command="/bin/true a" {A}'
ODD = "something sshd ignores"
FILE = f"# people\n{A}\n\n{ODD}\n{B}\n"


@pytest.fixture(params=VERSIONS)
def guest(request: pytest.FixtureRequest, host: Hypervisor) -> FakeGuest:
    guest = host.domains[0].guest = FakeGuest(request.param)
    guest.authorized = {"deploy": FILE, "new": None, "empty": ""}
    guest.blocked.add("guest-exec")
    return guest


@pytest.fixture
def run(run: Run) -> Run:
    return functools.partial(run, authorized_keys, user="deploy")


#: The file without empty lines: the agent adds no line that is there already, and the last one must be empty.
LINES = FILE.replace("\n\n", "\n")
CASES = [
    # user, options, the file in the end, what was sent to change it
    ("deploy", {"keys": [A, B]}, FILE, []),
    ("deploy", {"keys": [BARE_A]}, FILE, []),
    ("deploy", {"keys": []}, FILE, []),
    ("deploy", {"keys": [C, A, C]}, f"{LINES}{C}\n", [REMOVE, ADD]),
    ("deploy", {"keys": [f"# mine\r\n{C}\r\n\r\n", ""]}, f"{LINES}{C}\n", [REMOVE, ADD]),
    ("new", {"keys": [B, f"{A}\n{C}\n"]}, f"{B}\n{A}\n{C}\n", [REMOVE, ADD]),
    ("empty", {"keys": [A]}, f"{A}\n", [REMOVE, ADD]),
    ("deploy", {"keys": [ONLY_A]}, f"# people\n{ODD}\n{B}\n{ONLY_A}\n", [REMOVE, ADD, REMOVE]),
    ("deploy", {"keys": [ONLY_A, A]}, f"{LINES}{ONLY_A}\n", [REMOVE, ADD]),
    ("deploy", {"keys": [BARE_A], "state": "absent"}, f"# people\n\n{ODD}\n{B}\n", [REMOVE]),
    ("deploy", {"keys": [f"no-pty {B}", C], "state": "absent"}, f"# people\n{A}\n\n{ODD}\n", [REMOVE]),
    ("deploy", {"keys": [C], "state": "absent"}, FILE, []),
    ("new", {"keys": [C], "state": "absent"}, None, []),
    ("deploy", {"keys": [C, BARE_A], "exclusive": True}, f"{A}\n{C}\n", [ADD]),
    ("deploy", {"keys": [], "exclusive": True}, "", [ADD]),
    ("new", {"keys": [A], "exclusive": True}, f"{A}\n", [ADD]),
    ("new", {"keys": [], "exclusive": True}, None, []),
]


@pytest.mark.parametrize(("user", "options", "content", "sent"), CASES)
def test_what_becomes_of_the_file(
    guest: FakeGuest, run: Run, user: str, options: dict, content: str | None, sent: list[str]
) -> None:
    before = guest.authorized[user]
    predicted = run(user=user, check=True, diff=True, **options)
    assert guest.authorized[user] == before
    done = run(user=user, diff=True, **options)
    assert guest.authorized[user] == content
    assert done == predicted
    assert done["changed"] is bool(sent)
    assert [command for command in guest.sent if command in (ADD, REMOVE)] == sent
    again = run(user=user, diff=True, **options)
    assert (again["changed"], again["added"], again["removed"]) == (False, [], [])
    assert (again["authorized_keys"], guest.authorized[user]) == (done["authorized_keys"], content)


def test_a_diff_is_lines(guest: FakeGuest, run: Run) -> None:
    result = run(keys=[ONLY_A], diff=True)
    assert (result["added"], result["removed"]) == ([ONLY_A], [A])
    name = "authorized_keys of deploy"
    assert result["diff"] == {
        "before": f"{A}\n{ODD}\n{B}\n",
        "after": f"{ODD}\n{B}\n{ONLY_A}\n",
        "before_header": name,
        "after_header": name,
    }


def test_the_new_key_comes_before_the_old_one_goes(guest: FakeGuest, run: Run) -> None:
    guest.silent.add(ADD)
    assert run(keys=[ONLY_A])["failure"]["kind"] == "agent_timeout"
    assert A in (guest.authorized["deploy"] or "").split("\n")


@pytest.mark.parametrize("line", [f"  {A}", f"{A} ", f"{A}\r"])
def test_blanks_around_a_line_save_no_key(guest: FakeGuest, run: Run, line: str) -> None:
    """The agent does not tell of them, and takes out only what is the same to the last blank."""
    guest.authorized["deploy"] = f"# people\n{line}\n{ODD}\n{B}"
    result = run(keys=[A], state="absent")
    assert (result["changed"], result["removed"], result["authorized_keys"]) == (True, [A], [ODD, B])
    assert guest.authorized["deploy"] == f"{ODD}\n{B}\n"
    assert not run(keys=[A], state="absent")["changed"]


def test_such_a_file_is_warned_of(guest: FakeGuest, run: Run) -> None:
    user = f"of{id(guest)}"  # each text is warned of once
    guest.authorized[user] = f" {A}"
    assert f"the keys of {user} had blanks around them" in run(user=user, keys=[A], state="absent")["warned"]


@pytest.mark.parametrize("mark", ["\x01", "\u202e", "\ud800"])
def test_no_odd_comment_saves_a_key(guest: FakeGuest, run: Run, mark: str) -> None:
    guest.authorized["deploy"] = f"{BARE_A} {mark}"
    result = run(keys=[A], state="absent")
    assert (result["changed"], result["authorized_keys"], guest.authorized["deploy"]) == (True, [], "")
    assert result["removed"] == [f"{BARE_A} \ufffd"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"keys": ["nonsense"]}, "keys: entry 1 is not a line for authorized_keys: it begins with neither"),
        ({"keys": [A, f"{B}\nx"]}, "entry 2 is not a line"),
        ({"keys": [f"{A}\x1b[2J"]}, "characters that cannot be in one line"),
        ({"keys": [f"{A}\r{B}"]}, "characters that cannot be in one line"),
        ({"keys": [f"{A} {'x' * 20000}"]}, "longer than"),
        ({"keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE"]}, "entry 1 is a private key"),
        ({"keys": [A], "state": "absent", "exclusive": True}, "exclusive needs state=present"),
        ({"keys": [A], "user": "a:b"}, "cannot be the name of a user"),
    ],
)
def test_what_cannot_be(guest: FakeGuest, run: Run, arguments: dict, words: str) -> None:
    result = run(**arguments)
    assert (result["failure"]["kind"], guest.sent) == ("invalid_input", [])
    assert words in result["msg"]
    assert "b3BlbnNza" not in result["msg"]


def test_more_keys_than_one_request_carries(guest: FakeGuest, run: Run) -> None:
    keys = [ed25519(number, "x" * 1000) for number in range(200)]
    result = run(keys=keys, exclusive=True)
    assert (result["failure"]["kind"], guest.authorized["deploy"]) == ("invalid_input", FILE)


def test_an_unknown_user(guest: FakeGuest, run: Run) -> None:
    for options in ({"check": True}, {}, {"exclusive": True}, {"state": "absent"}):
        result = run(user="nosuch", keys=[A], **options)
        assert result["failure"]["kind"] == "user_not_found"
        assert "the guest has no user 'nosuch'; check the name" in result["msg"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("blocked", "options"),
    [(GET, {}), (ADD, {}), (ADD, {"exclusive": True}), (REMOVE, {"keys": [ONLY_A]}), (REMOVE, {"state": "absent"})],
)
def test_a_blocked_command(guest: FakeGuest, run: Run, blocked: str, options: dict, check: bool) -> None:
    guest.blocked.add(blocked)
    keys = [A] if options.get("state") else [C]
    result = run(check=check, **{"keys": keys, **options})
    assert (result["failure"]["kind"], result["failure"]["command"]) == ("command_blocked", blocked)
    assert "/etc/qemu/qemu-ga.conf" in result["failure"]["hint"]
    assert guest.authorized["deploy"] == FILE
    assert not {ADD, REMOVE} & set(guest.sent)


@pytest.mark.parametrize(
    ("trouble", "kind"), [("frozen", "guest_frozen"), ("silent", "agent_timeout"), ("off", "domain_not_running")]
)
def test_a_guest_that_cannot(host: Hypervisor, guest: FakeGuest, run: Run, trouble: str, kind: str) -> None:
    if trouble == "off":
        host.domains[0].current = 5
    elif trouble == "frozen":
        guest.frozen = True
    else:
        guest.silent.update(("guest-info", "guest-ping"))
    result = run(keys=[C])
    assert (result["failure"]["kind"], guest.authorized["deploy"]) == (kind, FILE)
    assert not {GET, ADD, REMOVE} & set(guest.sent)


def test_nothing_is_sent_twice(guest: FakeGuest, run: Run) -> None:
    guest.silent.add(ADD)
    assert run(keys=[C])["failure"]["kind"] == "agent_timeout"
    assert guest.sent.count(ADD) == 1


@pytest.mark.parametrize("words", ["Permission denied", "Is a directory"])
def test_a_file_that_cannot_be_read_is_not_taken_for_none(
    guest: FakeGuest, run: Run, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/home/deploy/.ssh/authorized_keys"
    description = f"failed to read '{path}': Failed to open file \u201c{path}\u201d: {words}"

    def refuse(**_arguments: t.Any) -> t.NoReturn:
        raise type(guest._refused("unknown"))({"class": "GenericError", "desc": description})

    monkeypatch.setattr(guest, "_ssh_get_authorized_keys", refuse)
    result = run(keys=[C])
    assert (result["failure"]["kind"], ADD in guest.sent) == ("command_failed", False)
    assert words in result["msg"]


@pytest.mark.parametrize("options", [{"keys": [C]}, {"keys": [A], "state": "absent"}, {"keys": [C], "exclusive": True}])
def test_an_agent_that_says_yes_and_does_nothing(guest: FakeGuest, run: Run, options: dict) -> None:
    guest.replies = {ADD: {}, REMOVE: {}}
    result = run(**options)
    assert result["failure"]["kind"] == "command_failed"
    assert "differ from those the agent was sent" in result["msg"]


@pytest.mark.parametrize("reply", [None, [], "x", {}, {"keys": None}, {"keys": {}}, {"keys": [1]}, {"keys": [None]}])
def test_a_hostile_reply(guest: FakeGuest, run: Run, reply: t.Any) -> None:
    guest.replies[GET] = reply
    for options in ({}, {"exclusive": True}):
        assert run(keys=[A], **options)["failure"]["kind"] == "protocol_error"


@pytest.mark.parametrize("keys", [["x"] * 5000, ["x" * 70000]])
def test_an_endless_reply(guest: FakeGuest, run: Run, keys: list[str]) -> None:
    guest.replies[GET] = {"keys": keys}
    assert run(keys=[A])["failure"]["kind"] == "protocol_error"


def test_hostile_lines_are_plain_text(guest: FakeGuest, run: Run) -> None:
    guest.replies[GET] = {"keys": ["\x1b[2J\nroot::0", "{{ 7 * 7 }}", "\ud800", "", "x" * 30000]}
    result = run(keys=[A], check=True, diff=True)
    shown = [*result["authorized_keys"], *result["diff"]["before"].splitlines()]
    assert all(line.isprintable() and len(line) <= 16384 for line in shown)
    assert result["changed"] is True
