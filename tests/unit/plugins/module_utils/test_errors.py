# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sentence for each error, and words that playbooks can rely on."""

from __future__ import annotations

import re

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors


def _all(base: type = _errors.GuestAgentError) -> list[type]:
    return [base, *(found for child in base.__subclasses__() for found in _all(child))]


CLASSES = [kind for kind in _all() if kind.__module__ == _errors.__name__]
STATUSES = {
    "connected",
    "disconnected",
    "not_configured",
    "unresponsive",
    "frozen",
    "restricted",
    "broken",
    "not_running",
    "unknown",
}

SENTENCES = [
    (("it broke",), {}, "it broke."),
    (("it broke. ",), {}, "it broke."),
    (("it broke",), {"domain": "web"}, "Domain web: it broke."),
    (("it broke",), {"command": "guest-ping"}, "guest-ping: it broke."),
    (("it broke",), {"domain": "web", "command": "guest-ping"}, "Domain web: guest-ping: it broke."),
    (("it broke.",), {"domain": "web", "hint": "mend it."}, "Domain web: it broke; mend it."),
]


@pytest.mark.parametrize(("arguments", "options", "sentence"), SENTENCES)
def test_an_error_is_one_sentence(arguments: tuple, options: dict, sentence: str) -> None:
    assert str(_errors.GuestAgentError(*arguments, **options)) == sentence


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_says_what_it_is(kind: type[_errors.GuestAgentError]) -> None:
    error = kind("it broke", domain="web", command="guest-ping")
    assert error.failure() == {
        "kind": kind.kind,
        "domain": "web",
        "command": "guest-ping",
        "detail": "it broke",
        "hint": kind.default_hint,
    }
    sentence = str(error)
    assert sentence.startswith("Domain web: guest-ping: it broke")
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    assert "\n" not in sentence
    assert kind.status in STATUSES | {""}
    assert str(kind("it broke", hint="mend it")) == "it broke; mend it."


def _drawn() -> dict[str, str]:
    """Class -> its base, as the tree at the head of the file has them; the root has none."""
    bases, above = {}, [""]
    for line, name in re.findall(r"^ {4}((?:[│ ]  )*(?:[├└]─ )?)([A-Z]\w+) {2,}\S", _errors.__doc__ or "", re.MULTILINE):
        depth = len(line) // 3
        bases[name] = above[depth]
        above[depth + 1 :] = [name]
    return bases


def test_the_tree_is_drawn_as_it_is() -> None:
    bases = {kind.__name__: kind.__base__.__name__ for kind in CLASSES if kind.__base__}
    assert _drawn() == {**bases, "GuestAgentError": ""}


def test_every_kind_is_its_own() -> None:
    # What the core must tell apart and a playbook need not: a timeout, a command that failed, a domain that does not run.
    kinds = [kind.kind for kind in CLASSES if kind not in (_errors.StillInFlight, _errors.NumberRefused, _errors.DomainOff)]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (_errors.AgentNotConfigured, "not_configured"),
        (_errors.AgentDisconnected, "disconnected"),
        (_errors.AgentDisappeared, "disconnected"),
        (_errors.AgentBroken, "broken"),
        (_errors.ProtocolError, "broken"),
        (_errors.AgentBusy, "unresponsive"),
        (_errors.AgentTimeout, "unresponsive"),
        (_errors.GuestFrozen, "frozen"),
        (_errors.CommandUnknown, "restricted"),
        (_errors.CommandBlocked, "restricted"),
        (_errors.CommandFailed, ""),
        (_errors.DomainNotRunning, "not_running"),
        (_errors.DomainNotFound, "not_running"),
        (_errors.HypervisorUnreachable, "unknown"),
        (_errors.PermissionDenied, "unknown"),
    ],
)
def test_the_status_that_a_record_takes(kind: type[_errors.GuestAgentError], status: str) -> None:
    assert kind.status == status


def test_a_domain_that_is_not_there_may_be_the_other_daemons() -> None:
    assert "qemu:///system and qemu:///session" in str(_errors.DomainNotFound("no domain of this name or UUID", domain="web1"))


@pytest.mark.parametrize(
    ("kind", "nothing_sent", "unknown", "refused"),
    [
        (_errors.AgentNotConfigured, True, False, False),
        (_errors.AgentBusy, True, False, False),
        (_errors.AgentTimeout, False, True, False),
        (_errors.AgentDisappeared, False, True, False),
        (_errors.GuestFrozen, False, False, True),
        (_errors.CommandFailed, False, False, True),
        (_errors.ProtocolError, False, False, False),
    ],
)
def test_the_tree_tells_whether_it_may_have_run(kind: type, nothing_sent: bool, unknown: bool, refused: bool) -> None:
    assert issubclass(kind, _errors.AgentUnavailable) is nothing_sent
    assert issubclass(kind, _errors.UnknownOutcome) is unknown
    assert issubclass(kind, _errors.CommandRefused) is refused
