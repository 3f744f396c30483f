# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private files of a command in the guest: which directory takes them, and whether they took all. POSIX sh. Pure.

A directory that says it can be written to says little: root may write everywhere, but not to a file system that is read-only or
full. So a place is tried by writing, and the next one is tried where that fails.

A command whose output meets a full file system may end as if nothing were wrong, and there may be space again by then. So it
prints into pipes, and what fills the files from these tells whether all went there. Of a command that leaves children in the
background the pipes do not end; what it had printed itself is in the files long before a second has passed.

The pipes are those of here-documents, which no program has to make and no place has to take. Where a shell has files for these, or
the guest no /proc, they are named ones.
"""

from __future__ import annotations

import typing as t

#: Tried in this order.
PLACES: t.Final = ("/var/tmp", "/tmp", "/run")
#: Another one with each boot.
BOOT: t.Final = "/proc/sys/kernel/random/boot_id"
#: Of the files: output and errors, what became of these, how the command ended; and named pipes.
OUTPUT: t.Final = "oesrpqw"
#: Staged input, and that it is whole.
INPUT: t.Final = "ik"
#: A file system with less than this is full.
_ROOM: t.Final = 64 * 1024
#: Of input so much is tried beforehand.
_TRIED_MAX: t.Final = 1024 * 1024
#: No other user can exchange what is there: it is root's, and has the sticky bit or is root's alone.
_SAFE: t.Final = '[ -O "$d" ] && { [ -k "$d" ] || [ "$d" = /run ]; }'
#: What the scripts say of a place, and what it means.
_WORDS: t.Final = {
    "missing": "does not exist",
    "shared": "is open to other users",
    "closed": "takes no file (it is read-only, or has no inode left)",
    "full": "is full",
}
#: In $p whether there are pipes without names. 4 leads to 7, 5 to 8, and 6 to itself. bash has files for here-documents before 5.1.
_PIPES: t.Final = """
fifo() { if has mkfifo; then mkfifo "$@"; else for x in "$@"; do mknod "$x" p || return 1; done; fi; }
p=
case $BASH_VERSION in [1-4].* | 5.0*) ;; *)
exec 6<<E 7<<E 8<<E

E

E

E
if [ -p /proc/self/fd/7 ] && { true; } 2>/dev/null 4>/proc/self/fd/7; then
  p=1
  read -r x <&6; read -r x <&7; read -r x <&8
  exec 4>/proc/self/fd/7 5>/proc/self/fd/8 6<>/proc/self/fd/6
fi ;;
esac
[ -n "$p" ] || has mkfifo || has mknod || refuse missing mkfifo
"""
#: Signals to the group of the command do not end what keeps its output, and the command does not begin before that is so. By exec,
#: for a shell keeps what it is to restore open. The files are opened before the command begins: what is removed then does not come
#: again. What became of the output is written where there is room for it already, and only then told.
_KEEP: t.Final = """
keep() {
  exec <&$1 >&$2 3>&- 4>&- 5>&- 7<&- 8<&- 9>&-
  if cat 2>/dev/null; then y=whole; else cat >/dev/null 2>&1; y=cut; fi
  echo $y >&2; echo $y >&6
}
if [ -p "$t.p" ]; then exec 4<>"$t.p" 5<>"$t.q" 6<>"$t.w"; exec 7<"$t.p" 8<"$t.q"; exec 4>"$t.p" 5>"$t.q"; fi
exec 3>>"$t.o" 9>>"$t.e"
( trap '' TERM HUP INT QUIT; exec 2<>"$t.s"; ( keep 7 3 ) & ( keep 8 9 ) & ) || refuse space
exec 7<&- 8<&-
"""
#: Waits until both have said it, or for a second. They are about to when the command has ended, unless it has left children that
#: print: to fork once gives them time to, and what is asked then is read behind what they had to say.
_KEPT: t.Final = """
exec 4>&- 5>&-
f=0 c=0 b=0
until [ $c = 2 ]; do
  b=$((b+1))
  if [ $b -lt 9 ]; then ( : ); echo asked >&6
  elif [ $b = 9 ]; then ( ( exec </dev/null >/dev/null 2>&1; sleep 1; echo late >&6 ) & ); fi
  while read -r y <&6; do
    case $y in asked) break ;; late) break 2 ;; cut) f=1 ;; esac
    c=$((c+1)); [ $c -lt 2 ] || break
  done
done
exec 6<&-
[ -e "$t.o" ] && [ -e "$t.e" ] || f=2
"""
_LOOK_FOR_SPACE: t.Final = """
became() {
  f=0 c=0
  while read -r y; do case $y in whole) c=$((c+1)) ;; cut) f=1 c=$((c+1)) ;; esac; done 2>/dev/null <"$t.s"
  [ $c = 2 ]
}
became || { sleep 1; became; }
"""


def claim(nonce: str) -> str:
    """The stem of the files in $t, in the first place that takes them. What is written last has room for it from the beginning."""
    pipes = '{ [ -n "$p" ] || fifo "$t.p" "$t.q" "$t.w"; }'
    began = f"""printf 'began %-58s\\n' "$$ $b" >"$t.r" && printf '%12s' '' >"$t.s" && {pipes}"""
    return f"""b=; read -r b 2>/dev/null <{BOOT}
{_PIPES}{_first_that_takes(nonce, "oe", _ROOM, began, PLACES)}
[ -n "$t" ] || refuse space $w
"""


def keep() -> str:
    """From here on what is printed to 4 and 5 goes to the files of output and errors."""
    return _KEEP


def kept() -> str:
    """After the end of the command: in $f 0 where the files have all of it, 1 where the place was full, 2 where they are gone."""
    return _KEPT


def look_for_space() -> str:
    """The same, of a command that has taken the shell with it: what keeps its output may still be at it."""
    return f"""{_LOOK_FOR_SPACE}{{ {_fill(_ROOM)} >"$t.x"; }} 2>/dev/null || f=1
"""


def store(nonce: str, size: int, skip: t.Collection[str] = ()) -> str:
    """Keeps stdin in the first place that has room for ``size`` bytes, and prints the file's name; or why there is none."""
    places = [place for place in PLACES if place not in skip]
    return f"""{_first_that_takes(nonce, "i", max(1, min(size, _TRIED_MAX)), ":", places)}
if [ -n "$t" ] && {{ cat >"$t.i" && printf '' >"$t.k"; }} 2>/dev/null; then echo "$t.i"
else cat >/dev/null; [ -z "$t" ] || w="$w $d:full"; echo "{nonce} refused space$w"; {remove(nonce, INPUT)}; fi"""


def arrived(nonce: str) -> str:
    """Waits for what ``store`` keeps, and has its stem in $j."""
    return f"""
c=0 j=
until [ -n "$j" ]; do
  for d in {" ".join(PLACES)}; do {_is_ours(f"$d/.virtops-{nonce}.k")} && j=$d/.virtops-{nonce}; done
  c=$((c+1)); [ $c -lt 200 ] || refuse stdin
  [ -n "$j" ] || nap
done
"""


def find(nonce: str) -> str:
    """``look`` has the stem of what ``claim`` made in $t, and of what ``store`` made in $j; "" for nothing."""
    return f"""
look() {{
  t= j=
  for d in {" ".join(PLACES)}; do
    for f in $d/.virtops-{nonce}.[oer]; do {_is_ours("$f")} && t=$d/.virtops-{nonce}; done
    {_is_ours(f"$d/.virtops-{nonce}.k")} && j=$d/.virtops-{nonce}
  done
}}
look
"""


def remove(nonce: str, endings: str) -> str:
    """The files, wherever they are."""
    return "rm -f " + " ".join(f"{stem}.{ending}" for stem in stems(nonce) for ending in endings)


def stems(nonce: str) -> list[str]:
    return [f"{place}/.virtops-{nonce}" for place in PLACES]


def explained(words: t.Iterable[str]) -> str:
    """What a script says of the places, such as ``/tmp:full``."""
    said = []
    for word in words:
        place, _colon, why = word.partition(":")
        if place in PLACES and why in _WORDS:
            said.append(f"{place} {_WORDS[why]}")
    return ", ".join(said)


def _is_ours(path: str) -> str:
    return f'{{ [ -O "{path}" ] && [ ! -L "{path}" ]; }}'


def _fill(count: int) -> str:
    return f"printf '%0{count}d' 0"


def _first_that_takes(nonce: str, endings: str, count: int, more: str, places: t.Sequence[str]) -> str:
    """$t is empty where none does; $w says why, for each that does not."""
    files = [f'"$t.{ending}"' for ending in endings]
    create = " && ".join(f"printf '' >{file}" for file in files)
    made = " ".join(f'"$t.{ending}"' for ending in (OUTPUT if "o" in endings else INPUT))
    return f"""umask 077; set -C; w= t=
for d in {" ".join(places)}; do
  t=$d/.virtops-{nonce}
  if [ ! -d "$d" ]; then w="$w $d:missing"
  elif ! {{ {_SAFE}; }}; then w="$w $d:shared"
  elif ! {{ {create}; }} 2>/dev/null; then w="$w $d:closed"
  elif ! {{ {_fill(count)} >|{files[0]}; }} 2>/dev/null; then w="$w $d:full"
  elif ! {{ printf '' >|{files[0]} && {more}; }} 2>/dev/null; then w="$w $d:closed"
  else break; fi
  rm -f {made} 2>/dev/null; t=
done
set +C"""
