# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Login sessions: the script against a loginctl of ours, what it prints, and guest_session over a logind in memory."""

from __future__ import annotations

import functools
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import sessions as sessions_
from ansible_collections.virtops.guest_agent.plugins.module_utils._commands.sessions import Session
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import shell
from ansible_collections.virtops.guest_agent.plugins.module_utils._module import guest_session as _guest_session
from ansible_collections.virtops.guest_agent.plugins.modules import guest_session
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import SHELLS, shell_named_sh

#: As systemd 252 prints it.
PRINTED = """Id=3
Name=ansible
TTY=tty8
Remote=no
Type=tty
Class=user
Active=no
State=online
LockedHint=no
Seat=seat0

Id=c1
Name=ann
TTY=
Remote=yes
Type=tty
Class=user
Active=yes
State=active
LockedHint=yes
Seat=
"""


class Logind:
    """What the commands of _commands/sessions.py do in a guest."""

    def __init__(self, *sessions: Session) -> None:
        self.sessions = list(sessions)
        self.done: list[tuple[str, ...]] = []
        self.has_lockers = True
        self.rc = 0
        self.starts_as: list[str] = ["opening", "opening", "online"]
        self.printed: bytes | None = None

    def execute(self, agent: GuestAgent, command: shell.Command, _timeout: float) -> shell.Result:
        assert isinstance(agent, GuestAgent)
        assert command.user == "root"
        words = command.argv
        if words[0] != "/bin/sh":
            self.done.append(words)
            return self._do(*words)
        if len(words) == 4:
            for session in self.sessions:
                if session["state"] == "opening" and self.starts_as:
                    session["state"] = self.starts_as.pop(0)
            self.sessions = [session for session in self.sessions if session["state"] != "over"]
            return self._said(self.printed if self.printed is not None else self._text().encode())
        if len(words) == 5:
            return self._said({"CORP\\bob": b"bob", "CORP\\carol": b"carol"}.get(words[4], b""))
        self.done.append(("start", *words[4:]))
        if not self.rc and self.starts_as:
            self.sessions.append(_session("77", user_name=words[4], tty=words[5], seat="seat0", state=self.starts_as.pop(0)))
        return self._said(b"")

    def _do(self, program: str, *words: str) -> shell.Result:
        if program == "loginctl":
            _pager, verb, *ids = words
            for session in self.sessions:
                if session["id"] in ids and self.has_lockers:
                    session["locked"] = verb == "lock-session"
                    session["state"] = "closing" if verb == "terminate-session" else session["state"]
        return self._said(b"")

    def _said(self, stdout: bytes) -> shell.Result:
        return shell.Result(self.rc, None, stdout, b"it is broken\nat length\n")

    def _text(self) -> str:
        keys = {"id": "Id", "user_name": "Name", "seat": "Seat", "tty": "TTY", "locked": "LockedHint"}
        words = {True: "yes", False: "no", None: ""}
        blocks = []
        for session in self.sessions:
            values: dict[str, t.Any] = dict(session)
            blocks.append("".join(f"{keys.get(k, k.title())}={words.get(v, v)}\n" for k, v in values.items()))
        return "\n".join(blocks)


def _session(number: str = "3", **values: t.Any) -> Session:
    session: dict[str, t.Any] = {
        "id": number,
        "user_name": "ann",
        "seat": "seat0",
        "tty": "tty2",
        "state": "active",
        "type": "tty",
        "class": "user",
        "remote": False,
        "active": True,
        "locked": False,
    }
    return t.cast(Session, {**session, **values})


@pytest.fixture
def logind(monkeypatch: pytest.MonkeyPatch) -> Logind:
    logind = Logind(
        _session("3"),
        _session("4", user_name="bob", tty="tty3", active=False, state="online", locked=True),
        _session("5", user_name="bob", tty=None, seat=None, remote=True),
        _session("6", user_name="bob", tty="tty4", state="closing"),
        _session("c1", user_name="gdm", tty="tty1", **{"class": "greeter"}),
    )
    monkeypatch.setattr(shell, "execute", logind.execute)
    monkeypatch.setattr(_guest_session, "_PAUSE", 0.01)
    return logind


@pytest.fixture
def run(host: Hypervisor, run: Run) -> Run:
    return functools.partial(run, guest_session, diff=True)


def _agent() -> GuestAgent:
    return FakeGuest().agent()


def test_sessions(logind: Logind) -> None:
    logind.printed = PRINTED.encode()
    assert sessions_.sessions(_agent()) == [
        _session("3", user_name="ansible", tty="tty8", state="online", active=False),
        _session("c1", seat=None, tty=None, remote=True, locked=True),
    ]
    logind.printed = b""
    assert sessions_.sessions(_agent()) == []
    logind.printed = PRINTED.replace("LockedHint=no\n", "").encode()
    assert sessions_.sessions(_agent())[0]["locked"] is None


@pytest.mark.parametrize(
    "printed",
    [
        "nonsense",
        "\0\n\n\xff",
        "\n\n".join(["Id=3"] * 1100),
        "\n\n".join([PRINTED.partition("\n\n")[0]] * 1100),
    ],
)
def test_sessions_that_are_none(logind: Logind, printed: str) -> None:
    logind.printed = printed.encode("utf-8", "surrogateescape")
    with pytest.raises(_errors.ProtocolError):
        sessions_.sessions(_agent())


@pytest.mark.parametrize(
    "printed",
    [
        PRINTED.replace("Id=3\n", ""),
        PRINTED.replace("Id=3", "Id=3; reboot"),
        PRINTED.replace("Id=3", "Id=" + "3" * 65),
        PRINTED.replace("Id=3", "Id=--all"),
        PRINTED.replace("Remote=no", "Remote=maybe"),
        PRINTED.replace("Active=no", "Active="),
        PRINTED.replace("LockedHint=no", "LockedHint=1"),
        PRINTED.replace("Class=user\n", "", 1),
    ],
)
def test_a_session_that_is_none_costs_no_other(logind: Logind, printed: str) -> None:
    logind.printed = printed.encode()
    agent = _agent()
    assert len(sessions_.sessions(agent)) == 1
    assert " of the sessions left out, because the guest's list of sessions cannot be read" in agent.left_out()[0]


def test_names_are_one_clean_line(logind: Logind) -> None:
    logind.printed = PRINTED.replace("Name=ansible", "Name=a\x1b[31m\u202e" + "x" * 999).encode()
    name = sessions_.sessions(_agent())[0]["user_name"]
    assert len(name) == 255
    assert name.isprintable() or "\ufffd" in name
    assert "\x1b" not in name


@pytest.mark.parametrize(("rc", "kind"), [(90, "no_logind"), (91, "no_logind"), (92, "command_failed"), (1, "command_failed")])
def test_nobody_who_knows(logind: Logind, run: Run, rc: int, kind: str) -> None:
    logind.rc = rc
    result = run(state="absent", user="ann")
    assert (result["failure"]["kind"], result["failure"]["domain"]) == (kind, "web")
    assert ("it is broken." in result["msg"]) is (kind == "command_failed")
    assert logind.done == []


@pytest.mark.parametrize(("rc", "words"), [(90, "no loginctl"), (91, "not started by systemd")])
def test_nobody_who_starts_a_session(logind: Logind, rc: int, words: str) -> None:
    logind.rc = rc
    with pytest.raises(sessions_.NoLogind, match=words):
        sessions_.start(_agent(), "ann", "tty5")


@pytest.mark.parametrize("verb", ["kill-user", "--help", ""])
def test_only_what_the_module_has_a_state_for_is_done_to_sessions(logind: Logind, verb: str) -> None:
    with pytest.raises(ValueError, match=f"^{verb}$"):
        sessions_.act(_agent(), verb, ["3"])
    assert logind.done == []


LOGINCTL = """#!/bin/sh
echo "$*" >>"$LOG"
case $* in
  *list-sessions*) [ -z "$FAILS" ] || { echo down >&2; exit 1; }; printf '%b' "$LIST" ;;
  *show-session*) if [ -e "$LOG.gone" ]; then rm "$LOG.gone"; echo "No session" >&2; exit 1; fi; printf 'Id=%s\\n\\n' c1 3 ;;
esac
"""


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    ("env", "gone", "rc", "out", "asked"),
    [
        ({"LIST": "     3 1000 ansible seat0 tty8\\n    c1 0 root\\n"}, False, 0, "Id=c1\n\nId=3\n", ["show-session 3 c1 -p Id"]),
        ({"LIST": "3 1000 ansible\\n"}, True, 0, "Id=c1\n\nId=3\n", ["show-session 3 -p Id"] * 2),
        ({"LIST": ""}, False, 0, "", []),
        ({"FAILS": "1"}, False, 92, "", []),
    ],
)
def test_the_script(tmp_path: Path, name: str, env: dict, gone: bool, rc: int, out: str, asked: list) -> None:
    log, sh = tmp_path / "log", shell_named_sh(name, tmp_path)
    (tmp_path / "loginctl").write_text(LOGINCTL)
    (tmp_path / "loginctl").chmod(0o755)
    if gone:
        (tmp_path / "log.gone").touch()
    script = sessions_._SCRIPT.replace("/run/systemd/system", str(tmp_path))
    words = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log), "LIST": "", "FAILS": "", **env}
    ended = subprocess.run([sh, "-c", script], env=words, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (rc, out)
    lines = [line for line in log.read_text().splitlines() if "show-session" in line]
    assert [line.partition("show-session")[2].partition(" -p Name")[0] for line in lines] == [line[12:] for line in asked]


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_where_there_is_no_logind(tmp_path: Path, name: str) -> None:
    sh, nowhere = shell_named_sh(name, tmp_path), str(tmp_path / "none")
    words = {"PATH": str(tmp_path)}
    assert subprocess.run([sh, "-c", sessions_._SCRIPT], env=words, timeout=20, check=False).returncode == 90
    (tmp_path / "loginctl").touch(0o755)
    script = sessions_._SCRIPT.replace("/run/systemd/system", nowhere)
    assert subprocess.run([sh, "-c", script], env=words, timeout=20, check=False).returncode == 91


SYSTEMCTL = '#!/bin/sh\n[ "$*" = "is-active --quiet $GETTY" ]\n'


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(
    ("user", "tty", "getty", "rc", "found"),
    [
        ("root", "null", "", 0, []),
        ("root", "null", "getty@null.service", 0, ["getty@null.service"]),
        ("root", "null", "serial-getty@null.service", 0, ["serial-getty@null.service"]),
        ("none-such", "null", "", 93, None),
        ("0", "null", "", 93, None),
        ("root", "none-such", "", 94, None),
        ("nobody", "null", "", 95, None),
    ],
)
def test_the_script_that_starts(tmp_path: Path, name: str, user: str, tty: str, getty: str, rc: int, found: t.Any) -> None:
    sh = shell_named_sh(name, tmp_path)
    for program, text in (("systemctl", SYSTEMCTL), ("systemd-run", '#!/bin/sh\nprintf "%s\\n" "$@"\n')):
        (tmp_path / program).write_text(text)
        (tmp_path / program).chmod(0o755)
    script = sessions_._START.replace("/run/systemd/system", str(tmp_path))
    words = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GETTY": getty}
    arguments = [sh, "-c", script, "sh", user, tty, sessions_.unit(tty)]
    ended = subprocess.run(arguments, env=words, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == rc
    if found is not None:
        printed = ended.stdout.splitlines()
        assert {"--unit=virtops-session-null.service", "User=root", "PAMName=login", "TTYPath=/dev/null", "--collect"} <= set(
            printed
        )
        assert printed[-2:] == [printed[-2], "-l"]
        assert printed[-3] == "--"
        back = [line for line in printed if line.startswith("ExecStopPost=")]
        assert back == [f"ExecStopPost=+{tmp_path}/systemctl --no-block start {unit}" for unit in found]


@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize(("user", "found"), [("CORP\\me", "nobody"), ("nobody", "nobody"), ("65534", ""), ("-s", ""), ("none", "")])
def test_the_name_that_logind_has(tmp_path: Path, name: str, user: str, found: str) -> None:
    sh, getent = shell_named_sh(name, tmp_path), tmp_path / "getent"
    getent.write_text('#!/bin/sh\n[ "$2" != none ] || exit 2\necho nobody:x:65534:65534::/:/bin/sh\n')
    getent.chmod(0o755)
    words = {"PATH": str(tmp_path)}
    ended = subprocess.run([sh, "-c", sessions_._CALLED, "sh", user], env=words, capture_output=True, timeout=30, check=False)
    assert ended.stdout.decode() == found


CASES = [
    # arguments, changed, what was asked of logind, ids of the sessions in the result (None: it fails)
    ({"state": "locked", "user": "ann"}, True, [("lock-session", "3")], ["3"]),
    ({"state": "locked", "user": "bob"}, True, [("lock-session", "5")], ["4", "5"]),
    ({"state": "locked", "session": "4"}, False, [], ["4"]),
    ({"state": "locked", "seat": "seat0"}, True, [("lock-session", "3")], ["3", "4"]),
    ({"state": "locked", "user": "carol"}, False, [], None),
    ({"state": "locked", "user": "bob", "tty": "tty2"}, False, [], None),
    ({"state": "unlocked", "user": "bob", "tty": "/dev/tty3"}, True, [("unlock-session", "4")], ["4"]),
    ({"state": "unlocked", "user": "ann"}, False, [], ["3"]),
    ({"state": "absent", "user": "bob"}, True, [("terminate-session", "4", "5")], []),
    ({"state": "absent", "session": "c1"}, True, [("terminate-session", "c1")], []),
    ({"state": "absent", "tty": "tty1"}, False, [], []),
    ({"state": "absent", "tty": "tty4"}, False, [], []),
    ({"state": "absent", "user": "carol"}, False, [], []),
    ({"state": "present", "user": "ann", "tty": "tty2"}, False, [], ["3"]),
    ({"state": "present", "user": "ann", "seat": "seat0"}, False, [], ["3"]),
    ({"state": "present", "user": "bob", "tty": "tty4"}, True, [("start", "bob", "tty4")], ["77"]),
    ({"state": "present", "user": "carol", "tty": "/dev/ttyS1"}, True, [("start", "carol", "ttyS1")], ["77"]),
    ({"state": "present", "user": "carol", "seat": "seat0"}, True, [("start", "carol", "tty4")], ["77"]),
    ({"state": "present", "user": "CORP\\carol", "tty": "ttyS1"}, True, [("start", "carol", "ttyS1")], ["77"]),
    ({"state": "absent", "user": "CORP\\bob"}, True, [("terminate-session", "4", "5")], []),
    ({"state": "locked", "user": "CORP\\bob", "tty": "tty3"}, False, [], ["4"]),
    ({"state": "present", "user": "carol", "tty": "tty2"}, False, [], None),
    ({"state": "present", "user": "carol", "tty": "tty1"}, False, [], None),
    ({"state": "present", "user": "carol"}, False, [], None),
    ({"state": "present", "tty": "tty5"}, False, [], None),
    ({"state": "present", "user": "carol", "seat": "seat1"}, False, [], None),
    ({"state": "present", "user": "carol", "tty": "tty5", "session": "9"}, False, [], None),
    ({"state": "present", "user": "carol", "tty": "pts/1"}, False, [], None),
    ({"state": "present", "user": "carol", "tty": "../null"}, False, [], None),
    ({"state": "present", "user": "carol", "tty": "tty5\nX"}, False, [], None),
    ({"state": "absent"}, False, [], None),
    # An empty word is a mistake, and not "any": nobody else's session may end for it.
    ({"state": "absent", "user": "bob", "session": ""}, False, [], None),
    ({"state": "absent", "user": "bob", "tty": " "}, False, [], None),
    ({"state": "absent", "user": ""}, False, [], None),
]


@pytest.mark.parametrize(("arguments", "changed", "asked", "ids"), CASES)
def test_guest_session(logind: Logind, run: Run, arguments: dict, changed: bool, asked: list, ids: t.Any) -> None:
    expected = run(check=True, **arguments)
    assert logind.done == []
    result = run(**arguments)
    assert (expected["changed"], result["changed"], result.get("failed", False)) == (changed, changed, ids is None)
    done = [words[2:] if words[0] == "loginctl" else words[:3] for words in logind.done]
    assert done == asked
    if ids is None:
        assert result["failure"] == expected["failure"]
        return
    assert [session["id"] for session in result["sessions"]] == ids
    assert not [session for session in result["sessions"] if session["state"] == "opening"]
    if changed:
        assert result["diff"]["before"] == expected["diff"]["before"]
        after = expected["diff"]["after"]["sessions"]
        assert [line.replace("a new one:", "77:") for line in after] == result["diff"]["after"]["sessions"]
    logind.done.clear()
    again = run(**arguments)
    assert (again["changed"], logind.done) == (False, [])


def test_a_session_without_a_locker(logind: Logind, run: Run) -> None:
    logind.has_lockers = False
    result = run(state="locked", user="ann", timeout=1)
    assert (result["failure"]["kind"], result["changed"]) == ("wait_timeout", False)
    assert "session 3 is not locked 1 s after" in result["msg"]
    assert "a text terminal has none" in result["msg"]
    assert len(logind.done) == 1


def test_a_session_that_does_not_appear_is_withdrawn(logind: Logind, run: Run) -> None:
    logind.starts_as = ["opening", "over"]
    result = run(state="present", user="carol", tty="tty5", timeout=1)
    assert result["failure"]["kind"] == "wait_timeout"
    assert "check the guest's journal for virtops-session-tty5.service" in result["msg"]
    assert logind.done[1:] == [("systemctl", "stop", "virtops-session-tty5.service")]


def test_what_systemd_refuses_is_not_withdrawn(logind: Logind, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """The unit that is in the way may be another login on this terminal."""

    def execute(agent: GuestAgent, command: shell.Command, timeout: float) -> shell.Result:
        logind.rc = 1 if len(command.argv) > 4 else 0
        return logind.execute(agent, command, timeout)

    monkeypatch.setattr(shell, "execute", execute)
    result = run(state="present", user="carol", tty="tty5")
    assert "systemd-run: it is broken." in result["msg"]
    assert [words[0] for words in logind.done] == ["start"]


def test_a_seat_without_a_free_terminal(logind: Logind, run: Run) -> None:
    logind.sessions = [_session(str(number), tty=f"tty{number}") for number in range(1, 20)]
    assert "no terminal of seat0 is free" in run(state="present", user="carol", seat="seat0")["msg"]


@pytest.mark.parametrize("trouble", ["blocked", "frozen", "silent", "disconnected", "off"])
def test_what_is_in_the_way(host: Hypervisor, run: Run, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    monkeypatch.setattr(sessions_, "_SECONDS", 1.0 if trouble == "silent" else sessions_._SECONDS)
    guest = FakeGuest(block=["guest-exec", "guest-exec-status"] if trouble == "blocked" else [])
    guest.frozen = trouble == "frozen"
    if trouble == "silent":
        guest.silent |= {"guest-exec", "guest-info"}
    channel = "disconnected" if trouble == "disconnected" else "connected"
    host.domains = [Domain(guest=guest, state=5 if trouble == "off" else 1, channel=channel)]
    kinds = {
        "blocked": "command_blocked",
        "frozen": "guest_frozen",
        "silent": "agent_timeout",
        "disconnected": "agent_disconnected",
        "off": "domain_not_running",
    }
    failure = run(state="absent", user="ann")["failure"]
    assert (failure["kind"], failure["domain"]) == (kinds[trouble], "web")
    assert failure["hint"]
