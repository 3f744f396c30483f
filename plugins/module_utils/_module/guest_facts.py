# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's record -> the facts that ansible.builtin.setup would give, by the same names and with the same values. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._commands.filesystems import GuestFilesystem
from .._commands.network import GuestInterface
from .._commands.routes import Route
from .._commands.ssh_host_keys import HostKey
from .._commands.statistics import Load, Memory
from .._commands.system import OsInfo
from .._commands.units import Unit
from .._libvirt.domain_xml import DomainXml
from .._records import distribution

_MIB: t.Final = 1024 * 1024
#: A fact named after an interface must look like one: nothing else that starts with ansible_ has a digit in that place.
_INTERFACE: t.Final = re.compile(r"(?=.*\d)(?!.*(ipv[46]|_interpreter))[A-Za-z][A-Za-z0-9_]{0,14}|lo")


def os_facts(os: OsInfo, texts: t.Mapping[str, str]) -> dict[str, t.Any]:
    """``texts``: path -> content of the files that _distribution wants, as far as they could be read."""
    machine = os["machine"] or ""
    return {
        "system": distribution.system(os),
        "kernel": os["kernel_release"],
        "kernel_version": os["kernel_version"],
        "machine": os["machine"],
        "architecture": "i386" if re.fullmatch(r"i[3456]86", machine) else machine,
        **distribution.facts(os, texts),
    }


def machine_facts(domain: DomainXml) -> dict[str, t.Any]:
    """What the guest's virtual hardware says of itself. setup calls every guest of QEMU kvm, accelerated or not."""
    return {"virtualization_type": "kvm", "virtualization_role": "guest", "product_uuid": domain.uuid}


def hostname_facts(hostname: str) -> dict[str, t.Any]:
    short, _dot, domain = hostname.partition(".")
    return {"hostname": short, "nodename": hostname, "fqdn": hostname, "domain": domain}


def interface_facts(interfaces: t.Sequence[GuestInterface], route: Route | None) -> dict[str, t.Any]:
    facts: dict[str, t.Any] = {}
    for interface in interfaces:
        name = re.sub(r"[-:.@]", "_", interface["interface_name"])
        if _INTERFACE.fullmatch(name):
            facts[name] = _one_interface(interface)
    everywhere = [ipaddress.ip_interface(text) for interface in interfaces for text in interface["ip_addresses"]]
    outside = [address for address in everywhere if not address.is_loopback]
    return {
        **facts,
        "interfaces": [interface["interface_name"] for interface in interfaces],
        "all_ipv4_addresses": [str(address.ip) for address in outside if address.version == 4],
        "all_ipv6_addresses": [str(address.ip) for address in outside if address.version == 6],
        "default_ipv4": _default(interfaces, route, 4),
        "default_ipv6": _default(interfaces, None, 6),
    }


def mount_facts(filesystems: t.Sequence[GuestFilesystem], totals: t.Mapping[str, int]) -> dict[str, t.Any]:
    """``totals``: mount point -> size in bytes with the part that is reserved for root, as ``df`` and setup count it."""
    return {
        "mounts": [
            {
                "mount": found["mount_point"],
                "device": found["disk_name"] if {*"/\\"} & {*found["disk_name"]} else f"/dev/{found['disk_name']}",
                "fstype": found["file_system_type"],
                "size_total": totals.get(found["mount_point"]) or found["total_bytes_privileged"] or found["total_bytes"],
                "size_available": _available(found),
            }
            for found in filesystems
        ]
    }


def memory_facts(memory: Memory) -> dict[str, t.Any]:
    """In MiB, rounded down as setup does it."""
    total, free, buffers, cached, swap, swap_free = (
        (memory[key] or 0) // _MIB
        for key in ("total_bytes", "free_bytes", "buffers_bytes", "cached_bytes", "swap_total_bytes", "swap_free_bytes")
    )
    without_caches = free + buffers + cached
    return {
        "memtotal_mb": total,
        "memfree_mb": free,
        "swaptotal_mb": swap,
        "swapfree_mb": swap_free,
        "memory_mb": {
            "real": {"total": total, "used": total - free, "free": free},
            "nocache": {"free": without_caches, "used": total - without_caches},
            "swap": {"total": swap, "free": swap_free, "used": swap - swap_free},
        },
    }


def load_facts(load: Load) -> dict[str, t.Any]:
    return {"loadavg": load}


def vcpu_facts(vcpus: t.Sequence[Unit]) -> dict[str, t.Any]:
    online = sum(vcpu["online"] for vcpu in vcpus)
    return {"processor_vcpus": online, "processor_nproc": online}


def host_key_facts(keys: t.Sequence[HostKey]) -> dict[str, t.Any]:
    facts = {}
    for key in keys:
        kind = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(key["type"], "ecdsa")
        facts[f"ssh_host_key_{kind}_public"], facts[f"ssh_host_key_{kind}_public_keytype"] = key["key"], key["type"]
    return facts


def _available(found: GuestFilesystem) -> int | None:
    total, used = found["total_bytes"], found["used_bytes"]
    return None if total is None or used is None else total - used


def _one_interface(interface: GuestInterface) -> dict[str, t.Any]:
    addresses = [ipaddress.ip_interface(text) for text in interface["ip_addresses"]]
    ipv4 = [_ipv4(address) for address in addresses if isinstance(address, ipaddress.IPv4Interface)]
    ipv6 = [
        {"address": str(address.ip), "prefix": str(address.network.prefixlen), "scope": _scope(address)}
        for address in addresses
        if isinstance(address, ipaddress.IPv6Interface)
    ]
    facts: dict[str, t.Any] = {"device": interface["interface_name"], "macaddress": interface["mac"]}
    if ipv4:
        facts["ipv4"] = ipv4[0]
    if ipv4[1:]:
        facts["ipv4_secondaries"] = ipv4[1:]
    if ipv6:
        facts["ipv6"] = ipv6
    return facts


def _ipv4(address: ipaddress.IPv4Interface) -> dict[str, str]:
    network = address.network
    return {
        "address": str(address.ip),
        "broadcast": str(network.broadcast_address),
        "netmask": str(network.netmask),
        "network": str(network.network_address),
        "prefix": str(network.prefixlen),
    }


def _scope(address: ipaddress.IPv6Interface) -> str:
    if address.ip.is_loopback:
        return "host"
    return "link" if address.ip.is_link_local else "global"


def _default(interfaces: t.Sequence[GuestInterface], route: Route | None, version: int) -> dict[str, t.Any]:
    """The first routable address, on the interface of the default route where that is known."""
    for interface in interfaces:
        if route is not None and interface["interface_name"] != route["interface_name"]:
            continue
        for address in (ipaddress.ip_interface(text) for text in interface["ip_addresses"]):
            if address.version != version or address.is_loopback or address.is_link_local:
                continue
            common = {"interface": interface["interface_name"], "macaddress": interface["mac"]}
            if isinstance(address, ipaddress.IPv4Interface):
                gateway = {"gateway": route["gateway"]} if route and route["gateway"] else {}
                return {**common, **_ipv4(address), **gateway}
            prefix = str(address.network.prefixlen)
            return {**common, "address": str(address.ip), "prefix": prefix, "scope": "global"}
    return {}
