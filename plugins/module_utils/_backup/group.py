# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back up a group of domains as of one moment: all of them, or none."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._deadline import Deadline
from .._errors import BackupFailed, DomainBusy, GuestAgentError, HypervisorUnreachable, LibvirtFailure, WaitTimeout
from .._freeze import group as _group, moment
from .._freeze.watchdog import Watchdog
from .._libvirt import disk_images
from .._libvirt.hypervisor import Domain
from .._libvirt.threads import each
from . import documents, images, remains
from .notes import PART, Directory, DiskNote, Held, Note, explained
from .plan import DiskPlan, Found, Plan, chain

_FIRST_PAUSE: t.Final = 0.1
_LONGEST_PAUSE: t.Final = 2.0
#: Of the way: how often the progress is told.
_STEP: t.Final = 0.1


class Subject(moment.Subject):
    """One domain of the group, and its backup."""

    def __init__(self, domain: Domain, found: Found, plan: Plan, note: Note) -> None:
        super().__init__(domain)
        self.found = found
        self.plan = plan
        self.note = note
        self.held: Held | None = None
        #: libvirt did not answer whether it has begun
        self.doubtful = False
        #: it is there and stays
        self.whole = False
        #: bytes that were copied, and that are to be copied
        self.progress = (0, 0)


class Terms(t.NamedTuple):
    """``required``: every guest must be frozen. ``seconds``: what copying and checking may take."""

    freeze: _group.Terms
    required: bool
    seconds: float


def look_at(domains: t.Sequence[Domain], directory: Directory) -> list[Found]:
    """
    :raise GuestAgentError: one of them cannot be looked at.
    """
    found = []
    for seen in each(lambda domain: look(domain, directory), domains):
        if isinstance(seen, GuestAgentError):
            raise seen
        found.append(seen)
    return found


def look(domain: Domain, directory: Directory) -> Found:
    """The domain as it is, in four requests and one for each checkpoint, and what the directory has of it."""
    backups = domain.storage.backups
    state = domain.state()
    runs = state in disk_images.QEMU_RUNS
    job = backups.job() if runs else None
    checkpoints = {name: documents.parse_checkpoint(xml) for name, xml in backups.checkpoints().items()}
    ours = [name for name, checkpoint in checkpoints.items() if checkpoint.directory == directory.path]
    if ours and runs and job is None:
        # Bitmaps do not survive a crash of QEMU; whether they are there is known before any guest is frozen.
        checkpoints[ours[-1]] = documents.parse_checkpoint(backups.noted(ours[-1]), noted=True)
    with explained(domain.name):
        return Found(
            domain.name,
            domain.uuid,
            state,
            domain.persistent(),
            disk_images.disks(domain.xml()),
            checkpoints,
            job,
            documents.files_of(backups.running()) if job is not None and job.backup else frozenset(),
            directory.whole(domain.uuid),
            directory.unfinished(domain.uuid),
            directory.files(),
        )


def take(
    group: t.Sequence[Subject],
    directory: Directory,
    watchdogs: t.Sequence[Watchdog],
    terms: Terms,
    tell: t.Callable[[str], None],
) -> GuestAgentError | None:
    """Freeze, begin, thaw, and wait until all is copied and found to be sound. The error is why no backup is left.

    What the subjects then say is how it went. Interrupted, it leaves no backup either.
    """
    try:
        try:
            failure = _taken(group, directory, watchdogs, terms, tell)
        except GuestAgentError as error:
            failure = error
        if failure is None:
            return moment.not_thawed(group)
    except BaseException:
        _undo(group, directory)
        raise
    return _undone(group, directory, failure)


def _taken(
    group: t.Sequence[Subject],
    directory: Directory,
    watchdogs: t.Sequence[Watchdog],
    terms: Terms,
    tell: t.Callable[[str], None],
) -> GuestAgentError | None:
    deadline = Deadline(terms.seconds)
    failure = moment.first(each(lambda subject: _make_ready(subject, directory, deadline), group))
    if failure is not None:
        return failure

    def begin(subject: Subject, deadline: Deadline) -> None:
        _begin(subject, directory, deadline)

    failure = moment.capture(group, begin, watchdogs, terms.freeze, terms.required, "backup").failure
    if failure is not None:
        return failure
    deadline = Deadline(terms.seconds)
    failure = _copied(group, deadline, tell)
    return failure or moment.first(
        error for error in each(lambda subject: _finish(subject, directory, deadline), group) if error is not None
    )


def _make_ready(subject: Subject, directory: Directory, deadline: Deadline) -> None:
    """All that can be done before the guests are frozen. The note comes first: it names what is to be removed."""
    backups = subject.domain.storage.backups
    sizes = {disk.target: backups.capacity(disk.target) for disk in subject.plan.disks}
    with _of(subject):
        subject.held = directory.begin(subject.note)
        for disk in subject.plan.disks:
            images.create(os.path.join(directory.path, disk.image + PART), sizes[disk.target], disk.base, deadline)
    backups.forget_end()


def _begin(subject: Subject, directory: Directory, deadline: Deadline) -> None:
    plan, note = subject.plan, subject.note
    copies = [
        documents.Copy(disk.target, os.path.join(directory.path, disk.image + PART), plan.parent if disk.base else "")
        for disk in plan.disks
    ]
    noted = [disk.target for disk in plan.disks if disk.noted]
    others = [target for target in subject.found.disks if target not in noted]
    checkpoint = documents.checkpoint_xml(note.name, directory.path, noted, others) if note.checkpoint else ""
    xml = documents.backup_xml(copies, plan.others)
    try:
        subject.domain.storage.backups.begin(xml, checkpoint, max(deadline.remaining(), 1.0))
    except HypervisorUnreachable:
        subject.doubtful = True
        raise
    except LibvirtFailure as error:
        if "No such file" in error.detail:
            error.hint = "run the task on the hypervisor, with a URI that leads to its own libvirt"
        raise


def _copied(group: t.Sequence[Subject], deadline: Deadline, tell: t.Callable[[str], None]) -> GuestAgentError | None:
    """Wait until libvirt has copied all. The error is why it has not."""
    pending, told = list(group), 0.0
    for _turn in deadline.pauses(_FIRST_PAUSE, _LONGEST_PAUSE):
        for subject, seen in list(zip(pending, each(_is_copied, pending))):
            if isinstance(seen, GuestAgentError):
                return seen
            if seen:
                pending.remove(subject)
        if not pending:
            return None
        done, total = (sum(numbers) for numbers in zip(*(subject.progress for subject in group)))
        if total and done / total >= told + _STEP:
            told = done / total
            tell(f"{done / total:.0%} of {_size(total)} copied, after {deadline.elapsed():.0f} s")
    names = ", ".join(subject.domain.name for subject in pending)
    hint = "run the task again with a longer backup_timeout"
    return WaitTimeout(f"the disks of {names} were not copied within {deadline.seconds:g} s", hint=hint)


def _is_copied(subject: Subject) -> bool:
    """
    :raise BackupFailed: the job has ended before.
    """
    backups = subject.domain.storage.backups
    try:
        job = backups.job()
        if job is not None and job.backup:
            subject.progress = (job.done, job.total)
            return False
        end = backups.end()
    except HypervisorUnreachable:
        _renew(subject)  # the job goes on without us
        return False
    except DomainBusy:  # and while another client's request keeps ours from being answered
        return False
    if end:
        raise BackupFailed(f"libvirt did not copy all of the disks: {end}", domain=subject.domain.name)
    subject.progress = (subject.progress[1], subject.progress[1])
    return True


def _renew(subject: Subject) -> None:
    """
    :raise DomainOff: the job has ended with the domain.
    """
    try:
        subject.domain.renew(_LONGEST_PAUSE)
    except HypervisorUnreachable:
        return


def _finish(subject: Subject, directory: Directory, deadline: Deadline) -> None:
    """Check the images, give them their names, and note that they are whole.

    :raise BackupFailed: they are not.
    """
    with _of(subject):
        disks = tuple(_checked(subject, disk, directory, deadline) for disk in subject.plan.disks)
        for disk in subject.plan.disks:
            place = os.path.join(directory.path, disk.image)
            os.rename(place + PART, place)
        subject.note = subject.note._replace(
            disks=disks, quiesced=subject.quiesced, reason=subject.reason, seconds_frozen=subject.seconds
        )
        if subject.held is not None:
            subject.held.finish(subject.note)
    subject.held, subject.whole = None, True


def _checked(subject: Subject, disk: DiskPlan, directory: Directory, deadline: Deadline) -> DiskNote:
    part = os.path.join(directory.path, disk.image + PART)
    images.check(part, deadline)
    size = images.size(part, chain(subject.found, subject.plan.parent if disk.base else "", disk.target), deadline)
    begun = next(begun for begun in subject.note.disks if begun.target == disk.target)
    return begun._replace(bytes=size.occupied, virtual_bytes=size.virtual)


@contextlib.contextmanager
def _of(subject: Subject) -> t.Iterator[None]:
    """What goes wrong in here gets the domain's name."""
    try:
        with explained(subject.domain.name):
            yield
    except GuestAgentError as error:
        error.domain = error.domain or subject.domain.name
        raise


def _undo(group: t.Sequence[Subject], directory: Directory) -> list[Subject]:
    """Take back all that is there. Those of which something is left are returned; their notes stay for the next task."""

    def undo(subject: Subject) -> None:
        if subject.whole:
            subject.held, subject.whole = directory.removing(subject.note), False
        if subject.held is not None:
            remains.clear(subject.domain, directory, subject.held, subject.doubtful)

    undone = each(undo, group)
    return [subject for subject, error in zip(group, undone) if error is not None or subject.doubtful]


def _undone(group: t.Sequence[Subject], directory: Directory, failure: GuestAgentError) -> GuestAgentError:
    left = [remains.left_of(directory, subject.note) for subject in _undo(group, directory)]
    outcome = f"the next task of this backup's directory removes what is left of {', '.join(left)}" if left else "no backup is left"
    failure.detail = f"{failure.detail}; {outcome}"
    return failure


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
