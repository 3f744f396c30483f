# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt refuses to an identity: one sentence, with the permission that is missing. test_rights.py asks a real polkit."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import hypervisor, rights
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.fakes.guest import FakeGuest
from ansible_collections.virtops.guest_agent.tests.unit.fakes.libvirt import Domain, Error, hosting

DENIED = (88, "access denied: 'QEMU' denied access")
READ_ONLY = (29, "operation forbidden: read only access prevents virDomainCreate")
SOCKET = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied"
#: Asks no permission, or the client alone.
FREE = {"name", "UUIDString", "isAlive", "close", "connect", "newStream", "setKeepAlive", "getURI"}
FREE |= {"registerCloseCallback", "unregisterCloseCallback", "get_error_code", "ID", "getName", "call"}


class Refusing:
    """Methods that raise as libvirt-python's do: each in itself."""

    def __init__(self, error: tuple[int, str]) -> None:
        self._error = error

    def XMLDesc(self) -> t.NoReturn:
        raise Error(*self._error)

    def create(self) -> t.NoReturn:
        raise Error(*self._error)

    def attachDeviceFlags(self) -> t.NoReturn:
        raise Error(*self._error)

    def somethingNew(self) -> t.NoReturn:
        raise Error(*self._error)


def raised(method: str, error: tuple[int, str]) -> Exception:
    with pytest.raises(Error) as caught:
        getattr(Refusing(error), method)()
    return caught.value


@pytest.mark.parametrize(
    ("method", "lacking", "allow"),
    [
        ("XMLDesc", ", who lacks the permission domain.read", "org.libvirt.api.domain.read"),
        ("create", ", who lacks the permission domain.start", "org.libvirt.api.domain.start"),
        (
            "attachDeviceFlags",
            ", who lacks the permission domain.write or domain.save",
            "org.libvirt.api.domain.write and org.libvirt.api.domain.save",
        ),
        ("somethingNew", "", "org.libvirt.api.domain.*"),
    ],
)
def test_a_refusal_names_the_permission(method: str, lacking: str, allow: str) -> None:
    found = rights.of_domain(raised(method, DENIED), "web", "")
    assert found.kind == "permission_denied"
    assert str(found) == (
        f"Domain web: libvirt refuses this to this user{lacking}; allow {allow} in polkit's rules on the hypervisor, or use"
        " another user."
    )


def test_a_read_only_connection() -> None:
    found = rights.of_domain(raised("create", READ_ONLY), "web", "guest-exec")
    assert str(found) == (
        "Domain web: guest-exec: libvirt refuses this on a read-only connection; use a URI of libvirt's read-write socket, and a"
        " user who may open that."
    )


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (DENIED, "permission_denied", "libvirt at qemu:///system refuses this to this user, who lacks the permission domain.start"),
        ((38, SOCKET), "permission_denied", f"qemu:///system is not open to this user: {SOCKET}"),
        (
            (38, SOCKET.replace("/libvirt-sock", "/virtqemud-sock")),
            "permission_denied",
            "?socket=/var/run/libvirt/virtqemud-sock-ro",
        ),
        ((94, "authentication unavailable: no polkit agent available"), "permission_denied", "the group libvirt"),
        ((45, "authentication failed: access denied by policy"), "permission_denied", "libvirt-sock-ro"),
        ((38, "Failed to connect socket to '/run/x': No such file or directory"), "hypervisor_unreachable", "cannot be reached"),
        # ssh's own words
        ((38, "Cannot recv data: Permission denied (publickey)"), "hypervisor_unreachable", "cannot be reached"),
    ],
)
def test_who_is_not_let_in(error: tuple[int, str], kind: str, said: str) -> None:
    found = rights.of_connection(raised("create", error), "qemu:///system")
    assert found.kind == kind
    assert said in str(found)


def test_every_method_that_is_used_has_its_permission() -> None:
    room = Path(rights.__file__).parent
    used = {
        node.func.attr
        for path in room.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_handle(node.func.value)
    }
    assert {"XMLDesc", "listAllDomains", "snapshotCreateXML"} <= used
    assert used - FREE <= set(rights.PERMISSIONS)


def _is_handle(node: ast.expr) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) in ("handle", "_handle")


def test_a_call_on_a_domain_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    web = Domain("web", 1, FakeGuest())
    web.raises["create"] = Error(*DENIED)
    with hosting(monkeypatch, web):
        connection = hypervisor.connect(None, 5)
        with pytest.raises(_errors.PermissionDenied, match="Domain web: libvirt refuses this to this user"):
            connection.domain("web").start()
        connection.close()


def test_a_hypervisor_that_lists_nothing_for_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with hosting(monkeypatch) as here:
        here.raises["listAllDomains"] = Error(*DENIED)
        connection = hypervisor.connect(None, 5)
        with pytest.raises(_errors.PermissionDenied, match=f"libvirt at {samples.URI} refuses this to this user"):
            connection.list_domains()
        connection.close()


def test_a_domain_of_which_no_state_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """getAllDomainStats leaves it out, where the user lacks domain.read."""
    with hosting(monkeypatch, Domain("web", 1), Domain("db", 2)) as here:
        here.unread.add("db")
        connection = hypervisor.connect(None, 5)
        assert {found.domain.name: found.state for found in connection.list_domains()} == {"web": "running", "db": "unknown"}
        connection.close()
