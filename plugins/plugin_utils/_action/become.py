# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``become`` where a module runs in the controller's process, which stays that of its user: when to say so. Pure."""

from __future__ import annotations

import typing as t

#: What a user may see who is not root on the controller, and has hoped to be.
_WITHOUT_RIGHTS: t.Final = frozenset({"permission_denied", "hypervisor_unreachable", "domain_not_found"})


def in_vain(module: str, become_user: str, acts_as: str, kind: str) -> str:
    """The sentence to warn with; "" for none.

    In the guest root acts anyhow, so a play may become root for its other tasks.

    :param acts_as: the user of the guest that acts by default, where the module lets the task choose; "" where it does not
    :param kind: of the failure, "" for none
    """
    if not become_user or (become_user == "root" and kind not in _WITHOUT_RIGHTS):
        return ""
    ignored = f"{module} runs in the controller's process, where become has no effect."
    of_guest = " For a user of the guest set the option user." if acts_as and become_user != "root" else ""
    return f"{ignored}{of_guest} For a user of the controller add delegate_to: localhost."
