# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records -> inventory host names: one name for one domain, and none that a guest could take from another host. Pure."""

from __future__ import annotations

import collections
import re
import typing as t

from ...module_utils._records.record import Record

#: Entries of the option ``hostnames`` with a meaning of their own; all others are Jinja expressions.
SOURCES: t.Final = ("name", "uuid", "title", "guest_hostname")
_HOST_NAME: t.Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")

#: A name that ends in a number is an address to the resolver, whatever else is in it: 127.1, 2130706433, 0x7f000001.
_NUMBER: t.Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK: t.Final = re.compile(r"(ip6-)?(localhost|loopback)[0-9]*(-.*)?|localdomain")
#: Names that mean the controller itself, to Ansible or to the resolver.
_CONTROLLER: t.Final = re.compile(
    r"((ip6-)?loopback|(.+\.)?(ip6-)?localhost[46]?(\.localdomain[46]?)?|127(\.[0-9]+){1,3})\.?", re.IGNORECASE
)
#: What Ansible's patterns and templates give a meaning, anywhere in a name or at its begin; and to ssh a dash is an option.
_SPECIAL: t.Final = re.compile(r"[\s\x00-\x1f\x7f:,\[\]{}*?]+")
_SPECIAL_FIRST: t.Final = re.compile(r"[-!&~@#]+")


_UUID_VARIABLE: t.Final = "libvirt_uuid"


class Candidate(t.NamedTuple):
    name: str
    #: whether the guest had a say in it
    guest_says: bool
    #: what libvirt says instead, where no host can be called so
    instead_of: str = ""
    #: whether the domain is a host of this name already
    settled: bool = False


def choose(record: Record, preference: t.Iterable[str], evaluate: t.Callable[[str], object], taken: t.Container[str]) -> Candidate:
    """The first of the user's preferences that gives a name; the domain's name where none does.

    :param evaluate: the value of a Jinja expression over the record's host variables
    :param taken: names that are taken already: hosts of other inventory sources, groups, and the domains' own names
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
            return spelled(str(value))
        if acceptable(value) and value not in taken:
            return Candidate(str(value), guest_says)
    return spelled(libvirt["name"])


def spelled(name: str) -> Candidate:
    """A name of libvirt's as a host's."""
    first = _SPECIAL_FIRST.match(name)
    host = _SPECIAL.sub("_", f"_{name[first.end() :]}" if first else name)
    return Candidate(host, False, "" if host == name else name)


def hosts_of_domains(hosts: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[tuple[str, str], str]:
    """(URI, UUID) and (hypervisor, UUID) of the domains that are hosts by any source of this plugin -> the host's name.

    Each source may have its own prefix and suffix.
    """
    found: dict[tuple[str, str], str] = {}
    for name, variables in hosts.items():
        for variable, uuid in variables.items():
            if _UUID_VARIABLE in variable and isinstance(uuid, str):
                for place in ("libvirt_uri", "libvirt_hypervisor"):
                    found.setdefault((str(variables.get(variable.replace(_UUID_VARIABLE, place))), str(uuid)), name)
    return found


def settled(record: Record, known: t.Mapping[tuple[str, str], str]) -> Candidate | None:
    """The name of the host that the domain is already: one domain never becomes two hosts."""
    libvirt = record["libvirt"]
    name = known.get((libvirt["uri"], libvirt["uuid"])) or known.get((libvirt["hypervisor"], libvirt["uuid"]))
    return Candidate(name, False, settled=True) if name else None


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
    by_libvirt = collections.Counter(c.name for c in candidates if not c.guest_says and not c.instead_of)
    own_names = {record["libvirt"]["name"] for record in records}
    settled = {candidate.name for candidate in candidates if candidate.settled}
    names: list[str] = []
    sentences: list[str] = []
    spoken_for = {*wanting, *own_names}
    for record, candidate in zip(records, candidates):
        name, instead_of = candidate.name, candidate.instead_of
        exact = not candidate.guest_says and not instead_of
        owner = wanting[name] == 1 or (exact and by_libvirt[name] == 1)
        if instead_of and name in own_names:
            owner = False
        is_foreign = name in foreign or name in settled
        free = owner and not is_foreign and not _CONTROLLER.fullmatch(name)
        final = name if free or candidate.settled else _renamed(name, record, spoken_for)
        spoken_for.add(final)
        if final != (instead_of or name):
            sentences.append(f"{_why(candidate, owner, is_foreign)}; {_who(record)} is {final}.")
        names.append(final)
    return names, sentences


def _why(candidate: Candidate, owner: bool, is_foreign: bool) -> str:
    if candidate.instead_of:
        return f"Ansible or ssh would misread the name {candidate.instead_of!r}"
    if is_foreign:
        return f"A host or a group has the name {candidate.name}"
    return f"Several domains want the name {candidate.name}" if not owner else f"{candidate.name} is the controller itself"


def _renamed(name: str, record: Record, spoken_for: t.Container[str]) -> str:
    uuid, hypervisor = record["libvirt"]["uuid"], record["libvirt"]["hypervisor"]
    part = uuid.split("-")[0]
    for suffix in (part, f"{part}-{hypervisor}", uuid):
        if f"{name}-{suffix}" not in spoken_for:
            return f"{name}-{suffix}"
    return f"{name}-{uuid}-{record['libvirt']['uri']}"


def _who(record: Record) -> str:
    return f"domain {record['libvirt']['name']} on {record['libvirt']['uri'] or record['libvirt']['hypervisor']}"
