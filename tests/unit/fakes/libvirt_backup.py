# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core uses of libvirt's backup jobs and checkpoints, in memory; and a qemu-img for the images that they write."""

from __future__ import annotations

import json
import subprocess
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import libvirt

#: virDomainJobType, virDomainJobOperation
NONE, COMPLETED, FAILED, CANCELLED, BACKUP = 0, 3, 4, 5, 9
SIZE = 64 * 1024 * 1024


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """Its base reads the library's own last error, which another test may have caused in this thread."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.args = (text,)
        self.err = (code, 0, text, 2, None, None, None, 0, 0)


NO_BACKUP = Error(104, "Domain backup job id not found: no domain backup job present")
NO_CHECKPOINT = Error(103, "Domain checkpoint not found: no domain checkpoint with matching name")


class Checkpoint(t.NamedTuple):
    domain: Backups
    name: str

    def getName(self) -> str:
        return self.name

    def getXMLDesc(self, flags: int) -> str:
        assert flags in (2, 2 | 4)
        root = ET.fromstring(self.domain.checkpoints[self.name])
        for disk in root.iterfind("disks/disk[@checkpoint='bitmap']") if flags & 4 else ():
            if (self.name, disk.get("name")) not in self.domain.lost:
                disk.set("size", "65536")
        return ET.tostring(root, encoding="unicode")

    def delete(self, flags: int) -> int:
        if not flags and self.domain.lost:
            raise Error(1, f"internal error: bitmap '{self.name}' not found in backing chain of 'vda'")
        self.domain.did.append(f"delete {self.name} {flags}")
        del self.domain.checkpoints[self.name]
        return 0


class Backups:
    """The part of a domain that is about backups."""

    did: list[str]

    def __init__(self) -> None:
        #: name -> XML, in their order
        self.checkpoints: dict[str, str] = {}
        #: of checkpoint and disk: the bitmaps that are not there any more
        self.lost: set[tuple[str, str]] = set()
        self.backup = ""
        #: the XML of all that were begun
        self.begun: list[str] = []
        self.ended: dict[str, t.Any] = {"type": NONE}
        #: how many looks at the job it takes until it has ended; None for ever
        self.looks: int | None = 0
        #: how it ends then
        self.end: dict[str, t.Any] = {"type": COMPLETED, "success": True}
        self.while_begun: t.Callable[[], None] = lambda: None

    def _do(self, what: str) -> None:
        raise NotImplementedError

    def _do_running(self, what: str) -> None:
        raise NotImplementedError

    def backupBegin(self, xml: str, checkpoint: str | None, flags: int) -> int:
        assert flags == 1
        self._do_running("backupBegin")
        self.while_begun()
        if self.backup:
            raise Error(68, "Timed out during operation: cannot acquire state change lock (held by monitor=x)")
        for path in self.targets(xml):
            if not path.exists():
                raise Error(38, f"cannot stat '{path}': No such file or directory")
        if checkpoint:
            self.checkpointCreateXML(checkpoint, 0)
        self.backup = xml
        self.begun.append(xml)
        return 0

    def checkpointCreateXML(self, xml: str, _flags: int) -> Checkpoint:
        root = ET.fromstring(xml)
        name = root.findtext("name", "")
        if name in self.checkpoints:
            raise Error(102, f"operation failed: domain checkpoint {name} already exists")
        self.checkpoints[name] = xml
        return Checkpoint(self, name)

    @staticmethod
    def targets(xml: str) -> list[Path]:
        return [Path(target.get("file", "")) for target in ET.fromstring(xml).iterfind("disks/disk/target")]

    def backupGetXMLDesc(self, _flags: int) -> str:
        self._do_running("backupGetXMLDesc")
        if not self.backup:
            raise NO_BACKUP
        return self.backup

    def blockInfo(self, target: str, _flags: int) -> list[int]:
        self._do_running(f"blockInfo {target}")
        return [SIZE, 0, 0]

    def jobStats(self, flags: int) -> dict[str, t.Any]:
        self._do_running(f"jobStats {flags}")
        if flags:
            ended = self.ended
            if not flags & 2:
                self.ended = {"type": NONE}
            return ended
        if not self.backup:
            return {"type": NONE}
        if self.looks == 0:
            self.over(self.end)
            return {"type": NONE}
        self.looks = self.looks and self.looks - 1
        return {"type": 2, "operation": BACKUP, "disk_processed": SIZE // 2, "disk_total": SIZE}

    def over(self, end: dict[str, t.Any]) -> None:
        """libvirt leaves images alone that it has not created."""
        self.ended = {"operation": BACKUP, **end}
        self.backup = ""

    def abortJob(self) -> int:
        self._do_running("abortJob")
        if not self.backup:
            raise Error(55, "Requested operation is not valid: no job is active on the domain")
        self.over({"type": CANCELLED})
        return 0

    def listAllCheckpoints(self, flags: int) -> list[Checkpoint]:
        assert flags == 2
        self._do("listAllCheckpoints")
        return [Checkpoint(self, name) for name in self.checkpoints]

    def checkpointLookupByName(self, name: str, _flags: int) -> Checkpoint:
        if name not in self.checkpoints:
            raise NO_CHECKPOINT
        return Checkpoint(self, name)


def qemu_img(command: list[str], **_how: t.Any) -> subprocess.CompletedProcess[str]:
    """What qemu-img does with such images."""
    _program, *words = command
    if words[0] == "create":
        base = words[words.index("-b") + 1] if "-b" in words else None
        assert words[-1] == str(SIZE)
        Path(words[-2]).write_text(json.dumps({"backing": base, "sound": True}), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0, "", "")
    path = Path(words[-1])
    image = json.loads(path.read_text(encoding="utf-8"))
    chain = []
    while True:
        chain.append({"filename": str(path), "virtual-size": SIZE})
        if not image["backing"]:
            break
        path = path.parent / image["backing"]
        if not path.exists():
            return subprocess.CompletedProcess(command, 1, "", f"qemu-img: Could not open '{path}'")
        image = json.loads(path.read_text(encoding="utf-8"))
    if words[0] == "check":
        sound = json.loads(Path(words[-1]).read_text(encoding="utf-8"))["sound"]
        return subprocess.CompletedProcess(command, 0 if sound else 2, "", "" if sound else "1 errors were found on the image.")
    assert words[0] == "info"
    return subprocess.CompletedProcess(command, 0, json.dumps(chain), "")
