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

import functools
import re
import typing as t

from ansible.release import __version__ as core_version

#: Jinja2 needs a brace, unless a header has given it other delimiters.
_TEMPLATE: t.Final = re.compile(r"[{}]|#jinja2", re.IGNORECASE)
#: What an expression needs to do anything: a call, a filter, a test, or an operator that makes something large of something
#: small. Looked for in the text, not in what a parser makes of it: parsers differ in what they take for a syntax error.
_WORKS: t.Final = re.compile(r"[^\W\d]\w*\s*\(|[\])'\"]\s*\(|[|*%]|\bis\b")
#: Two words beside each other, as in 24.04.1 LTS (Noble Numbat): no expression has them, but for a test and its argument (is), and
#: what stands in quotes.
_WORDS: t.Final = re.compile(r"\b(?!(?:{0})\b)[a-z]\w* +(?!(?:{0})\b)[a-z]".format("and|or|not|in|is|if|else"), re.IGNORECASE)
_QUOTED_OR_TEST: t.Final = re.compile(r"['\"\\]|\bis\b", re.IGNORECASE)
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
    return not _WORKS.search(text) or bool(_WORDS.search(text) and not _QUOTED_OR_TEST.search(text))


if _TRUSTS_BY_DEFAULT:
    from ansible.utils.unsafe_proxy import AnsibleUnsafeText

    def _marked(text: str) -> t.Any:
        return text if is_plain(text) else AnsibleUnsafeText(text)

else:
    from ansible.template import trust_as_template

    @functools.lru_cache(maxsize=4096)  # many guests say the same
    def _marked(text: str) -> t.Any:
        return trust_as_template(text) if is_plain(text) else text
