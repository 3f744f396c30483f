# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of a guest's addresses to use. Pure: candidates in, addresses out, best first."""

from __future__ import annotations

import collections
import functools
import ipaddress
import typing as t

from .._errors import InvalidInput

#: Where an address is known from. ``agent``: the agent, on a NIC that the domain has; ``lease`` and ``arp``: the hypervisor;
#: ``agent_unverified``: the agent, on an interface that the domain does not have (bridges of containers, tunnels, inventions),
#: or on a NIC in user-mode networking, where no address leads to the guest.
SOURCES: t.Final = ("agent", "lease", "arp", "agent_unverified")
#: An address of the hypervisor or of the computer that asks it, whatever the guest says of it. No policy uses it.
OWN: t.Final = "own"
_VERIFIED: t.Final = frozenset({"lease", "arp"})
_Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
#: Kinds of addresses that are no host's: 240.0.0.0/4 and its like is reserved, site-local was given up by RFC 3879.
_KINDS: t.Final = ("is_loopback", "is_link_local", "is_multicast", "is_unspecified", "is_reserved", "is_site_local")
#: Of IPv4: what is below is 0.0.0.0/8.
_FIRST_HOST: t.Final = 2**24

_Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class _Candidate(t.TypedDict):
    address: str
    prefix: int
    mac: str | None
    network: str | None
    source: str


class Candidate(_Candidate, total=False):
    #: an old answer of a guest that is silent now
    stale: bool


class AddressPolicy(t.NamedTuple):
    """What the user prefers. Empty ``cidrs`` and ``networks`` allow all; the order of each list is the order of preference."""

    families: tuple[str, ...] = ("ipv4", "ipv6")
    cidrs: tuple[_Network, ...] = ()
    exclude_cidrs: tuple[_Network, ...] = ()
    networks: tuple[str, ...] = ()
    sources: tuple[str, ...] = ("agent", "lease", "arp")


def address_policy(option: t.Callable[[str], t.Any]) -> AddressPolicy:
    """What the options ``address_*`` say; one that is unknown here is a source of the caller's own.

    :raise InvalidInput: a value that cannot be.
    """
    return AddressPolicy(
        families=tuple(option("address_families")),
        cidrs=parse_cidrs(option("address_cidrs"), "address_cidrs"),
        exclude_cidrs=parse_cidrs(option("address_exclude_cidrs"), "address_exclude_cidrs"),
        networks=tuple(option("address_networks")),
        sources=tuple(source for source in option("address_sources") if source in SOURCES),
    )


def parse_cidrs(texts: t.Iterable[str], option: str) -> tuple[_Network, ...]:
    """
    :raise InvalidInput: one of them is no network, such as 10.0.0.0/8.
    """
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise InvalidInput(f"{option}: {text!r} is not a network such as 10.0.0.0/8 or 2001:db8::/32") from error
    return tuple(found)


_K = t.TypeVar("_K", bound=t.Hashable)


class Assigned(t.NamedTuple):
    """The addresses of one domain that are usable, best first: its own, and those that are another's as well."""

    own: list[str]
    contested: list[str]


def assign(
    claims: t.Mapping[_K, t.Sequence[Candidate]], policy: AddressPolicy, near: t.Container[_K] = frozenset()
) -> dict[_K, Assigned]:
    """Which addresses each domain gets.

    :param near: domains of the hypervisor that this very computer is
    """
    allowed = {key: usable(candidates, policy) for key, candidates in claims.items()}
    known = {key: [c for c in candidates if c["source"] in _VERIFIED] for key, candidates in claims.items()}
    foreign = contested({key: [*candidates, *known[key]] for key, candidates in allowed.items()}, near)
    found = {key: Assigned([], []) for key in allowed}
    for key, candidates in allowed.items():
        for address in (candidate["address"] for candidate in candidates):
            (found[key].contested if (key, canonical(address)) in foreign else found[key].own).append(address)
    return found


def canonical(text: str) -> str:
    """One text for one address: an IPv4 address that is written as IPv6 (::ffff:10.0.0.5) is that IPv4 address."""
    return str(_address(text) or text)


def is_usable(candidate: Candidate, policy: AddressPolicy) -> bool:
    return _rank(candidate, policy) is not None


def usable(candidates: t.Sequence[Candidate], policy: AddressPolicy) -> list[Candidate]:
    """The candidates that the policy allows, best first, each address once."""
    ranks = [(rank, position) for position, c in enumerate(candidates) for rank in [_rank(c, policy)] if rank]
    once: dict[str, Candidate] = {}
    for _rank_found, position in sorted(ranks):
        once.setdefault(candidates[position]["address"], candidates[position])
    return list(once.values())


def contested(claims: t.Mapping[_K, t.Sequence[Candidate]], near: t.Container[_K] = frozenset()) -> set[tuple[_K, str]]:
    """(key, address) for every address that several domains claim and that the claimant's hypervisor does not confirm.

    A guest may claim any address on a NIC of its own. Where two claim the same one, only what the hypervisor itself knows (a
    lease, ARP) decides; a claim without that gives way, so that no guest takes another's place. An old claim gives way to any
    other. Of several that hypervisors confirm, the lease of this computer's own network decides: its packets go there.
    """
    claims_of: dict[str, list[tuple[_K, Candidate]]] = collections.defaultdict(list)
    for key, candidates in claims.items():
        for candidate in candidates:
            claims_of[canonical(candidate["address"])].append((key, candidate))
    foreign: set[tuple[_K, str]] = set()
    for address, found in claims_of.items():
        claimants = {key for key, _candidate in found}
        if len(claimants) > 1:
            foreign |= {(key, address) for key in claimants - _owner(found, near)}
    return foreign


def _owner(claims: t.Sequence[tuple[_K, Candidate]], near: t.Container[_K]) -> set[_K]:
    """Whose an address is; empty where that is not known."""
    fresh = [(key, candidate) for key, candidate in claims if not candidate.get("stale")]
    confirmed = {key for key, candidate in fresh if candidate["source"] in _VERIFIED}
    leased_here = {key for key, candidate in fresh if candidate["source"] == "lease" and key in near}
    alone = {key for key, _candidate in fresh}
    for owners in (confirmed, leased_here) if confirmed else (alone,):
        if len(owners) == 1:
            return owners
    return set()


def _rank(candidate: Candidate, policy: AddressPolicy) -> tuple[int, ...] | None:
    """Smaller is better; None is not allowed."""
    if candidate["source"] not in policy.sources:  # most of what containers and loopback have: not worth reading
        return None
    address = _address(candidate["address"])
    if address is None:
        return None
    family = f"ipv{address.version}"
    cidr = _position(policy.cidrs, lambda network: _is_meant_by(network, address))
    network = _position(policy.networks, lambda name: name == candidate["network"])
    if family not in policy.families or cidr is None or network is None:
        return None
    if any(address.version == excluded.version and address in excluded for excluded in policy.exclude_cidrs):
        return None
    if not policy.cidrs and _never_a_host(address):
        return None
    return (policy.sources.index(candidate["source"]), cidr, network, policy.families.index(family))


def _is_meant_by(network: _Network, address: _Address) -> bool:
    """What is never a host is meant only by a network of nothing else: 0.0.0.0/0 stands for what other networks leave over, and
    127.0.0.1, which a guest can claim, would be the controller itself.
    """
    if address.version != network.version or address not in network:
        return False
    if not _never_a_host(address):
        return True
    kinds = [kind for kind in _KINDS if getattr(address, kind, False)]
    last = int(network.broadcast_address)
    return all(getattr(network, kind) for kind in kinds) if kinds else last < _FIRST_HOST


#: Enough for a large fleet: an address is looked at five times until it is a host's, and many are every guest's (loopback).
@functools.lru_cache(maxsize=2**16)
def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _never_a_host(address: _Address) -> bool:
    if address.version == 4 and int(address) < _FIRST_HOST:
        return True
    return any(getattr(address, kind, False) for kind in _KINDS)


_V = t.TypeVar("_V")


def _position(wanted: t.Sequence[_V], matches: t.Callable[[_V], bool]) -> int | None:
    """The place of the first that matches; 0 where nothing is wanted, None where nothing matches."""
    if not wanted:
        return 0
    return next((place for place, item in enumerate(wanted) if matches(item)), None)
