# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands as tasks: what run_command and run_script have in common."""

from __future__ import annotations

import base64
import datetime
import typing as t

from .._agent.client import GuestAgent
from .._errors import CommandTimeout, GuestAgentError, OutputCut, OutputTooLong
from .._inside import shell
from .._reach.advice import EXEC
from .._reach.guest import Guest, open_guest
from .._task import spec, values
from .._task.run import Outcome, Task

OPTIONS: t.Final[spec.Options] = {
    **spec.REACH,
    "executable": {"type": "str"},
    "stdin": {"type": "raw", "no_log": True},
    "stdin_add_newline": {"type": "bool", "default": True},
    "env": {"type": "dict", "no_log": True},
    "chdir": {"type": "str", "default": ""},
    "user": {"type": "str", "default": "root"},
    "umask": {"type": "raw"},
    "creates": {"type": "str"},
    "removes": {"type": "str"},
    "timeout": {"type": "int", "default": 3600},
    "patience": {"type": "int", "default": 600},
    "strip_empty_ends": {"type": "bool", "default": True},
}
#: Looking whether a file is there takes no longer, unless its file system hangs.
_LOOK_SECONDS: t.Final = 60.0
#: Prints which of the two patterns makes the command needless. Without IFS a pattern is expanded, and not split.
_NEEDLESS: t.Final = """IFS=
there() { for f in $1; do if [ -e "$f" ] || [ -L "$f" ]; then return 0; fi; done; return 1; }
if [ -n "$1" ] && there "$1"; then echo exists
elif [ -n "$2" ] && ! there "$2"; then echo missing
fi"""
_RAN: t.Final = {"run": True}
#: It has run, and what it printed is not to be had.
_ENDED: t.Final = (CommandTimeout, OutputCut, OutputTooLong)
_Ended = t.Union[CommandTimeout, OutputCut, OutputTooLong]

#: Makes the arguments of the command, and takes back what it did for that.
Preparation = t.Callable[[Guest], t.ContextManager[t.Sequence[str]]]


class NonzeroRc(GuestAgentError):
    """The command ran to its end, which was not a success."""

    kind = "nonzero_rc"
    default_hint = "see rc, stdout and stderr"


def perform(task: Task, shown: t.Sequence[str] | str, prepare: Preparation) -> Outcome:
    """Run what ``prepare`` gives, unless ``creates``, ``removes`` or check mode say no. ``shown`` is the command for the reader."""
    params = task.params
    command = _command(params)
    if task.check_mode and params["creates"] is None and params["removes"] is None:
        return Outcome({**_nothing(shown, "Command would have run if not in check mode"), "skipped": True})
    with open_guest(params, EXEC) as guest:
        reason = _needless(guest.agent, command, params["creates"], params["removes"])
        if reason:
            did = "Would" if task.check_mode else "Did"
            return Outcome({**_nothing(shown, f"{did} not run command since {reason}"), "stdout": f"skipped, since {reason}"})
        if task.check_mode:
            return Outcome(_nothing(shown, "Command would have run if not in check mode"), after=_RAN)
        with prepare(guest) as argv:
            started = datetime.datetime.now()
            ended: shell.Result | _Ended
            try:
                command, timeout = command._replace(argv=tuple(argv)), params["timeout"]
                ended = shell.execute(guest.agent, command, timeout, guest.lane, patience=params["patience"])
            except _ENDED as error:
                ended = error
            times = _times(started)
    return _outcome({"cmd": shown, **times}, ended, params["strip_empty_ends"], guest.agent.name)


def _command(params: t.Mapping[str, t.Any]) -> shell.Command:
    """The command without its arguments."""
    stdin = b"" if params["stdin"] is None else values.encoded(params["stdin"], "stdin")
    if stdin and params["stdin_add_newline"]:
        stdin += b"\n"
    env = {str(name): values.text(value, f"the value of {name} in env") for name, value in (params["env"] or {}).items()}
    umask = "" if params["umask"] is None else values.octal(params["umask"], "umask")
    return shell.Command((), stdin, env, params["chdir"], params["user"], umask)


def _needless(agent: GuestAgent, command: shell.Command, creates: str | None, removes: str | None) -> str:
    """Why the command needs not to be run; "" for no reason."""
    if not creates and not removes:
        return ""
    if agent.windows is not None:
        word = agent.windows.needless(creates or "", removes or "", command.chdir)
    else:
        look = command._replace(argv=("/bin/sh", "-c", _NEEDLESS, "sh", creates or "", removes or ""), stdin=b"", env={})
        word = shell.execute(agent, look, _LOOK_SECONDS).stdout.decode("ascii", "replace").strip()
    return {"exists": f"'{creates}' exists", "missing": f"'{removes}' does not exist"}.get(word, "")


def _nothing(shown: t.Sequence[str] | str, message: str) -> dict[str, t.Any]:
    nothing = {"rc": 0, "signal": None, "stdout": "", "stderr": "", "start": None, "end": None, "delta": None}
    return {"cmd": shown, **nothing, "msg": message}


def _times(started: datetime.datetime) -> dict[str, str]:
    ended = datetime.datetime.now()
    return {"start": str(started), "end": str(ended), "delta": str(ended - started)}


def _outcome(known: dict[str, t.Any], ended: shell.Result | _Ended, strip: bool, domain: str) -> Outcome:
    if not isinstance(ended, shell.Result):
        return Outcome(
            {**known, "rc": getattr(ended, "rc", None), "signal": None, "stdout": "", "stderr": ""}, after=_RAN, failure=ended
        )
    result = {**known, "rc": ended.rc, "signal": ended.signal}
    for name, data in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        printed = data.decode("utf-8", "replace")
        result[name] = printed.rstrip("\r\n") if strip else printed
        if printed.encode() != data:
            result[f"{name}_b64"] = base64.b64encode(data).decode("ascii")
    failure = None
    if ended.rc:
        how = f"was ended by signal {ended.signal}" if ended.signal else f"ended with exit code {ended.rc}"
        failure = NonzeroRc(f"the command {how}", domain=domain)
    return Outcome(result, after=_RAN, failure=failure)
