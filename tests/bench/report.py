# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Medians, ratios, and where the time goes; as text and as data."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .alone import Alone
from .contestants import COMMUNITY, LOCAL, OVER_AGENT, SSH, TITLES, Contestant
from .playbooks import Meter, Sample, round_trips
from .rows import COPY_1, COPY_1_TEXT, COPY_20, COPY_20_TEXT, ROWS, Row

#: The two that the others are held against.
ANCHORS = (COMMUNITY, SSH)
_SMALL_AND_LARGE = (
    (COPY_1, COPY_20, "the 19 MiB between, incompressible"),
    (COPY_1_TEXT, COPY_20_TEXT, "the 19 MiB between, text-like"),
)
#: Seconds from which on a kind of call is named, and the share of the time without a processor from which on it is said.
_DEAR = 0.02
_STARVED = 0.1


Value = Callable[[Sample], float]


def _seconds_of(sample: Sample) -> float:
    return sample.seconds


def _fed_seconds_of(sample: Sample) -> float:
    return max(0.001, sample.seconds - sample.starved)


@dataclass(frozen=True)
class Cell:
    """The samples of one contestant in one row that count."""

    row: Row
    contestant: str
    samples: tuple[Sample, ...]

    def median(self, value: Value = _seconds_of) -> float:
        return statistics.median(value(sample) for sample in self.samples)

    @property
    def outside(self) -> float:
        """What Ansible did before, between and after its calls of the connection plugin."""
        return self.median(lambda sample: sample.seconds - sample.connection.seconds)

    @property
    def rest(self) -> float:
        """What was spent in the connection plugin while the guest had nothing to do."""
        return self.median(lambda sample: max(0.0, sample.connection.seconds - sample.busy - sample.starved))

    @property
    def agent(self) -> Meter | None:
        """The median sample's commands to the agent."""
        found = [trips for trips in map(round_trips, self.samples) if trips is not None]
        return sorted(found, key=lambda meter: meter.calls)[len(found) // 2] if found else None

    @property
    def rate(self) -> float:
        """MB/s while it was transferred: the calls of put_file or fetch_file alone."""
        # The modules travel through put_file too where there is no pipelining: they are small beside the content.
        return self.row.size / 1e6 / self.median(lambda sample: sample.transfer.seconds)


class Results:
    """All samples of a run."""

    def __init__(
        self, everybody: Sequence[Contestant], samples: Iterable[Sample], alone: Alone | None, about: dict[str, Any]
    ) -> None:
        self.everybody = everybody
        self.samples = list(samples)
        self.alone = alone
        self.about = about
        self.faults = [sample for sample in self.samples if sample.fault]

    @property
    def rows(self) -> list[Row]:
        measured = {sample.row for sample in self.samples}
        return [row for row in ROWS if row.key in measured]

    def cell(self, row: Row, contestant: str) -> Cell | None:
        found = [each for each in self.samples if (each.row, each.contestant, each.fault) == (row.key, contestant, "")]
        return Cell(row, contestant, tuple(found)) if found else None

    def cells(self) -> list[Cell]:
        found = (self.cell(row, each.key) for row in self.rows for each in self.everybody)
        return [cell for cell in found if cell]

    @property
    def starved(self) -> float:
        """The share of the time in which the guest waited for a processor of this machine."""
        seconds = sum(sample.seconds for sample in self.samples if sample.contestant != LOCAL)
        return sum(sample.starved for sample in self.samples if sample.contestant != LOCAL) / (seconds or 1)

    def medians(self, value: Value = _seconds_of) -> list[tuple[str, dict[str, float]]]:
        """Of each row by contestant; and of what only follows from two rows: the bytes without the modules around them."""
        found = [(row.title, self._medians(row, value)) for row in self.rows]
        for small, large, title in _SMALL_AND_LARGE:
            less, more = self._medians(small, value), self._medians(large, value)
            found.append((title, {key: more[key] - less[key] for key in more if more[key] > less.get(key, more[key])}))
        return [(title, medians) for title, medians in found if medians]

    def _medians(self, row: Row, value: Value) -> dict[str, float]:
        cells = (self.cell(row, each.key) for each in self.everybody)
        return {cell.contestant: cell.median(value) for cell in cells if cell}


def as_data(results: Results) -> dict[str, Any]:
    return {
        "about": results.about,
        "contestants": {each.key: each.note for each in results.everybody},
        "command_module_alone": results.alone and asdict(results.alone),
        "median_seconds": dict(results.medians()),
        "times_faster_than": {
            anchor: {title: _ratios(medians, anchor) for title, medians in results.medians()} for anchor in ANCHORS
        },
        "share_of_time_without_a_processor": results.starved,
        "where_the_time_goes": [_parts(cell) for cell in results.cells()],
        "faults": [asdict(sample) for sample in results.faults],
        "samples": [asdict(sample) for sample in results.samples],
    }


def _ratios(medians: dict[str, float], anchor: str) -> dict[str, float]:
    return {key: medians[anchor] / seconds for key, seconds in medians.items() if anchor in medians and key != LOCAL}


def _parts(cell: Cell) -> dict[str, Any]:
    agent = cell.agent
    return {
        "row": cell.row.key,
        "contestant": cell.contestant,
        "total": cell.median(),
        "ansible": cell.outside,
        "guest_busy": cell.median(lambda sample: sample.busy),
        "guest_starved": cell.median(lambda sample: sample.starved),
        "connection_rest": cell.rest,
        "connection_calls": cell.median(lambda sample: sample.connection.calls),
        "agent_commands": agent and agent.calls,
        "agent_seconds": agent and agent.seconds,
        "mb_per_second": cell.rate if cell.row.size else None,
    }


def as_text(results: Results) -> str:
    sections = (_heading, _seconds, _times_faster, _where, _commands, _faults)
    return "\n\n".join(text for text in (section(results) for section in sections) if text)


def _heading(results: Results) -> str:
    about = results.about
    versions = f"ansible-core {about['ansible_core']}, community.libvirt {about['community_libvirt']}; {about['machine']}"
    guest = f"{about['guest']}, {about['kind']} under {about['accelerator']}"
    notes = [f"  {each.title:18} {each.note}" for each in results.everybody] + [f"  {note}" for note in about["left_out"]]
    if results.starved > _STARVED:
        notes.append(f"  THIS MACHINE WAS BUSY: for {results.starved:.0%} of the time the guest waited for a processor")
    return "\n".join([f"{guest}; {versions}; {about['seconds']:.0f} s in all", *notes])


def _seconds(results: Results) -> str:
    lines = [_line("Seconds a task: median (min-max)", [each.title for each in results.everybody], 21)]
    for row in results.rows:
        values = [_spread(results, row, each.key) for each in results.everybody]
        most = max((len(cell.samples) for cell in results.cells() if cell.row is row), default=0)
        lines.append(_line(f"  {row.title}, n={most}", values, 21))
    return "\n".join(lines)


def _spread(results: Results, row: Row, contestant: str) -> str:
    cell = results.cell(row, contestant)
    if cell is None:
        return "failed" if any((fault.row, fault.contestant) == (row.key, contestant) for fault in results.faults) else "-"
    seconds = [sample.seconds for sample in cell.samples]
    places = 3 if cell.median() < 1 else 2
    return f"{cell.median():.{places}f} ({min(seconds):.{places}f}-{max(seconds):.{places}f})"


def _times_faster(results: Results) -> str:
    tables = [_ratio_table(results, anchor, "", _seconds_of) for anchor in ANCHORS]
    if results.starved > _STARVED:
        how = ", had the guest never waited for a processor"
        tables += [_ratio_table(results, anchor, how, _fed_seconds_of) for anchor in ANCHORS]
    return "\n\n".join(tables)


def _ratio_table(results: Results, anchor: str, how: str, value: Value) -> str:
    keys = [each.key for each in results.everybody if each.key != LOCAL]
    lines = [f"Times faster than {TITLES[anchor]}{how}", _line("", [TITLES[key] for key in keys], 21)]
    for title, medians in results.medians(value):
        ratios = _ratios(medians, anchor)
        lines.append(_line(f"  {title}", [f"{ratios[key]:.2f}" if key in ratios else "-" for key in keys], 21))
    return "\n".join(lines)


def _where(results: Results) -> str:
    titles = ["total", "Ansible", "guest", "starved", "rest", "calls", "commands", "s in them", "MB/s"]
    lines = [_line("Where the seconds go", titles, 10, 50)]
    for cell in results.cells():
        parts = _parts(cell)
        agent = ["-", "-"] if parts["agent_commands"] is None else [str(parts["agent_commands"]), f"{parts['agent_seconds']:.3f}"]
        seconds = [f"{parts[key]:.3f}" for key in ("total", "ansible", "guest_busy", "guest_starved", "connection_rest")]
        rate = f"{parts['mb_per_second']:.1f}" if parts["mb_per_second"] else "-"
        name = f"  {cell.row.title:29}{TITLES[cell.contestant]}"
        lines.append(_line(name, [*seconds, f"{parts['connection_calls']:.0f}", *agent, rate], 10, 50))
    alone = [_ALONE.format(results.alone)] if results.alone else []
    return "\n".join([*lines, *_LEGEND, *alone])


_LEGEND = (
    "  Ansible: outside the connection plugin. guest: its processors worked. starved: they waited for one of this machine's.",
    "  rest: in the connection plugin while the guest had nothing to do. calls: of the connection plugin. commands: to the agent.",
    "  MB/s: in put_file or fetch_file alone, without the modules around them.",
)
_ALONE = (
    "  The module of `command: id` alone: {0.guest:.2f} s in the guest, timed on its serial port;"
    " {0.controller:.2f} s on the controller."
)


def _commands(results: Results) -> str:
    """Which calls a task makes: from its last sample."""
    lines = []
    for cell in results.cells():
        if cell.contestant in OVER_AGENT:
            found = sorted(cell.samples[-1].meters.items(), key=lambda item: -item[1].seconds)
            dear = [f"{name} {meter.calls} in {meter.seconds:.2f} s" for name, meter in found if meter.seconds >= _DEAR]
            lines.append(f"  {cell.row.title:30} {TITLES[cell.contestant]:18} {', '.join(dear[:7]) or 'nothing above 0.02 s'}")
    return "\n".join(["Which calls they are (a task's last run; connection plugin, agent commands and streams overlap)", *lines])


def _faults(results: Results) -> str:
    if not results.faults:
        return "Every result was right: the output, and the sha256 of what arrived."
    lines = [f"  {fault.row} {TITLES[fault.contestant]}: {fault.fault}" for fault in results.faults]
    return "\n".join(["FAULTS: these do not count above", *lines])


def _line(name: str, values: Sequence[str], width: int, first: int = 36) -> str:
    return f"{name:{first}}" + "".join(f"{value:>{width}}" for value in values)
