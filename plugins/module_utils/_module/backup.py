# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``backup`` does: look, remove what killed tasks have left, take or remove, and remove what is outdated."""

from __future__ import annotations

import datetime
import typing as t

from .._agent.client import GuestAgent
from .._backup import group as _group, plan as _plan, report, retention
from .._backup.notes import Directory, Note
from .._errors import GuestAgentError
from .._freeze import group as _freezing, moment
from .._freeze.watchdog import Watchdog
from .._libvirt.hypervisor import Domain
from .._reach.guest import Guest
from .._task.run import Outcome, Task


class Work(t.NamedTuple):
    """``found``: the domains as they were; ``seen``: without what killed tasks had left."""

    task: Task
    directory: Directory
    wish: _plan.Wish
    domains: t.Sequence[Domain]
    found: t.Sequence[_plan.Found]
    seen: t.Sequence[_plan.Found]


def begin(task: Task, directory: Directory, wish: _plan.Wish, domains: t.Sequence[Domain]) -> Work:
    """Look at the domains, and remove what killed tasks have left.

    :raise GuestAgentError: another task is at work there, or something cannot be removed.
    """
    if not task.check_mode:
        directory.tidy()
    found = _group.look_at(domains, directory)
    retention.check_not_held(found, directory)
    for warning in retention.left_behind(found, directory):
        task.warn(warning)
    seen = [_plan.without_unfinished(state, directory.path) for state in found]
    if not task.check_mode and any(state.unfinished for state in found):
        retention.recover(domains, found, directory)
        seen = _group.look_at(domains, directory)
    return Work(task, directory, wish, domains, found, seen)


def present(work: Work, watchdogs: t.Sequence[Watchdog]) -> Outcome:
    keep = work.task.params["keep"]
    if _plan.all_there(work.seen, work.wish):
        return _removed(work, [retention.of_age(state, work.directory, keep, None) for state in work.seen])
    group = _prepared(work)
    failure = None
    if not work.task.check_mode:
        failure = _group.take(group, work.directory, watchdogs, _terms(work.task.params), work.task.tell)
        for warning in moment.warnings(group):
            work.task.warn(warning)
    new = [subject.note if subject.whole or work.task.check_mode else None for subject in group]
    removals = [retention.Removal() if note is None else retention.of_age(state, work.directory, keep, note)
                for state, note in zip(work.seen, new)]  # fmt: skip
    failures = _remove(work, removals)
    removals = [retention.Removal() if error else removal for removal, error in zip(removals, failures)]
    after = _after(work, new, removals)
    reports = [
        report.taken(subject, work.directory, work.task.check_mode, after[subject.found.name], removal)
        for subject, removal in zip(group, removals)
    ]
    return Outcome({"domains": reports}, _before(work), after, failure=failure or moment.first(failures))


def absent(work: Work) -> Outcome:
    """
    :raise InvalidInput: increments stand on it.
    """
    return _removed(work, [retention.of_name(state, work.directory, work.wish.name) for state in work.seen])


def _removed(work: Work, removals: list[retention.Removal]) -> Outcome:
    failures = _remove(work, removals)
    removals = [retention.Removal() if error else removal for removal, error in zip(removals, failures)]
    after = _after(work, [None] * len(work.seen), removals)
    reports = [
        report.as_found(state, work.directory, work.wish.name, after[state.name], removal)
        for state, removal in zip(work.seen, removals)
    ]
    return Outcome({"domains": reports}, _before(work), after, failure=moment.first(failures))


def _remove(work: Work, removals: t.Sequence[retention.Removal]) -> list[GuestAgentError | None]:
    return [None] * len(removals) if work.task.check_mode else retention.remove(work.domains, removals, work.directory)


def _before(work: Work) -> dict[str, report.State]:
    return {state.name: report.state(state, work.directory) for state in work.found}


def _after(work: Work, new: t.Sequence[Note | None], removals: t.Sequence[retention.Removal]) -> dict[str, report.State]:
    return {
        state.name: report.changed_state(state, work.directory, note, removal)
        for state, note, removal in zip(work.seen, new, removals)
    }


def _prepared(work: Work) -> list[_group.Subject]:
    """What is to become of each domain, and which guests can be frozen for it."""
    params = work.task.params
    begun = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    group = []
    for domain, state in zip(work.domains, work.seen):
        planned = _plan.plan(state, work.wish)
        group.append(_group.Subject(domain, state, planned, _plan.note_of(state, work.wish, planned, begun)))
    if params["quiesce"] != "never":
        guests = {domain.uuid: Guest(GuestAgent(domain, params["agent_timeout"]), domain) for domain in work.domains}
        moment.prepare(group, guests, params["quiesce"] == "required", "backup")
    return group


def _terms(params: t.Mapping[str, t.Any]) -> _group.Terms:
    freeze = _freezing.Terms(params["uri"], params["timeout"], params["max_seconds"], params["agent_timeout"])
    return _group.Terms(freeze, params["quiesce"] == "required", params["backup_timeout"])
