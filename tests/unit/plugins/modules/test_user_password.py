# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""user_password from its arguments to its result, over libvirt and a guest in memory."""

from __future__ import annotations

import base64
import json
import subprocess
import typing as t

import pytest
import yaml

pytest.importorskip("libvirt", reason="SKIPPED OUT LOUD: nothing of this file is tried, for there is no libvirt-python here")

from ansible.module_utils import basic
from ansible.module_utils.common.parameters import PASS_VARS

from ansible_collections.virtops.guest_agent.plugins.module_utils._module import user_password as _user_password
from ansible_collections.virtops.guest_agent.plugins.modules import user_password
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import VERSIONS, FakeGuest, Program
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Hypervisor
from ansible_collections.virtops.guest_agent.tests.unit.module_runs import Run, run_module

SET = "guest-set-user-password"
SECRET = "correct-horse: battery ü"
OTHERS = "$6$other$" + "x" * 86
#: made by another program: openssl passwd, or mkpasswd for yescrypt
SHA512 = subprocess.run(
    ["openssl", "passwd", "-6", "-salt", "saltsaltsaltsalt", "-stdin"], input=SECRET, capture_output=True, text=True, check=True
).stdout.strip()
YESCRYPT = "$y$j9T$abcdefgh$UGYCVcUwcoG0k8SZZ.Uz3i0RYQNy1YmYj4I4poBPer2"  # pw


class Guest(FakeGuest):
    """One that has getent, unless ``getent`` is false."""

    getent = True

    def __init__(self, version: str = "10.0", **options: t.Any) -> None:
        super().__init__(version, programs=self._found, **options)
        self.passwords = {"deploy": OTHERS, "root": "*"}
        self.ldap: set[str] = set()

    def _found(self, argv: tuple[str, ...]) -> Program | None:
        if argv[0] != "getent" or not self.getent:
            return None
        _getent, database, user = argv
        if user in self.passwords:
            return Program(0, f"{user}:{self.passwords[user]}:19000:0:99999:7:::\n".encode())
        return Program(0 if database == "passwd" and user in self.ldap else 2)


@pytest.fixture
def domains() -> list[Domain]:
    return [Domain(guest=Guest())]


@pytest.fixture
def guest(host: Hypervisor) -> Guest:
    return t.cast(Guest, host.domains[0].guest)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(basic, "has_journal", False)
    logged: list[str] = []
    monkeypatch.setattr(basic.syslog, "syslog", lambda _level, text: logged.append(text))
    # Since ansible-core 2.20 the invocation is returned on demand.
    demand = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}

    def run_it(**arguments: t.Any) -> dict[str, t.Any]:
        given = {"domain": "web", "uri": samples.URI, "user": "deploy", **demand, **arguments}
        result = run_module(user_password.main, capsys, **given)
        seen = f"{json.dumps(result, ensure_ascii=False)} {logged}"
        for name in ("password", "password_hash"):
            secret = arguments.get(name) or ""
            if len(secret) > 3:
                assert secret not in seen
                assert base64.b64encode(secret.encode("utf-8", "replace")).decode() not in seen
        assert "$6$" not in seen
        return result

    return run_it


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "given", [{"password": SECRET}, {"password_hash": SHA512}, {"password_hash": YESCRYPT}, {"password_hash": f"!{SHA512}"}]
)
def test_set_once(host: Hypervisor, run: Run, version: str, given: dict) -> None:
    guest = host.domains[0].guest = Guest(version)
    predicted = run(check=True, diff=True, **given)
    assert guest.passwords["deploy"] == OTHERS
    assert SET not in guest.sent
    first = run(diff=True, **given)
    assert predicted == first
    assert (first["changed"], first["compared"], first["reason"]) == (True, True, "")
    assert first["diff"] == {"before": {"password": "another one or none"}, "after": {"password": "as given"}}
    assert first["locked"] is given.get("password_hash", "").startswith("!")
    stored = guest.passwords["deploy"]
    assert stored == given.get("password_hash", stored)
    again = run(diff=True, **given)
    assert (again["changed"], guest.passwords["deploy"], guest.sent.count(SET)) == (False, stored, 1)
    assert guest.open_handles == 0


@pytest.mark.parametrize(
    ("user", "stored", "changed"), [("root", "*", True), ("root", "!", True), ("root", "", True), ("deploy", OTHERS, False)]
)
def test_a_first_password_only(guest: Guest, run: Run, user: str, stored: str, changed: bool) -> None:
    guest.passwords[user] = stored
    result = run(user=user, password=SECRET, update_password="when_unset")
    assert (result["changed"], result["locked"]) == (changed, False)
    again = run(user=user, password="another one", update_password="when_unset")
    assert (again["changed"], again["compared"]) == (False, True)


def test_a_lock_in_front_of_the_right_password_stays(guest: Guest, run: Run) -> None:
    for user, given in (("deploy", {"password": SECRET}), ("root", {"password_hash": SHA512})):
        guest.passwords[user] = f"!{SHA512}"
        result = run(user=user, **given)
        assert (result["changed"], result["locked"]) == (False, True)
        assert f"the password of {user} is the given one and is locked" in result["warned"]  # each text is warned of once
    guest.passwords["daemon"] = f"!{SHA512}"
    assert "of daemon" not in run(user="daemon", password_hash=f"!{SHA512}")["warned"]
    guest.passwords["deploy"] = SHA512
    assert run(password_hash=f"!{SHA512}")["changed"]


@pytest.mark.parametrize("mark", ["!", "*", "!!", "!*"])
def test_no_password(guest: Guest, run: Run, mark: str) -> None:
    assert run(password_hash=mark)["locked"] is True
    assert guest.passwords["deploy"] == mark
    again = run(password_hash=mark)
    assert (again["changed"], again["compared"]) == (False, True)


def _without(guest: Guest, way: str) -> None:
    if way == "getent is missing":
        guest.getent = False
    else:
        guest.blocked.add("guest-exec")


@pytest.mark.parametrize("way", ["getent is missing", "exec is blocked"])
def test_the_file_where_getent_cannot_be_run(guest: Guest, run: Run, way: str) -> None:
    _without(guest, way)
    guest._files["/etc/shadow"] = f"root:*:1::::::\ndeploy2:{OTHERS}:1::::::\ndeploy:{SHA512}:1::::::\n".encode()
    result = run(password=SECRET)
    assert (result["changed"], result["compared"], guest.open_handles) == (False, True, 0)
    result = run(user="nobody", password=SECRET, check=True)
    assert (result["changed"], result["compared"]) == (True, False)


@pytest.mark.parametrize("way", ["getent is missing", "exec is blocked"])
def test_without_knowing_it_is_set_each_time(guest: Guest, run: Run, way: str) -> None:
    _without(guest, way)
    guest.blocked.add("guest-file-open")
    for _time in range(2):
        result = run(password=SECRET, diff=True)
        assert (result["changed"], result["compared"], result["locked"]) == (True, False, None)
        assert result["diff"]["before"] == {"password": "not known"}
        assert "the guest's shadow file could not be read: " in result["reason"]
    assert guest.sent.count(SET) == 2
    result = run(password=SECRET, update_password="when_unset")
    assert result["failure"]["command"] == "guest-exec"
    assert guest.sent.count(SET) == 2


@pytest.mark.parametrize(
    "stored",
    [
        "$argon2id$v=19$m=65536$abc$def",
        "$y$jFT$abcdefgh$" + "x" * 43,  # gigabytes
        "$6$rounds=999999999$salt$" + "x" * 86,  # hours
        "$2b$31$" + "x" * 53,
        "x" * 600,
        "$1$" + "x" * 600,
        "\x00",
        "!" * 20 + "%s%n",
    ],
)
def test_a_hostile_hash_costs_nothing(guest: Guest, run: Run, stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_user_password, "_by_libxcrypt", lambda *_: pytest.fail("this would take long"))
    guest.passwords["deploy"] = stored
    result = run(password=SECRET, check=True)
    assert (result["changed"], result["compared"]) == (True, False)


def test_the_other_ways_to_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _user_password.same_password(YESCRYPT, "pw") is True
    assert _user_password.same_password(YESCRYPT, "pW") is False
    monkeypatch.setattr(_user_password, "_LIBRARIES", ("libnone.so",))
    told = _user_password.same_password(SHA512, SECRET)
    assert told in (True, None)  # by passlib, where it is installed
    assert _user_password.same_password(YESCRYPT, "pw") is None
    monkeypatch.setattr(_user_password.importlib, "import_module", lambda _name: Passlib)
    assert _user_password.same_password(SHA512, SECRET) is True
    assert _user_password.same_password("$5$salt$" + "x" * 43, SECRET) is None


class Passlib:
    class sha512_crypt:
        @staticmethod
        def verify(password: str, stored: str) -> bool:
            return (password, stored) == (SECRET, SHA512)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_user(host: Hypervisor, run: Run, version: str) -> None:
    guest = host.domains[0].guest = Guest(version)
    for check in (True, False):
        result = run(user="nosuch", password=SECRET, check=check)
        assert result["failure"]["kind"] == "user_not_found"
        assert "the guest has no user 'nosuch'; check the name" in result["msg"]
    assert SET not in guest.sent
    guest.blocked.update({"guest-exec", "guest-file-open"})
    result = run(user="nosuch", password=SECRET)
    assert result["failure"]["kind"] == "command_failed"
    assert "check that the guest has this user" in result["msg"]
    assert result["changed"] is False


def test_a_user_of_another_directory(guest: Guest, run: Run) -> None:
    guest.ldap.add("ldap")
    result = run(user="ldap", password=SECRET, check=True)
    assert (result["changed"], result["compared"]) == (True, False)
    assert "has no password of this user" in result["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"password": ""}, "password is empty"),
        ({"password": "two\nlines"}, "such as a newline"),
        ({"password": "nul\0"}, "such as a newline"),
        ({"password": "ends\r"}, "such as a newline"),
        ({"password": "ü" * 256}, "longer than 511 bytes"),
        ({"password_hash": ""}, "neither a hash"),
        ({"password_hash": "Password"}, "neither a hash"),
        ({"password_hash": "Password12345"}, "neither a hash"),
        ({"password_hash": "!Password"}, "neither a hash"),
        ({"password_hash": f"{SHA512}\n"}, "neither a hash"),
        ({"password_hash": f"{SHA512}:0"}, "neither a hash"),
        ({"password_hash": SHA512[:-1]}, "neither a hash"),
        ({"password_hash": f"$6$a:b${SHA512[-86:]}"}, "neither a hash"),
        ({"password_hash": f"$6$a b${SHA512[-86:]}"}, "neither a hash"),
        ({"password_hash": f"$6$ä${SHA512[-86:]}"}, "neither a hash"),
        ({"password_hash": "!" * 9}, "neither a hash"),
        ({"password": SECRET, "user": ""}, "cannot be the name of a user"),
        ({"password": SECRET, "user": "-x"}, "cannot be the name of a user"),
        ({"password": SECRET, "user": "a:b"}, "cannot be the name of a user"),
        ({"password": SECRET, "user": "a\nb"}, "cannot be the name of a user"),
        ({"password": SECRET, "user": "../x"}, "cannot be the name of a user"),
        ({"password": SECRET, "user": "x" * 256}, "cannot be the name of a user"),
    ],
)
def test_what_cannot_be(guest: Guest, run: Run, arguments: dict, words: str) -> None:
    result = run(**arguments)
    assert (result["failure"]["kind"], guest.sent) == ("invalid_input", [])
    assert words in result["msg"]


def test_one_of_both(guest: Guest, run: Run) -> None:
    assert "one of the following is required" in run()["msg"]
    assert "mutually exclusive" in run(password=SECRET, password_hash=SHA512)["msg"]


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [("blocked", "command_blocked"), ("frozen", "guest_frozen"), ("silent", "agent_timeout"), ("off", "domain_not_running")],
)
def test_nothing_is_read_where_nothing_can_be_set(host: Hypervisor, guest: Guest, run: Run, trouble: str, kind: str) -> None:
    if trouble == "blocked":
        guest.blocked.add(SET)
    elif trouble == "off":
        host.domains[0].current = 5
    elif trouble == "frozen":
        guest.frozen = True
    else:
        guest.silent.update(("guest-info", "guest-ping"))
    for check in (True, False):
        result = run(password=SECRET, check=check)
        assert result["failure"]["kind"] == kind
    assert not {"guest-exec", SET} & set(guest.sent)


def test_an_agent_that_goes_silent_over_it_is_asked_once(guest: Guest, run: Run) -> None:
    guest.silent.add(SET)
    result = run(password=SECRET)
    assert (result["failure"]["kind"], result["failure"]["command"]) == ("agent_timeout", SET)
    assert guest.sent.count(SET) == 1
    assert guest.timeouts[guest.sent.index(SET)] == 30


def test_an_agent_that_says_yes_and_does_nothing(guest: Guest, run: Run) -> None:
    guest.replies[SET] = {}
    result = run(password=SECRET)
    assert result["failure"]["kind"] == "command_failed"
    assert "the guest's shadow file has another password" in result["msg"]


@pytest.mark.parametrize("coded", [False, True])
def test_an_agent_that_repeats_the_password(guest: Guest, run: Run, coded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible blots out the password itself, and not what is made of it; where an action plugin runs this, nobody does."""
    said = base64.b64encode(SECRET.encode()).decode() if coded else SECRET

    def refuse(**_arguments: t.Any) -> t.NoReturn:
        raise guest._refused("exec_no_program", f"/{said}")

    monkeypatch.setattr(guest, "_set_user_password", refuse)
    assert "its message is hidden" in run(password=SECRET)["msg"]


@pytest.mark.parametrize("reply", [[], "x", {"pid": "1"}, {"pid": -1}, None])
def test_a_hostile_agent(guest: Guest, run: Run, reply: t.Any) -> None:
    guest.replies["guest-exec"] = reply
    assert run(password=SECRET)["failure"]["kind"] == "protocol_error"
    assert SET not in guest.sent


@pytest.mark.parametrize("line", [b"", b"deploy", b"deploy:x", b"x:$6$x:1", b"\xff\xfe", b"deploy:\xff:1", b":" * 70000])
def test_a_hostile_shadow_file(guest: Guest, run: Run, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    guest._programs = lambda _argv: Program(0, line)
    result = run(password=SECRET, check=True)
    assert (result["changed"], result["compared"]) == (True, False)


def test_the_examples_can_be_given() -> None:
    tasks = [task["virtops.guest_agent.user_password"] for task in yaml.safe_load(user_password.EXAMPLES)]
    hashes = [task["password_hash"] for task in tasks if "password_hash" in task]
    assert len(hashes) == 2
    for found in hashes:
        _user_password.check_hash(found)
