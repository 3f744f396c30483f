# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``snapshot`` does with snapshots that were taken: merge them, and go back to them."""

from __future__ import annotations

import typing as t

from .._agent.client import GuestAgent
from .._deadline import Deadline
from .._errors import GuestAgentError
from .._libvirt.hypervisor import Connection, Domain
from .._libvirt.threads import each
from .._reach.guest import LIBVIRT_SECONDS, Guest
from .._snapshot import group as snapshots, plan, report, revert
from .._snapshot.plan import Chains
from .._task.run import Outcome, Task
from .answer import Answer, answer


def removed(task: Task, domains: t.Sequence[Domain], found: t.Sequence[plan.Found]) -> Outcome:
    """Merge the snapshot into what it stands on, in all domains that have it."""
    removals = {state.name: plan.removal(state) for state in found if state.record is not None}
    gone = snapshots.Removed()
    if not task.check_mode:
        gone = snapshots.remove(domains, removals, task.params["name"], task.params["merge_timeout"])
    before = report.states(found)
    after = dict(before)
    for state in found:
        if state.name in removals and state.name not in gone.failures:
            removal = removals[state.name]
            after[state.name] = report.state(False, plan.without(state.chains, removal))
            for warning in report.leftovers(state, removal, gone.left.get(state.name, ())):
                task.warn(warning)
    result = {"domains": report.all_as_found(domains, found)}
    return Outcome(result, before, after, failure=next(iter(gone.failures.values()), None))


def reverted(task: Task, connection: Connection, domains: t.Sequence[Domain]) -> Outcome:
    """All are looked at before anything is done. It is done again each time, because the guests have written since."""
    params = task.params
    deadline = Deadline(params["revert_timeout"])
    running = params["after_revert"] != "stopped"
    wish = revert.Wish(params["name"], running, params["reset_nvram"], max(LIBVIRT_SECONDS, params["revert_timeout"]))
    revert.require_revert(connection)
    subjects = []
    for found in each(lambda domain: revert.look(domain, wish.name), domains):
        if isinstance(found, GuestAgentError):
            raise found
        subjects.append(found)
    for subject in subjects:
        revert.check(subject, wish)
    if task.check_mode:
        return _outcome(subjects, {subject.found.name: revert.foreseen(subject.found) for subject in subjects})
    failures = revert.revert(subjects, wish)
    done = [subject for subject in subjects if subject.found.name not in failures]
    _tell_of_the_others(failures, done)
    answers: dict[str, Answer] = {}
    failures.update(revert.finish(done, wish._replace(running=running and not failures)))
    if not failures and params["after_revert"] == "answering":
        answers = _answers(task, subjects, deadline)
        failures.update({name: said.failure for name, said in answers.items() if said.failure})
    chains = {subject.found.name: revert.seen(subject) for subject in done}
    return _outcome(subjects, chains, answers, next(iter(failures.values()), None))


def _tell_of_the_others(failures: t.Mapping[str, GuestAgentError], done: t.Sequence[revert.Subject]) -> None:
    """None of a group runs while another one's disks show another moment."""
    off = ", ".join(subject.found.name for subject in done if subject.persistent)
    if failures and off:
        next(iter(failures.values())).detail += f"; reverted and not started are {off}"


def _answers(task: Task, subjects: t.Sequence[revert.Subject], deadline: Deadline) -> dict[str, Answer]:
    guests = [Guest(GuestAgent(subject.domain, task.params["agent_timeout"]), subject.domain) for subject in subjects]
    answers = {}
    for subject, said in zip(subjects, each(lambda guest: answer(guest, deadline), guests, len(guests))):
        answers[subject.found.name] = Answer("", False, failure=said) if isinstance(said, GuestAgentError) else said
    for said in answers.values():
        if said.warning:
            task.warn(said.warning)
    return answers


def _outcome(
    subjects: t.Sequence[revert.Subject],
    chains: t.Mapping[str, Chains],
    answers: t.Mapping[str, Answer] | None = None,
    failure: GuestAgentError | None = None,
) -> Outcome:
    """``chains``: those afterwards, of the domains that were reverted."""
    before = report.states(subject.found for subject in subjects)
    reports, after = [], {**before, **{name: report.reverted_state(images) for name, images in chains.items()}}
    for subject in subjects:
        name = subject.found.name
        if name not in chains:
            reports.append(report.as_found(subject.domain, subject.found))
            continue
        said = (answers or {}).get(name)
        agent, boot_id = (said.agent, said.boot_id) if said else (None, None)
        reports.append(report.reverted(subject.domain, subject.found, chains[name], agent, boot_id))
    return Outcome({"domains": reports}, before, after, failure=failure)
