# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done with files in the guest: POSIX sh with stat, sha256sum, chmod, chown, mv and the like. Pure.

Each script prints one word, and what belongs to it; a word that is none of ``PROBLEMS`` is a result.

Other users of the guest may lay out links, exchange files and watch, in every directory that they can change. So a script goes to
the directory first: where it is then, the kernel tells ($PWD after cd -P). From there it works by names without a slash. What
it makes it makes in a directory of its own (mkdir, 0700) beside the place: there no other user gets at it until it is renamed. What
it reads it opens, and then compares what it has opened with what it has seen. "Safe" is a directory that only root and the
acting user can change, as can only they what leads there.
"""

from __future__ import annotations

import re
import shlex
import typing as t

#: A file that is no longer than this is sent with what is said about it.
INLINE_CONTENT: t.Final = 96 * 1024
#: Which links are followed: all of them; those in safe directories; or these on the way only, and not the file itself.
Links = t.Literal["all", "own", "none"]
#: The name of the content in the directory that ``prepare`` makes.
PREPARED: t.Final = "new"

PROBLEMS: t.Final = {
    "missing": "the file does not exist",
    "unreadable": "the user may not read the file",
    "directory": "this is a directory",
    "special": "this is not a regular file",
    "parent": "its directory does not exist, or the user may not enter it",
    "create": "the user may not create a file in that directory, or its file system is read-only or has no space left",
    "space": "there is no space for the content on its file system",
    "corrupt": "the content that arrived differs from what was sent",
    "owner": "the owner or group does not exist, or the user may not give files away",
    "mode": "the mode could not be set",
    "rename": "the file could not be moved to its place; is it immutable?",
    "link": "another user of the guest may have created a link in its path",
    "linked": "the file has another name too, and another user of the guest may have given it this one",
    "changed": "the file was replaced or changed during the check",
    "shared": "another user of the guest can change that directory",
}
HINTS: t.Final = {
    "link": "name the place itself, let the user who owns it do this, or allow it with follow=true where there is that option",
    "linked": "let the user who owns it do this, or allow it with follow=true where there is that option",
    "changed": "try again",
}

#: GNU's and busybox's stat agree on these. A group's name may have a space in it.
_STATE: t.Final = "%u:%A:%d:%i:%h:%a:%g:%s:%U:%G"
_SUM: t.Final = """
sum() { s256=$(sha256sum <"$1" 2>/dev/null || shasum -a 256 <"$1" 2>/dev/null) && printf '%s' "${s256%% *}" || printf '%s' -; }
"""
#: T is the path, me the acting user, F the links that are followed; x, q, e, r, o, l, k, d and b belong to their functions.
#: split: u, A, v, i, h, a and g are the beginning of $s by its letters; du, dA and dv are of the directory.
#: look: $s is what . has as $n ("" for nothing), $D is . itself, $y is safe, sticky (others may add to it) or shared.
#: reach: goes to the directory of $1, and tells what is there as $n.
_REACH: t.Final = f"""
say() {{ printf '%s\\n' "$*"; exit 0; }}
set -f; IFS='
'
look() {{
  set -- /; x=; q=${{PWD#/}}
  while [ -n "$q" ]; do
    x=$x/${{q%%/*}}
    case $q in */*) set -- "$@" "$x"; q=${{q#*/}} ;; *) set -- "$@" .; q= ;; esac
  done
  e=$#; set -- $(stat -c {_STATE} -- "$@" "./$n" 2>/dev/null)
  [ $# -ge $e ] || say parent
  y=safe
  while [ $e -gt 0 ]; do
    e=$((e-1)); D=$1; shift
    case $D in 0:* | "$me":*) ;; *) y=shared ;; esac
    case ${{D#*:}} in
      ?????-??-*) ;;
      ?????????[tT]*) [ $e -gt 0 ] || [ $y = shared ] || y=sticky ;;
      *) y=shared ;;
    esac
  done
  s=$1
}}
target() {{
  k=$((k+1)); [ $k -le 40 ] || say link
  [ $F = all ] || [ $y = safe ] || say link
  case $PWD/$n in
    /proc/self) l=$$ ;;
    *) l=$(readlink -- "./$n"; echo x); l=${{l%?x}} ;;
  esac
}}
walk() {{
  r=$1; cd /
  while r=${{r#"${{r%%[!/]*}}"}}; [ -n "$r" ]; do
    n=${{r%%/*}}; r=${{r#"$n"}}
    if [ -L "./$n" ]; then
      look; target; r=$l$r
      case $l in /*) cd / ;; esac
      continue
    fi
    o=$PWD; cd -P -- "./$n" 2>/dev/null || say parent
    case $n in . | ..) ;; *) [ "$PWD" = "${{o%/}}/$n" ] || say link ;; esac
  done
}}
to() {{
  case ${{1##*/}} in '' | . | ..) d=$1 b=. ;; *) d=${{1%/*}} b=${{1##*/}} ;; esac
  d=${{d:-/}}
  if [ $F = all ]; then cd -P -- "$d" 2>/dev/null || say parent
  else cd -P -- "$d" 2>/dev/null && [ "$PWD" = "$d" ] || walk "$d"; fi
  n=$b
}}
reach() {{
  k=0; to "$1"
  while look; case ${{s#*:}} in l*) ;; *) return ;; esac; do
    [ $F != none ] || {{ [ $y = safe ] && [ -d "./$n/" ]; }} || return 0
    target
    case $l in /*) ;; *) l=${{PWD%/}}/$l ;; esac
    to "$l"
  done
}}
split() {{ IFS=:; set -- $1; IFS='
'; u=$1 A=$2 v=$3 i=$4 h=$5 a=$6 g=$7; }}
split_directory() {{ split "$D"; du=$u dA=$A dv=$v; split "$s"; }}
fixed() {{
  [ $y = safe ] && return
  [ $y = sticky ] && [ "$h" = 1 ] && case $u in 0 | "$me") ;; *) false ;; esac
}}
its_own() {{
  [ "$h" = 1 ] || {{ [ "$u" = "$du" ] && case $dA in ?????-??-*) ;; *) false ;; esac; }}
}}
planted() {{ ! fixed && {{ [ $y = sticky ] || ! its_own; }}; }}
open() {{
  [ -r "./$n" ] || say unreadable
  fixed || [ $F = all ] || its_own || say linked
  command exec 3<"./$n" || say unreadable
  [ $y = safe ] || [ "$(stat -L -c %d:%i /proc/self/fd/3)" = "$v:$i" ] || say changed
}}
kind() {{
  split_directory
  case $A in -*) ;; d*) say directory ;; l*) say link ;; *) say special ;; esac
}}
"""
_STAT: t.Final = """
if [ -z "$s" ]; then say missing; fi
split_directory
case $A in -*) w=file ;; d*) w=directory ;; l*) w=link ;; *) w=special ;; esac
p=no; planted && p=planted
c=-
if [ $w = file ] && { fixed || [ $F = all ] || its_own; } && [ -r "./$n" ]; then open; c=$(sum /proc/self/fd/3); fi
say "$w:$p:$s:$c"
"""
#: A file that others can exchange is not read again by its name: its content follows.
_READ: t.Final = f"""
[ -n "$s" ] || say missing
kind; open
c=$(wc -c </proc/self/fd/3) || say unreadable
if [ $c -le {INLINE_CONTENT} ]; then echo content; exec cat <&3; fi
c="$c $(sum /proc/self/fd/3)"
if [ "$me" = 0 ] && fixed; then say "file $c ${{PWD%/}}/$n"; fi
echo "content $c"; exec cat <&3
"""
#: What may be replaced. A link that is not followed is.
_REPLACEABLE: t.Final = """
split_directory
case $A in '' | -* | l*) ;; d*) say directory ;; *) say special ;; esac
[ -x . ] || say parent
[ -z "$X" ] || [ $y != shared ] || say shared
"""
#: Into the directory of our own. That of another user, with its name, is another one. An access list that a directory hands on to
#: those made in it takes no notice of the umask.
_INSIDE: t.Final = """
z=${PWD%/}; p=.virtops-$N
inside() {
  cd -P -- "./$p" 2>/dev/null && [ "$PWD" = "$z/$p" ] && [ -O . ] || return 1
  private || { [ $y = safe ] && [ -n "$1" ] && chmod 700 . && [ -z "$(ls -A)" ] && private; }
}
private() { case $(stat -c %A:%d .) in drwx--[-S]---:"$dv") ;; *) false ;; esac; }
fail() {
  rm -f -- "./$n" "./$n.$B~" "./$W" ./old; cd .. && rmdir -- "./$p"
  say "$@"
}
"""
_CREATE: t.Final = """
m=$(umask); umask 077
mkdir -- "./$p" 2>/dev/null || say create
inside new || say create
"""
#: Owner before mode, since a change of owner clears bits of the mode; both before the rename. mv gets a directory to move to, so
#: that it does not follow a link to one.
_FINISH: t.Final = f"""
c=$(sum "./$W"); [ "$c" = "$H" ] || {{ [ "$c" = - ] && [ "$(wc -c <"./$W")" -eq $S ]; }} || fail corrupt
case $A in -*)
  if ! planted; then
    M=${{M:-$a}}
    case $me:$u:$g:$dA in 0:0:0:??????[-x]*) ;; *) chown -- "$u:$g" "./$W" 2>/dev/null ;; esac
    if [ -e /sys/fs/selinux/enforce ]; then
      ln -- "../$n" ./old 2>/dev/null && [ ! -L ./old ] && chcon --reference=./old -- "./$W" 2>/dev/null
      rm -f ./old
    fi
  fi ;;
esac
if [ -n "$O" ]; then chown -- "$O" "./$W" 2>/dev/null || fail owner; fi
if [ -n "$G" ]; then chgrp -- "$G" "./$W" 2>/dev/null || fail owner; fi
chmod -- "${{M:-$(printf %o $((0666 & ~m)))}}" "./$W" 2>/dev/null || fail mode
x=; if [ -n "$B" ] && [ -n "$s" ]; then
  x=$n.$B~
  ln -- "../$n" "./$x" 2>/dev/null || cp -pP -- "../$n" "./$x" 2>/dev/null || fail create
  mv -f -- "./$x" .. 2>/dev/null || fail create
  x=$z/$x
fi
[ "$W" = "$n" ] || mv -- "./$W" "./$n" 2>/dev/null || fail rename
s=$(stat -c {_STATE} -- "./$n")
mv -f -- "./$n" .. 2>/dev/null || fail rename
cd .. && rmdir -- "./$p"
printf 'done\\n%s\\000%s\\000%s' "$z/$n" "$x" "$s"
"""
#: In place, where others cannot put another file there meanwhile, not even who gets it; else a copy takes its place.
_ATTRIBUTES: t.Final = f"""
[ -n "$s" ] || say missing
kind
if [ $y = safe ]; then
  if [ -n "$O" ]; then chown -- "$O" "./$n" 2>/dev/null || say owner; fi
  if [ -n "$G" ]; then chgrp -- "$G" "./$n" 2>/dev/null || say owner; fi
  if [ -n "$M" ]; then chmod -- "$M" "./$n" 2>/dev/null || say mode; fi
  printf 'done\\n%s\\000\\000%s' "${{PWD%/}}/$n" "$(stat -c {_STATE} -- "./$n")"
  exit 0
fi
open
{_INSIDE}{_CREATE}
cat <&3 >"./$W" 2>/dev/null || fail space
c=$(sum "./$W"); [ -z "$H" ] || [ "$c" = - ] || [ "$c" = "$H" ] || fail changed
H=$c
[ "$c" != - ] || S=$(wc -c <"./$W")
{_FINISH}"""


class Attributes(t.NamedTuple):
    """What a file is to have beside its content; "" keeps what is there, or takes what a new file of the user would have."""

    mode: str = ""
    owner: str = ""
    group: str = ""


class Content(t.NamedTuple):
    """What is to be in a file. ``nonce`` is in the name of what is there meanwhile; ``sha256`` is "" for any content."""

    nonce: str
    size: int
    sha256: str


class Goal(t.NamedTuple):
    """What else is to be so in the end. ``backup`` is in the name of what keeps the old content, "" for nothing."""

    attributes: Attributes
    backup: str = ""


class Where(t.NamedTuple):
    """A place in the guest, for a user. ``own`` demands a directory in which no other user can exchange what is there."""

    path: str
    user: str = "root"
    links: Links = "own"
    own: bool = False

    def reach(self) -> str:
        me = "0" if self.user == "root" else "$(id -u)"
        start = "" if self.path.startswith("/") else "$PWD/"
        path = re.sub("/+", "/", self.path)
        return f'me={me} F={self.links} X={"1" if self.own else ""} T="{start}"{shlex.quote(path)}{_REACH}{_SUM}\nreach "$T"\n'


def stat(where: Where) -> str:
    """``file``, ``link``, ``directory`` or ``special``, whether others may have planted it, its state, and its sha256."""
    return f"{where.reach()}{_STAT}"


def read(where: Where) -> str:
    """``content`` and what is in the file, with its size and sha256 where it is large; or ``file`` with these and its path."""
    return f"{where.reach()}{_READ}"


def install(where: Where, content: Content, goal: Goal) -> str:
    """Puts stdin to its place: beside it first, checked, with its attributes, and then by a rename."""
    write = 'W=$n; cat >"./$W" 2>/dev/null || fail space\n'
    return f"{_given(content, goal)}{where.reach()}{_REPLACEABLE}{_INSIDE}{_CREATE}{write}{_FINISH}"


def prepare(where: Where, nonce: str) -> str:
    """An empty file in a private directory beside the place; prints its name."""
    write = f'( : >./{PREPARED} ) 2>/dev/null || {{ W={PREPARED}; fail create; }}\nsay "ready $PWD/{PREPARED}"'
    return f"N={nonce} B=\n{where.reach()}{_REPLACEABLE}{_INSIDE}{_CREATE}{write}"


def finish(where: Where, content: Content, goal: Goal) -> str:
    """Checks that file and puts it to its place."""
    enter = f"m=$(umask); W={PREPARED}; inside || say create\n"
    return f"{_given(content, goal)}{where.reach()}{_REPLACEABLE}{_INSIDE}{enter}{_FINISH}"


def abandon(where: Where, nonce: str) -> str:
    """Removes it."""
    return f"N={nonce} B= W={PREPARED}\n{where.reach()}split_directory\n{_INSIDE}inside && fail abandoned"


def attributes(where: Where, content: Content, goal: Goal) -> str:
    """Sets mode, owner and group of a file that has its content already."""
    return f"{_given(content, goal)}W={PREPARED}\n{where.reach()}{_ATTRIBUTES}"


def _given(content: Content, goal: Goal) -> str:
    mode, owner, group = map(shlex.quote, goal.attributes)
    return f"N={content.nonce} S={content.size} H={content.sha256} B={shlex.quote(goal.backup)} M={mode} O={owner} G={group}\n"
