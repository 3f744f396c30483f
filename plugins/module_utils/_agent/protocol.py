# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request <-> reply: build, number, check, bound. Pure, no I/O."""

from __future__ import annotations

import itertools
import json
import re
import typing as t

from .._errors import CommandBlocked, CommandFailed, CommandRefused, CommandUnknown, InvalidInput, NumberRefused, ProtocolError
from . import untrusted

#: libvirt corrupts requests above what its socket buffer takes at once (about 212 KiB); 128 KiB is safe everywhere.
REQUEST_MAX = 128 * 1024
#: libvirt carries at most 4 MiB of one reply; what is longer never arrives.
REPLY_MAX = 4 * 1024 * 1024
#: No honest number of this protocol is longer; unbounded digits cost quadratic time to read.
_DIGITS_MAX = 24

#: The agent's own words, from the first version on; never translated. What else it says is about the command's arguments.
_UNKNOWN: t.Final = re.compile(r"The command \S+ has not been found")
_DISABLED: t.Final = re.compile(r"(The command|Command) \S+ has been disabled")
#: qemu-ga before 2.12 takes no member beside the command and its arguments.
_NUMBER_REFUSED: t.Final = re.compile(r"QMP input (object )?member 'id' is unexpected")

_numbers = itertools.count(1)


class Request(t.NamedTuple):
    command: str
    #: None for one without a number, which agents before qemu-ga 2.12 want
    id: int | None
    text: str


class Reply(t.NamedTuple):
    value: t.Any
    #: whether it carries the request's number, which qemu-ga gives back since 4.0
    numbered: bool


def build(command: str, arguments: t.Mapping[str, t.Any] | None = None, numbered: bool = True) -> Request:
    """One request line.

    :raise InvalidInput: the line would be longer than ``REQUEST_MAX`` bytes, or the arguments are not JSON.
    """
    number = next(_numbers) if numbered else None
    body: dict[str, t.Any] = {"execute": command, **({} if number is None else {"id": number})}
    if arguments:
        body["arguments"] = arguments
    try:
        line = _ENCODER.encode(body)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the arguments cannot be sent as JSON: {error}", command=command) from error
    if len(line) > REQUEST_MAX:
        raise InvalidInput(f"the request is {len(line)} bytes long, and at most {REQUEST_MAX} are safe to send", command=command)
    return Request(command, number, line)


def parse(request: Request, reply: str, must_be_numbered: bool = False) -> Reply:
    """What the agent returned.

    :param must_be_numbered: the agent has given numbers back before; what comes without one is no answer of its then
    :raise CommandRefused: the agent answered with an error (its subclasses say which).
    :raise ProtocolError: the reply is too long, no JSON, not an answer, or the answer to another request.
    """
    body = _decode(request, reply)
    number = body.get("id")
    if number is None and must_be_numbered and request.id is not None:
        raise ProtocolError("the reply has no number, unlike those before it", command=request.command)
    if number is not None and (number != request.id or isinstance(number, bool)):
        raise ProtocolError("the reply has the number of another request", command=request.command)
    if "error" in body:
        raise _refusal(request, body["error"])
    if "return" not in body:
        raise ProtocolError("the reply is neither a result nor an error", command=request.command)
    return Reply(body["return"], number is not None)


def is_refusal(description: str) -> bool:
    """Whether these are an agent's words about a command that it does not accept."""
    return any(words.match(description) for words in (_UNKNOWN, _DISABLED, _NUMBER_REFUSED))


def refusal(command: str, description: str) -> CommandRefused:
    """The error class for an agent's own words; qemu-ga never translates them."""
    detail = untrusted.clean(description, 300)
    if _UNKNOWN.match(detail):
        return CommandUnknown("the agent does not know this command", command=command)
    if _DISABLED.match(detail):
        return CommandBlocked("the agent refuses this command", command=command)
    if _NUMBER_REFUSED.match(detail):
        return NumberRefused("the agent does not accept numbered requests", command=command)
    return CommandFailed(f"the agent says: {detail}", command=command)


def _decode(request: Request, reply: str) -> dict[str, t.Any]:
    if len(reply) > REPLY_MAX:
        raise ProtocolError(f"the reply is longer than {REPLY_MAX} characters", command=request.command)
    try:
        body = _DECODER.decode(reply)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the reply is not JSON", command=request.command) from error
    if not isinstance(body, dict):
        raise ProtocolError("the reply is not a JSON object", command=request.command)
    return body


def _refusal(request: Request, error: object) -> CommandRefused:
    described = error if isinstance(error, dict) else {}
    description = described.get("desc")
    text = description if isinstance(description, str) else "no reason given"
    if described.get("class") == "CommandNotFound" and not _UNKNOWN.match(text):
        return CommandBlocked("the agent refuses this command", command=request.command)
    return refusal(request.command, text)


def _parse_int(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError("number too long")
    return int(digits)


def _reject_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is not JSON")


#: json.dumps and json.loads would make one of each for each command.
_ENCODER: t.Final = json.JSONEncoder(separators=(",", ":"))
_DECODER: t.Final = json.JSONDecoder(parse_int=_parse_int, parse_constant=_reject_constant)
