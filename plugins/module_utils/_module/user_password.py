# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords and the hashes that crypt(5) makes of them: which can be given to a guest, and whether two are the same."""

from __future__ import annotations

import ctypes
import hmac
import importlib
import re
import typing as t
import unicodedata

from .._errors import InvalidInput

#: What PAM and crypt(3) take (PAM_MAX_RESP_SIZE, CRYPT_MAX_PASSPHRASE_SIZE), less the NUL at its end.
_PASSWORD_MAX: t.Final = 511
#: crypt(5), as libxcrypt makes them; those of DES look like passwords in clear, and are about as good.
_HASH: t.Final = re.compile(
    r"""(?x)
      \$g?y\$[./A-Za-z0-9]{1,32}\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}    # yescrypt, gost-yescrypt
    | \$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}                           # scrypt
    | \$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}                                 # bcrypt
    | \$6\$(?:rounds=[1-9][0-9]{0,8}\$)?(?!rounds=)[^$:\n]{1,16}\$[./A-Za-z0-9]{86}     # sha512crypt
    | \$5\$(?:rounds=[1-9][0-9]{0,8}\$)?(?!rounds=)[^$:\n]{1,16}\$[./A-Za-z0-9]{43}     # sha256crypt
    | \$sha1\$[1-9][0-9]{0,9}\$[./A-Za-z0-9]{1,64}\$[./A-Za-z0-9]{28}        # sha1crypt
    | \$md5[,$][^:;*!\\]{1,64}\$[./A-Za-z0-9]{22}                            # SunMD5
    | \$1\$[^$:\n]{1,8}\$[./A-Za-z0-9]{22}                                   # md5crypt
    """
)
_LOCK: t.Final = re.compile(r"!{1,2}\*?|\*")
#: Only hashes that take a second at most to compute, because the computation cannot be interrupted.
_CHEAP: t.Final = re.compile(
    r"""(?x)
      \$g?y\$j[789ABC][5T]\$.+
    | \$2[aby]\$(?:0[4-9]|1[0-2])\$.+
    | \$[56]\$(?:rounds=[0-9]{1,6}\$)?(?!rounds=)[^$]+\$.+
    | \$1\$.+
    """
)
#: libxcrypt's struct crypt_data.
_CRYPT_DATA: t.Final = 32768
_LIBRARIES: t.Final = ("libcrypt.so.1", "libcrypt.so.2")
_PASSLIB: t.Final = {"$6": "sha512_crypt", "$5": "sha256_crypt", "$1": "md5_crypt", "$2": "bcrypt"}


def check_password(password: str) -> None:
    """
    :raise InvalidInput: no program in the guest would take it, or it would let everybody in.
    """
    if not password:
        raise InvalidInput("password is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        raise InvalidInput(
            "password has characters that are not allowed, such as a newline", hint="check how the password was read or created"
        )
    if len(password.encode()) > _PASSWORD_MAX:
        raise InvalidInput(f"password is longer than {_PASSWORD_MAX} bytes, which is the limit of PAM")


def check_hash(password_hash: str) -> None:
    """
    :raise InvalidInput: it is neither a hash of crypt(5) nor a mark of a locked password.
    """
    lock = _LOCK.match(password_hash)
    rest = password_hash[lock.end() :] if lock else password_hash
    is_hash = _HASH.fullmatch(rest) is not None and rest.isascii() and rest.isprintable() and " " not in rest
    if not is_hash and (rest or not lock):
        raise InvalidInput(
            "password_hash is neither a hash of crypt(5), nor '!' or '*' for no password",
            hint="create one with 'mkpasswd' or the filter ansible.builtin.password_hash; use password for clear text",
        )


def is_set(stored: str) -> bool:
    """Whether there is a password behind what the shadow file says, locked or not."""
    return bool(stored.lstrip("!*"))


def is_locked(stored: str) -> bool:
    return stored[:1] in ("!", "*")


def same_hash(stored: str, wanted: str) -> bool:
    """A lock in front of the stored one makes no other password of it; one in front of ``wanted`` is wanted."""
    return hmac.compare_digest(stored if is_locked(wanted) else stored.lstrip("!"), wanted)


def same_password(stored: str, password: str) -> bool | None:
    """Whether ``stored``, guest text, is a hash of ``password``; None where this computer cannot tell."""
    found = stored.lstrip("!")
    if not is_set(found):
        return False
    if not _CHEAP.fullmatch(found):
        return None
    made = _by_libxcrypt(password, found)
    return _by_passlib(password, found) if made is None else hmac.compare_digest(made, found)


def _by_libxcrypt(password: str, setting: str) -> str | None:
    """Not by Python's own module crypt, which is gone since 3.13; it used the same library."""
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_rn
        except (OSError, AttributeError):  # not there, or glibc's own
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
        work = ctypes.create_string_buffer(_CRYPT_DATA)
        made: bytes | None = function(password.encode(), setting.encode(), work, _CRYPT_DATA)
        return made.decode("ascii", "replace") if made else None
    return None


def _by_passlib(password: str, stored: str) -> bool | None:
    try:
        scheme = getattr(importlib.import_module("passlib.hash"), _PASSLIB[stored[:2]])
        return bool(scheme.verify(password, stored))
    except (ImportError, KeyError, RuntimeError, ValueError, TypeError, AttributeError):
        return None  # it is not installed, or lacks what it needs for this kind
