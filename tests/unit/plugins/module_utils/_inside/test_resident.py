# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command ends the same, whether the resident runs it or a shell that starts from nothing. With a real agent on this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.client import GuestAgent
from ansible_collections.virtops.guest_agent.plugins.module_utils._agent.transport import UnixSocketTransport
from ansible_collections.virtops.guest_agent.plugins.module_utils._deadline import Deadline
from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import (
    AgentDisappeared,
    AgentTimeout,
    CommandFailed,
    CommandTimeout,
)
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside import (
    exec as _exec,
    resident,
    resident_task,
    shell,
)
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.resident_link import PipesLink
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.resident_program import wire
from ansible_collections.virtops.guest_agent.plugins.module_utils._inside.shell import Answer, Command
from ansible_collections.virtops.guest_agent.tests.unit.real_agent import Watched, listening, wait_until, watched

pytest_plugins = ("ansible_collections.virtops.guest_agent.tests.unit.real_agent",)

PYTHON = "/usr/bin/python3"
#: No machine is so busy that one of these takes it.
PATIENCE = 60.0


class Warm(t.NamedTuple):
    agent: GuestAgent
    resident: resident.Resident
    directory: str

    def run(self, command: Command, seconds: float = PATIENCE) -> resident_task.Outcome:
        return resident_task.run(self.resident, self.agent, command, Deadline(seconds), PATIENCE)


@contextlib.contextmanager
def started(agent: GuestAgent, idle: int = 60) -> t.Iterator[Warm]:
    directory = f"/run/virtops-{secrets.token_hex(16)}"
    pid = resident.start(agent, PYTHON, directory, "", idle)
    ended = _exec.wait(agent, pid, Deadline(PATIENCE))
    assert ended == _exec.ExecResult(0, None, b"", b"")
    found = resident.Resident(agent, lambda: PipesLink(agent, directory))
    try:
        yield Warm(agent, found, directory)
    finally:
        found.close()
        kill(directory)
        shutil.rmtree(directory, ignore_errors=True)


def kill(directory: str) -> None:
    for process in keepers(directory):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def keepers(directory: str) -> list[int]:
    """Those that hold the pipes open: the keeper, and its sessions."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                any(os.readlink(fd) == f"{directory}/in" for fd in (path / "fd").iterdir())
                and b"qemu-ga" not in (path / "cmdline").read_bytes()
            ):
                found.append(int(path.name))
    return found


@pytest.fixture(scope="module")
def warm(real_socket: Path) -> t.Iterator[Warm]:
    if not Path(PYTHON).exists():
        pytest.skip(f"SKIPPED OUT LOUD: the resident is not tried, for there is no {PYTHON} here")
    transport = UnixSocketTransport(str(real_socket), "here")
    with contextlib.closing(transport), started(GuestAgent(transport, 30)) as found:
        yield found


@pytest.fixture
def guest(real_socket: Path, tmp_path: Path) -> t.Iterator[Watched]:
    """Another one than that of ``warm``, which has one client at a time."""
    with listening(tmp_path) as path, watched(path) as transport:
        yield transport


def sh(script: str, **more: t.Any) -> Command:
    return Command(("/bin/sh", "-c", script), **more)


def py(script: str, **more: t.Any) -> Command:
    """A module as ansible-core sends it to an interpreter."""
    argv = ("/bin/sh", "-c", PYTHON)
    return Command(argv, stdin=script.encode(), tells_signals=False, script_of=(PYTHON, {}), **more)


def archive(files: t.Mapping[str, str]) -> str:
    """What a module of ansible-core has in its text: in base64, longer than other literals."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as written:
        for name, source in files.items():
            written.writestr(name, source)
        written.writestr("long", secrets.token_hex(2000))
    return base64.b64encode(packed.getvalue()).decode()


#: What is random or a process's own differs between any two runs, and is left out of what is printed.
CASES = {
    "nothing": sh(""),
    "words": sh("echo out; echo err >&2"),
    "exit code": sh("exit 3"),
    "exit code 255": sh("exit 255"),
    "exit code above 128": sh("exit 130"),
    "ended by KILL": sh("kill -KILL $$"),
    "ended by TERM": sh("kill -TERM $$"),
    "ended by PIPE": sh("kill -PIPE $$", tells_signals=False),
    "child ended by KILL": sh("sh -c 'kill -KILL $$'; echo $?"),
    "signal told as exit code": sh("kill -TERM $$", tells_signals=False),
    "environment": sh("env | grep -v ^_= | sort"),
    "environment of another": sh("env | grep -v ^_= | sort", user="nobody"),
    "environment added": sh('echo $A; echo "$B"', env={"A": "1", "B": "two words\nand a line"}),
    "environment replaced": sh("echo $HOME $LANG", env={"HOME": "/nowhere", "LANG": "xx"}),
    "path replaced": sh("command -v sh || echo none", env={"PATH": "/nowhere"}),
    "program by path": Command(("true",), env={"PATH": "/usr/bin:/bin"}),
    "program is missing": Command(("/nonexistent/program", "x")),
    "program not in path": Command(("no-such-program-anywhere",)),
    "program is a directory": Command(("/etc",)),
    "program of the directory": Command(("./x",), chdir="/var/empty-or-missing"),
    "missing and not told": Command(("/nonexistent",), tells_signals=False),
    "user": sh("id; echo $USER $LOGNAME $HOME $SHELL", user="nobody"),
    "user by number": sh("id; echo $USER", user="65534"),
    "user is missing": sh("id", user="no-such-user"),
    "groups": sh("id -G; id -g", user="daemon"),
    "umask": sh("umask"),
    "umask of another": sh("umask", user="nobody"),
    "umask asked for": sh("umask; touch /dev/null", umask="077"),
    "home": sh("pwd"),
    "home of another": sh("pwd", user="daemon"),
    "directory": sh("pwd; echo $PWD; echo ${OLDPWD-none}", chdir="/usr"),
    "directory of another": sh("pwd; echo ${OLDPWD-none}", chdir="/usr", user="nobody"),
    "directory is missing": sh("pwd", chdir="/nonexistent"),
    "directory is missing for another": sh("pwd", chdir="/nonexistent", user="nobody"),
    "directory is closed to another": sh("pwd", chdir="/root", user="nobody"),
    "no input": sh("cat; echo end"),
    "input": sh("cat", stdin=b"one\ntwo\0three"),
    "input of every byte": sh("cat", stdin=bytes(range(256)) * 20),
    "input that looks like a greeting": sh("cat", stdin=b"x\n\0virtops " + b"a" * 32 + b" 1\nR\0\0\0\2{}\0\1v\0v\0\1"),
    "input of a megabyte": sh("sha256sum", stdin=os.urandom(1024) * 1024),
    "input of 3 MiB that cannot be packed": sh("sha256sum", stdin=os.urandom(3 << 20)),
    "input of 20 MiB that can": sh("sha256sum", stdin=bytes(20 << 20)),
    "input of 3 MiB that nothing takes": sh("sleep 0.2; echo done", stdin=os.urandom(3 << 20)),
    "input of 3 MiB of which a part is read": sh("head -c 1000000 | wc -c", stdin=os.urandom(3 << 20)),
    "input that is not read": sh("exec 0<&-; echo done", stdin=b"x" * 300000),
    "input of which a part is read": sh("head -c 5", stdin=b"x" * 300000),
    "input for another": sh("id -un; cat", stdin=b"hello", user="nobody"),
    "input is no terminal": sh("[ -t 0 ] || echo no; [ -t 1 ] || echo no"),
    "output of every byte": sh('i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done'),
    "output of 100 KiB": sh("head -c 102400 /dev/zero | tr '\\0' x"),
    "output of 3 MiB": sh("head -c 3145728 /dev/zero | tr '\\0' x"),
    "errors of 1 MiB": sh("head -c 1048576 /dev/zero | tr '\\0' y >&2"),
    "both at once": sh("for i in 1 2 3 4 5 6 7 8 9; do head -c 50000 /dev/zero; head -c 50000 /dev/zero >&2; done"),
    "no newline": sh("printf x; printf y >&2"),
    "unicode": sh("echo 'ä€😀'; echo $X", env={"X": "ü"}),
    "background child with the output": sh("sleep 300 & echo $! >/dev/null; echo over"),
    "background child that prints later": sh("(sleep 300; echo late) & echo first"),
    "daemon": sh("setsid sleep 300 </dev/null >/dev/null 2>&1 & echo gone"),
    "no terminal": sh("set -- $(cat /proc/$$/stat); echo $7"),
    "signals are not ignored": sh("grep -E '^Sig(Ign|Blk)' /proc/self/status"),
    "open files": sh("ls /proc/self/fd | grep -v 255 | head -4"),
    "limits": sh("ulimit -a"),
    "niceness": sh("nice"),
    "arguments": Command(("/bin/echo", "a b", "", "*", "$HOME", "ü")),
    "module": py("print('{}')"),
    "module's exit code": py("import sys; sys.exit(7)"),
    "module's exit code is large": py("import sys; sys.exit(300)"),
    "module's words at exit": py("import sys; sys.exit('words')"),
    "module fails": py("def f():\n    return 1 / 0\nf()"),
    "module that is no Python": py("this is not ("),
    "module is ended by a signal": py("import os; os.kill(os.getpid(), 9)"),
    "module without a last newline": py("print(1)"),
    "main": py("import __main__ as m; print(sorted(m.__dict__), m.__name__, m.__doc__, m.__spec__, getattr(m, '__file__', 0))"),
    "argv": py("import sys; print(sys.argv, sys.executable, sys.path, sys.flags, sys.stdin.read() == '')"),
    "streams": py(
        "import sys; print([(s.name, s.encoding, s.errors, s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)])"
    ),
    "locale": py("import locale, sys; print(locale.getlocale(), locale.setlocale(0), sys.getfilesystemencoding())"),
    "other locale": py("import locale, sys; print(locale.setlocale(0), sys.stdout.encoding)", env={"LC_ALL": "C"}),
    "locale that is missing": py("import locale; print(locale.setlocale(0))", env={"LANG": "xx_YY.UTF-8"}),
    "time zone": py("import time; print(time.tzname)", env={"TZ": "Asia/Tokyo"}),
    "environment of a module": py("import os; print(sorted(os.environ.items()))"),
    "module of another": py("import os; print(os.getuid(), os.getresgid(), os.getgroups(), os.getcwd())", user="daemon"),
    "module's umask": py("import os; print(os.umask(0))", user="nobody"),
    "module prints bytes": py("import sys; sys.stdout.buffer.write(bytes(range(256))); print('x'); sys.stderr.write('y')"),
    "module prints 1 MiB": py("print('x' * 1048576)"),
    "at exit": py("import atexit; atexit.register(print, 'exit'); print('first')"),
    "thread that goes on": py("import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()"),
    "child of a module": py(
        "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True).stdout)"
    ),
    "module forks a daemon": py("import os, time\nif not os.fork():\n    os.setsid(); time.sleep(100)\nprint('parent')"),
    "variable for Python": py("import sys; print(sys.flags.dont_write_bytecode)", env={"PYTHONDONTWRITEBYTECODE": "1"}),
    "signals in a module": py(
        "import signal; print(signal.getsignal(2), signal.getsignal(13), signal.getsignal(15), signal.getsignal(17))"
    ),
    "what is imported": py("import sys; print('ansible' in sys.modules, 'simplejson' in sys.modules)"),
    "recursion": py("import sys; print(sys.getrecursionlimit(), sys.getswitchinterval())"),
}


#: What a shell around the command says of it: how it calls itself, and of what signal its child has died.
_OWN = re.compile(rb"^(/bin/sh: \d+: |Killed\n)", re.MULTILINE)


def told(run: t.Callable[[], t.Any]) -> tuple[object, ...]:
    try:
        result = run()
    except CommandFailed as error:
        return type(error), error.detail
    code = result.rc if isinstance(result, shell.Result) else result.code
    return code, result.signal, result.stdout, _OWN.sub(b"", result.stderr)


@pytest.mark.parametrize("case", CASES)
def test_a_command_ends_the_same_both_ways(warm: Warm, case: str) -> None:
    command = CASES[case]
    cold = told(lambda: shell.execute(warm.agent, command, PATIENCE))
    found = told(lambda: warm.run(command))
    if len(found) == 4 and not command.tells_signals:
        found = (found[0], None, *found[2:])
    assert found == cold


def test_a_command_that_takes_too_long_is_ended(warm: Warm) -> None:
    marker = f"virtops-{secrets.token_hex(8)}"
    with pytest.raises(CommandTimeout, match="was killed"):
        warm.run(sh(f"sleep 300 & sleep 300; echo {marker}"), 0.5)
    wait_until(lambda: not running(marker), PATIENCE, lambda: running(marker))
    assert warm.run(sh("echo goes on")).stdout == b"goes on\n"


def running(marker: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if marker.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_a_password_is_typed_once_and_the_input_follows(warm: Warm) -> None:
    asks = "printf 'Password: '; read -r p; [ \"$p\" = right ] || { echo wrong; exit 1; }; echo ACCEPTED; cat"
    good = warm.run(sh(asks, stdin=b"the input", answer=Answer("Password: ", "right", "ACCEPTED")))
    assert (good.code, good.stdout) == (0, b"Password: ACCEPTED\nthe input")
    bad = warm.run(sh(asks, stdin=b"the input", answer=Answer("Password: ", "other", "ACCEPTED")))
    assert (bad.code, bad.stdout) == (1, b"Password: wrong\n")


#: What a module does to the interpreter that it runs in, and what the next one sees of it.
TRACES = {
    "sys.path": ("sys.path.insert(0, '/planted')", "sys.path[0]"),
    "environment": ("os.environ['PLANTED'] = '1'", "os.environ.get('PLANTED')"),
    "directory": ("os.chdir('/usr')", "os.getcwd()"),
    "umask": ("os.umask(0o777)", "os.umask(0)"),
    "imported": ("import types; sys.modules['planted'] = types.ModuleType('planted')", "'planted' in sys.modules"),
    "signal": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal.getsignal(signal.SIGTERM)"),
    "patched": ("json.dumps = lambda *_: 'planted'", "json.dumps(1)"),
    "hook": ("sys.meta_path.insert(0, None)", "sys.meta_path[0] is None"),
    "limits": ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))", "__import__('resource').getrlimit(7)"),
    "locale": ("import locale; locale.setlocale(locale.LC_ALL, 'C')", "__import__('locale').setlocale(0)"),
}


@pytest.mark.parametrize("trace", TRACES)
def test_a_module_leaves_no_trace_for_the_next(warm: Warm, trace: str) -> None:
    does, sees = TRACES[trace]
    look = py(f"import sys, os, json, signal; print({sees})")
    before = warm.run(look)
    planted = warm.run(py(f"import sys, os, json, signal; {does}; print({sees})"))
    assert planted.stdout != before.stdout, "the test does not do what it says"
    assert warm.run(look) == before._replace(seconds=warm.run(look).seconds) or warm.run(look).stdout == before.stdout


def test_the_resident_is_used_by_the_next_connection(warm: Warm) -> None:
    warm.resident.close()
    before, _waiting = at_rest(warm)
    assert warm.run(sh("echo again")).stdout == b"again\n"
    warm.resident.close()
    assert at_rest(warm)[0] == before


def at_rest(warm: Warm) -> tuple[int, int]:
    """The processes that are left when all sessions have ended: the keeper, and the session that waits for the next task."""
    found: list[tuple[int, int]] = []

    def are_found() -> bool:
        there = keepers(warm.directory)
        found[:] = [(parent, child) for child in there for parent in there if _parent(child) == parent]
        return len(there) == 2 and len(found) == 1

    wait_until(are_found, PATIENCE, lambda: keepers(warm.directory))
    return found[0]


def _parent(process: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def test_the_next_session_is_there_before_it_is_needed(guest: Watched) -> None:
    with started(guest.agent(30)) as own:
        _keeper, waiting = at_rest(own)
        own.run(sh("true"))
        assert own.resident.session.partition(":")[0] == str(waiting)
        own.resident.close()
        assert at_rest(own)[1] != waiting


def test_a_session_that_was_killed_while_it_waited_has_another_for_it(guest: Watched) -> None:
    with started(guest.agent(30)) as own:
        before, waiting = at_rest(own)
        os.kill(waiting, signal.SIGKILL)
        assert own.run(sh("echo again")).stdout == b"again\n"
        own.resident.close()
        assert at_rest(own)[0] == before


def test_what_is_compiled_is_known_by_the_session_that_waits(warm: Warm) -> None:
    """Compiling ends when the next session is there already: then that is another one."""
    name = f"virtops_{secrets.token_hex(8)}"
    warm.run(py(f"zip_data = '{archive({'common.py': f'def {name}(): return 1'})}'"))
    warm.resident.close()
    wait_until(lambda: in_memory(at_rest(warm)[1], name.encode()), PATIENCE, lambda: "the session that waits does not know it")


def test_the_session_that_waits_ends_with_its_keeper(guest: Watched) -> None:
    with started(guest.agent(30)) as own:
        keeper, waiting = at_rest(own)
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{waiting}").exists(), PATIENCE, lambda: waiting)


def test_no_secret_stays_in_the_keepers_memory(warm: Warm) -> None:
    secret = secrets.token_hex(16)
    for command in (
        sh("cat >/dev/null", stdin=f"in {secret}".encode()),
        sh(f": {secret}", env={"SECRET": secret}),
        py(f"password = '{secret}'"),
        sh("printf q; read -r x", answer=Answer("", secret, "never")),
    ):
        warm.run(command)
    warm.resident.close()
    for _attempt in range(20):
        processes = at_rest(warm)
        # Where a session has just taken another's place, nothing is seen there.
        if all(in_memory(process, b"Waits for controllers") for process in processes):
            assert not any(in_memory(process, secret.encode()) for process in processes), "the secret is still there"
            if all(Path(f"/proc/{process}").exists() for process in processes):
                return
    raise AssertionError("the test sees no memory")


def in_memory(process: int, words: bytes) -> bool:
    """False where the process is gone too."""
    with (
        contextlib.suppress(FileNotFoundError, ProcessLookupError),
        open(f"/proc/{process}/maps", encoding="ascii") as maps,
        open(f"/proc/{process}/mem", "rb", 0) as memory,
    ):
        for line in maps:
            place, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            first, last = (int(number, 16) for number in place.split("-"))
            memory.seek(first)
            with contextlib.suppress(OSError):
                if words in memory.read(last - first):
                    return True
    return False


def test_a_resident_that_is_killed_while_a_command_runs_is_told(guest: Watched) -> None:
    marker = f"virtops-{secrets.token_hex(8)}"
    with started(guest.agent(30)) as own:
        own.run(sh("true"))

        def kill_it(_arguments: object, ask: t.Callable[[], t.Any]) -> t.Any:
            if running(marker):
                kill(own.directory)
            return ask()

        guest.faults["guest-file-read"] = [kill_it] * 2000
        with pytest.raises(AgentDisappeared, match="the resident was killed while the command ran"):
            own.run(sh(f": {marker}; sleep 300"))
        guest.faults.clear()
        wait_until(lambda: not running(marker), PATIENCE, lambda: running(marker))


@pytest.mark.parametrize("later", [0, 1], ids=["the same process", "another one of its number"])
def test_what_is_left_of_a_command_is_ended_and_nothing_else(warm: Warm, later: int) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as other:
        stat = Path(f"/proc/{other.pid}/stat").read_text()
        task = resident_task._Task(warm.resident, warm.agent, sh("true"), PATIENCE, None)
        task._process = f"{other.pid}:{int(stat.rpartition(')')[2].split()[19]) + later}"
        task._clean_up()
        assert (other.poll() is None) == bool(later)
        other.kill()


def test_what_a_killed_resident_had_begun_unheard_is_not_run_again(guest: Watched) -> None:
    """It is killed before a word of it was read: that it had answered is still in its pipe."""
    marker = f"virtops-{secrets.token_hex(8)}"
    with started(guest.agent(30)) as own:
        own.run(sh("true"))
        own.resident.close()
        guest.sent.clear()

        def silent(_arguments: object, ask: t.Callable[[], t.Any]) -> t.Any:
            wait_until(lambda: bool(running(marker)) or bool(looked()), PATIENCE, lambda: "it has not begun")
            kill(own.directory)
            nothing = "failed to read file: Resource temporarily unavailable"
            return ask() if looked() else {"error": {"class": "GenericError", "desc": nothing}}

        def looked() -> list[object]:
            return [args for command, args in guest.sent if command == "guest-file-open" and args["path"].startswith("/proc/")]

        guest.faults["guest-file-read"] = [silent] * 2000
        with pytest.raises(AgentDisappeared, match="was killed while the command ran"):
            own.run(sh(f": {marker}; sleep 300"))
        guest.faults.clear()
        subprocess.run(["pkill", "-KILL", "-f", marker], check=False)


def test_a_resident_that_is_gone_runs_nothing(guest: Watched) -> None:
    with started(guest.agent(30)) as own:
        own.run(sh("true"))
        own.resident.close()
        kill(own.directory)
        with pytest.raises(resident.Unavailable):
            own.run(sh("true"))


def test_what_a_killed_resident_left_the_next_one_removes(guest: Watched) -> None:
    with started(guest.agent(30)) as killed, started(guest.agent(30)) as going:
        killed.run(sh("true"))
        going.run(sh("true"))
        killed.resident.close()
        kill(killed.directory)
        assert os.path.isdir(killed.directory)
        with started(guest.agent(30)) as own:
            own.run(sh("true"))
            assert not os.path.exists(killed.directory)
            assert os.path.isdir(going.directory)
            assert going.run(sh("echo goes on")).stdout == b"goes on\n"


def test_another_process_of_the_same_number_is_not_the_one_that_ran_the_command(warm: Warm) -> None:
    """As after the guest's next boot."""
    warm.run(sh("true"))
    assert not warm.resident.gone()
    number, _sign, started = warm.resident.session.partition(":")
    warm.resident.session = f"{number}:{int(started) + 1}"
    assert warm.resident.gone()
    warm.resident.close()


def test_an_agent_that_was_silent_is_asked_again_whether_the_session_is_there(guest: Watched) -> None:
    with started(guest.agent(30)) as own:
        own.run(sh("true"))
        session = own.resident.session

        def silent(_arguments: object, _ask: object) -> t.Any:
            raise AgentTimeout("the agent did not answer in time", domain="guest")

        guest.faults["guest-file-open"] = [silent]
        assert not own.resident.gone()
        own.resident.session = f"{session}1"
        assert own.resident.gone()


def test_the_resident_ends_when_it_is_idle(guest: Watched) -> None:
    with started(guest.agent(30), idle=1) as own:
        own.run(sh("true"))
        own.resident.close()
        wait_until(lambda: not keepers(own.directory), PATIENCE, lambda: keepers(own.directory))
        wait_until(lambda: not os.path.exists(own.directory), PATIENCE, lambda: own.directory)


def test_a_command_of_a_controller_that_is_gone_ends(guest: Watched) -> None:
    marker = f"virtops-{secrets.token_hex(8)}"
    with started(guest.agent(30)) as own:
        task = resident_task._Task(own.resident, own.agent, sh(f": {marker}; sleep 300"), 1.0, None)
        own.resident.greet()
        task.begin()
        wait_until(lambda: bool(running(marker)), PATIENCE, lambda: "it has not begun")
        wait_until(lambda: not running(marker), PATIENCE, lambda: running(marker))


def test_what_was_begun_is_found_again_by_a_new_connection(guest: Watched, tmp_path: Path) -> None:
    """The agent is asked over another link in the middle: the command runs once, and all it prints arrives."""
    with started(guest.agent(30)) as own:
        own.run(sh("true"))

        def lose(_arguments: object, ask: t.Callable[[], t.Any]) -> t.Any:
            ask()
            return {"error": {"class": "GenericError", "desc": "Input/output error"}}

        guest.faults["guest-file-read"] = [None, lose, None, None, lose]
        outcome = own.run(sh(f"echo x >>{tmp_path}/runs; for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.1; done"))
        assert (outcome.code, outcome.stdout) == (0, b"1\n2\n3\n4\n5\n6\n7\n8\n9\n")
        assert (tmp_path / "runs").read_text() == "x\n"
        guest.faults.clear()


def test_input_goes_on_over_a_new_connection(guest: Watched) -> None:
    content = os.urandom(4 << 20)
    with started(guest.agent(30)) as own:
        own.run(sh("true"))
        lost: list[object] = []

        def lose(_arguments: object, ask: t.Callable[[], t.Any]) -> t.Any:
            lost.append(ask())
            return {"error": {"class": "GenericError", "desc": "Input/output error"}}

        guest.faults["guest-file-write"] = [None] * 9 + [lose] + [None] * 9 + [lose]
        outcome = own.run(sh("sha256sum", stdin=content))
        assert outcome.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
        assert len(lost) == 2
        guest.faults.clear()


def test_input_that_waits_is_bounded(warm: Warm) -> None:
    """The session of a command that reads nothing holds no more of its input than the window."""
    task = resident_task._Task(warm.resident, warm.agent, sh("sleep 300", stdin=os.urandom(8 << 20)), PATIENCE, None)
    warm.resident.reach()
    task.begin()
    for _look in range(50):
        task._look(Deadline(PATIENCE))
        time.sleep(0.01)
    sent = task._input._sent
    task.end()
    warm.resident.close()
    assert sent < 2 * wire.WINDOW


def test_sixty_modules_in_a_row_take_no_more_memory_than_ten(guest: Watched) -> None:
    """Each has 200 KiB of source of its own beside what all have: what is kept of it is a few times that, and has a limit."""

    def module(number: int) -> Command:
        common = "\n".join(f"def f{line}(): return {line}" for line in range(4000))
        literal = archive({"common.py": common, f"own{number % 10}.py": "VALUE = 1\n"})
        return py(f"zip_data = '{literal}'\nx = ['{secrets.token_hex(100_000)}'] * 3\nprint({number})")

    with started(guest.agent(30)) as own:
        for number in range(10):
            assert own.run(module(number)).stdout == b"%d\n" % number
        (keeper,) = {own.resident.keeper}
        process = int(keeper.partition(":")[0])
        before = memory(process)
        for number in range(10, 70):
            assert own.run(module(number)).stdout == b"%d\n" % number
            if number % 10 == 0:
                own.resident.close()
        assert own.resident.keeper == keeper
        assert memory(process) < before + (8 << 20)


def memory(process: int) -> int:
    """Bytes that it has of its own or shares."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10
