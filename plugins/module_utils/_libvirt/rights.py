# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt lets an identity do: its refusals -> one sentence with what is missing. Pure.

libvirt says "access denied", and not what it asked for. Its access control checks each call for permissions, which stand in the
comments of its remote_protocol.x and qemu_protocol.x. Which call it was is told by the method of libvirt-python that raised.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import GuestAgentError, HypervisorUnreachable, PermissionDenied
from . import errors

#: VIR_ERR_AUTH_FAILED, _CANCELLED and _UNAVAILABLE: of who has not come in yet.
_NOT_LET_IN: t.Final = (45, 79, 94)
#: What libvirt's client says of a socket that this user may not open.
_SOCKET: t.Final = re.compile(r"Failed to connect socket to '([^']*-sock)'")
_EACCES: t.Final = "Permission denied"
_MONOLITHIC: t.Final = "/run/libvirt/libvirt-sock"

#: Permissions, of which one is missing -> methods of libvirt-python.
_METHODS: t.Final = {
    "connect.getattr": "open getURI getHostname getLibVersion",
    "connect.read": "getCapabilities domainEventDeregisterAny",
    "connect.write": "getDomainCapabilities",
    "connect.search_domains": "listAllDomains getAllDomainStats domainListGetStats domainEventRegisterAny",
    "domain.getattr": "lookupByName lookupByUUIDString",
    "domain.read": (
        "XMLDesc state isPersistent interfaceAddresses memoryStats listAllSnapshots hasCurrentSnapshot snapshotCurrent"
        " snapshotLookupByName blockInfo blockJobInfo jobStats backupGetXMLDesc listAllCheckpoints checkpointLookupByName"
    ),
    "domain.read domain.read_secure": "getXMLDesc",
    "domain.write": "qemuAgentCommand blockJobAbort abortJob",
    "domain.write domain.save": "attachDeviceFlags detachDeviceFlags updateDeviceFlags",
    "domain.write domain.start": "createXML",
    "domain.open_device": "openChannel",
    "domain.snapshot": "snapshotCreateXML revertToSnapshot",
    "domain.snapshot domain.checkpoint": "delete",
    "domain.checkpoint domain.block_write": "backupBegin",
    "domain.block_write": "blockCommit",
    "domain.init_control": "shutdownFlags reboot",
    "domain.reset": "reset",
    "domain.pm_control": "pMWakeup",
    "domain.start": "create createWithFlags",
    "domain.suspend": "resume",
    "domain.stop": "destroy",
    "domain.delete": "undefineFlags",
}
PERMISSIONS: t.Final = {method: tuple(names.split()) for names, methods in _METHODS.items() for method in methods.split()}

_READ_WRITE: t.Final = "use a URI of libvirt's read-write socket, and a user who may open that"
_LET_IN: t.Final = (
    "let this user manage libvirt there (often by the group libvirt), or list without agents by qemu+unix:///system?socket={}-ro"
)


def of_connection(error: t.Any, uri: str) -> PermissionDenied | HypervisorUnreachable:
    """What to say of libvirt's ``error`` where it is about no domain: how far this identity has come at ``uri``."""
    code, said = error.get_error_code(), errors.first_line(error)
    if found := _refused(error, code, f"libvirt at {uri}"):
        return found
    socket = _SOCKET.search(said) if code == errors.SYSTEM_ERROR and _EACCES in said else None
    if code in _NOT_LET_IN or socket:
        hint = _LET_IN.format(socket[1] if socket else _MONOLITHIC)
        return PermissionDenied(f"{uri} is not open to this user: {said}", hint=hint)
    return HypervisorUnreachable(f"{uri} cannot be reached: {said}")


def of_domain(error: t.Any, domain: str, command: str) -> GuestAgentError:
    """What to say of libvirt's ``error`` in a call on a domain, or of an agent's ``command``."""
    code = error.get_error_code()
    found = _refused(error, code, "libvirt") or errors.translate(code, error.get_error_message() or "", domain, command)
    found.domain, found.command = domain, command
    return found


def _refused(error: Exception, code: int | None, libvirt: str) -> PermissionDenied | None:
    """For a call that libvirt refused to this identity; None where ``code`` is of something else."""
    if code == errors.OPERATION_DENIED:
        return PermissionDenied(f"{libvirt} refuses this on a read-only connection", hint=_READ_WRITE)
    if code != errors.ACCESS_DENIED:
        return None
    permissions = PERMISSIONS.get(_method(error), ())
    lacking = f", who lacks the permission {' or '.join(permissions)}" if permissions else ""
    return PermissionDenied(f"{libvirt} refuses this to this user{lacking}", hint=_grant(permissions or ("domain.*",)))


def _grant(permissions: t.Iterable[str]) -> str:
    actions = " and ".join(f"org.libvirt.api.{permission.replace('_', '-')}" for permission in permissions)
    return f"allow {actions} in polkit's rules on the hypervisor, or use another user"


def _method(error: Exception) -> str:
    """The function that raised it: libvirt-python does so in the method that was called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_name if trace is not None else ""
