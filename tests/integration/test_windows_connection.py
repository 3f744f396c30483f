# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection plugin for Windows over real qemu-ga.exe of two versions, under Wine. There is no PowerShell.

In its place is a real program of Windows that says what it was given (tests/lab/images/windows/powershell.c). So the way to
PowerShell and back is seen: quoting, cmd.exe, input, output, exit codes, files. What PowerShell does with it is not. Wine's own
powershell.exe, which ends with 0 and does nothing, is never taken for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

from tests.integration.ansible_cli import Ansible, write_inventory
from tests.integration.core_matrix import CORES, bin_dir
from tests.integration.guests_by_agent import Plays, variables as by_libvirt
from tests.lab import Guest, Lab
from tests.lab.guest import QUIET
from tests.lab.windows_agent import VERSIONS, WindowsAgent, windows_lab

NAME = "virtops.guest_agent.windows"
MIB = 1024 * 1024
#: As ansible-core has it, but for the text, which is "AB" again and again: as long as the longest of core's.
MODULE = f"PowerShell -NoProfile -NonInteractive -ExecutionPolicy Unrestricted -EncodedCommand {'QQBCAEEA' * 540}"
full = pytest.mark.full


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WindowsAgent]]:
    with windows_lab(tmp_path_factory.mktemp("win")) as running:
        for agent in running.values():
            agent.place_powershell()
        yield running


@pytest.fixture(params=VERSIONS)
def agent(request: pytest.FixtureRequest, agents: dict[str, WindowsAgent]) -> WindowsAgent:
    return agents[request.param]


def variables(agent: WindowsAgent, **more: Any) -> dict[str, Any]:
    return {
        "ansible_connection": NAME,
        "ansible_guest_agent_domain": "win",
        "ansible_guest_agent_transport": "unix",
        "ansible_guest_agent_socket": str(agent.socket),
        "ansible_guest_agent_timeout": 60,
        **more,
    }


@pytest.fixture
def reached(agent: WindowsAgent) -> Iterator[Any]:
    """The plugin itself, for bytes that no task shows."""
    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader([])
    found = connection_loader.get(NAME, PlayContext(), os.devnull)
    found.set_options(var_options=variables(agent))
    yield found
    found.close()


def left(agent: WindowsAgent) -> list[str]:
    return sorted(path.name for path in agent.drive.rglob("*virtops-*"))


def report(stdout: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(stdout)["stand_in"]
    return told


@full
def test_what_powershell_is_given(agent: WindowsAgent, reached: Any) -> None:
    before = left(agent)
    for size in (0, 1, MIB):
        given = os.urandom(size)
        rc, stdout, stderr = reached.exec_command(MODULE, in_data=given)
        told = report(stdout)
        assert (rc, stderr, told["size"], told["sha256"]) == (0, b"", size, hashlib.sha256(given).hexdigest())
        assert [word.lower() for word in told["argv"][:1]] == ["powershell.exe"]
        assert told["argv"][1:] == MODULE.split()[1:]
        assert told["script"] == "ABA" * 540
        assert told["cwd"].lower() == agent.directory.lower()
        assert told["temp"].lower().startswith("c:\\")
    assert left(agent) == before


@full
def test_a_text_for_powershell(reached: Any) -> None:
    text = "Write-Output 'zürich € 🙂' % ! & ^ | > \"x\"\n\n  next # line"
    told = report(reached.exec_command(text)[1])
    assert f"\n{text}\n" in told["script"]
    with pytest.raises(AnsibleError, match="8000 characters"):
        reached.exec_command("x" * 3000)


@full
def test_what_comes_back(reached: Any) -> None:
    for number, rc in (("3", 3), ("70000", 70000), ("0xC0000005", 0xC0000005), ("4294967295", 0xFFFFFFFF)):
        assert reached.exec_command(f"STAND-IN exit {number}") == (rc, b"", b"")
    assert reached.exec_command("STAND-IN utf8") == (0, "zürich €\r\nb\n".encode(), b"")
    assert reached.exec_command("STAND-IN utf16")[1] == "\ufeffzürich €\r\n".encode("utf-16-le")
    assert reached.exec_command("STAND-IN error") == (1, b"", "zürich <1>\r\n".encode())
    rc, stdout, _stderr = reached.exec_command(f"STAND-IN fill {20 * MIB}")
    assert (rc, len(stdout), set(stdout)) == (0, 20 * MIB, {ord("x")})


@full
def test_a_kept_module_is_piped_by_cmd(agent: WindowsAgent, reached: Any) -> None:
    content = b"\xef\xbb\xbf{}\r\nz\xc3\xbc\n" * 1000
    (agent.drive / "kept module.ps1").write_bytes(content)
    told = report(reached.exec_command(f'type "C:\\kept module.ps1" | {MODULE}')[1])
    assert (told["size"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@full
def test_files(agent: WindowsAgent, reached: Any, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(20 * MIB))
    for path in (r"C:\Program Files\lärge & (1).bin", "'C:/kept.bin'"):
        reached.put_file(str(tmp_path / "large"), path)
        reached.fetch_file(path, str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    with pytest.raises(AnsibleError, match="its directory does not exist"):
        reached.put_file(str(tmp_path / "large"), r"C:\no such directory\x")


@full
def test_what_takes_too_long_is_not_waited_for(reached: Any) -> None:
    """Wine's taskkill ends no children, so that they are killed, and that their files are removed then, is not seen."""
    reached.set_option("command_timeout", 3)
    started = time.monotonic()
    with pytest.raises(AnsibleError, match="did not end within 3 s, and was killed") as caught:
        reached.exec_command("STAND-IN sleep 40", in_data=b"x")
    assert not isinstance(caught.value, AnsibleConnectionFailure)
    assert time.monotonic() - started < 35
    reached.set_option("command_timeout", 60)
    assert reached.exec_command("STAND-IN exit 4")[0] == 4


@full
def test_a_command_outlives_its_agent(agent: WindowsAgent, reached: Any) -> None:
    before, already = agent.starts, set(outputs(agent))
    killer = threading.Thread(target=kill_when_begun, args=(agent, already))
    killer.start()
    rc = reached.exec_command("STAND-IN sleep 15")[0]
    killer.join()
    assert (agent.starts, rc) == (before + 1, 0)


def outputs(agent: WindowsAgent) -> list[Path]:
    """What runs has files in Temp."""
    return list((agent.drive / "windows" / "temp").glob("virtops-*.o"))


def kill_when_begun(agent: WindowsAgent, already: set[Path]) -> None:
    deadline = time.monotonic() + 120
    while not set(outputs(agent)) - already:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    agent.kill()


#: A module that is nothing but PowerShell's.
SCRIPT = """#!powershell
#AnsibleRequires -CSharpUtil Ansible.Basic
$module = [Ansible.Basic.AnsibleModule]::Create($args, @{options = @{word = @{type = 'str'}}})
$module.ExitJson()
"""


@full
@pytest.mark.parametrize("core", CORES)
def test_core_s_own_modules_and_raw(agent: WindowsAgent, core: str, tmp_path: Path) -> None:
    """ansible-core puts its wrapper and the module before PowerShell, whose answer it takes: here it is the stand-in's."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "shown.ps1").write_text(SCRIPT, encoding="utf-8")
    ansible = Ansible(tmp_path / "home", bin_dir(core, "a module on Windows"))
    plays = Plays(ansible, tmp_path, {"win": variables(agent)})
    word = "zürich & % ! 'x'"
    module, other, raw, failed, refused = plays.play(
        {"name": "module", "shown": {"word": word}},
        {"name": "become", "shown": {"word": word}, "become": True, "become_method": "runas", "become_user": "SYSTEM"},
        {"name": "raw", "ansible.builtin.raw": f"echo {word}"},
        {"name": "failed", "ansible.builtin.raw": "STAND-IN error", "ignore_errors": True},
        {"name": "sudo", "ansible.builtin.raw": "whoami", "become": True, "become_user": "x", "ignore_errors": True},
    )
    for told in (module["stand_in"], other["stand_in"]):
        assert "-EncodedCommand" in told["argv"]
        assert told["size"] > 10_000
    assert f"echo {word}" in report(raw["stdout"].encode())["script"]
    assert (failed["rc"], failed["stderr"]) == (1, "zürich <1>\r\n")
    assert "become" in refused["msg"]
    assert "\n" not in refused["msg"]


@full
@pytest.mark.parametrize("core", CORES)
def test_core_s_own_files(agent: WindowsAgent, core: str, tmp_path: Path) -> None:
    """Paths come quoted or not, by version; a kept module is read by cmd.exe, or by PowerShell itself."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "shown.ps1").write_text(SCRIPT, encoding="utf-8")
    script = tmp_path / "a script.ps1"
    script.write_bytes(b"\xef\xbb\xbfz\xc3\xbcrich\r\n" * 1000)
    ansible = Ansible(tmp_path / "home", bin_dir(core, "a file on Windows"))
    ansible.env["ANSIBLE_KEEP_REMOTE_FILES"] = "true"
    run, module = Plays(ansible, tmp_path, {"win": variables(agent)}).play(
        {"name": "script", "ansible.builtin.script": f"'{script}' one"},
        {"name": "module", "shown": {"word": "x"}},
    )
    made = list(agent.drive.glob("users/*/Temp/ansible-tmp-1*"))
    found = {path.name: path.read_bytes() for directory in made for path in directory.iterdir()}
    for directory in made:
        shutil.rmtree(directory)
    assert found.pop("a script.ps1") == script.read_bytes()
    assert report(run["stdout"].encode())["size"] > 1000
    ((name, kept),) = found.items()
    assert name.endswith("shown.ps1")
    told = module["stand_in"]
    if core == "2.21":
        assert "-EncodedArguments" in told["argv"]
    else:
        # Wine's type loses the rest of a block after a NUL, and core has some between the parts, also over WinRM.
        assert len(kept) - 1024 < told["size"] <= len(kept)


@pytest.fixture
def domain(lab: Lab, agent: WindowsAgent) -> Iterator[str]:
    """A domain of which the Windows agent says that it is its guest."""
    (name,) = lab.start_all([Guest(name=f"it-wincon-{agent.version.replace('.', '-')}", agent="relay", kernel=QUIET)])
    with agent.joined(lab.relay(name)):
        yield name
    lab.destroy(name)


@full
def test_the_inventory_wires_it_where_the_user_asks(lab: Lab, ansible: Ansible, domain: str, options_file: Path) -> None:
    options = {"uri": [lab.uri], "include": ["starts_with(libvirt.name, 'it-wincon-')"]}
    connections = {}
    for choice in ("psrp", "agent"):
        write_inventory(options_file, **options, windows_connection=choice)
        connections[choice] = ansible.inventory(options_file)["_meta"]["hostvars"][domain].get("ansible_connection")
    assert connections == {"psrp": None, "agent": NAME}
    words = ["ansible", domain, "-i", str(options_file), "-m", "ansible.builtin.raw", "-a", "echo hello"]
    told = ansible.result(ansible.run(*words, "-e", "ansible_guest_agent_timeout=60", **Ansible.TELLING))
    assert "\necho hello\n" in report(told["stdout"].encode())["script"]


def test_a_linux_guest_is_refused_in_one_sentence(lab: Lab, ansible: Ansible, a_tiny: str, tmp_path: Path) -> None:
    host = {**by_libvirt(lab, a_tiny), "ansible_connection": NAME}
    (said,) = Plays(ansible, tmp_path, {a_tiny: host}).play(
        {"name": "raw", "ansible.builtin.raw": "echo hello", "ignore_unreachable": True}
    )
    assert said["unreachable"]
    assert "the guest is not Windows" in said["msg"]
    assert "use the connection virtops.guest_agent.agent" in said["msg"]
    assert "\n" not in said["msg"]
