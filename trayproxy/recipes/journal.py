"""The journal of a recipe: the changes of TrayProxy in the files of one program.

The journal follows the rules of `trayproxy.system_settings`: it is on the disk before the first
file is changed, it exists while TrayProxy's settings may be in a file, and its original values are
never replaced by those of TrayProxy.

It contains the changed parts of the files and a hash of each version, not the files, which may
contain passwords. The file is JSON (RFC 8259) in the state folder, ``recipes/git.json``, mode 0600;
changed parts are in Base64.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from trayproxy.file_replacement import remove_file, replace_file, set_aside
from trayproxy.recipes.formats.setting import Format, Setting
from trayproxy.recipes.spans import Span
from trayproxy.system_settings.journal import DamagedJournalError, JournalError

SCHEMA = 1
"""The version of the format; another version is refused, because nothing may be guessed."""

MAX_SIZE = 8 << 20
"""The largest journal that is read, in octets."""


class Version(Struct, frozen=True, forbid_unknown_fields=True):
    """A version of a file that TrayProxy has written, or was about to write.

    Attributes:
        sha256: The SHA-256 hash of the file, in hexadecimal.
        spans: The differences from the original contents.
        settings: The settings of TrayProxy in this version that are not in the original.
    """

    sha256: str
    spans: tuple[Span, ...]
    settings: tuple[Setting, ...]


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The changes of TrayProxy in one file.

    Attributes:
        path: The file.
        format: The format of the file.
        original_sha256: The hash of the file before the first change; None if there was no file.
        folders: The folders that TrayProxy has created for this file, or for that of another recipe
            in the same folder, the outermost first. The last recipe removes them.
        versions: The versions that TrayProxy has written. While TrayProxy replaces a version, the
            file may have the old or the new version.
        earlier: The settings of the file that TrayProxy has replaced, as text for the user.
    """

    path: str
    format: Format
    original_sha256: str | None
    folders: tuple[str, ...]
    versions: tuple[Version, ...]
    earlier: tuple[str, ...] = ()


class RecipeJournal(Struct, frozen=True, forbid_unknown_fields=True):
    """The changes of one recipe.

    Attributes:
        tool: The name of the recipe.
        files: The changed files.
        schema: `SCHEMA`.
    """

    tool: str
    files: tuple[FileRecord, ...]
    schema: int = SCHEMA

    def record_of(self, path: str) -> FileRecord | None:
        """Return the record of a file; None if TrayProxy has not changed the file."""
        return next((record for record in self.files if record.path == path), None)

    def with_records(self, records: Sequence[FileRecord]) -> "RecipeJournal":
        """Return the journal with new records, which replace the records of the same files."""
        replaced = {record.path: record for record in (*self.files, *records)}
        return msgspec.structs.replace(self, files=tuple(replaced.values()))


class RecipeJournals:
    """The journals of all recipes, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Set the folder, which `save` creates."""
        self._folder = folder

    def tools(self) -> tuple[str, ...]:
        """Return the names of the recipes with a journal, sorted."""
        return tuple(sorted(path.stem for path in self._folder.glob("[!.]*.json")))

    def load(self, tool: str) -> RecipeJournal | None:
        """Return the journal of a recipe, None if there is none.

        Raises:
            DamagedJournalError: The file is not a journal of this version.
            JournalError: The file cannot be read.
        """
        try:
            with self._path(tool).open("rb") as file:
                octets = file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None
        return decode(octets, tool)

    def save(self, journal: RecipeJournal) -> None:
        """Write a journal, and wait until it is on the disk; delete it if it names no file.

        Raises:
            JournalError: The journal was not written; an older journal is unchanged.
        """
        path = self._path(journal.tool)
        try:
            if journal.files:
                replace_file(path, encode(journal))
            else:
                remove_file(path)
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None
        except UnicodeEncodeError:
            raise JournalError("the path of a file is not UTF-8") from None

    def created_folders(self) -> frozenset[str]:
        """Return the folders that all recipes have created, except those of damaged journals.

        Raises:
            JournalError: A journal cannot be read.
        """
        folders: set[str] = set()
        for tool in self.tools():
            with contextlib.suppress(DamagedJournalError):
                if journal := self.load(tool):
                    folders.update(*(record.folders for record in journal.files))
        return frozenset(folders)

    def set_aside(self, tool: str) -> Path:
        """Rename a damaged journal, so that it is kept, and return the new path.

        Raises:
            JournalError: The file cannot be renamed.
        """
        try:
            return set_aside(self._path(tool))
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None

    def _path(self, tool: str) -> Path:
        return self._folder / f"{tool}.json"


def encode(journal: RecipeJournal) -> bytes:
    """Return a journal as JSON."""
    return msgspec.json.format(msgspec.json.encode(journal), indent=1) + b"\n"


def decode(octets: bytes, tool: str) -> RecipeJournal:
    """Return the journal of a JSON text.

    Args:
        octets: The text.
        tool: The recipe whose journal it must be.

    Raises:
        DamagedJournalError: The text is not a journal of this version and of this recipe.
    """
    if len(octets) > MAX_SIZE:
        raise DamagedJournalError("it is too large")
    try:
        journal = msgspec.json.decode(octets, type=RecipeJournal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise DamagedJournalError("it is not complete, or from another version") from None
    if journal.schema != SCHEMA or journal.tool != tool:
        raise DamagedJournalError("it is from another version of TrayProxy")
    return journal


def digest(octets: bytes | None) -> str | None:
    """Return the SHA-256 hash of contents, in hexadecimal; None if there is no file."""
    return None if octets is None else hashlib.sha256(octets).hexdigest()
