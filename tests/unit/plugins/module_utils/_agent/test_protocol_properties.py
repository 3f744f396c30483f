# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds of every request and every reply, not only of those that somebody thought of."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given, settings, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent import protocol
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.harmless import harmless

SENTENCE_MAX = 700
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
#: All that JSON can carry and this protocol lets through: no number without measure, and no NaN, which compares to nothing.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**22), 10**22) | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)
HONEST = json.dumps({"return": {"host-name": "web\u00fc", "n": [1, 2.5, None]}, "id": 7}).encode()


class Scribbler(FakeGuest):
    """Answers with these bytes, as far as the line goes."""

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self._line = reply

    def exchange(self, request: protocol.Request, seconds: int) -> str:
        return self._line.split(b"\n")[0].decode(errors="replace")


@given(st.text(min_size=1, max_size=40), st.dictionaries(ANY_TEXT, JSON, max_size=4))
def test_a_request_says_what_it_was_given(command: str, arguments: dict[str, t.Any]) -> None:
    request = protocol.build(command, arguments)
    body = json.loads(request.text)
    assert (body["execute"], body["id"], body.get("arguments", {})) == (command, request.id, arguments)
    assert request.text.isascii()
    assert request.text.isprintable()


@given(st.integers(0, 3 * protocol.REQUEST_MAX), st.sampled_from(["x", "\u00fc", "\U0001f600", '"', "\x1b"]))
def test_a_request_is_never_longer_than_libvirt_carries(length: int, fill: str) -> None:
    try:
        request = protocol.build("guest-file-write", {"buf-b64": fill * length})
    except _errors.InvalidInput as error:
        assert harmless(str(error))  # noqa: PT017
    else:
        assert len(request.text.encode()) <= protocol.REQUEST_MAX


@given(JSON)
def test_the_value_of_a_reply_comes_through_as_it_is(value: t.Any) -> None:
    request = protocol.build("guest-x")
    parsed = protocol.parse(request, json.dumps({"return": value, "id": request.id}))
    assert parsed.numbered
    assert json.dumps(parsed.value) == json.dumps(value)


@given(JSON, JSON)
def test_no_reply_to_another_request_is_taken(number: t.Any, value: t.Any) -> None:
    request = protocol.Request("guest-x", 7, "")
    if number is None or (number == 7 and not isinstance(number, bool)):
        number = "7"
    with pytest.raises(_errors.ProtocolError, match="another request"):
        protocol.parse(request, json.dumps({"return": value, "id": number}))


@given(ANY_TEXT | st.just("CommandNotFound"), ANY_TEXT | st.text(min_size=200).map(lambda text: text * 50) | JSON)
def test_no_refusal_says_more_than_a_sentence(kind: str, description: t.Any) -> None:
    for error in ({"class": kind, "desc": description}, description):
        with pytest.raises(_errors.CommandRefused) as caught:
            protocol.parse(protocol.Request("guest-x", 7, ""), json.dumps({"error": error, "id": 7}))
        assert len(str(caught.value)) <= SENTENCE_MAX
        assert harmless(str(caught.value))


def _spliced(first: int, noise: bytes, last: int) -> bytes:
    return HONEST[:first] + noise + HONEST[last:]


@settings(max_examples=120)
@given(
    st.binary(max_size=100)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(_spliced, st.integers(0, len(HONEST)), st.binary(max_size=4), st.integers(0, len(HONEST)))
)
def test_any_bytes_are_a_value_or_a_typed_sentence(reply: bytes) -> None:
    try:
        json.dumps(protocol.parse(protocol.Request("guest-x", 7, ""), reply.decode(errors="replace")).value)
    except _errors.GuestAgentError as error:
        assert harmless(str(error))  # noqa: PT017
    # A real agent that has given a number back once does so for good.
    agent = Scribbler(reply).agent()
    agent._gives_back = True
    with pytest.raises(_errors.GuestAgentError) as caught:
        agent.call("guest-get-host-name")
    assert caught.value.domain == "fake"
    assert caught.value.command == "guest-get-host-name"
    assert len(str(caught.value)) <= SENTENCE_MAX
    assert harmless(str(caught.value))
