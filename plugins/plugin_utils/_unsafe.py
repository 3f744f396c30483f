# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Marks guest text so that ansible-core never takes it for a template.

Before ansible-core 2.19 every text is a template unless it is wrapped; since then none is unless it is marked as trusted. What
counts as unsafe is exported by ansible-inventory as a mapping (``__ansible_unsafe``), which AWX stores as such. So plain text has
to stay plain on both: not wrapped before, marked as trusted since. Plain is what has no template in it, and what does nothing
when it is taken for an expression either, as ``when: "{{ guest_os.pretty_name }}"`` does.
"""

from __future__ import annotations

import re
import typing as t

import jinja2
from ansible.release import __version__ as core_version
from jinja2 import nodes

#: Jinja2 needs a brace, unless a header has given it other delimiters.
_TEMPLATE: t.Final = re.compile(r"[{}]|#jinja2", re.IGNORECASE)
#: Without one of these an expression neither calls nor filters anything, nor computes anything large.
_WORKS: t.Final = re.compile(r"[(|*%]|\bis\b")
_IDLE_NODES: t.Final = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Tuple)
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


def is_plain(text: str) -> bool:
    """Whether nothing happens when ``text`` is taken for a template, or for an expression."""
    if _TEMPLATE.search(text):
        return False
    if not _WORKS.search(text):
        return True
    try:
        parsed = jinja2.Environment(autoescape=True).parse("{{ " + text + " }}")
    except (jinja2.TemplateSyntaxError, RecursionError):
        return True  # such as: Debian GNU/Linux 12 (bookworm)
    return all(isinstance(node, _IDLE_NODES) for node in parsed.find_all(nodes.Node))


if _TRUSTS_BY_DEFAULT:
    from ansible.utils.unsafe_proxy import AnsibleUnsafeText

    def _marked(text: str) -> t.Any:
        return text if is_plain(text) else AnsibleUnsafeText(text)

else:
    from ansible.template import trust_as_template

    def _marked(text: str) -> t.Any:
        return trust_as_template(text) if is_plain(text) else text
