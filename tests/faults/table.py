# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults: what happens, to which task, and what that may say then. One row each; test_faults.py plays them."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

import libvirt
import libvirt_qemu

from tests.faults.stage import FILES, HANDLES, LARGE, PROCESSES, SLEEP, Stage, Work, signalled
from tests.lab.processes import kill_tree

Strike = Callable[[Stage], None]

COMMAND, BRIEF, OVER, EITHER, PUSH, PULL, FREEZE, SNAPSHOT, START, LOOK = (
    "a command", "a command that ends", "a task over the connection", "a task without SSH", "a file", "a file from the guest",
    "a freeze", "a snapshot", "a start", "a look",
)  # fmt: skip
WORKS: Mapping[str, Work] = {
    COMMAND: Work("run_command", {"shell": f": > /run/begun; {SLEEP}", "timeout": 15}, "test -e /run/begun"),
    # For faults after which nobody can reach the guest: it goes on until its end, as over SSH, and leaves nothing then.
    BRIEF: Work("run_command", {"shell": ": > /run/begun; sleep 8; echo whole", "timeout": 15}, "test -e /run/begun"),
    OVER: Work("ansible.builtin.raw", {"cmd": ": > /run/begun; sleep 8; echo whole"}, "test -e /run/begun"),
    EITHER: Work(
        "ansible.builtin.raw", {"cmd": ": > /run/begun; sleep 8; echo whole"}, "test -e /run/begun", connection="ssh_or_agent"
    ),
    PUSH: Work("push_file", {"src": "SOURCE", "dest": "/data/pushed"}, "ls /data/.virtops-* >/dev/null 2>&1"),
    PULL: Work("pull_file", {"src": LARGE, "dest": "BACK"}, f"ls -l /proc/$(pidof qemu-ga)/fd | grep -q {LARGE}"),
    FREEZE: Work("fsfreeze", {"state": "frozen", "max_seconds": 10, "timeout": 15}, "! timeout 1 sh -c ': > /data/probe; sync'"),
    SNAPSHOT: Work("snapshot", {"name": "NAME", "max_seconds": 25, "timeout": 15}, slow=0.4),
    START: Work("start", {"timeout": 60}, off=True),
    LOOK: Work("guest_info", {"gather_subset": ["os", "hostname"], "timeout": 20}),
}
#: A task that succeeds all the same; one that never ends on its own account, since its process is gone.
FINE, GONE = "", "gone"
#: Nobody could reach the guest when the task ended. A command goes on there until its own end; its files stay.
#: What the agent opens when the answer is lost has no number that anything knows.
UNHEARD = {PUSH: (HANDLES,), PULL: (HANDLES,)}
UNREACHED = {COMMAND: (FILES, PROCESSES), BRIEF: (FILES,), OVER: (FILES,), PUSH: (FILES, HANDLES)}
#: What runs in the guest goes on, and so does its task.
GOES_ON = {BRIEF: (FINE,), OVER: (FINE,), EITHER: (FINE,), PUSH: (FINE,), PULL: (FINE,)}
FROZEN_ON = {FREEZE: (FINE,), SNAPSHOT: (FINE,)}
AGENT_GONE = ("agent_disappeared", "agent_disconnected", "agent_timeout", "command_failed")
DOMAIN_GONE = ("domain_not_running", "domain_not_found", "agent_disappeared", "agent_disconnected", "agent_timeout")
LIBVIRT_GONE = ("connection_lost", "hypervisor_unreachable", "agent_timeout")
#: It goes on, or none is left.
NO_SNAPSHOT = (FINE, *LIBVIRT_GONE, "not_quiesced", "libvirt_error")


class Fault(NamedTuple):
    """promises: those of the design that it puts to the test. works: the tasks it hits, and the kinds of failure each may end with.
    leaves: what may still be there afterwards, by task; a limit, and the documentation says why.
    at_rest: it comes before the task begins. heal: what an operator does about it. survives: whether the guest is still there.
    """

    promises: tuple[int, ...]
    strike: Strike
    works: Mapping[str, Collection[str]]
    heal: Strike = lambda _stage: None
    leaves: Mapping[str, Collection[str]] = {}
    at_rest: bool = False
    survives: bool = True


def in_guest(command: str) -> Strike:
    def strike(stage: Stage) -> None:
        stage.sh(command)

    return strike


def destroy(stage: Stage) -> None:
    stage.domain().destroy()


def pause(stage: Stage) -> None:
    stage.domain().suspend()


def resume(stage: Stage) -> None:
    stage.domain().resume()


def rename(stage: Stage) -> None:
    """A domain that is off and has another name; it is started by that name, for what is looked at afterwards."""
    domain = stage.domain()
    domain.destroy()
    domain.rename(f"{stage.guest}-renamed")


def restart_libvirt(stage: Stage) -> None:
    stage.hypervisor.kill()
    time.sleep(1)
    stage.hypervisor.start()


def crowd(stage: Stage) -> None:
    """Another client whose requests take every worker of libvirtd for half a minute."""
    stage.sh("kill -STOP $(pidof qemu-ga)")
    ask = '{"execute": "guest-ping"}'

    def wait() -> None:
        connection = libvirt.open(stage.hypervisor.uri)
        domain = next(iter(connection.listAllDomains(0)))
        with contextlib.suppress(libvirt.libvirtError):
            libvirt_qemu.qemuAgentCommand(domain, ask, 25, 0)
        connection.close()

    for _number in range(30):
        threading.Thread(target=wait, daemon=True).start()
    time.sleep(2)


def uncrowd(stage: Stage) -> None:
    stage.sh("kill -CONT $(pidof qemu-ga)")
    time.sleep(3)


def slow(stage: Stage) -> None:
    stage.wire.delay = 0.2


def kill_controller(stage: Stage) -> None:
    assert stage.running is not None
    kill_tree(stage.running.process.pid)


def for_a_while(strike: Strike, heal: Strike, seconds: float) -> Strike:
    def strike_and_heal(stage: Stage) -> None:
        strike(stage)
        time.sleep(seconds)
        heal(stage)

    return strike_and_heal


def hold(stage: Stage) -> None:
    """Another client has the agent for as long as it takes to answer him."""

    def ask() -> None:
        with contextlib.suppress(libvirt.libvirtError):
            _agent(stage, "guest-ping")

    stage.sh("kill -STOP $(pidof qemu-ga)")
    other = threading.Thread(target=ask)
    other.start()
    time.sleep(7)
    stage.sh("kill -CONT $(pidof qemu-ga)")
    other.join()


def thaw_theirs(stage: Stage) -> None:
    """The other client, whose freeze was left alone."""
    time.sleep(WORKS[FREEZE].args["max_seconds"] + 2)
    assert stage.freeze_status() == "frozen"
    THAWED(stage)


def _agent(stage: Stage, command: str) -> None:
    libvirt_qemu.qemuAgentCommand(stage.domain(), f'{{"execute": "{command}"}}', 10, 0)


STOP, CONT = in_guest("kill -STOP $(pidof qemu-ga)"), in_guest("kill -CONT $(pidof qemu-ga)")
FROZEN, THAWED = (partial(_agent, command=f"guest-fsfreeze-{word}") for word in ("freeze", "thaw"))
DISK_FULL = "dd if=/dev/zero of=/data/full bs=64k 2>/dev/null; true"
#: The serial shell's child is what the kernel ends: nothing else is as large.
MEMORY = "timeout 10 tail /dev/zero; true"

FAULTS: Mapping[str, Fault] = {
    "the agent is killed": Fault(
        (5, 7, 10, 11),
        in_guest("kill -9 $(pidof qemu-ga)"),
        {**GOES_ON, COMMAND: ("command_timeout",), FREEZE: (FINE,)},
    ),
    "the agent hangs": Fault(
        (1, 5, 7),
        in_guest("kill -STOP $(pidof qemu-ga)"),
        {COMMAND: AGENT_GONE, PUSH: AGENT_GONE, FREEZE: (FINE,)},
        CONT,
        leaves=UNREACHED,
    ),
    "the agent hangs for a while": Fault((11,), for_a_while(STOP, CONT, 7), {**GOES_ON, **FROZEN_ON}),
    "the agent is held by another client": Fault((11,), hold, {**GOES_ON, **FROZEN_ON}),
    "the agent hangs, and it is not known yet": Fault(
        (1,), in_guest("kill -STOP $(pidof qemu-ga)"), {COMMAND: ("agent_timeout",), LOOK: (FINE,)}, CONT, at_rest=True
    ),
    "the guest is frozen by another client": Fault(
        (2,),
        FROZEN,
        {COMMAND: ("guest_frozen",), PUSH: ("guest_frozen",), FREEZE: ("guest_frozen", FINE), LOOK: (FINE,)},
        THAWED,
        at_rest=True,
    ),
    "the guest is frozen and thawed by another client": Fault((2, 11), for_a_while(FROZEN, THAWED, 3), GOES_ON),
    "the guest is thawed by another client": Fault((2,), THAWED, {FREEZE: (FINE,), SNAPSHOT: ("not_quiesced",)}),
    "the guest is thawed and frozen by another client": Fault(
        (2,), for_a_while(THAWED, FROZEN, 3), {FREEZE: (FINE,), SNAPSHOT: ("not_quiesced",)}, thaw_theirs
    ),
    "the domain is paused for a while": Fault((2, 11), for_a_while(pause, resume, 3), {**GOES_ON, **FROZEN_ON}),
    "the domain is paused": Fault(
        (1, 5),
        pause,
        {BRIEF: DOMAIN_GONE},
        resume,
        leaves=UNREACHED,
    ),
    "the domain is destroyed, or migrated away": Fault(
        (9,),
        destroy,
        {COMMAND: DOMAIN_GONE, PUSH: DOMAIN_GONE, FREEZE: (FINE,), START: (*DOMAIN_GONE, "not_started", "libvirt_error")},
        survives=False,
    ),
    "the domain has another name": Fault((9,), rename, {COMMAND: ("domain_not_found",)}, at_rest=True, survives=False),
    "libvirtd is killed and comes again": Fault(
        (5, 8, 10, 11),
        restart_libvirt,
        {**GOES_ON, FREEZE: (FINE,), SNAPSHOT: NO_SNAPSHOT, START: (FINE,)},
        leaves=UNHEARD,
    ),
    "libvirtd has no worker left": Fault(
        (8,),
        crowd,
        {LOOK: (FINE, "hypervisor_unreachable"), COMMAND: ("hypervisor_unreachable", "agent_timeout", "agent_busy")},
        uncrowd,
        at_rest=True,
    ),
    "the socket is slow": Fault((1,), slow, {LOOK: (FINE,)}, lambda stage: stage.wire.mend(), at_rest=True),
    "the socket is cut": Fault(
        (5, 10, 11),
        lambda stage: stage.wire.cut(),
        {**GOES_ON, FREEZE: (FINE,), SNAPSHOT: NO_SNAPSHOT, START: (FINE,)},
        leaves=UNHEARD,
    ),
    "the socket is half open for a while": Fault(
        (8, 11),
        for_a_while(lambda stage: stage.wire.hold(), lambda stage: stage.wire.cut(), 7),
        {**GOES_ON, SNAPSHOT: NO_SNAPSHOT, START: (FINE,)},
        leaves=UNHEARD,
    ),
    "the socket is half open": Fault(
        (1, 8),
        lambda stage: stage.wire.hold(),
        {BRIEF: LIBVIRT_GONE, PUSH: LIBVIRT_GONE},
        lambda stage: stage.wire.cut(),
        leaves=UNREACHED,
    ),
    "the guest's disk is full": Fault((7,), in_guest(DISK_FULL), {PUSH: ("no_space",)}, in_guest("rm -f /data/full"), at_rest=True),
    "the guest's disk is read-only": Fault(
        (7,),
        in_guest("mount -o remount,ro /data"),
        {PUSH: ("file_failed", "command_failed")},
        in_guest("mount -o remount,rw /data"),
        at_rest=True,
    ),
    "the guest has no memory left": Fault((7,), in_guest(MEMORY), {PUSH: (FINE, *AGENT_GONE)}),
    "the controller is interrupted": Fault((2, 6, 10), signalled(signal.SIGINT), {COMMAND: (GONE,), PUSH: (GONE,)}),
    "the controller is terminated": Fault((2, 10), signalled(signal.SIGTERM), dict.fromkeys((COMMAND, PUSH, FREEZE), (GONE,))),
    "the controller is killed": Fault(
        (2, 10),
        kill_controller,
        {BRIEF: (GONE,), PUSH: (GONE,), FREEZE: (GONE,), SNAPSHOT: (GONE,), START: (GONE,)},
        leaves=UNREACHED,
    ),
}
