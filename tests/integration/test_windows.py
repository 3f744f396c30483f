# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Windows guests: real qemu-ga.exe of two versions under Wine, over a unix socket, and as the agent of a domain.

What Wine does in the place of Windows proves nothing, and is not asserted: PowerShell (which does nothing there), words of Win32,
code pages, interfaces, volumes, a freeze (which a stub refuses) and users other than the stub's.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import ROOT, Ansible, write_inventory
from tests.integration.guests_by_agent import Plays, variables as by_libvirt
from tests.integration.module_table import KEY
from tests.lab import Guest, Lab
from tests.lab.guest import QUIET
from tests.lab.windows_agent import VERSIONS, WindowsAgent, windows_lab

pytestmark = pytest.mark.full

MIB = 1024 * 1024
#: What a shell or cmd.exe would make something else of, or lose. No %NAME% of a variable that there is: Wine's cmd.exe, unlike that
#: of Windows, looks for those once more in the value of another one.
AWKWARD = [
    *("plain", "", " ", "a b", "  two  ", "tab\there", '"', '""', 'say "hi"', "'single'", "it's", "back\\slash", "end\\", "end \\"),
    *(
        '\\"',
        '\\\\"b c',
        'a\\\\"b',
        "C:\\Program Files\\x\\",
        "\\\\server\\share",
        "%NOPE%",
        "%",
        "100%",
        "^",
        "a^b",
        "&",
        "a&b",
        "|",
        "<",
        ">",
        ">x",
    ),
    *(
        "(x)",
        "!",
        "!PATH!",
        "!VIRTOPS!",
        "*.txt",
        "?",
        "-",
        "/c",
        "--=x",
        ";",
        ",",
        "=",
        "@",
        "`",
        "$HOME",
        "${x}",
        "zürich €",
        "日本語",
        "🙂",
    ),
    *("{[]}", "~", "#", "a" * 500, ""),
]
#: A BOM of UTF-16, two kinds of line ends, and the character that ends a text in DOS.
UTF16 = "\ufeffzürich\r\nb\n\x1a€\r\n".encode("utf-16-le")


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WindowsAgent]]:
    with windows_lab(tmp_path_factory.mktemp("win")) as running:
        yield running


@pytest.fixture(params=VERSIONS)
def agent(request: pytest.FixtureRequest, agents: dict[str, WindowsAgent]) -> WindowsAgent:
    return agents[request.param]


def variables(agent: WindowsAgent) -> dict[str, Any]:
    return {
        "ansible_guest_agent_domain": "win",
        "ansible_guest_agent_transport": "unix",
        "ansible_guest_agent_socket": str(agent.socket),
        "ansible_guest_agent_timeout": 60,
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.9",
        "probe": rf"{agent.directory}\probe.exe",
    }


@pytest.fixture
def play(agent: WindowsAgent, ansible: Ansible, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Modules of this collection, each with its arguments, as tasks of one play on the guest."""
    plays = Plays(ansible, tmp_path, {"win": variables(agent)})

    def play_them(*tasks: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        named = [
            {"name": f"{module} {args}"[:60], f"virtops.guest_agent.{module}": args, "ignore_errors": True}
            for module, args in tasks
        ]
        return plays.play(*named)

    return play_them


Play = Callable[..., list[dict[str, Any]]]


def texts(result: dict[str, Any]) -> list[str]:
    """What the probe was given."""
    return str(result["stdout"]).split("\0")[:-1]


def test_awkward_arguments_arrive_as_given(play: Play) -> None:
    assert len(set(AWKWARD)) >= 40
    (result,) = play(("run_command", {"argv": ["{{ probe }}", "args", *AWKWARD]}))
    assert (result.get("failed", False), result.get("rc"), result.get("stderr")) == (False, 0, "")
    assert texts(result) == AWKWARD


def test_exit_codes_streams_and_input(play: Play) -> None:
    both, high, crash, cat, env, cwd, missing, nowhere = play(
        ("run_command", {"argv": ["{{ probe }}", "both", "3"]}),
        ("run_command", {"argv": ["{{ probe }}", "exit", "70000"]}),
        ("run_command", {"argv": ["{{ probe }}", "exit", "0xC0000005"]}),
        ("run_command", {"argv": ["{{ probe }}", "cat"], "stdin": "a€" * 100_000, "stdin_add_newline": False}),
        ("run_command", {"argv": ["{{ probe }}", "env", "NEW"], "env": {"NEW": 'ü " % ! & ^'}}),
        ("run_command", {"argv": ["{{ probe }}", "cwd"], "chdir": "C:/Program Files"}),
        ("run_command", {"argv": ["no-such-program"]}),
        ("run_command", {"argv": ["{{ probe }}"], "chdir": r"C:\no such directory"}),
    )
    assert (both["rc"], both["stdout"], both["stderr"], both["failure"]["kind"]) == (3, "out", "err", "nonzero_rc")
    assert (high["rc"], crash["rc"], crash["signal"]) == (70000, 0xC0000005, None)
    assert cat["stdout"] == "a€" * 100_000
    assert texts(env) == ['ü " % ! & ^']
    assert [path.lower() for path in texts(cwd)] == [r"c:\program files"]
    assert "the guest has no such program" in missing["msg"]
    assert "the directory to run in does not exist" in nowhere["msg"]


def test_output_of_any_size(play: Play) -> None:
    (result,) = play(("run_command", {"argv": ["{{ probe }}", "fill", str(20 * MIB)]}))
    assert (result["rc"], len(result["stdout"]), set(result["stdout"])) == (0, 20 * MIB, {"x"})


def test_what_takes_too_long_is_not_waited_for(play: Play) -> None:
    """Wine's taskkill ends no children, so that they are killed is not seen."""
    slow, after = play(
        ("run_command", {"argv": ["{{ probe }}", "sleep", "30"], "timeout": 3}),
        ("run_command", {"argv": ["{{ probe }}", "both", "0"]}),
    )
    assert slow["failure"]["kind"] == "command_timeout"
    assert after["stdout"] == "out"


def test_a_command_outlives_its_agent(play: Play, agent: WindowsAgent) -> None:
    """Its end is read from a file, by an agent that knows nothing of it."""
    before = agent.starts
    killer = threading.Thread(target=kill_when_begun, args=(agent,))
    killer.start()
    (result,) = play(("run_command", {"argv": ["{{ probe }}", "sleep", "20"], "timeout": 200}))
    killer.join()
    assert agent.starts == before + 1
    assert (result.get("failed", False), result["rc"]) == (False, 0)


def kill_when_begun(agent: WindowsAgent) -> None:
    """What runs has files in Temp."""
    deadline = time.monotonic() + 120
    while not list((agent._wine.prefix / "drive_c" / "windows" / "temp").glob("virtops-*.o")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    agent.kill()


def test_texts_for_cmd(play: Play) -> None:
    """The exit code and the words of a text are cmd.exe's own matter, and Wine's is another one: it is seen to get it."""
    plain, quotes, lines, posix, words = play(
        ("run_command", {"shell": "echo out& exit 3"}),
        ("run_command", {"shell": 'echo "a b"&& exit 4'}),
        ("run_command", {"shell": "echo a\necho b"}),
        ("run_command", {"shell": "true", "executable": "/bin/sh"}),
        ("run_command", {"argv": ["cmd.exe", "/c", "exit", "6"]}),
    )
    assert words["rc"] == 6
    assert (plain["rc"], plain["stdout"]) == (3, "out")
    assert (quotes["rc"], quotes["stdout"]) == (4, '"a b"')
    assert "no line breaks" in lines["msg"]
    assert "Windows has no shell /bin/sh" in posix["msg"]


def test_scripts(play: Play, agent: WindowsAgent, tmp_path: Path) -> None:
    batch, program = tmp_path / "x.bat", tmp_path / "probe.exe"
    batch.write_bytes(b"@echo off\r\necho [%~1]\r\nexit /b 5\r\n")
    program.write_bytes((agent._wine.prefix / "drive_c" / f"qga-{agent.version}" / "probe.exe").read_bytes())
    ran, run, unknown = play(
        ("run_script", {"script": str(batch), "args": ["a b"]}),
        ("run_script", {"script": str(program), "args": ["args", 'a "b"', ""]}),
        ("run_script", {"content": "#!/bin/sh\n"}),
    )
    assert (ran["rc"], ran["stdout"]) == (5, "[a b]")
    assert texts(run) == ['a "b"', ""]
    assert "Windows does not know how to run this script" in unknown["msg"]


def test_files_of_20_mib_there_and_back(play: Play, tmp_path: Path) -> None:
    content = os.urandom(20 * MIB)
    (tmp_path / "large").write_bytes(content)
    there, again, back = play(
        ("push_file", {"src": str(tmp_path / "large"), "dest": r"C:\Program Files\lärge & (1).bin"}),
        ("push_file", {"src": str(tmp_path / "large"), "dest": r"C:\Program Files\lärge & (1).bin"}),
        ("pull_file", {"src": r"C:\Program Files\lärge & (1).bin", "dest": str(tmp_path / "back")}),
    )
    digest = hashlib.sha256(content).hexdigest()
    assert (there["changed"], again["changed"]) == (True, False), (there, again)
    assert there["sha256"] == back["sha256"] == digest == hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest()


def test_a_file_is_not_touched_on_its_way(play: Play, tmp_path: Path) -> None:
    (tmp_path / "bom.txt").write_bytes(UTF16)
    there, back, replaced, kept, mode, nowhere, missing = play(
        ("push_file", {"src": str(tmp_path / "bom.txt"), "dest": "C:/"}),
        ("pull_file", {"src": r"c:\BOM.TXT", "dest": str(tmp_path / "back")}),
        ("push_file", {"content": "new\r\n", "dest": r"C:\bom.txt", "backup": True}),
        ("pull_file", {"src": r"C:\bom.txt", "dest": str(tmp_path / "new")}),
        ("push_file", {"content": "x", "dest": r"C:\bom.txt", "mode": "0600"}),
        ("push_file", {"content": "x", "dest": r"C:\no such directory\x"}),
        ("pull_file", {"src": r"C:\none", "dest": str(tmp_path / "none")}),
    )
    assert (there["dest"], back["size"]) == (r"C:/bom.txt", len(UTF16))
    assert (tmp_path / "back").read_bytes() == UTF16
    assert replaced["backup_file"].startswith(r"C:\bom.txt.")
    assert (tmp_path / "new").read_bytes() == b"new\r\n"
    assert "Windows has no mode" in mode["msg"]
    assert "its directory does not exist" in nowhere["msg"]
    assert "the file does not exist" in missing["msg"]
    assert kept["changed"]


def test_what_makes_a_command_needless(play: Play) -> None:
    args = {"argv": ["{{ probe }}", "both", "0"], "chdir": "C:/"}
    made, *looked = play(
        ("push_file", {"content": "x", "dest": r"C:\there it is.txt"}),
        *[
            ("run_command", {**args, option: pattern})
            for option in ("creates", "removes")
            for pattern in ("there it is.txt", "there*", "none", "C:/Program Files")
        ],
    )
    assert not made.get("failed")
    assert [result["changed"] for result in looked] == [False, False, True, False, True, True, False, True]


def left(agent: WindowsAgent) -> list[str]:
    return sorted(path.name for path in (agent._wine.prefix / "drive_c").rglob("*virtops-*"))


def test_nothing_is_left_in_the_guest(play: Play, agent: WindowsAgent) -> None:
    """But for what Wine's taskkill did not end, and wrote later."""
    before = left(agent)
    play(
        ("run_command", {"argv": ["{{ probe }}", "both", "3"], "stdin": "x"}),
        ("run_script", {"content": "exit 1", "executable": "cmd.exe"}),
    )
    assert left(agent) == before


#: Module, arguments, and what it says where it says no; "" where it works. By version where they differ.
TABLE: list[tuple[str, dict[str, Any], str | dict[str, str]]] = [
    ("agent_info", {}, ""),
    ("agent_command", {"command": "guest-get-host-name"}, ""),
    ("guest_facts", {}, ""),
    ("guest_info", {"gather_subset": ["os", "hostname", "interfaces", "filesystems", "timezone", "users", "vcpus"]}, ""),
    ("guest_time", {"source": "none"}, ""),
    ("guest_vcpus", {}, ""),
    ("guest_memory_blocks", {}, "on Windows"),
    ("fstrim", {}, ""),
    ("fsfreeze", {"state": "thawed"}, ""),
    ("fsfreeze", {"state": "frozen"}, "failed to create VSS backup components"),
    ("snapshot", {"name": "table", "quiesce": "required"}, "failed to create VSS backup components"),
    ("user_password", {"user": "tester", "password": "Passw0rd!"}, ""),
    ("user_password", {"user": "nobody-here", "password": "Passw0rd!"}, "failed to set password"),
    ("user_password", {"user": "tester", "password_hash": "!"}, "Windows has no passwords that can be set by their hash"),
    ("authorized_keys", {"user": "none", "keys": [KEY]}, {"7.2": "has no guest-ssh-", "10.0": "the guest has no user 'none'"}),
    ("ssh_host_keys_info", {"hosts": ["win1"]}, "no SSH host keys in C:"),
    ("guest_session", {"state": "locked", "user": "tester"}, "Windows has no systemd-logind"),
    ("run_command", {"argv": ["{{ probe }}", "args", "a b", ""]}, ""),
    ("run_command", {"argv": ["{{ probe }}"], "user": "tester"}, "the agent's own user"),
    ("run_script", {"content": "exit 0", "executable": "cmd.exe"}, ""),
    ("push_file", {"content": "x", "dest": r"C:\table.txt"}, ""),
    ("pull_file", {"src": r"C:\table.txt", "dest": "{{ place }}/table.txt"}, ""),
    ("wait_for_guest", {"command": [r"{{ probe }}", "both", "0"]}, ""),
    ("wait_for_guest", {"cloud_init": True}, "Windows has no cloud-init"),
    ("suspend", {"state": "suspended", "mode": "hybrid"}, "guest-suspend-hybrid"),
    ("agent_channel", {"channel_name": "org.virtops.guest_agent.0", "state": "absent"}, ""),
    ("start", {}, ""),
    ("restart", {"mode": "agent", "wait": False}, ""),
    ("shutdown", {"mode": "agent", "wait": False}, ""),
]


@pytest.fixture
def domain(lab: Lab, agent: WindowsAgent) -> Iterator[str]:
    """A domain of which the Windows agent says that it is its guest; what is behind the port is a Linux, which says nothing."""
    (name,) = lab.start_all([Guest(name=f"it-windows-{agent.version.replace('.', '-')}", agent="relay", kernel=QUIET)])
    with agent.joined(lab.relay(name)):
        yield name
    lab.destroy(name)


def test_the_table_has_every_module() -> None:
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    # Backups take a target of their own, and freeze as snapshots do; these are libvirt's.
    assert {name for name, _args, _said in TABLE} == modules - {"backup", "snapshot_info"}


def test_every_module_works_or_says_no(lab: Lab, ansible: Ansible, agent: WindowsAgent, domain: str, tmp_path: Path) -> None:
    host = {**by_libvirt(lab, domain, timeout=60), "probe": rf"{agent.directory}\probe.exe", "place": str(tmp_path)}
    plays = Plays(ansible, tmp_path, {domain: host})
    named = [{"name": name, f"virtops.guest_agent.{name}": args, "ignore_errors": True} for name, args, _said in TABLE]
    wrong = []
    for (name, args, said), result in zip(TABLE, plays.play(*named, timeout=900)):
        expected = said if isinstance(said, str) else said[agent.version]
        message = str(result.get("msg", ""))
        good = (
            bool(result.get("failed")) is bool(expected)
            and expected in message
            and "\n" not in message
            and "Traceback" not in message
        )
        if not good:
            wrong.append(f"{name} {args} should say {expected or 'nothing'}: {result}")
    assert not wrong, "\n\n".join(wrong)


def test_the_inventory_does_not_take_it_for_a_posix_guest(lab: Lab, ansible: Ansible, domain: str, options_file: Path) -> None:
    write_inventory(options_file, uri=[lab.uri], include=["starts_with(libvirt.name, 'it-windows-')"])
    host = ansible.inventory(options_file)["_meta"]["hostvars"][domain]
    assert (host["guest_os"]["id"], host["guest_agent"]["status"]) == ("mswindows", "connected")
    assert "ansible_connection" not in host
    (said,) = Plays(ansible, options_file.parent, {domain: by_libvirt(lab, domain, timeout=60)}).play(
        {"name": "raw", "ansible.builtin.raw": "echo hello", "ignore_unreachable": True}
    )
    assert "Windows has no POSIX shell" in said["msg"]
