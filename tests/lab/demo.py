# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``make demo``: real guests, what the collection says of them, a freeze with proof, a task cold and warm, a clean shutdown."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from . import Guest, Lab, LabError

NAMES = ("demo-web1", "demo-web2", "demo-db1")
FROZEN = NAMES[-1]
#: One with Python.
DEBIAN = "demo-debian"
PLAYBOOK, WARM = (Path(__file__).with_name(name) for name in ("demo.yml", "demo_warm.yml"))
INVENTORY = """\
plugin: virtops.guest_agent.libvirt
uri: {uri}
include: ["starts_with(libvirt.name, 'demo-')"]
gather_subset: [os, hostname, interfaces, filesystems, timezone, users]
"""
QUIET = ("ANSIBLE_LOCALHOST_WARNING", "ANSIBLE_INVENTORY_UNPARSED_WARNING", "ANSIBLE_DEPRECATION_WARNINGS")


def main() -> int:
    signal.signal(signal.SIGTERM, _end)
    began = time.monotonic()
    try:
        with Lab() as lab, tempfile.TemporaryDirectory(prefix="demo-") as directory:
            _say("Booting three tiny guests and a Debian: real kernels, real agents, no KVM needed")
            lab.start_all([Guest(name=DEBIAN, kind="debian12"), *(Guest(name=name) for name in NAMES)])
            print(*NAMES, DEBIAN, f"after {time.monotonic() - began:.0f} s")
            _tour(lab, Path(directory) / "demo.libvirt.yml")
            _say("Cleaning up")
    except KeyboardInterrupt:
        print("\nInterrupted; the guests are removed.", file=sys.stderr)
        return 130
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    print(f"Done in {time.monotonic() - began:.0f} s; nothing is left behind.")
    return 0


def _tour(lab: Lab, inventory: Path) -> None:
    inventory.write_text(INVENTORY.format(uri=lab.uri), encoding="utf-8")
    _say(f"The inventory, {inventory.name}")
    print(inventory.read_text(encoding="utf-8"))
    _show("ansible-inventory", "-i", str(inventory), "--graph")
    _say("One host's variables")
    _show("ansible-inventory", "-i", str(inventory), "--host", NAMES[0], "--yaml")
    _say("Facts of guests that have no Python, no SSH and no network that reaches them")
    _show("ansible-playbook", "-i", str(inventory), str(PLAYBOOK))
    _say("A freeze, with proof: the guest's writes stop")
    _writes(lab, "before")
    _module("fsfreeze", f"uri={lab.uri} domain={FROZEN} state=frozen max_seconds=60")
    _writes(lab, "frozen")
    _say("The thaw: they go on")
    _module("fsfreeze", f"uri={lab.uri} domain={FROZEN} state=thawed")
    _writes(lab, "thawed")
    _say("Modules in a guest with Python: each on its own, and by the program that stays there between tasks")
    _show("ansible-playbook", "-i", str(inventory), str(WARM))
    _say("A clean shutdown")
    for name in (*NAMES, DEBIAN):
        _module("shutdown", f"uri={lab.uri} domain={name} timeout=60")


def _writes(lab: Lab, when: str) -> None:
    """The guest says on its serial console what it has written to its disk: no agent is involved in the proof."""
    before = lab.ticks(FROZEN)
    time.sleep(2)
    print(f"{FROZEN} {when}: {lab.ticks(FROZEN) - before} writes in 2 s")


def _module(name: str, arguments: str) -> None:
    _show("ansible", "localhost", "-m", f"virtops.guest_agent.{name}", "-a", arguments)


def _show(*words: str) -> None:
    print(f"\033[2m$ {shlex.join(words)}\033[0m", flush=True)
    env = {**os.environ, **dict.fromkeys(QUIET, "false"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    subprocess.run(words, check=True, env=env)


def _say(what: str) -> None:
    print(f"\n\033[1m== {what}\033[0m", flush=True)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
