# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell scripts that surround a command in the guest: POSIX sh with rm, sleep, cat and mkfifo, and what ``_TOOLS`` says. Pure.

A script travels in an environment variable, since qemu-ga writes the arguments of what it runs to the guest's log. Each external
program costs the guest a fork, so what the shell can do itself, it does.

A command's output goes to files: a child that it leaves in the background then holds no pipe that the agent waits for, and
output of any size arrives. What the agent sees is the surrounding shell's own output: on stdout the beginning of the command's, on
stderr a line before and a line after the command, and the beginning of the command's stderr. The second line has nonce, exit code,
place of the files, the guest's uptime before and after, and whether the files are kept. What the shell itself says between the
lines tells an end by a signal from an exit code above 128; of SIGINT and SIGPIPE dash and busybox say nothing.

A command outlives the agent, also where systemd ends all that the agent's unit has started: the shell leaves the unit's cgroup
first. Its first line in the file of the result has its process id, and in the end how the command ended. What is not sure to have
reached the agent stays in the files: ``await_end`` finds it.

The command's environment is made in the last moment, in a shell that does nothing else any more: no name in it can be one of ours.

Legend of the scripts here and in ``login``, ``spool`` and ``processes``. Their variables have one letter, since a script is part of
each request, and since ``login.ENVIRONMENT`` takes no such name from the guest's files.

Of a run:

``t`` ``j``          stem of the command's files; stem of its staged input ("" for none)
``u`` ``w``          the guest's uptime before and after the command; ``w``, in ``spool``, why no place takes the files
``r``                exit code of the command
``f``                0: the files have all that it printed, 1: their place was full, 2: they are gone; elsewhere a file in a loop
``k``                1: the files stay until the reader removes them; in ``_ANSWER`` how many questions there were
``b``                boot id when the command began; elsewhere a second counter
``G``                process that leads the command's session ("" for none that is left)

Of its user:

``U`` ``D``          the user and the directory that were asked for
``n`` ``i`` ``g``    name, uid and gid of that user
``h`` ``s``          home and shell; ``s``, in ``processes``, a signal
``m``                umask of a login
``P`` ``A`` ``W``    question for a password, answer to it, and what is printed once that is accepted

Anywhere, for a few lines:

``c``                counter
``d``                place that is tried
``l``                line that was read
``k`` ``v``          name and value in a line; ``v``, in ``_group``, boot id now
``p`` ``q``          program, in ``WITHOUT_PROGRAM`` a script; in ``spool`` whether there are pipes without names; in ``processes``
                     the family, and its sessions and groups
``y``                word that was read; in ``login`` a group's name; in ``processes`` the family as found
``a`` ``x``          what is read and not used; ``x`` also a loop's word

Files ``t`` and ``j`` with an ending:

``.o`` ``.e``        what the command printed
``.s``               what became of that: whole, cut
``.p`` ``.q``        named pipes, where there are no others, from 4 to 7 and from 5 to 8
``.w``               and the one that is 6
``.r``               began with process and boot id, or ended and how
``.i`` ``.k``        staged input; it is whole
``.d``               the command that had an ``Answer`` has ended
``.x``               its program is not there; in ``spool`` what tries the place

Open files: 3 and 9 are ``.o`` and ``.e``, 7 and 8 what is read from the pipes to them; the command prints to 4 and 5; 6 is a pipe
that what keeps its output tells its end by.
"""

from __future__ import annotations

import shlex
import typing as t

from . import login, processes, spool

#: What of each stream comes with the command's end; the rest is read from the file. Both in base64 stay far below what libvirt
#: takes.
INLINE_OUTPUT: t.Final = 128 * 1024
#: What guest-exec runs, the second alone where no session is needed. No path: systems differ in where they keep it.
PROGRAM: t.Final = "setsid"
ARGUMENTS: t.Final = ("/bin/sh", "-c", 's=$VIRTOPS; unset VIRTOPS; eval "$s"')
#: Where there is no such program: it may be where the agent does not look, and some shells can do without.
WITHOUT_PROGRAM: t.Final = (
    "/bin/sh",
    "-c",
    """p='s=$VIRTOPS; unset VIRTOPS; eval "$s"'
command -v setsid >/dev/null && exec setsid /bin/sh -c "$p"
exec 3<&0; set -m; /bin/sh -c "$p" <&3 3<&- & exec 3<&-; wait $!""",
)
#: What the scripts use may be where NixOS has it.
TOOLS_PATH: t.Final = f"{login.PATH}:/run/wrappers/bin:/run/current-system/sw/bin"
#: Words of refuse(), and what they mean.
REFUSALS: t.Final = {
    "stdin": "the command's input did not arrive whole in the guest",
    "user": "the guest has no such user",
    "switch": "the guest has no program to change the user (setpriv and runuser, or su)",
    "chdir": "the directory to run in does not exist in the guest",
    "program": "the guest has no such program",
}

#: The root of a hierarchy is no unit's, takes processes whatever controllers there are, and needs not to be made or removed. cgroup
#: v2, the hybrid of both, and v1. Where that is not allowed, the command lives as long as the agent.
LEAVE_AGENT: t.Final = """
for c in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [ -w $c/cgroup.procs ] && echo $$ >$c/cgroup.procs
done 2>/dev/null
"""
_FILES: t.Final = f"{spool.OUTPUT}{spool.INPUT}dx"
#: Told from another exit code 127 by a file.
_IS_THERE: t.Final = """
( [ "$i" = 0 ] || cd -- "${{D:-.}}"; command -v {program} ) >/dev/null 2>&1 || {{ : >"$t.x"; exit 127; }}
"""
#: bash says nothing of what it waits for, but of its jobs in the moment in which they end.
_RUN_AND_TELL: t.Final = """
child() {{ {child}; }}
if [ -n "$BASH_VERSION" ]; then
  trap 'jobs -l >&2' CHLD; child "$@" <&0 & c=$!
  while kill -0 $c 2>/dev/null; do wait $c; done; wait $c; r=$?; trap - CHLD
else ( child "$@" ); r=$?; fi
"""
#: Seconds after which a result is worth a request of its own: it stays until the reader has it and says so, or for an hour.
KEPT_AFTER: t.Final = 5
#: A pipe that has no reader any more ends no shell; what could not be written to it is kept.
_REPORT: t.Final = f"""
k=; read -r w x </proc/uptime; : "${{u:=0}}" "${{w:=0}}"
[ $(( ${{w%%.*}} - ${{u%%.*}} )) -lt {KEPT_AFTER} ] || k=1
[ $f = 2 ] || printf 'ended %s %s %s %s\\n' "$r" "$u" "$w" "$f" 1<>"$t.r"
[ ! -s "$t.o" ] || head -c {INLINE_OUTPUT} "$t.o" || k=1
printf '{{nonce}} ended %s %s %s %s %s %s\\n' "$r" "$t" "$u" "$w" "$f" "${{k:-0}}" >&2 || k=1
[ ! -s "$t.e" ] || head -c {INLINE_OUTPUT} "$t.e" >&2 || k=1
"""
#: What can be done without a program that is missing, and what cannot.
_TOOLS: t.Final = """
has() { command -v "$1" >/dev/null 2>&1; }
nap() { sleep 0.05 2>/dev/null || sleep 1; }
for x in rm cat sleep; do has $x || refuse missing $x; done
has head || { has dd || refuse missing head; head() { dd bs="$2" count=1 <"$3" 2>/dev/null; }; }
has wc || { has ls || refuse missing wc; wc() { ls -lnL /proc/self/fd/0 | { read -r a b c d x y; echo "$x"; }; }; }
"""
#: The length of an open file, or of what is not open here.
_SIZE: t.Final = """
size() { read -r x y 2>/dev/null </proc/self/fdinfo/$1 || y=$(wc -c <"$2"); }
"""
_HAS_GZIP: t.Final = """
has gzip || refuse missing gzip
"""
#: Types the password when it is asked for, once, and hands on the input when the other user's shell says that it is there.
_ANSWER: t.Final = """
answer() {
  k=0 b=0
  while [ ! -e "$t.d" ] && [ $b -lt 1200 ]; do
    b=$((b+1))
    if [ -n "$P" ]; then c=$(cat "$t.o" "$t.e" | grep -oF -- "$P" | grep -c .)
    elif [ -s "$t.e" ] || [ -s "$t.o" ]; then c=1
    else c=0; fi
    if grep -qF -- "$W" "$t.o" "$t.e"; then feed; return; fi
    if [ "$c" -gt "$k" ]; then
      k=$((k+1)); [ $k = 1 ] || return
      printf '%s\\n' "$A"
    fi
    nap
  done
}
"""
#: The files are removed while the agent already has what it waits for, but for those that are kept or longer than what was sent:
#: the reader takes the rest and removes them, or an hour does. What waits for that keeps none of them open, nor their space. That
#: which says how it ended goes first: as long as it is there, the output is whole, as ``await_end`` relies on.
#: Redirected by exec: for a group mksh keeps what it is to restore open, which the agent would wait for.
_TIDY: t.Final = f"""
( exec </dev/null >/dev/null 2>&1
  set -- "$t.s" "$t.p" "$t.q" "$t.w" "$t.d" "$t.x"; [ -z "$j" ] || set -- "$@" "$j.i" "$j.k"
  b=$(($#+3))
  [ -n "$k" ] || {{ size 3 "$t.o"; [ "$y" -ge {INLINE_OUTPUT} ] || set -- "$@" "$t.o"; }}
  [ -n "$k" ] || {{ size 9 "$t.e"; [ "$y" -ge {INLINE_OUTPUT} ] || set -- "$@" "$t.e"; }}
  [ -n "$k" ] || set -- "$t.r" "$@"
  [ $# = $b ] && exec rm -f "$@"
  exec 3>&- 9>&-; rm -f "$@"
  c=0; while [ $c -lt 720 ] && {{ [ -e "$t.o" ] || [ -e "$t.e" ]; }}; do c=$((c+1)); sleep 5; done
  rm -f "$t.o" "$t.e" "$t.r" ) &
"""
#: Seconds in which the shell around a command makes its files, also in a guest that has more to do than it can.
_BEGINS_WITHIN: t.Final = 3
#: Waits while the shell around the command is there and has not said how that ended. Where the guest has been started anew its
#: number is another's.
_UNTIL_ENDED: t.Final = """
alive() { [ -n "$G" ] && [ -e "$t.o" ] && kill -0 "$G" 2>/dev/null; }
until { read -r y r u w f 2>/dev/null <"$t.r" && [ "$y" = ended ]; } || ! alive; do sleep 1; done
read -r y r u w f 2>/dev/null <"$t.r"
"""


class Answer(t.NamedTuple):
    """What to type when the command asks for a password; ``success`` is what it prints once it has accepted it."""

    #: the exact text of the question; "" when anything that is printed before ``success`` is one
    prompt: str
    password: str
    success: str

    def __repr__(self) -> str:
        return "Answer(...)"


class Command(t.NamedTuple):
    """What to run. ``env`` is added to the user's environment; ``chdir`` is where to run it ("" is the user's home)."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    env: t.Mapping[str, str] = {}
    chdir: str = ""
    user: str = "root"
    umask: str = ""
    answer: Answer | None = None
    #: whether to tell an end by a signal from an exit code above 128, which costs a script more
    tells_signals: bool = True
    #: the Python that has ``stdin`` as its script, with the additions to its environment, where ``argv`` does nothing else
    script_of: tuple[str, t.Mapping[str, str]] | None = None


class Input(t.NamedTuple):
    """Where the command's stdin comes from: a staged file, what came with the request, both in this order, or neither."""

    staged: bool = False
    inline: bool = False
    packed: bool = False

    def script(self) -> str:
        """A pipeline that prints it."""
        if self.staged:
            read = 'cat "$j.i" -' if self.inline else 'cat "$j.i"'
            return f"{read} | gzip -dc" if self.packed else read
        if self.inline:
            return "gzip -dc" if self.packed else "cat"
        return ":"

    @property
    def redirection(self) -> str | None:
        """The same without a program, where that can be."""
        if self.packed or (self.staged and self.inline):
            return None
        if self.staged:
            return '<"$j.i"'
        return "" if self.inline else "</dev/null"


def surround(nonce: str, command: Command, source: Input) -> str:
    """Runs the command as its user would after a login, and reports."""
    there = f"{spool.arrived(nonce) if source.staged else ''}{_HAS_GZIP if source.packed else ''}"
    return f"""{_prepare(nonce, command)}
{spool.keep()}{there}printf '{nonce} started %s\\n' "$u" >&2
{_run(command, source)}
{spool.kept()}[ "$r" != 127 ] || [ ! -e "$t.x" ] || refuse program
{_REPORT.replace("{nonce}", nonce)}{_SIZE}{_TIDY}"""


def collect(nonce: str) -> str:
    """What ``surround`` prints in the end, of a command that has taken the shell with it."""
    return f"""refuse() {{ :; }}
{_TOOLS}{spool.find(nonce)}[ -n "$t" ] || exit 0
{spool.look_for_space()}[ -s "$t.o" ] && head -c {INLINE_OUTPUT} "$t.o"
read -r w x </proc/uptime
printf '{nonce} collected %s %s %s\\n' "$t" "$w" "$f" >&2
[ -s "$t.e" ] && head -c {INLINE_OUTPUT} "$t.e" >&2
exec 3>&- 9>&-
{_SIZE}k={_TIDY}"""


def await_end(process: int, nonce: str, age: int) -> str:
    """Waits for the end of a command that the agent knows nothing of any more, or has yet to begin, and prints what ``surround``
    does. It changes nothing, so that it may be asked for as often as its own answer gets lost.

    :param process: 0 where that is not known
    :param age: how many seconds ago the command was started
    """
    gone = f" || ! kill -0 {process} 2>/dev/null" if process else ""
    # Of its files that with the process is the last to be made.
    begun = f'c=0; until [ -s "$t.r" ] || [ $c = {_BEGINS_WITHIN} ]{gone}; do c=$((c+1)); sleep 1; look; done\n'
    return f"""{spool.find(nonce)}{begun}{_group(process, age)}{_UNTIL_ENDED}
lost() {{ printf '{nonce} lost\\n' >&2; exit 0; }}
[ "$y" = ended ] || lost
[ ! -s "$t.o" ] || head -c {INLINE_OUTPUT} "$t.o"
[ -e "$t.r" ] || lost
printf '{nonce} ended %s %s %s %s %s 1\\n' "$r" "$t" "$u" "$w" "$f" >&2
[ ! -s "$t.e" ] || head -c {INLINE_OUTPUT} "$t.e" >&2
[ -e "$t.r" ] || lost
"""


def _prepare(nonce: str, command: Command) -> str:
    return "".join(
        (
            f"trap '' PIPE; read -r u x </proc/uptime; U={shlex.quote(command.user)} PATH={TOOLS_PATH} j=\n{LEAVE_AGENT}",
            f"refuse() {{ {spool.remove(nonce, _FILES)}; printf '{nonce} refused %s\\n' \"$*\" >&2; exit 0; }}",
            _TOOLS,
            spool.claim(nonce),
            login.ACCOUNT,
            f"set -- {' '.join(shlex.quote(word) for word in command.argv)}\n",
            f"D={shlex.quote(command.chdir)}\n{login.CHDIR}" if command.chdir else "",
            login.SWITCH,
        )
    )


def _run(command: Command, source: Input) -> str:
    answer = command.answer
    exact = command.tells_signals and answer is None
    check = _check(command) if exact else ""
    output = ">&4 2>&5 3>&- 4>&- 5>&- 6>&- 9>&-"
    child = f'trap - PIPE; {login.ENVIRONMENT}{check}{_exports(command)}exec "$@"'
    if exact and source.redirection is not None:
        return _RUN_AND_TELL.format(child=f"exec {source.redirection} {output}; {child}")
    if answer is not None:
        words = f"P={shlex.quote(answer.prompt)} A={shlex.quote(answer.password)} W={shlex.quote(answer.success)}"
        feed = f"feed() {{ {source.script()}; }} 2>/dev/null"
        return f'{words}\n{feed}\n{_ANSWER}answer | {{ ( {child} ) {output}; r=$?; set -C; : >"$t.d"; exit $r; }}; r=$?'
    if source.redirection is None:
        return f"{{ {source.script()}; }} 2>/dev/null | ( {child} ) {output}; r=$?"
    return f"( {child} ) {source.redirection} {output}; r=$?"


def _check(command: Command) -> str:
    path = f"PATH={shlex.quote(command.env['PATH'])}" if "PATH" in command.env else ""
    return path + _IS_THERE.format(program=shlex.quote(command.argv[0]))


def _exports(command: Command) -> str:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in command.env.items())
    return f"umask {command.umask or '$m'}; unset OLDPWD\n{exports}"


def kill(process_group: int, nonce: str, age: int = 0) -> str:
    """Ends a command with all that it started in its session, and removes its files.

    :param age: how many seconds ago it was started. In a guest with a shorter uptime its number belongs to another process.
    """
    return f"{spool.find(nonce)}{_group(process_group, age)}{processes.end()}{clean_up(nonce)}"


def discard(nonce: str) -> str:
    """Removes input that was staged and not used. Without a reply the command may have just begun."""
    whole = 'c=0; until [ -n "$j" ] || [ $c = 20 ]; do c=$((c+1)); sleep 0.1; look; done\n'
    return f"{spool.find(nonce)}{whole}{spool.remove(nonce, spool.INPUT)}"


def sizes(nonce: str) -> str:
    """Prints how long the output is that was left since it is long. A file that is empty is being removed just then."""
    each = 'for f in "$t.o" "$t.e"; do { wc -c <"$f"; } 2>/dev/null || echo 0; done'
    return f"refuse() {{ :; }}\n{_TOOLS}{spool.find(nonce)}{each}"


def clean_up(nonce: str) -> str:
    """Removes it, and what else was kept."""
    return spool.remove(nonce, _FILES)


def _group(process: int, age: int) -> str:
    """The process of the shell around the command, or none in a guest that was started anew. Its own file knows; where that has
    nothing, since the disk was full, the guest's uptime tells, which stands still while the domain is paused.
    """
    return f"""y= v=; read -r v 2>/dev/null <{spool.BOOT}; read -r y G b x 2>/dev/null <"$t.r"
case $y in
  began) [ "$b" = "$v" ] || G= ;;
  ended) G= ;;
  *) G={process or ""}; read -r u r 2>/dev/null </proc/uptime && [ "${{u%%.*}}" -lt {age} ] && G= ;;
esac
"""
