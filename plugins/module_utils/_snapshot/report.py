# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task on snapshots says of each domain, before, after and as its result. Pure."""

from __future__ import annotations

import typing as t

from .._libvirt.hypervisor import Domain
from .group import Subject
from .plan import Chains, Found, Removal, with_overlays


class State(t.TypedDict):
    snapshot: str
    images: Chains


class _Report(t.TypedDict):
    """What the module ``snapshot`` returns of one domain; its documentation says what the words mean."""

    domain: str
    uuid: str
    quiesced: bool | None
    reason: str
    seconds_frozen: float | None
    unfrozen: list[str]
    disks: list[dict[str, str]]
    spared: dict[str, str]


class Report(_Report, total=False):
    #: after a revert: whether the guest's agent has answered; None where it was not waited for
    agent: bool | None
    boot_id: str | None


def state(there: bool, chains: Chains) -> State:
    return {"snapshot": "present" if there else "absent", "images": chains}


def states(found: t.Iterable[Found]) -> dict[str, State]:
    return {each.name: found_state(each) for each in found}


def found_state(found: Found) -> State:
    return state(found.record is not None, found.chains)


def taken_state(subject: Subject, taken: bool) -> State:
    return state(True, with_overlays(subject.found.chains, subject.overlays)) if taken else found_state(subject.found)


def taken(subject: Subject, foreseen: bool) -> Report:
    disks, overlays = subject.found.disks, subject.overlays
    return {
        "domain": subject.domain.name,
        "uuid": subject.domain.uuid,
        "quiesced": subject.quiesced if subject.taken and not foreseen else None,
        "reason": subject.reason,
        "seconds_frozen": subject.seconds,
        "unfrozen": subject.unfrozen,
        "disks": [{"target": target, "image": path, "base": disks[target].chain[0]} for target, path in overlays.items()],
        "spared": {target: disk.spared or "it was not asked for" for target, disk in disks.items() if target not in overlays},
    }


def leftovers(found: Found, removal: Removal, left: t.Iterable[str]) -> t.Iterator[str]:
    """Of files that may be there still. ``left``: those that were merged, and that libvirt did not say it would remove."""
    for target, path in removal.merged.items():
        yield f"Domain {found.name}: {path} was not in use for disk {target} any more; its file may still exist."
    for path in left:
        yield f"Domain {found.name}: {path} was merged, and libvirt may not have removed its file; check for it."


def all_as_found(domains: t.Iterable[Domain], found: t.Iterable[Found]) -> list[Report]:
    return [as_found(*pair) for pair in zip(domains, found)]


def as_found(domain: Domain, found: Found) -> Report:
    overlays, bases = (found.record.overlays, found.bases()) if found.record else ({}, {})
    return {
        "domain": domain.name,
        "uuid": domain.uuid,
        "quiesced": None,
        "reason": "it was taken before" if found.record else "it is not there",
        "seconds_frozen": None,
        "unfrozen": [],
        "disks": [{"target": target, "image": path, "base": bases.get(target, "")} for target, path in overlays.items()],
        "spared": {},
    }


def reverted(domain: Domain, found: Found, images: Chains, agent: bool | None, boot_id: str | None) -> Report:
    """``images``: the chains afterwards."""
    overlays, bases = (found.record.overlays, found.bases()) if found.record else ({}, {})
    disks = [
        {"target": target, "image": images[target][0], "base": bases.get(target, "")} for target in overlays if target in images
    ]
    return {**as_found(domain, found), "disks": disks, "agent": agent, "boot_id": boot_id}


def reverted_state(chains: Chains) -> State:
    return {"snapshot": "reverted", "images": chains}
