# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records -> inventory host names: one name for one domain, and none that a guest could take from somebody else. Pure."""

from __future__ import annotations

import collections
import ipaddress
import re
import typing as t

from ..module_utils._record import Record

#: Entries of the option ``hostnames`` with a meaning of their own; all others are Jinja expressions.
SOURCES: t.Final = ("name", "uuid", "title", "guest_hostname")
_HOST_NAME: t.Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


class Candidate(t.NamedTuple):
    name: str
    #: whether the guest had a say in it
    guest_says: bool


def choose(record: Record, preference: t.Iterable[str], evaluate: t.Callable[[str], object], taken: t.Container[str]) -> Candidate:
    """The first of the user's preferences that gives a name; the domain's name where none does.

    :param evaluate: the value of a Jinja expression over the record's host variables
    :param taken: names that belong to somebody already: hosts of other inventory sources, groups, and the domains' own names
    """
    libvirt = record["libvirt"]
    for source in preference:
        if source in ("name", "uuid", "title"):
            value, guest_says = libvirt[source], False  # type: ignore[literal-required]
        elif source == "guest_hostname":
            value, guest_says = record.get("hostname"), True
        else:
            value, guest_says = evaluate(source), True
        if not isinstance(value, str) or not value:
            continue
        if not guest_says or value == libvirt["name"]:
            return Candidate(str(value), False)
        if acceptable(value) and value not in taken:
            return Candidate(str(value), guest_says)
    return Candidate(libvirt["name"], False)


def acceptable(name: str) -> bool:
    """Whether a guest may call itself so: a host name, no address, and not the controller itself."""
    if not _HOST_NAME.fullmatch(name) or name.lower().split(".")[0] == "localhost" or name in ("all", "ungrouped"):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return False


def distinct(records: t.Sequence[Record], candidates: t.Sequence[Candidate]) -> tuple[list[str], list[str]]:
    """A name of its own for each record, and a sentence for each that had to be renamed.

    Where several want one name, it belongs to the only one that has it from libvirt; else all of them are renamed, so that
    it does not depend on the order, or on which hypervisor is up, whose it is.
    """
    wanting = collections.Counter(candidate.name for candidate in candidates)
    by_libvirt = collections.Counter(candidate.name for candidate in candidates if not candidate.guest_says)
    names: list[str] = []
    sentences: list[str] = []
    for record, (name, guest_says) in zip(records, candidates):
        owner = wanting[name] == 1 or (not guest_says and by_libvirt[name] == 1)
        final = name if owner and name not in names else _renamed(name, record, names)
        if final != name:
            sentences.append(f"Several domains want to be the host {name}; {_who(record)} is {final}.")
        names.append(final)
    return names, sentences


def _renamed(name: str, record: Record, names: t.Sequence[str]) -> str:
    part = record["libvirt"]["uuid"].split("-")[0]
    hypervisor = record["libvirt"]["hypervisor"]
    for suffix in (part, f"{part}-{hypervisor}"):
        if f"{name}-{suffix}" not in names:
            return f"{name}-{suffix}"
    return f"{name}-{part}-{hypervisor}-{len(names)}"


def _who(record: Record) -> str:
    return f"domain {record['libvirt']['name']} on {record['libvirt']['uri'] or record['libvirt']['hypervisor']}"
