# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Marks guest text so that ansible-core never takes it for a template.

Before ansible-core 2.19 every text is a template unless it is wrapped; since then none is unless it is marked as trusted. What
counts as unsafe is exported by ansible-inventory as a mapping (``__ansible_unsafe``), which AWX stores as such. So plain text,
which no template engine could find anything in, has to stay plain on both: not wrapped here, marked as trusted there.
"""

from __future__ import annotations

import re
import typing as t

from ansible.release import __version__ as core_version

#: Jinja2 needs a brace, unless a header has given it other delimiters.
_MAY_BE_TEMPLATE: t.Final = re.compile(r"[{}]|#jinja2", re.IGNORECASE)
_TRUSTS_BY_DEFAULT: t.Final = tuple(int(part) for part in core_version.split(".")[:2]) < (2, 19)


def untrusted(value: t.Any) -> t.Any:
    """``value`` with every text in it marked for what it is."""
    if isinstance(value, str):
        return _marked(value)
    if isinstance(value, dict):
        return {str(key): untrusted(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [untrusted(member) for member in value]
    return value


if _TRUSTS_BY_DEFAULT:
    from ansible.utils.unsafe_proxy import AnsibleUnsafeText

    def _marked(text: str) -> t.Any:
        return AnsibleUnsafeText(text) if _MAY_BE_TEMPLATE.search(text) else text

else:
    from ansible.template import trust_as_template

    def _marked(text: str) -> t.Any:
        return text if _MAY_BE_TEMPLATE.search(text) else trust_as_template(text)
