# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What begins and ends a run of one domain, a request each. Knows libvirt's numbers, not libvirt."""

from __future__ import annotations

import typing as t

#: virDomainShutdownFlagValues
_SHUTDOWN_ACPI: t.Final = 1
#: virDomainRebootFlagValues
_REBOOT_ACPI: t.Final = 1
#: virDomainCreateFlags
_START_RESET_NVRAM: t.Final = 32
#: virDomainUndefineFlagsValues: what libvirt itself keeps of a domain goes with it, and what firmware has stored stays
_SAVED_MEMORY: t.Final = 1
_SNAPSHOT_RECORDS: t.Final = 2
_KEEP_NVRAM: t.Final = 8
_CHECKPOINT_RECORDS: t.Final = 16
#: virDomainPausedReason; the rest is told by its number
_PAUSED: t.Final = {
    0: "unknown",
    1: "a user",
    2: "a migration",
    3: "a save",
    4: "a dump",
    5: "an I/O error",
    6: "a watchdog",
    7: "a revert to a snapshot",
    8: "a shutdown",
    9: "a snapshot",
    10: "a crash of the guest",
    11: "its start",
    12: "a migration",
    13: "a failed migration",
}


class Switches:
    """The part of a ``Domain`` that switches it. Every method raises what ``Domain``'s do."""

    _handle: t.Any

    def _call(self, function: t.Callable[[], t.Any], seconds: float | None = None, command: str = "") -> t.Any:
        raise NotImplementedError

    def press_power_button(self) -> None:
        """Ask the guest by ACPI to shut down (virDomainShutdownFlags, 0.9.10)."""
        self._call(lambda: self._handle.shutdownFlags(_SHUTDOWN_ACPI))

    def restart_by_power_button(self) -> None:
        """Ask the guest by ACPI to shut down, and start it again when it has (virDomainReboot, 0.9.10 with the flag)."""
        self._call(lambda: self._handle.reboot(_REBOOT_ACPI))

    def reset(self) -> None:
        """Press the reset button (virDomainReset, 0.9.7)."""
        self._call(lambda: self._handle.reset(0))

    def wake(self) -> None:
        """Wake a domain that is suspended to memory (virDomainPMWakeup, 0.9.11)."""
        self._call(lambda: self._handle.pMWakeup(0))

    def start(self, seconds: float | None = None) -> None:
        """Start a domain that is off (virDomainCreate); one that was suspended to disk is read back meanwhile."""
        self._call(self._handle.create, seconds)

    def start_with_new_nvram(self, seconds: float) -> None:
        """The same with the firmware's variables as in their template (virDomainCreateWithFlags, 8.1 with the flag)."""
        self._call(lambda: self._handle.createWithFlags(_START_RESET_NVRAM), seconds)

    def resume(self) -> None:
        """Let the processors of a paused domain run again (virDomainResume)."""
        self._call(self._handle.resume)

    def paused_by(self) -> str:
        """What has paused the domain, if it is paused: a word of ``_PAUSED``."""
        reason = self._call(lambda: self._handle.state(0))[1]
        return _PAUSED.get(reason, f"reason {reason}")

    def destroy(self, seconds: float | None = None) -> None:
        """Pull the plug (virDomainDestroy); QEMU may take long to let go of its storage."""
        self._call(self._handle.destroy, seconds)

    def undefine(self) -> None:
        """Remove the definition of a domain that is off (virDomainUndefineFlags, 5.6.0 with these flags). No disk is touched."""
        flags = _SAVED_MEMORY | _SNAPSHOT_RECORDS | _CHECKPOINT_RECORDS | _KEEP_NVRAM
        self._call(lambda: self._handle.undefineFlags(flags))
