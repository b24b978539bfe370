"""The file ``config.toml``: read and written atomically.

The file belongs to the user. An invalid file is reported and not changed, and a file with changes
since it was last read is not overwritten. New contents are written to a temporary file, which
replaces the settings file when the contents are on the disk; at any time the settings file contains
either the old or the new settings (security.md F16 to F18).
"""

import contextlib
from pathlib import Path

from trayproxy.file_replacement import NotAFileError, read_file, replace_file
from trayproxy.profiles.config import Config
from trayproxy.profiles.document import (
    SCHEMA,
    InvalidSettingsError,
    NewerSchemaError,
    parse_settings,
    rewrite_settings,
)

MAX_SIZE = 128 * 1024
"""The maximum size in octets. A larger file cannot be a file of settings."""


class SettingsError(Exception):
    """The settings cannot be read or saved (ux §5.2).

    Attributes:
        id: ``TP-801`` the file is invalid, ``TP-802`` it cannot be read or written, ``TP-803`` it
            has a schema of a newer TrayProxy, ``TP-804`` it was changed since it was read.
        title: At most 60 characters, no full stop.
        body: The error and its remedy.
    """

    def __init__(self, problem_id: str, title: str, body: str) -> None:
        super().__init__(f"{title}: {body}")
        self.id = problem_id
        self.title = title
        self.body = body


class SettingsStore:
    """The settings file of a process.

    Attributes:
        config: The settings as last read or saved; before that, the defaults.
    """

    def __init__(self, path: Path, last_good: Path | None = None) -> None:
        """Create the store without reading a file.

        The settings file may be a symbolic link. The last valid settings are copied to the file
        `last_good`, if there is one, for a start with an invalid settings file.
        """
        self.config = Config()
        self._path = path
        self._last_good = last_good
        self._last_read: bytes | None = None
        """The contents of the file when it was last read; empty if there was no file."""

    def load(self) -> Config:
        """Read the file; without a file, the settings are the defaults.

        Raises:
            SettingsError: The file cannot be used. `config` is unchanged, and `save` fails until
                the file can be read.
        """
        self._last_read = None
        octets = self._read_octets()
        config = self._parse(octets)
        self._last_read, self.config = octets, config
        self._save_last_good(octets)
        return config

    def load_last_good(self) -> Config | None:
        """Return the last valid settings; None if they are missing."""
        if self._last_good is None:
            return None
        try:
            self.config = parse_settings(read_file(self._last_good, MAX_SIZE).decode())
        except (OSError, UnicodeDecodeError, InvalidSettingsError, NewerSchemaError):
            return None
        return self.config

    def is_changed_on_disk(self) -> bool:
        """Return whether the file differs from its contents when last read or saved."""
        try:
            return self._read_octets() != self._last_read
        except SettingsError:
            return self._last_read is not None

    def save(self, config: Config) -> None:
        """Write these settings to the file; `load` must have been called before.

        Raises:
            SettingsError: The settings were not saved, and the file is unchanged.
        """
        octets = self._read_octets()
        if self._last_read is None or octets != self._last_read:
            self._parse(octets)
            raise SettingsError(
                "TP-804",
                "The settings file was changed meanwhile",
                f"{self._path} has changed since TrayProxy read it. Nothing was saved; try again.",
            )
        try:
            text = rewrite_settings(octets.decode("utf-8-sig"), config)
        except InvalidSettingsError as error:
            raise self._not_saved(error.reason) from None
        new = text.encode()
        try:
            replace_file(self._path, new)
        except OSError as error:
            raise self._not_saved(error.strerror or str(error)) from None
        self._last_read, self.config = new, config
        self._save_last_good(new)

    def _read_octets(self) -> bytes:
        try:
            octets = read_file(self._path, MAX_SIZE + 1)
        except FileNotFoundError:
            return b""
        except NotAFileError:
            raise self._invalid(0, "it is not a file") from None
        except OSError as error:
            body = f"{self._path}: {error.strerror or error}."
            raise SettingsError("TP-802", "The settings cannot be read", body) from None
        if len(octets) > MAX_SIZE:
            raise self._invalid(1, "it is too large for settings")
        return octets

    def _parse(self, octets: bytes) -> Config:
        try:
            return parse_settings(octets.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = octets.count(b"\n", 0, error.start) + 1
            raise self._invalid(line, "it is not UTF-8 text") from None
        except InvalidSettingsError as error:
            raise self._invalid(error.line, error.reason) from None
        except NewerSchemaError as error:
            raise SettingsError(
                "TP-803",
                "The settings are from a newer TrayProxy",
                f"{self._path} has schema {error.schema}, this TrayProxy knows {SCHEMA}. "
                "The file was not touched. Update TrayProxy, or move the file away.",
            ) from None

    def _invalid(self, line: int, reason: str) -> SettingsError:
        where = f"{self._path}, line {line}" if line else str(self._path)
        body = f"{where}: {reason}. {self._replacement_text()}"
        return SettingsError("TP-801", "The settings file has a mistake", body)

    def _replacement_text(self) -> str:
        if self._last_good is None:  # A command ends with the error and uses no settings.
            return "The file was not touched."
        used = "The last good settings" if self._last_good.exists() else "The defaults"
        return f"{used} are in use; the file was not touched."

    def _not_saved(self, reason: str) -> SettingsError:
        body = f"{self._path}: {reason}. The file was not touched."
        return SettingsError("TP-802", "The settings could not be saved", body)

    def _save_last_good(self, octets: bytes) -> None:
        if self._last_good is None or not octets:
            return
        # The copy is needed only for a later start with an invalid file.
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError, NotAFileError):
                if read_file(self._last_good, MAX_SIZE + 1) == octets:
                    return
            replace_file(self._last_good, octets)
