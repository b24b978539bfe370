"""Files and journals in memory, which fail or crash where a test wants it."""

import posixpath
from pathlib import Path

from trayproxy.recipes.journal import RecipeJournal, RecipeJournals, decode, encode
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import JournalError


class PowerFailure(BaseException):
    """The process ends here."""


class Disk:
    """The contents of files and journals, and the folders, which survive a crash.

    Attributes:
        files: The contents of each file.
        folders: The existing folders.
        journals: The contents of each journal.
        writes_left: The number of writes before a crash; None for no crash.
        refused: Files that cannot be written.
        ignored: Files whose writes are reported as done and ignored.
        is_full: True if no journal can be written.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.folders = {"/", "/home"}
        self.journals: dict[str, bytes] = {}
        self.writes_left: int | None = None
        self.refused: set[str] = set()
        self.ignored: set[str] = set()
        self.is_full = False

    def count_write(self) -> None:
        if self.writes_left == 0:
            raise PowerFailure
        if self.writes_left is not None:
            self.writes_left -= 1

    # The methods of trayproxy.recipes.apply.Files.

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def missing_folders(self, path: str) -> tuple[str, ...]:
        missing = []
        folder = posixpath.dirname(path)
        while folder not in self.folders:
            missing.append(folder)
            folder = posixpath.dirname(folder)
        return tuple(reversed(missing))

    def check_writable(self, path: str) -> None:
        pass

    def write(self, path: str, old: bytes | None, new: bytes) -> None:
        assert self.files.get(path) == old
        if path in self.refused:
            raise TargetError("no space left on the device")
        for folder in self.missing_folders(path):
            self.count_write()
            self.folders.add(folder)
        self.count_write()
        self.files[f"{path}.new"] = new
        self.count_write()
        del self.files[f"{path}.new"]
        if path not in self.ignored:
            self.files[path] = new

    def remove(self, path: str, old: bytes) -> None:
        assert self.files.get(path) == old
        self.count_write()
        del self.files[path]

    def remove_leftover(self, path: str) -> None:
        self.files.pop(f"{path}.new", None)

    def remove_folder(self, folder: str) -> None:
        names = (*self.files, *self.folders)
        if not any(name.startswith(f"{folder}/") for name in names) and folder in self.folders:
            self.count_write()
            self.folders.remove(folder)


class MemoryJournals(RecipeJournals):
    """The journals on a `Disk`."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(Path("/nowhere"))
        self._disk = disk

    def tools(self) -> tuple[str, ...]:
        return tuple(sorted(self._disk.journals))

    def load(self, tool: str) -> RecipeJournal | None:
        octets = self._disk.journals.get(tool)
        return None if octets is None else decode(octets, tool)

    def save(self, journal: RecipeJournal) -> None:
        if self._disk.is_full:
            raise JournalError("no space left on the device")
        self._disk.count_write()
        if journal.files:
            self._disk.journals[journal.tool] = encode(journal)
        else:
            self._disk.journals.pop(journal.tool, None)
