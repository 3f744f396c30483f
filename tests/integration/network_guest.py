# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One guest with many NICs, changed from case to case, and what the inventory says of it. Prints that as JSON.

test_networks.py runs it in a network namespace, where it makes a lab, a bridge, a network of libvirt's with DHCP, and a card for
macvtap. All addresses are those of documentation.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

from tests.integration.ansible_cli import Ansible, hostvars, write_inventory
from tests.lab import Guest, Lab

NAME = "it-networks"
#: The last number of each MAC, by where the NIC is plugged in.
MACS = {"lab": 1, "br0": 2, "v0": 3, "first": 4, "second": 5}
HERE = """
ip link set lo up
ip link add br0 type bridge
ip addr add 192.0.2.1/24 dev br0
ip addr add 2001:db8:2::1/64 dev br0 nodad
ip link set br0 up
ip link add v0 type veth peer name v1
ip addr add 203.0.113.1/24 dev v1
ip link set v0 up
ip link set v1 up
"""
#: Of mode open: libvirt changes no firewall for it.
NETWORK = """
<network><name>lab</name><forward mode='open'/><bridge name='vlab0' stp='off' delay='0'/>
  <ip address='198.51.100.1' netmask='255.255.255.0'><dhcp><range start='198.51.100.50' end='198.51.100.60'/></dhcp></ip>
  <ip family='ipv6' address='2001:db8:1::1' prefix='64'/>
</network>
"""
#: Before the first case. What a case does to a NIC stays as it is: nobody else looks after it.
READY = """
for number in 2 3 4 5; do
  printf '[Match]\\nMACAddress=52:54:00:77:01:0%s\\n[Link]\\nUnmanaged=yes\\n' $number >/etc/systemd/network/05-$number.network
done
networkctl reload
modprobe -a bonding 8021q bridge
"""
#: Name of a NIC by the last number of its MAC.
NIC_OF = "nic() { grep -l 52:54:00:77:01:0$1 /sys/class/net/*/address | head -n 1 | cut -d / -f 5; }; "
#: Takes back what a case has done: all but the NIC in libvirt's network.
CLEAR = """
for made in docker0 br-lan vlan10 vlan20 bond0; do ip link del $made 2>/dev/null; done
for number in 2 3 4 5; do ip link set $(nic $number) down; ip addr flush dev $(nic $number); done
networkctl up $(nic 1); ip link set $(nic 1) up
"""
#: udev gives a bond or a bridge that is made without a MAC one that nothing else has.
BOND = """
ip link add bond0 {mac} type bond mode active-backup miimon 100; udevadm settle
for number in 4 5; do ip link set $(nic $number) master bond0; done
ip link set bond0 up
"""
OF_FIRST = "address 52:54:00:77:01:04"
#: slirp's addresses count as unverified too.
UNVERIFIED = {"address_sources": ["agent", "agent_unverified"], "address_exclude_cidrs": ["10.0.2.0/24"]}
#: Name -> what is done in the guest, and the options that the inventory is asked with, by a name of their own.
CASES: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "several": (
        """
        ip link set $(nic 2) up; ip addr add 192.0.2.20/24 dev $(nic 2)
        ip link set $(nic 3) up; ip addr add 203.0.113.30/24 dev $(nic 3)
        """,
        {
            "": {},
            "ipv6": {"address_families": ["ipv6"]},
            "ipv6 first": {"address_families": ["ipv6", "ipv4"]},
            "cidrs": {"address_cidrs": ["203.0.113.0/24", "192.0.2.0/24"]},
            "excluded": {"address_exclude_cidrs": ["198.51.100.0/24"]},
            "link-local": {"address_cidrs": ["fe80::/10"]},
            "networks": {"address_networks": ["br0"]},
            "macvtap": {"address_networks": ["v0", "lab"]},
            "lease": {"address_sources": ["lease"]},
            "arp": {"address_sources": ["arp"]},
        },
    ),
    "IPv6 only": (
        """
        networkctl down $(nic 1); ip addr flush dev $(nic 1); ip link set $(nic 1) down
        ip link set $(nic 2) up; ip addr add 2001:db8:2::20/64 dev $(nic 2) nodad
        """,
        {"": {}, "ipv4": {"address_families": ["ipv4"]}, "lease": {"address_sources": ["lease"]}},
    ),
    "bond": (f"{BOND.format(mac=OF_FIRST)} ip addr add 192.0.2.40/24 dev bond0", {"": {}}),
    "bond with a MAC of its own": (
        f"{BOND.format(mac='')} ip addr add 192.0.2.41/24 dev bond0; networkctl down $(nic 1)",
        {"": {}, "unverified": UNVERIFIED},
    ),
    "VLANs over a bond": (
        f"""{BOND.format(mac=OF_FIRST)}
        ip link add link bond0 name vlan10 type vlan id 10; ip addr add 203.0.113.10/28 dev vlan10; ip link set vlan10 up
        ip link add link bond0 name vlan20 type vlan id 20; ip addr add 203.0.113.20/28 dev vlan20; ip link set vlan20 up
        networkctl down $(nic 1)
        """,
        {"": {}, "cidrs": {"address_cidrs": ["203.0.113.16/28"]}, "networks": {"address_networks": ["br0"]}},
    ),
    "bridges of the guest": (
        """
        ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
        ip link add br-lan address 52:54:00:77:01:02 type bridge; ip link set $(nic 2) up; ip link set $(nic 2) master br-lan
        ip addr add 192.0.2.50/24 dev br-lan; ip link set br-lan up; networkctl down $(nic 1)
        """,
        {"": {}, "unverified": UNVERIFIED},
    ),
    # The last one.
    "no agent": ("systemctl stop qemu-guest-agent", {"": {}, "agent": {"address_sources": ["agent"]}}),
}


def nics() -> str:
    kinds = {
        "lab": "type='network'><source network='lab'/>",
        "v0": "type='direct'><source dev='v0' mode='bridge'/>",
    }
    bridged = "type='bridge'><source bridge='br0'/>"
    return "".join(
        f"<interface {kinds.get(place, bridged)}<mac address='52:54:00:77:01:0{number}'/><model type='virtio'/></interface>"
        for place, number in MACS.items()
    )


def in_guest(lab: Lab, script: str) -> None:
    done = lab.run(NAME, f"{NIC_OF}{script}")
    if done.returncode:
        raise SystemExit(f"{script}: {done.output}")


def settled(lab: Lab) -> None:
    """Until the NIC in libvirt's network has its addresses, by DHCP and from the router's advertisement."""
    for _second in range(90):
        said = lab.run(NAME, f"{NIC_OF} ip -o addr show dev $(nic 1)").output
        if "198.51.100." in said and "2001:db8:1:" in said and "tentative" not in said:
            return
        time.sleep(1)
    raise SystemExit(f"no address came: {said}")


def asked(ansible: Ansible, source: Path, lab: Lab, options: dict[str, Any]) -> dict[str, Any]:
    """The guest's variables, and what the inventory warned of."""
    done = ansible.run("ansible-inventory", "-i", str(write_inventory(source, uri=[lab.uri], **options)), "--list")
    return {"found": hostvars(json.loads(done.stdout))[NAME], "warned": " ".join(done.stderr.split())}


def case(ansible: Ansible, place: Path, lab: Lab, script: str, options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    in_guest(lab, CLEAR + "true")
    settled(lab)
    in_guest(lab, f"{script}\nsleep 1")
    for address in ("192.0.2.20", "203.0.113.30"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.sendto(b"", (address, 9))  # so that the hypervisor looks for its MAC
    views = {name: asked(ansible, place / "it.libvirt.yml", lab, chosen) for name, chosen in options.items()}
    return {"views": views, "arp": neighbours(lab), "agent": said(lab), "xml": lab.domain(NAME).XMLDesc(0)}


def said(lab: Lab) -> Any:
    """The agent's own words; None where it is away."""
    try:
        reply = libvirt_qemu.qemuAgentCommand(lab.domain(NAME), '{"execute": "guest-network-get-interfaces"}', 30, 0)
    except libvirt.libvirtError:
        return None
    return json.loads(reply)["return"]


def neighbours(lab: Lab) -> str:
    """What libvirt itself says where it cannot tell them."""
    try:
        lab.domain(NAME).interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, 0)
    except libvirt.libvirtError as error:
        return str(error)
    return ""


def main(place: Path, wanted: list[str]) -> None:
    subprocess.run(["sh", "-ec", HERE], check=True)
    ansible = Ansible(place / "ansible")
    with Lab() as lab:
        network = lab.connection.networkCreateXML(NETWORK)
        try:
            lab.start_all([Guest(name=NAME, kind="debian12", vcpus=2, devices=nics())])
            in_guest(lab, READY)
            told = {name: case(ansible, place, lab, *CASES[name]) for name in wanted or CASES}
        finally:
            network.destroy()
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
