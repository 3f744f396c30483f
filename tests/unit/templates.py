# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible makes of a template of a role's."""

from __future__ import annotations

import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar


def rendered(text: str, variables: t.Mapping[str, t.Any], **how: t.Any) -> t.Any:
    """``text`` over ``variables``; ``how``: options of ansible-core's ``Templar.template``."""
    try:
        from ansible.template import trust_as_template
    except ImportError:  # ansible-core before 2.19
        pass
    else:
        text = trust_as_template(text)
    return Templar(loader=DataLoader(), variables=dict(variables)).template(text, **how)
