# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a Guest to the XML libvirt is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from .guest import AGENT_PORT, MEMORY_MIB, OS_RELEASES, RELAY_PORT, TB_CACHE_MIB, Guest
from .rpcs import agent_lists
from .tiny_image import tiny_has_allow_option

NAMESPACE = "urn:virtops:guest-agent:lab"


@dataclass(frozen=True)
class Files:
    """What a guest boots from, and the directory of its own."""

    kernel: Path
    initrd: Path
    disk: Path
    directory: Path

    @property
    def console(self) -> Path:
        """The log of the first serial port."""
        return self.directory / "console.log"

    @property
    def shell(self) -> Path:
        """The socket of the second serial port."""
        return self.directory / "shell.sock"

    @property
    def relay(self) -> Path:
        """The socket of the port a ScriptedAgent answers on."""
        return self.directory / "relay.sock"


def domain_xml(guest: Guest, uuid: str, files: Files, state: Path) -> str:
    """Return the domain's XML; `state` marks it as this lab's own."""
    memory = guest.memory_mib or MEMORY_MIB[guest.kind]
    texts = "".join(
        f"<{tag}>{escape(text)}</{tag}>" for tag, text in (("title", guest.title), ("description", guest.description)) if text
    )
    return f"""<domain type='qemu'>
  <name>{escape(guest.name)}</name>
  <uuid>{uuid}</uuid>
  {texts}
  <metadata>
    <lab:guest xmlns:lab={quoteattr(NAMESPACE)} kind={quoteattr(guest.kind)} state={quoteattr(str(state))}/>
    {guest.metadata}
  </metadata>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{guest.vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{escape(str(files.kernel))}</kernel>
    <initrd>{escape(str(files.initrd))}</initrd>
    <cmdline>{escape(_command_line(guest))}</cmdline>
  </os>
  <features>
    <acpi/>
    <apic/>
    <tcg><tb-cache unit='MiB'>{TB_CACHE_MIB[guest.kind]}</tb-cache></tcg>
  </features>
  <clock offset='utc'/>
  <pm><suspend-to-mem enabled='yes'/></pm>
  <devices>{_devices(guest, files)}</devices>
</domain>
"""


def _command_line(guest: Guest) -> str:
    block, allow = agent_lists(guest.block, guest.allow, has_allow_option=_has_allow_option(guest))
    words = [
        "console=ttyS0 quiet nokaslr panic=-1",
        f"lab.hostname={guest.guest_hostname}",
        f"lab.agent={guest.agent}",
    ]
    if guest.kind != "tiny":
        words.append(f"root=/dev/vda rootfstype=ext4 rw net.ifnames=0 systemd.hostname={guest.guest_hostname}")
    if guest.os_release:
        words.append(f"lab.os={OS_RELEASES[guest.os_release]}")
    if block:
        words.append(f"lab.block={','.join(block)}")
    if allow:
        words.append(f"lab.allow={','.join(allow)}")
    if guest.kernel:
        words.append(guest.kernel)
    return " ".join(words)


def _has_allow_option(guest: Guest) -> bool:
    return tiny_has_allow_option() if guest.kind == "tiny" else guest.kind == "debian13"


def _devices(guest: Guest, files: Files) -> str:
    return f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe' discard='unmap'/>
      <source file={quoteattr(str(files.disk))}/>
      <target dev='vda' bus='virtio'/>
      <serial>{"data" if guest.kind == "tiny" else "root"}</serial>
    </disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='pty'><log file={quoteattr(str(files.console))} append='on'/><target port='0'/></serial>
    <serial type='unix'>
      <source mode='bind' path={quoteattr(str(files.shell))}/><target port='1'/>
    </serial>
    <memballoon model='virtio'/>
    {_channels(guest, files)}
    {guest.devices}
  """


def _channels(guest: Guest, files: Files) -> str:
    channels = ""
    if guest.channel:
        channels += f"<channel type='unix'><target type='virtio' name='{AGENT_PORT}'/></channel>"
    if guest.agent == "relay":
        channels += f"""<channel type='unix'>
      <source mode='bind' path={quoteattr(str(files.relay))}/><target type='virtio' name='{RELAY_PORT}'/>
    </channel>"""
    return channels
