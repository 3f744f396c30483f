# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""python -m tests.fuzz [-runs=N] [libFuzzer's other options]: any bytes as an agent's answers, and as a domain's XML.

The first byte says which command lies; it answers with the rest, the others are honest. It ends with a traceback where the core
raises what is no GuestAgentError, or hands on what is not bounded, printable JSON. The seeds are the corpus of the fault suite.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".collections"))

# Only the core is what coverage guides through.
with atheris.instrument_imports(include=["ansible_collections.virtops.guest_agent.plugins.module_utils"]):
    from ansible_collections.virtops.guest_agent.plugins.module_utils import _domain_xml, _probe, _protocol
    from ansible_collections.virtops.guest_agent.plugins.module_utils._client import GuestAgent
    from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import GuestAgentError
    from ansible_collections.virtops.guest_agent.plugins.module_utils._subsets import SUBSETS

from tests.faults import corpus

RUNS = 100_000
MAX_LENGTH = 4096
OUTPUT = ROOT / "tests/output"
MOST = 4 * corpus.MIB
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
COMMANDS = sorted({subset.command for subset in SUBSETS.values()} | {"guest-info"})
BY_COMMAND = {command: tuple(name for name, subset in SUBSETS.items() if subset.command == command) for command in COMMANDS}
INFO = {"version": "10.0.0", "supported_commands": [{"name": name, "enabled": True} for name in COMMANDS]}


class Liar:
    """Its answer to one command is the fuzzer's; with ``keeps_id`` it at least carries the right number."""

    name = "fuzz"

    def __init__(self, command: str, data: bytes, keeps_id: bool) -> None:
        self._command, self._data, self._keeps_id = command, data, keeps_id

    def exchange(self, request: _protocol.Request, seconds: int) -> str:
        if request.command != self._command:
            value = INFO if request.command == "guest-info" else {}
            return json.dumps({"return": value, "id": request.id})
        text = self._data.decode("utf-8", "replace")
        return f'{{"id": {request.id}, "return": {text}}}' if self._keeps_id else text

    def renew(self, seconds: float) -> None:
        """There is no way to it that could be lost."""


def test_one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    choice, rest = data[0], data[1:]
    command = COMMANDS[choice % len(COMMANDS)]
    agent = GuestAgent(Liar(command, rest, choice < 200))
    part, parts = _probe.ask(agent, BY_COMMAND[command] or ("os",), {}, NOW)
    said = json.dumps([part, parts], allow_nan=False)
    if len(said) > MOST:
        raise AssertionError(f"{len(said)} characters of {command}")
    _printable([part, parts])
    with contextlib.suppress(GuestAgentError):
        json.dumps(_domain_xml.parse(rest.decode("utf-8", "replace")))


def _printable(value: object) -> None:
    if isinstance(value, dict):
        for key, member in value.items():
            _printable(key)
            _printable(member)
    elif isinstance(value, list):
        for member in value:
            _printable(member)
    elif isinstance(value, str) and not value.replace("\n", "").replace("\t", "").isprintable():
        raise AssertionError(f"cannot be printed: {value!r}")


def _seeds(place: Path) -> None:
    recorded = json.loads((ROOT / "tests/unit/replies/qemu-ga-10.0.json").read_text(encoding="utf-8"))["replies"]
    for number, command in enumerate(COMMANDS):
        honest = {"return": recorded.get(command, {}).get("return", {}), "id": 1}
        (place / command).write_bytes(bytes([number]) + json.dumps(honest["return"]).encode())
        for name, lie in corpus.ENTRIES.items():
            data = _value(lie(honest))
            if len(data) < MAX_LENGTH:
                (place / f"{command} {name}").write_bytes(bytes([number]) + data)


def _value(message: bytes) -> bytes:
    """What a message returns, which the liar puts under the right number; the message itself where it is none."""
    try:
        return json.dumps(json.loads(message)["return"]).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return message


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    words = sys.argv[1:] if any(word.startswith("-runs=") for word in sys.argv) else [f"-runs={RUNS}", *sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        seeds = Path(place)
        _seeds(seeds)
        atheris.Setup(
            [sys.argv[0], f"-max_len={MAX_LENGTH}", "-timeout=20", f"-artifact_prefix={OUTPUT}/fuzz-", *words, str(seeds)],
            test_one_input,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
