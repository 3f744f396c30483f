# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remove guests and daemons: only what is on record or bears this lab's mark."""

from __future__ import annotations

import contextlib
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import libvirt

from .daemons import SHARED_ROLES, open_connection, stop_daemons
from .domain_xml import NAMESPACE
from .errors import LabError
from .paths import state_dir
from .processes import qemu_of
from .records import GuestRecord, daemon_records, guest_records, in_use, state_lock

# libvirt serves this many requests of one connection at a time.
_AT_ONCE = 5


def remove_guest(record: GuestRecord, connection: Any | None) -> None:
    """Remove a guest and its files; where the hypervisor is gone or does not do it, end its QEMU process."""
    if connection is not None:
        with contextlib.suppress(libvirt.libvirtError):
            remove_domain(connection.lookupByUUIDString(record.uuid))
    if process := qemu_of(record.uuid):
        process.end()
    shutil.rmtree(record.directory, ignore_errors=True)


def remove_guests(records: Iterable[GuestRecord], connection: Any | None) -> None:
    """Remove many guests: each QEMU takes its time to end, so several end at once."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for _done in pool.map(lambda record: remove_guest(record, connection), records):
            pass


def remove_domain(domain: Any) -> None:
    """Stop a domain, and forget its definition and its snapshots."""
    persistent = domain.isPersistent()
    if domain.isActive():
        domain.destroy()
    if persistent:
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )


def take_down() -> None:
    """Remove every guest and every daemon of this lab, and the state directory. Doing it again does nothing.

    LabError says so when a daemon of ours has domains that are not ours, and so is left running.
    """
    if not state_dir().exists():
        return
    with state_lock():
        daemons = {record.uri for record in daemon_records()}
        foreign: list[str] = []
        for uri in {record.uri for record in guest_records()} | daemons:
            remaining = _clear(uri)
            if uri in daemons:
                foreign += remaining
        if foreign:
            raise LabError(f"libvirtd is left running because of domains that are not the lab's: {', '.join(foreign)}")
        stop_daemons()
        _remove_state()


def release() -> None:
    """Tidy up behind a lab that is closed: the last one of all stops the daemon of ours that has no guests."""
    with state_lock():
        if in_use():
            return
        busy = {record.uri for record in guest_records()}
        for record in daemon_records():
            if record.role in SHARED_ROLES and record.uri not in busy and not _clear(record.uri):
                stop_daemons(record.uri)
        if not busy and not daemon_records():
            _remove_state()


def _remove_state() -> None:
    # Not an error: another process that waits for the lock may have put its file there just now.
    shutil.rmtree(state_dir(), ignore_errors=True)


def _clear(uri: str) -> list[str]:
    """Remove the lab's guests from a hypervisor; return the names of the domains that still run there."""
    connection = _connection_or_none(uri)
    remove_guests([record for record in guest_records() if record.uri == uri], connection)
    if connection is None:
        return []
    try:
        _remove_marked(connection)
        return [domain.name() for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)]
    finally:
        connection.close()


def _connection_or_none(uri: str) -> Any | None:
    try:
        return open_connection(uri)
    except LabError:
        return None


def _remove_marked(connection: Any) -> None:
    """Remove domains that bear the mark of this lab and are not on record, such as one a test renamed or cloned."""
    for domain in connection.listAllDomains():
        with contextlib.suppress(libvirt.libvirtError, ET.ParseError):
            mark = ET.fromstring(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
            if mark.get("state") == str(state_dir()):
                remove_domain(domain)
