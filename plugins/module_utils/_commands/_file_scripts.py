# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done with files in the guest: POSIX sh with stat, sha256sum, chmod, chown, mv and the like. Pure.

Each script prints one word, and what belongs to it; a word that is none of ``PROBLEMS`` is a result.
"""

from __future__ import annotations

import shlex
import typing as t

#: A file that is no longer than this is sent with what is said about it.
INLINE_CONTENT: t.Final = 96 * 1024

PROBLEMS: t.Final = {
    "missing": "the file does not exist",
    "unreadable": "the user may not read the file",
    "directory": "this is a directory",
    "special": "this is no regular file",
    "parent": "the directory to put it in does not exist, or the user may not enter it",
    "create": "the user may not create a file in that directory, or it is on a file system that is full or read-only",
    "space": "the content could not be written; is the file system full?",
    "corrupt": "what arrived is not what was sent",
    "owner": "the owner or group does not exist, or the user may not give files away",
    "mode": "the mode could not be set",
    "rename": "the file could not be moved to its place; is it immutable?",
}

_WORDS: t.Final = """
say() { printf '%s\\n' "$*"; exit 0; }
"""
_SUM: t.Final = """
sum() { s=$(sha256sum <"$1" 2>/dev/null || shasum -a 256 <"$1" 2>/dev/null) && printf '%s' "${s%% *}" || printf '%s' -; }
"""
#: GNU's and busybox's stat agree on these.
_STATE: t.Final = "%a:%u:%g:%U:%G:%s"

_STAT: t.Final = f"""
[ -L "$T" ] && l=yes || l=no
[ -e "$T" ] || {{ [ $l = yes ] && say dangling; d=${{T%/*}}; [ -d "${{d:-/}}" ] && say missing; say parent; }}
k=special; [ -d "$T" ] && k=directory; [ -f "$T" ] && k=file
h=-; [ $k = file ] && h=$(sum "$T")
say "$k:$l:$(stat -L -c {_STATE} -- "$T"):$h"
"""
_READ: t.Final = f"""
[ -e "$T" ] || say missing
[ -d "$T" ] && say directory
[ -r "$T" ] || say unreadable
[ -f "$T" ] || say special
n=$(wc -c <"$T") || say unreadable
if [ $n -le {INLINE_CONTENT} ]; then printf '%s\\n' "content"; exec cat -- "$T"; fi
case $T in /*) ;; *) T=$PWD/${{T#./}} ;; esac
say file $n $(sum "$T") "$T"
"""
#: Where the content goes: a link is followed, as it is when a file is written in place.
_PLACE: t.Final = """
[ -L "$T" ] && T=$(readlink -f -- "$T")
case $T in /*) ;; *) T=$PWD/${T#./} ;; esac
[ -d "$T" ] && say directory
[ -e "$T" ] && [ ! -f "$T" ] && say special
d=${T%/*}; d=${d:-/}
[ -d "$d" ] && [ -x "$d" ] || say parent
p=$d/.virtops-$N
fail() { rm -f -- "$p"; say "$@"; }
"""
_CREATE: t.Final = """
m=$(umask); umask 077; set -C; ( : >"$p" ) 2>/dev/null || say create; set +C
"""
#: Owner before mode, since a change of owner clears bits of the mode; both before the rename.
_FINISH: t.Final = """
[ "$(wc -c <"$p")" -eq $S ] || fail corrupt
h=$(sum "$p"); [ "$h" = - ] || [ "$h" = $H ] || fail corrupt
if [ -e "$T" ]; then
  set -- $(stat -c '%a %u %g' -- "$T")
  M=${M:-$1}; [ "$2:$3" = "$(stat -c %u:%g -- "$p")" ] || chown -- "$2:$3" "$p" 2>/dev/null
  [ -e /sys/fs/selinux/enforce ] && chcon "--reference=$T" -- "$p" 2>/dev/null
fi
if [ -n "$O" ]; then chown -- "$O" "$p" 2>/dev/null || fail owner; fi
if [ -n "$G" ]; then chgrp -- "$G" "$p" 2>/dev/null || fail owner; fi
chmod -- "${M:-$(printf %o $((0666 & ~m)))}" "$p" 2>/dev/null || fail mode
if [ -n "$B" ] && [ -e "$T" ]; then b=$T.$B~; cp -p -- "$T" "$b" || fail create; fi
mv -f -- "$p" "$T" 2>/dev/null || fail rename
printf 'done\\n%s\\000%s' "$T" "$b"
"""


#: Whether nobody but root can put a link to the place of a file that the agent, which follows links, is going to open.
_SAFE: t.Final = """
x=$d
while :; do
  set -- $(stat -L -c '%u %A' -- "$x")
  case $1:$2 in 0:*[tT] | 0:?????-??-?) ;; *) say shared ;; esac
  [ "$x" = / ] && say safe
  x=${x%/*}; x=${x:-/}
done
"""


class Attributes(t.NamedTuple):
    """What a file is to have beside its content; "" keeps what is there, or takes what a new file of the user would have."""

    mode: str = ""
    owner: str = ""
    group: str = ""


def stat(path: str) -> str:
    """``file``, ``directory`` or ``special``, whether it is a link, mode, numbers and names of the owner, size, sha256."""
    return f"T={_path(path)}{_WORDS}{_SUM}{_STAT}"


def read(path: str) -> str:
    """``content`` and what is in a small file, or ``file`` with the size and sha256 of a larger one."""
    return f"T={_path(path)}{_WORDS}{_SUM}{_READ}"


def install(nonce: str, path: str, size: int, sha256: str, attributes: Attributes, backup: str) -> str:
    """Puts stdin to its place: beside it first, checked, with its attributes, and then by a rename."""
    given = _given(nonce, path, size, sha256, attributes, backup)
    return f'{given}{_WORDS}{_SUM}{_PLACE}{_CREATE}cat >"$p" 2>/dev/null || fail space\n{_FINISH}'


def safe(path: str) -> str:
    """``safe`` where only root can change what is in the directory, or move it away; else ``shared``."""
    return f"N=0 T={_path(path)}{_WORDS}{_PLACE}{_SAFE}"


def prepare(nonce: str, path: str) -> str:
    """An empty private file beside ``path``, whose name it prints."""
    return f'N={nonce} T={_path(path)}{_WORDS}{_PLACE}{_CREATE}say ready "$p"'


def finish(nonce: str, path: str, size: int, sha256: str, attributes: Attributes, backup: str) -> str:
    """Checks that file and puts it to its place."""
    given = _given(nonce, path, size, sha256, attributes, backup)
    return f"{given}{_WORDS}{_SUM}{_PLACE}m=$(umask)\n{_FINISH}"


def abandon(nonce: str, path: str) -> str:
    """Removes it."""
    return f'N={nonce} T={_path(path)}{_WORDS}{_PLACE}rm -f -- "$p"'


def attributes(path: str, wanted: Attributes) -> str:
    """Sets mode, owner and group of a file that has its content already."""
    given = f"T={_path(path)} M={shlex.quote(wanted.mode)} O={shlex.quote(wanted.owner)} G={shlex.quote(wanted.group)}"
    return f"""{given}{_WORDS}
if [ -n "$O" ]; then chown -- "$O" "$T" 2>/dev/null || say owner; fi
if [ -n "$G" ]; then chgrp -- "$G" "$T" 2>/dev/null || say owner; fi
if [ -n "$M" ]; then chmod -- "$M" "$T" 2>/dev/null || say mode; fi
say done"""


def _given(nonce: str, path: str, size: int, sha256: str, attributes: Attributes, backup: str) -> str:
    return (
        f"N={nonce} T={_path(path)} S={size} H={sha256} B={shlex.quote(backup)} b="
        f" M={shlex.quote(attributes.mode)} O={shlex.quote(attributes.owner)} G={shlex.quote(attributes.group)}"
    )


def _path(path: str) -> str:
    return shlex.quote(path if path.startswith("/") else f"./{path}")
