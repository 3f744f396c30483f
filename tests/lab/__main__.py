# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: python -m tests.lab up|down|list|run."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from .errors import LabError
from .guest import AGENT_MODES, KINDS, OS_RELEASES, Guest, Kind
from .images import image_files
from .lab import START_SECONDS, Lab
from .paths import state_dir
from .records import guest_records
from .teardown import take_down


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: int = options.run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; what was started is removed", file=sys.stderr)
        return 130
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=sys.modules[__package__].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start guests and wait for their agents")
    up.set_defaults(run=_up)
    up.add_argument("guests", nargs="+", type=_wanted, metavar="KIND[=N]", help=f"kinds: {', '.join(KINDS)}")
    up.add_argument("--name", help="the domain's name; of several guests NAME-1, NAME-2, ...")
    up.add_argument("--agent", choices=AGENT_MODES, default="normal", help="what the agent does")
    up.add_argument("--block", default=(), type=_commands, help="preset (rhel8, rhel9, rhel10) or comma-separated commands")
    up.add_argument("--allow", default=(), type=_commands, help="the same for commands to allow; all others are refused")
    up.add_argument("--os-release", choices=OS_RELEASES, default="", help="the system that a tiny guest says it is")
    up.add_argument("--vcpus", type=int, default=1, help="how many vCPUs the guest has")
    up.add_argument("--memory", type=int, default=0, metavar="MIB", help="how much memory, instead of what the kind has")
    up.add_argument("--kernel", default="", metavar="WORDS", help="words for the kernel's command line")
    up.add_argument("--no-channel", dest="channel", action="store_false", help="a domain without an agent channel")
    up.add_argument("--paused", action="store_true", help="pause the guests once they are up")
    up.add_argument("--persistent", action="store_true", help="define the domains instead of only creating them")
    up.add_argument("--parallel", type=int, default=4, help="guests that boot at a time (default 4)")
    up.add_argument("--timeout", type=float, default=START_SECONDS, help="seconds for each agent to come up")
    up.add_argument("--uri", help="a hypervisor other than the local one")
    commands.add_parser("down", help="remove everything the lab started").set_defaults(run=_down)
    commands.add_parser("list", help="the guests on record: name, kind, URI, console log").set_defaults(run=_list)
    command = commands.add_parser(
        "run", help="run a command that finds a hypervisor in LAB_URI, images in LAB_TINY_KERNEL and so on"
    )
    command.set_defaults(run=_run)
    command.add_argument("command", nargs="+", metavar="WORD")
    return parser


def _wanted(text: str) -> tuple[Kind, int]:
    kind, _sign, count = text.partition("=")
    for known in KINDS:
        if kind == known and re.fullmatch(r"[0-9]{1,3}", count or "1"):
            return known, int(count or "1")
    raise argparse.ArgumentTypeError(f"{text!r} is not KIND or KIND=N, with a kind of {', '.join(KINDS)}")


def _commands(text: str) -> str | tuple[str, ...]:
    """A word with a dash in it is a command, without one a preset."""
    return tuple(text.split(",")) if "-" in text else text


def _up(options: argparse.Namespace) -> int:
    kinds = [kind for kind, count in options.guests for _number in range(count)]
    guests = []
    for number, kind in enumerate(kinds, 1):
        name = f"{options.name}-{number}" if options.name and len(kinds) > 1 else options.name or ""
        guests.append(
            Guest(
                name=name,
                kind=kind,
                agent=options.agent,
                block=options.block,
                allow=options.allow,
                os_release=options.os_release,
                channel=options.channel,
                persistent=options.persistent,
                vcpus=options.vcpus,
                memory_mib=options.memory,
                kernel=options.kernel,
            )
        )
    began = time.monotonic()
    lab = Lab(options.uri)
    try:
        names = lab.start_all(guests, options.parallel, options.timeout)
        if options.paused:
            for name in names:
                lab.pause(name)
    except BaseException:
        lab.close()
        raise
    lab.leave()
    for name in names:
        print(name)
    print(f"lab: {len(names)} up on {lab.uri} after {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 0


def _down(options: argparse.Namespace) -> int:
    take_down()
    return 0


def _list(options: argparse.Namespace) -> int:
    for record in guest_records():
        print(record.name, record.kind, record.uri, record.directory / "console.log", sep="\t")
    return 0


def _run(options: argparse.Namespace) -> int:
    """LAB_DISPOSABLE is a directory for what guests write that the command boots; the command ends them."""
    with Lab() as lab:
        images = {
            f"LAB_{kind}_{part}".upper(): str(getattr(image_files(kind), part))
            for kind in KINDS
            for part in ("kernel", "initrd", "disk")
        }
        own = {"LAB_URI": lab.uri, "LAB_DISPOSABLE": str(state_dir() / "disposable"), **images}
        return subprocess.run(options.command, env={**os.environ, **own}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
