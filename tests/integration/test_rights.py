# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A libvirtd that lets an identity do only some things: libvirt's access control by polkit, and the read-only socket.

The identity is ``nobody``, as if it came over SSH. polkit's rules let it look at one domain and not at others; what it may not
do says so in one sentence, with the permission that libvirt asked polkit for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cli import Ansible, hostvars, write_inventory
from tests.integration.guests_by_agent import Plays, ok
from tests.integration.module_table import CASES, Case
from tests.lab import Guest, Lab
from tests.lab.access import AccessHypervisor, access_hypervisor

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="SKIPPED OUT LOUD: what libvirt's access control refuses is not tried, for that takes root"
)
IDENTITY = "nobody"
#: May also send agent commands, and change nothing else.
WRITER = "daemon"
SEEN, LISTED, SECRET, OFF = "it-seen", "it-listed", "it-secret", "it-off"
#: libvirt's own policy lets anybody look at domains, and change nothing. What is asked beyond that is written down.
RULES = f"""
polkit.addRule(function (action, subject) {{
    var place = "org.libvirt.api.", domain = action.lookup("domain_name");
    if (action.id.indexOf(place) != 0) {{ return polkit.Result.NOT_HANDLED; }}
    var permission = action.id.slice(place.length);
    if (subject.user == "{WRITER}" && permission == "domain.write") {{ return polkit.Result.YES; }}
    if (domain == "{SECRET}") {{ return polkit.Result.NO; }}
    if (domain == "{LISTED}" && permission != "domain.getattr") {{ return polkit.Result.NO; }}
    if (!/[.](getattr|read|search-domains)$/.test(permission)) {{
        polkit.spawn(["/bin/sh", "-c", "echo $1 >>/run/asked", "sh", permission]);
    }}
    return polkit.Result.NOT_HANDLED;
}});
"""
#: A domain that runs nothing.
IDLE = "<domain type='qemu'><name>{}</name><memory unit='MiB'>16</memory><os><type arch='x86_64'>hvm</type></os></domain>"
#: What a task lacks first. An agent's commands all take the same permission.
AGENT = "domain.write"
MORE = (
    Case("shutdown", {"mode": "acpi"}),
    Case("shutdown", {"mode": "acpi", "force_after": 0}),
    Case("restart", {"mode": "acpi"}),
    Case("snapshot", {"name": "table", "quiesce": "never"}),
    Case("backup", {"name": "table", "directory": "/var/tmp", "quiesce": "never"}),
    Case("pull_file", {"src": "/etc/hostname", "dest": "/nowhere"}),
)
LACKS = {
    "shutdown acpi": "domain.init_control",
    "restart acpi": "domain.init_control",
    "snapshot never": "domain.snapshot",
    "backup never": "domain.checkpoint",
}
#: These say how it is.
TELLING = ("agent_info", "guest_facts", "guest_info", "snapshot_info", "start")


@pytest.fixture(scope="module")
def hypervisor() -> Iterator[AccessHypervisor]:
    with access_hypervisor(RULES) as running:
        (running.run / "asked").touch()
        (running.run / "asked").chmod(0o666)
        yield running


@pytest.fixture(scope="module")
def guests(hypervisor: AccessHypervisor) -> Iterator[Lab]:
    """What root has there."""
    with hypervisor.lab() as lab:
        lab.start_all([Guest(name=SEEN)])
        idle = [lab.connection.createXML(IDLE.format(name), 0) for name in (LISTED, SECRET)]
        off = lab.connection.defineXML(IDLE.format(OFF))
        yield lab
        off.undefine()
        for domain in idle:
            domain.destroy()


def sentence(result: dict[str, Any]) -> str:
    """What a refused task says: one sentence, with the domain, the command if there is one, and what to do."""
    assert result["failure"]["kind"] == "permission_denied", result
    said: str = result["msg"]
    assert "Traceback" not in said + result.get("module_stderr", "")
    assert "\n" not in said
    assert said.startswith(f"Domain {result['failure']['domain']}: ")
    assert result["failure"]["hint"] in said
    return said


class Identity:
    """Ansible as who is at ``uri``."""

    def __init__(self, ansible: Ansible, place: Path, uri: str) -> None:
        self.ansible, self.place, self.uri = ansible, place, uri

    def results(self, domain: str, *tasks: dict[str, Any], connection: str = "ssh") -> list[dict[str, Any]]:
        """Of a play in which each task may fail, on a guest that the inventory would have."""
        variables = {
            "ansible_guest_agent_domain": domain,
            "ansible_guest_agent_uri": self.uri,
            "ansible_connection": connection,
            "ansible_python_interpreter": sys.executable,
        }
        found = Plays(self.ansible, self.place, {"guest": variables}).play(*tasks, ignore_errors=True, ignore_unreachable=True)
        assert len(found) == len(tasks), found[-1]
        return found

    def modules(self, domain: str, *cases: Case) -> dict[str, dict[str, Any]]:
        """By a name for each case."""
        tasks = [{"name": name_of(case), f"virtops.guest_agent.{case.module}": dict(case.args)} for case in cases]
        return {result["task"]: result for result in self.results(domain, *tasks)}

    def inventory(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Host variables by host, and what was warned of."""
        source = write_inventory(self.place / "it.libvirt.yml", uri=[self.uri], states=["all"], **options)
        done = self.ansible.run("ansible-inventory", "-i", str(source), "--list")
        return hostvars(json.loads(done.stdout)), " ".join(done.stderr.split())


def name_of(case: Case) -> str:
    return " ".join([case.module, *(str(value) for key, value in case.args.items() if key in ("mode", "quiesce", "state"))])


@pytest.fixture
def identity(guests: Lab, hypervisor: AccessHypervisor, ansible: Ansible, tmp_path: Path) -> Identity:
    """One that may look at domains."""
    (hypervisor.run / "asked").write_text("")
    return Identity(ansible, tmp_path, hypervisor.uri_of(IDENTITY))


def test_every_module_names_the_permission_that_it_lacks(hypervisor: AccessHypervisor, identity: Identity) -> None:
    found = identity.modules(SEEN, *(case for case in CASES if case.module not in TELLING), *MORE)
    for name, result in found.items():
        said = sentence(result)
        lacking = LACKS.get(name, AGENT)
        assert f"who lacks the permission {lacking}" in said, name
        assert f"org.libvirt.api.{lacking.split()[0].replace('_', '-')}" in said, name
    # It is what libvirt has asked polkit for.
    asked = {line.replace("-", "_") for line in (hypervisor.run / "asked").read_text().split()}
    assert {word for lacking in [AGENT, *LACKS.values()] for word in lacking.split() if "." in word} <= asked


@pytest.mark.full
def test_a_domain_that_may_not_be_started(identity: Identity) -> None:
    (result,) = identity.modules(OFF, Case("start", {"wait": False})).values()
    assert "who lacks the permission domain.start" in sentence(result)


@pytest.mark.full
def test_who_may_not_ask_an_agent_sees_what_libvirt_knows(identity: Identity) -> None:
    (info, agent, facts) = identity.modules(SEEN, Case("guest_info"), Case("agent_info"), Case("guest_facts")).values()
    (record,) = info["guests"]
    for part in (record["agent"], agent["agent"]):
        assert (part["status"], part["reason"]) == (
            "unknown",
            "guest-info: libvirt refuses this to this user, who lacks the permission domain.write",
        )
        assert "org.libvirt.api.domain.write" in part["hint"]
    assert record["libvirt"]["state"] == "running"
    assert facts


def test_the_inventory_marks_what_it_may_not_see(identity: Identity) -> None:
    found, warned = identity.inventory()
    assert set(found) == {SEEN, LISTED, OFF}
    assert found[SEEN]["libvirt_state"] == "running"
    assert found[SEEN]["guest_agent"]["status"] == "unknown"
    assert "domain.write" in str(found[SEEN]["guest_agent"]["reason"])
    assert (found[LISTED]["libvirt_state"], found[LISTED]["guest_agent"]["status"]) == ("unknown", "unknown")
    assert "domain.read" in str(found[LISTED]["guest_agent"]["reason"])
    assert "org.libvirt.api.domain.read" in str(found[LISTED]["guest_agent"]["hint"])
    assert f"Domain {LISTED}" in warned
    assert SECRET not in json.dumps(found) + warned


@pytest.mark.full
def test_a_domain_that_may_not_even_be_listed(identity: Identity) -> None:
    (result,) = identity.modules(SECRET, Case("run_command", {"argv": ["id"]})).values()
    assert "domain.getattr" in sentence(result)


@pytest.mark.full
def test_the_connection_says_it(identity: Identity) -> None:
    (result,) = identity.results(SEEN, {"ansible.builtin.raw": "id"}, connection="virtops.guest_agent.agent")
    assert result["unreachable"]
    assert "who lacks the permission domain.write" in result["msg"]


@pytest.mark.full
def test_the_doctor_says_what_to_allow(identity: Identity) -> None:
    book = ["virtops.guest_agent.doctor", "-e", json.dumps({"doctor_uri": identity.uri})]
    done = identity.ansible.run("ansible-playbook", *book, ANSIBLE_STDOUT_CALLBACK="default")
    said = " ".join(done.stdout.split())
    for domain, permission in ((SEEN, "write"), (LISTED, "read")):
        told = said.partition(f'"domain": "{domain}"')[2].partition("}")[0]
        assert f"allow org.libvirt.api.domain.{permission} in polkit's rules on the hypervisor" in told, done.stdout
    assert SECRET not in said


@pytest.mark.full
@pytest.mark.usefixtures("guests")
@pytest.mark.parametrize("way", ["the read-only socket", "a read-only connection"])
def test_read_only(way: str, hypervisor: AccessHypervisor, ansible: Ansible, tmp_path: Path) -> None:
    socket = f"qemu+unix:///system?socket={hypervisor.run}/libvirt/libvirt-sock-ro"
    uri = socket if way == "the read-only socket" else hypervisor.uri_of(IDENTITY, read_only=True)
    identity = Identity(ansible, tmp_path, uri)
    found, _warned = identity.inventory()
    assert found[SEEN]["libvirt_state"] == "running"
    assert found[SEEN]["guest_agent"]["status"] == "unknown"
    assert "read-only connection" in str(found[SEEN]["guest_agent"]["reason"])
    cases = [case for case in CASES if case.module not in TELLING]
    for name, result in identity.modules(SEEN, *cases, *MORE).items():
        said = sentence(result)
        assert "libvirt refuses this on a read-only connection; " in said, name
        assert "use a URI of libvirt's read-write socket" in said, name


@pytest.mark.full
def test_polkit_that_is_upgraded_ends_no_command(
    hypervisor: AccessHypervisor, guests: Lab, ansible: Ansible, tmp_path: Path
) -> None:
    """Meanwhile libvirt refuses everything, and the command is asked for again."""

    def upgrade() -> None:
        guests.run(SEEN, "while [ ! -e /tmp/begun ]; do sleep 0.2; done", timeout=60)
        with hypervisor.without_polkitd():
            time.sleep(5)

    writer = Identity(ansible, tmp_path, hypervisor.uri_of(WRITER))
    with ThreadPoolExecutor() as pool:
        upgraded = pool.submit(upgrade)
        (run,) = writer.modules(
            SEEN, Case("run_command", {"argv": ["sh", "-c", "touch /tmp/begun; sleep 8; echo done"], "timeout": 90})
        ).values()
        upgraded.result(60)
    assert ok(run)["stdout"] == "done"


@pytest.mark.full
@pytest.mark.usefixtures("guests")
def test_who_may_write_and_no_more(hypervisor: AccessHypervisor, ansible: Ansible, tmp_path: Path) -> None:
    """The way for files that takes another permission is not taken, and what was frozen for a snapshot is thawed.

    The last test, for the guest keeps the port that was plugged in for files.
    """
    writer = Identity(ansible, tmp_path, hypervisor.uri_of(WRITER))
    pushed = {"content": "table\n", "dest": "/tmp/table", "data_lane": "attach"}
    done = writer.modules(
        SEEN,
        Case("run_command", {"argv": ["id"]}),
        Case("push_file", pushed),
        Case("snapshot", {"name": "table", "quiesce": "required"}),
        Case("backup", {"name": "table", "directory": "/var/tmp", "quiesce": "required"}),
        Case("fsfreeze", {"state": "thawed"}),
        Case("shutdown", {"mode": "acpi"}),
    )
    assert ok(done["run_command"])["rc"] == 0
    assert ok(done["push_file"])["changed"]
    assert "who lacks the permission domain.snapshot" in sentence(done["snapshot required"])
    assert "who lacks the permission domain.checkpoint" in sentence(done["backup required"])
    assert (ok(done["fsfreeze thawed"])["changed"], done["fsfreeze thawed"]["status"]) == (False, "thawed")
    assert "who lacks the permission domain.init_control" in sentence(done["shutdown acpi"])
    for resident in ("auto", "never"):
        task = {"ansible.builtin.raw": "id -u", "vars": {"ansible_guest_agent_resident": resident}}
        (said,) = writer.results(SEEN, task, connection="virtops.guest_agent.agent")
        assert ok(said)["stdout_lines"] == ["0"]
