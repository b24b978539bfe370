"""Apply and undo recipes: write the journal, change the files, read them back, or roll back.

Each function may be interrupted at any time, also by a power failure: the journal names every
version that a file may have, so that the change can be undone afterwards.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from msgspec.structs import replace

from trayproxy.desktop.tool_file import AccessDeniedError
from trayproxy.recipes.journal import FileRecord, RecipeJournal, RecipeJournals
from trayproxy.recipes.plan import (
    FilePlan,
    FileTarget,
    GoneError,
    LeftAloneError,
    edited,
    has_settings,
    original_of,
    plan,
)
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import JournalError

T = TypeVar("T")


class Files(Protocol):
    """The files of the computer; `trayproxy.desktop.tool_file.ToolFiles` describes the methods."""

    def read(self, path: str) -> bytes | None: ...  # noqa: D102
    def missing_folders(self, path: str) -> tuple[str, ...]: ...  # noqa: D102
    def check_writable(self, path: str) -> None: ...  # noqa: D102
    def write(self, path: str, old: bytes | None, new: bytes) -> None: ...  # noqa: D102
    def remove(self, path: str, old: bytes) -> None: ...  # noqa: D102
    def remove_leftover(self, path: str) -> None: ...  # noqa: D102
    def remove_folder(self, folder: str) -> None: ...  # noqa: D102


class State(StrEnum):
    """Whether a program uses TrayProxy."""

    OFF = "off"
    """TrayProxy has changed nothing."""
    APPLIED = "applied"
    """TrayProxy has written the settings."""
    OUTDATED = "outdated"
    """TrayProxy has written settings with other values, such as an earlier port."""
    CHANGED = "changed"
    """A file was changed since, and still contains settings of TrayProxy."""
    BY_USER = "by-user"
    """The settings are there, and TrayProxy has not written them."""
    UNKNOWN = "unknown"
    """A file or the journal cannot be read."""


@dataclass(frozen=True, slots=True)
class Undone:
    """The result of undoing a recipe.

    Attributes:
        changed: The paths of the files that have their original contents again.
        left: The files that were left alone; the journal still exists for them.
        had_journal: False if there was nothing to undo.
    """

    changed: tuple[str, ...] = ()
    left: tuple[LeftAloneError, ...] = ()
    had_journal: bool = True


def apply(
    tool: str, targets: Sequence[FileTarget], journals: RecipeJournals, files: Files
) -> tuple[str, ...]:
    """Write the settings of a recipe into all files of the program, or into none of them.

    Args:
        tool: The name of the recipe.
        targets: The files and their settings.
        journals: The journals.
        files: The files of the computer.

    Returns:
        The paths of the changed files; empty if all files had their settings already.

    Raises:
        LeftAloneError: A file must be left alone; nothing was changed.
        NotAppliedError: A file could not be changed. The changed files are as before again, unless
            the error says otherwise.
        JournalError: The journal cannot be read or written; nothing was changed.
    """
    before = journals.load(tool) or RecipeJournal(tool, ())
    created = journals.created_folders()
    plans = [_plan(target, before.record_of(target.path), files, created) for target in targets]
    pending = [file for file in plans if file.present != file.wanted]
    _save(journals, before, before.with_records([p.record for p in pending if p.record]))
    begun: list[FilePlan] = []
    for file in pending:
        begun.append(file)
        try:
            _write(files, file.path, file.present, file.wanted)
        except TargetError as error:
            is_rolled_back = _roll_back(begun, files)
            if is_rolled_back:
                with suppress(JournalError):
                    # A journal that stays is harmless: it only has versions that no file has.
                    journals.save(before)
            raise NotAppliedError(file.path, str(error), is_rolled_back=is_rolled_back) from None
    with suppress(JournalError):
        # The journal stays correct if the disk is full: it also mentions the earlier versions.
        _save(journals, None if pending else before, _journal_afterwards(before, plans))
    return tuple(file.path for file in pending)


def undo(tool: str, journals: RecipeJournals, files: Files) -> Undone:
    """Remove the settings of a recipe from the files of the program.

    A file that another program has changed after `apply` is left alone if it still contains
    settings of TrayProxy. A second call changes nothing more.

    Args:
        tool: The name of the recipe.
        journals: The journals.
        files: The files of the computer.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    journal = journals.load(tool)
    if journal is None:
        return Undone(had_journal=False)
    restored: list[str] = []
    left: list[LeftAloneError] = []
    kept: list[FileRecord] = []
    for record in journal.files:
        try:
            if _restore(record, files):
                restored.append(record.path)
        except LeftAloneError as error:
            left.append(error)
            kept.append(record)
    journals.save(RecipeJournal(tool, tuple(kept)))
    return Undone(tuple(restored), tuple(left))


def state(
    tool: str, targets: Sequence[FileTarget], journals: RecipeJournals, files: Files
) -> tuple[State, str]:
    """Return whether a program uses TrayProxy, and the reason of an unknown state, a clause.

    Args:
        tool: The name of the recipe.
        targets: The files and their settings.
        journals: The journals.
        files: The files of the computer.
    """
    try:
        journal = journals.load(tool)
        if journal is not None:
            return _recorded_state(journal, targets, files), ""
        contents = [(target, _read(files, target.path)) for target in targets]
    except JournalError as error:
        return State.UNKNOWN, f"the record of its changes cannot be read: {error.reason}"
    except LeftAloneError as error:
        return State.UNKNOWN, f"{error.path}: {error.reason}"
    if contents and all(has_settings(target, octets) for target, octets in contents):
        return State.BY_USER, ""
    return State.OFF, ""


def _plan(
    target: FileTarget, record: FileRecord | None, files: Files, created: Collection[str]
) -> FilePlan:
    present = _read(files, target.path)
    missing = _ask(files.missing_folders, target.path)
    above = [f for f in created if target.path.startswith((f"{f}/", f"{f}\\"))]
    planned = plan(target, present, record, (*sorted(above, key=len), *missing))
    if planned.present != planned.wanted:
        _ask(files.check_writable, target.path)
    return planned


def _read(files: Files, path: str) -> bytes | None:
    return _ask(files.read, path)


def _ask(method: Callable[[str], T], path: str) -> T:
    """Call a method of `Files` with a path; raise `LeftAloneError` instead of `TargetError`."""
    try:
        return method(path)
    except TargetError as error:
        is_denied = isinstance(error, AccessDeniedError)
        raise LeftAloneError(path, str(error), is_denied=is_denied) from None


def _save(journals: RecipeJournals, old: RecipeJournal | None, new: RecipeJournal) -> None:
    if new != old:
        journals.save(new)


def _write(files: Files, path: str, old: bytes | None, new: bytes | None) -> None:
    """Replace, create or remove a file, and read it back; raise `TargetError` after a failure."""
    if new is not None:
        files.write(path, old, new)
    elif old is not None:
        files.remove(path, old)
    if files.read(path) != new:
        raise TargetError("it does not keep its new contents")


def _roll_back(begun: Sequence[FilePlan], files: Files) -> bool:
    """Write back the contents from before a failed change.

    Return True if every file has its earlier contents again.
    """
    is_complete = True
    for file in reversed(begun):
        try:
            if files.read(file.path) == file.wanted:
                _write(files, file.path, file.wanted, file.present)
            is_complete = is_complete and files.read(file.path) == file.present
        except TargetError:
            is_complete = False
        if file.present is None and file.record is not None:
            _remove_folders(file.record, files)
    return is_complete


def _journal_afterwards(before: RecipeJournal, plans: Sequence[FilePlan]) -> RecipeJournal:
    """Return the journal after all files were written. Each record keeps only the version just
    written; the record of a file without changes by TrayProxy is removed."""
    records = {record.path: record for record in before.files}
    for file in plans:
        if file.record is None:
            records.pop(file.path, None)
        else:
            records[file.path] = replace(file.record, versions=file.record.versions[-1:])
    return RecipeJournal(before.tool, tuple(records.values()))


def _restore(record: FileRecord, files: Files) -> bool:
    """Restore the original contents of one file; return True if the file was changed."""
    present = _read(files, record.path)
    files.remove_leftover(record.path)
    try:
        original = original_of(record, present)
    except GoneError:
        return False
    if original != present:
        _ask(files.check_writable, record.path)
        try:
            _write(files, record.path, present, original)
        except TargetError as error:
            raise LeftAloneError(record.path, str(error)) from None
    if original is None:
        _remove_folders(record, files)
    return original != present


def _remove_folders(record: FileRecord, files: Files) -> None:
    for folder in reversed(record.folders):
        files.remove_folder(folder)


def _recorded_state(journal: RecipeJournal, targets: Sequence[FileTarget], files: Files) -> State:
    wanted = {target.path: target for target in targets}
    found = {_file_state(record, wanted.get(record.path), files) for record in journal.files}
    # Files that the recipe did not have when it was applied, before an update of TrayProxy.
    new = [target for path, target in wanted.items() if journal.record_of(path) is None]
    if not all(has_settings(target, _read(files, target.path)) for target in new):
        found.add(State.OUTDATED if found != {State.OFF} else State.OFF)
    return next(s for s in (State.CHANGED, State.OUTDATED, State.APPLIED, State.OFF) if s in found)


def _file_state(record: FileRecord, target: FileTarget | None, files: Files) -> State:
    present = _read(files, record.path)
    try:
        original = original_of(record, present)
    except GoneError:
        return State.OFF
    except LeftAloneError:
        return State.CHANGED
    if original == present:
        return State.OFF
    is_current = target is not None and edited(target, original) == present
    return State.APPLIED if is_current else State.OUTDATED
