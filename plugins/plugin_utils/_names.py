# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records -> inventory host names: one name for one domain, and none that a guest could take from somebody else. Pure."""

from __future__ import annotations

import collections
import re
import typing as t

from ..module_utils._record import Record

#: Entries of the option ``hostnames`` with a meaning of their own; all others are Jinja expressions.
SOURCES: t.Final = ("name", "uuid", "title", "guest_hostname")
_HOST_NAME: t.Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")

#: A name that ends in a number is an address to the resolver, whatever else is in it: 127.1, 2130706433, 0x7f000001.
_NUMBER: t.Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK: t.Final = re.compile(r"(ip6-)?(localhost|loopback)[0-9]*(-.*)?|localdomain")


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
    labels = name.lower().rstrip(".").split(".")
    if not _HOST_NAME.fullmatch(name) or name in ("all", "ungrouped"):
        return False
    return not _NUMBER.fullmatch(labels[-1]) and not any(_LOOPBACK.fullmatch(label) for label in labels)


def distinct(
    records: t.Sequence[Record], candidates: t.Sequence[Candidate], foreign: t.Container[str] = ()
) -> tuple[list[str], list[str]]:
    """A name of its own for each record, and a sentence for each that had to be renamed. None is one of ``foreign``.

    Where several want one name, it belongs to the only one that has it from libvirt; else all of them are renamed, so that
    it does not depend on the order, or on which hypervisor is up, whose it is.
    """
    wanting = collections.Counter(candidate.name for candidate in candidates)
    by_libvirt = collections.Counter(candidate.name for candidate in candidates if not candidate.guest_says)
    names: list[str] = []
    sentences: list[str] = []
    spoken_for = {*wanting, *(record["libvirt"]["name"] for record in records)}
    for record, (name, guest_says) in zip(records, candidates):
        owner = wanting[name] == 1 or (not guest_says and by_libvirt[name] == 1)
        final = name if owner and name not in foreign else _renamed(name, record, spoken_for)
        spoken_for.add(final)
        if final != name:
            why = "There is a host or a group called" if name in foreign else "Several domains want to be the host"
            sentences.append(f"{why} {name}; {_who(record)} is {final}.")
        names.append(final)
    return names, sentences


def _renamed(name: str, record: Record, spoken_for: t.Container[str]) -> str:
    uuid, hypervisor = record["libvirt"]["uuid"], record["libvirt"]["hypervisor"]
    part = uuid.split("-")[0]
    for suffix in (part, f"{part}-{hypervisor}", uuid):
        if f"{name}-{suffix}" not in spoken_for:
            return f"{name}-{suffix}"
    return f"{name}-{uuid}-{record['libvirt']['uri']}"


def _who(record: Record) -> str:
    return f"domain {record['libvirt']['name']} on {record['libvirt']['uri'] or record['libvirt']['hypervisor']}"
