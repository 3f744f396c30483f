# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest in passt, on Debian 13's hypervisor: its address is its hypervisor's, and SSH goes by the port that is forwarded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ansible_cli import ROOT
from tests.integration.passt_guest import ADDRESS

#: Processes too, so that nothing outlives the test, however it ends. The shell collects those that others leave.
APART = ("unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", '"$@" || exit', "sh")


@pytest.fixture
def state() -> Iterator[Path]:
    """For a lab of the test's own; a short path, because sockets are below it."""
    path = Path(tempfile.mkdtemp(prefix="vgal-", dir="/var/lib"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED OUT LOUD: no guest in passt is tried, for that takes root")
def test_ssh_goes_by_the_port_that_is_forwarded(state: Path, tmp_path: Path) -> None:
    env = {**os.environ, "HYPERVISOR": "debian13", "LAB_STATE": str(state)}
    words = [*APART, sys.executable, "-m", "tests.integration.passt_guest", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    found = told["found"]
    (nic,) = (nic for nic in found["guest_interfaces"] if nic.get("port_forwards"))
    # The guest claims an address that leads to its hypervisor, on a NIC that the domain has.
    assert (nic["ip_address"], nic["user_mode"], nic["info_source"]) == (ADDRESS, True, "domain, guest-agent")
    assert nic["port_forwards"] == [{"address": None, "port": told["port"], "to": 22, "ports": 1}]
    assert found["guest_addresses"] == []
    assert (found["ansible_host"], found["ansible_port"]) == ("127.0.0.1", told["port"])
    assert "ansible_connection" not in found
    # sshd in the guest says which of its addresses it was reached at.
    assert told["ssh"]["stdout"].split()[2:] == [ADDRESS, "22"], told["ssh"]
