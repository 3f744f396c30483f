# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which vCPUs or blocks of memory to bring online or to take offline, and what came of it."""

from __future__ import annotations

import typing as t

from .._agent.client import GuestAgent
from .._commands.units import Unit, Wanted
from .._deadline import Deadline
from .._errors import CommandFailed, GuestAgentError, InvalidInput, WaitTimeout
from .._task.run import Outcome, Task


class Kind(t.NamedTuple):
    """vCPUs or memory blocks: the command that switches them, what one is called, and what reads and switches them."""

    command: str
    noun: str
    read: t.Callable[[GuestAgent], list[Unit]]
    switch: t.Callable[[GuestAgent, t.Sequence[Wanted], Deadline], dict[int, str]]


class Plan(t.NamedTuple):
    """``needed`` of the ``candidates`` are to be switched: the first ones, or those after them where the guest refuses some."""

    candidates: list[Wanted]
    needed: int


def plan_ids(units: t.Sequence[Unit], online: t.Sequence[int], offline: t.Sequence[int], noun: str) -> Plan:
    """All that are not as they shall be, those to bring online first.

    :raise InvalidInput: one of them is not there or cannot go offline, or none would be left.
    """
    by_id = {unit["id"]: unit for unit in units}
    for number in (*online, *offline):
        if number not in by_id:
            raise InvalidInput(f"the guest has no {noun} {number}", hint="plug it in first, or name another one")
        if number in online and number in offline:
            raise InvalidInput(f"{noun} {number} cannot be both online and offline")
    changes = {number: True for number in online if not by_id[number]["online"]}
    changes.update({number: False for number in offline if by_id[number]["online"]})
    for number, up in changes.items():
        if not up and not by_id[number]["can_offline"]:
            raise InvalidInput(f"the guest cannot do without {noun} {number}")
    if changes and not any(changes.get(number, unit["online"]) for number, unit in by_id.items()):
        raise InvalidInput(f"no {noun} would be left online")
    return Plan(list(changes.items()), len(changes))


def plan_count(units: t.Sequence[Unit], count: int, noun: str) -> Plan:
    """``count`` of them online: low numbers come first, high numbers go first.

    :raise InvalidInput: the guest has not so many, or cannot do without so many.
    """
    up = [unit for unit in units if unit["online"]]
    if not 1 <= count <= len(units):
        raise InvalidInput(
            f"of the guest's {noun}s, {len(units)} in all, {count} cannot be online", hint="plug in more first, or ask for others"
        )
    if count >= len(up):
        return Plan([(unit["id"], True) for unit in units if not unit["online"]], count - len(up))
    spare = [(unit["id"], False) for unit in reversed(up) if unit["can_offline"]]
    if len(spare) < len(up) - count:
        raise InvalidInput(f"the guest cannot do without {len(up) - len(spare)} {noun}s, which are more than {count}")
    return Plan(spare, len(up) - count)


def predict(plan: Plan, units: t.Sequence[Unit]) -> list[Unit]:
    switched = dict(plan.candidates[: plan.needed])
    return [{**unit, "online": switched.get(unit["id"], unit["online"])} for unit in units]


def carry_out(plan: Plan, switch: t.Callable[[t.Sequence[Wanted]], dict[int, str]]) -> tuple[dict[int, str], WaitTimeout | None]:
    """Why, for each that the guest refused; and that the time was over, if it was. ``switch`` tells it of those it is given."""
    refused: dict[int, str] = {}
    left, missing = plan.candidates, plan.needed
    while left and missing:
        try:
            now = switch(left[:missing])
        except WaitTimeout as error:
            return refused, error
        left, missing = left[missing:], len(now)
        refused.update(now)
    return refused, None


def trouble(plan: Plan, after: t.Sequence[Unit], refused: t.Mapping[int, str], noun: str) -> CommandFailed | None:
    """What is not as it should be, whatever the guest said about it."""
    now = {unit["id"]: unit["online"] for unit in after}
    wrong = [number for number, online in plan.candidates if now.get(number) is not online]
    if len(plan.candidates) - len(wrong) >= plan.needed:
        return None
    why = f": {refused[wrong[0]]}" if wrong[0] in refused else ", though the agent says that it was"
    return CommandFailed(f"{noun} {wrong[0]} was not switched{why}", hint="see errors for each")


def converge(
    task: Task,
    agent: GuestAgent,
    kind: Kind,
    before: t.Sequence[Unit],
    plan: t.Callable[[], Plan],
    shown: t.Callable[[t.Sequence[Unit]], dict[str, t.Any]],
) -> Outcome:
    """Switch what ``plan`` says of what is there ``before``. ``shown`` makes the module's result of what is there then."""

    def outcome(after: t.Sequence[Unit], refused: t.Mapping[int, str]) -> Outcome:
        errors = [{"id": number, "error": why} for number, why in sorted(refused.items())]
        return Outcome({**shown(after), "errors": errors}, _state(before), _state(after))

    try:
        planned = plan()
    except InvalidInput as error:
        raise _about(error, agent, kind) from None
    if not planned.needed:
        return outcome(before, {})
    agent.require(kind.command)
    if task.check_mode:
        return outcome(predict(planned, before), {})
    deadline = Deadline(task.params["timeout"])
    refused, stopped = carry_out(planned, lambda wanted: kind.switch(agent, wanted, deadline))
    after = kind.read(agent)
    failure = stopped or trouble(planned, after, refused, kind.noun)
    return outcome(after, refused)._replace(failure=failure and _about(failure, agent, kind))


def _state(units: t.Sequence[Unit]) -> dict[str, list[int]]:
    """For a diff."""
    return {
        "online": [unit["id"] for unit in units if unit["online"]],
        "offline": [unit["id"] for unit in units if not unit["online"]],
    }


def _about(error: GuestAgentError, agent: GuestAgent, kind: Kind) -> GuestAgentError:
    error.domain, error.command = agent.name, kind.command
    return error
