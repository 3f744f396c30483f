# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys of SSH, as lines of authorized_keys and of .pub files have them (sshd(8), RFC 4253). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t
import unicodedata

_LINE_MAX: t.Final = 16 * 1024
_RSA_BITS_MAX: t.Final = 16384
_UNPRINTABLE: t.Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: The curve of a kind, and the bytes of a point on it.
_CURVES: t.Final = {
    "ecdsa-sha2-nistp256": ("nistp256", 65, 256),
    "ecdsa-sha2-nistp384": ("nistp384", 97, 384),
    "ecdsa-sha2-nistp521": ("nistp521", 133, 521),
}
#: The kinds whose private part a computer has itself.
PLAIN_KINDS: t.Final = ("ssh-ed25519", "ssh-rsa", *_CURVES)
_HARDWARE_KINDS: t.Final = {
    "sk-ssh-ed25519@openssh.com": "ssh-ed25519",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sha2-nistp256",
}
KINDS: t.Final = (*PLAIN_KINDS, *_HARDWARE_KINDS)
#: A backslash means something before a quote only.
_OPTION: t.Final = r'[A-Za-z][A-Za-z0-9-]*(?:="(?:\\"|[^"\\]|\\(?!"))*")?'
_OPTIONS: t.Final = re.compile(rf"({_OPTION}(?:,{_OPTION})*)[ \t]+")
_WORDS: t.Final = re.compile(r"(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?", re.DOTALL)


class PublicKey(t.NamedTuple):
    kind: str
    blob: bytes
    #: strength as OpenSSH counts it
    bits: int

    @property
    def base64(self) -> str:
        return base64.b64encode(self.blob).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii").rstrip("=")


class Line(t.NamedTuple):
    """A line of authorized_keys; ``options`` is what stands before the key, "" for nothing."""

    text: str
    options: str
    key: PublicKey
    comment: str


def check_text(text: str) -> None:
    """
    :raise ValueError: it is no single line of printable text.
    """
    if len(text) > _LINE_MAX:
        raise ValueError(f"it is longer than {_LINE_MAX} characters")
    if any(unicodedata.category(character) in _UNPRINTABLE and character != "\t" for character in text):
        raise ValueError("it has characters that cannot be in one line of text")


def parse_line(text: str) -> Line:
    """What sshd reads out of a line. It minds no odd characters in options and comments: for those see ``check_text``.

    :raise ValueError: sshd would not take it, for a reason that the error says in words.
    """
    text = text.strip(" \t\r\n")
    options, rest = "", text
    found = _WORDS.fullmatch(text)
    if found is None or found[1] not in KINDS:
        before = _OPTIONS.match(text)
        if before is None:
            raise ValueError("it begins with neither a known type of key nor options")
        options, rest = before[1], text[before.end() :]
        found = _WORDS.fullmatch(rest)
    if found is None or found[1] not in KINDS:
        raise ValueError(f"it has no type of key that is known ({', '.join(KINDS)})")
    return Line(text, options, parse_key(found[1], found[2]), (found[3] or "").strip(" \t"))


def parse_key(kind: str, text: str) -> PublicKey:
    """
    :param text: the key in base64
    :raise ValueError: it is no key of this kind.
    """
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its key is not base64") from None
    fields = list(_fields(blob))
    if not fields or fields[0] != kind.encode():
        raise ValueError("its key is of another type than the line says")
    if kind in _HARDWARE_KINDS:
        fields.pop()  # the application
    bits = _bits(_HARDWARE_KINDS.get(kind, kind), fields[1:])
    if not bits:
        raise ValueError(f"its key is damaged, or not a key of {kind}")
    return PublicKey(kind, blob, bits)


def _bits(kind: str, fields: t.Sequence[bytes]) -> int:
    """The strength of a key; 0 for what is none."""
    if kind == "ssh-ed25519":
        return 256 if [len(field) for field in fields] == [32] else 0
    if len(fields) != 2:
        return 0
    first, second = fields
    if kind == "ssh-rsa":  # its exponent and its modulus, both positive
        bits = int.from_bytes(second, "big").bit_length()
        return bits if 1024 <= bits <= _RSA_BITS_MAX and second[0] < 128 and 0 < len(first) <= 64 and first[0] < 128 else 0
    curve, length, bits = _CURVES[kind]
    return bits if first == curve.encode() and len(second) == length and second[0] == 4 else 0


def _fields(blob: bytes) -> t.Iterator[bytes]:
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            raise ValueError("its key is cut off")
        yield blob[4 : 4 + length]
        blob = blob[4 + length :]
