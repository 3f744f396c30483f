# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The requests that an inventory has been seen to make, as libvirt's remote_protocol.x and qemu_protocol.x name them."""

from __future__ import annotations

_REMOTE, _QEMU = 0x20008086, 0x20008087
_NAMES = {
    (_REMOTE, 1): "connect_open",
    (_REMOTE, 2): "connect_close",
    (_REMOTE, 3): "connect_get_type",
    (_REMOTE, 14): "domain_get_xml_desc",
    (_REMOTE, 16): "domain_get_info",
    (_REMOTE, 24): "domain_lookup_by_uuid",
    (_REMOTE, 59): "connect_get_hostname",
    (_REMOTE, 60): "connect_supports_feature",
    (_REMOTE, 66): "auth_list",
    (_REMOTE, 273): "connect_list_all_domains",
    (_REMOTE, 344): "connect_get_all_domain_stats",
    (_REMOTE, 353): "domain_interface_addresses",
    (_REMOTE, 418): "domain_get_guest_info",
    (_QEMU, 3): "qemu_domain_agent_command",
}


def name_of(program: int, procedure: int) -> str:
    return _NAMES.get((program, procedure), f"{program:#x}/{procedure}")
