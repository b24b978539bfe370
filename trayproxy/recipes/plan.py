"""Decide how the file of a program is changed, and how the change is undone. Nothing is written.

A change always starts from the original, the file without the settings of TrayProxy, also when
TrayProxy replaces its own settings by others (another port).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_setting

from msgspec.structs import replace

from trayproxy.recipes.formats.editors import read_value, set_values
from trayproxy.recipes.formats.setting import Format, Setting, UnreadableTextError
from trayproxy.recipes.journal import FileRecord, Version, digest
from trayproxy.recipes.spans import Span, changed, difference, inverse, line_with_login

LINE_FORMATS = (Format.BLOCK, Format.FIRST_BLOCK, Format.WHOLE)
"""The formats whose settings are lines."""

_LOGIN = re.compile(r"(?:= |//)[^\s/:@]*:.*@", re.DOTALL)
"""A login in a setting as text; a password may contain spaces."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The byte order marks of UTF-16."""


class LeftAloneError(Exception):
    """A file is left alone.

    Attributes:
        path: The file.
        reason: The reason, a clause.
        lines: The settings of TrayProxy that are still in the file, as text.
        earlier: The settings that were in their place, as text.
        is_denied: True if an administrator might change the file.
    """

    def __init__(
        self,
        path: str,
        reason: str,
        lines: Sequence[str] = (),
        earlier: Sequence[str] = (),
        *,
        is_denied: bool = False,
    ) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.lines = tuple(lines)
        self.earlier = tuple(earlier)
        self.is_denied = is_denied


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file with the settings that it must get.

    Attributes:
        path: The absolute path.
        format: The format.
        settings: The settings.
        ca: The settings that make the program trust a company's CA. A file with such a setting
            keeps its own: the user has chosen it.
        is_of_system: True if only an administrator may change the file.
    """

    path: str
    format: Format
    settings: tuple[Setting, ...]
    ca: tuple[Setting, ...] = ()
    is_of_system: bool = False


@dataclass(frozen=True, slots=True)
class FilePlan:
    """The planned change of one file.

    Attributes:
        path: The file.
        present: Its present contents; None if there is no file.
        wanted: Its new contents.
        record: The record of all changes, for the journal; None if TrayProxy changes nothing.
    """

    path: str
    present: bytes | None
    wanted: bytes | None
    record: FileRecord | None


def plan(
    target: FileTarget,
    present: bytes | None,
    record: FileRecord | None,
    folders: Sequence[str] = (),
) -> FilePlan:
    """Return the change that gives a file its settings.

    Args:
        target: The file and its settings.
        present: The present contents of the file; None if there is no file.
        record: The earlier changes of TrayProxy in the file, None if there are none.
        folders: The folders that must be created for the file.

    Raises:
        LeftAloneError: The file is left alone.
    """
    original = present
    if record is not None:
        try:
            original = original_of(record, present)
        except GoneError:
            record = None
        except LeftAloneError:
            if has_settings(target, present):
                return FilePlan(target.path, present, present, record)
            raise
    wanted = edited(target, original)
    if wanted == original:
        return FilePlan(target.path, present, wanted, None)
    spans = difference(original or b"", wanted)
    text = _decoded(original or b"")
    settings = tuple(s for s in _settings(target, text) if not _has(target.format, text, s))
    earlier = _earlier(target.format, text, settings)
    if where := _place_of_login(original or b"", spans, earlier):
        raise LeftAloneError(
            target.path,
            f"{where} contains a login, which TrayProxy would have to keep in its own files. "
            "Remove it, and sign in with “trayproxy login”",
        )
    new = Version(digest(wanted) or "", spans, settings)
    if record is None:
        record = FileRecord(target.path, target.format, digest(original), (), ())
    versions = (*(v for v in record.versions if v.sha256 != new.sha256), new)
    created = tuple(dict.fromkeys((*record.folders, *folders)))
    record = replace(
        record, format=target.format, folders=created, versions=versions, earlier=earlier
    )
    return FilePlan(target.path, present, wanted, record)


def _place_of_login(original: bytes, spans: Sequence[Span], earlier: Sequence[str]) -> str:
    """Return where a replaced setting contains a login, such as ``line 3``; empty if none does."""
    line = line_with_login(original, spans)
    if line is not None:
        return f"line {line}"
    named = [setting.partition(" = ")[0] for setting in earlier if _LOGIN.search(setting)]
    return f"“{named[0]}”" if named else ""


class GoneError(Exception):
    """The file has been changed or removed, and contains no setting of TrayProxy any more."""


def original_of(record: FileRecord, present: bytes | None) -> bytes | None:
    """Return the original contents of a file; None if there was no file.

    Args:
        record: The changes of TrayProxy.
        present: The present contents; None if there is no file.

    Raises:
        GoneError: The file contains no setting of TrayProxy.
        LeftAloneError: The file was changed since, and still contains settings of TrayProxy.
    """
    found = digest(present)
    if found == record.original_sha256:
        return present
    if present is not None:
        for version in record.versions:
            if version.sha256 == found:
                return _undone(record, version, present)
    lines = remaining_lines(record, present)
    if not lines:
        raise GoneError
    reason = "it was changed since TrayProxy wrote to it"
    raise LeftAloneError(record.path, reason, lines, record.earlier)


def remaining_lines(record: FileRecord, present: bytes | None) -> tuple[str, ...]:
    """Return the settings of TrayProxy that are still in a file, as text."""
    if present is None:
        return ()
    settings = [s for version in record.versions for s in version.settings]
    text = _decoded(present)
    if record.format in LINE_FORMATS:
        lines = [line for setting in settings for line in as_lines(setting)]
        there = {line.strip() for line in text.splitlines()}
        return tuple(
            dict.fromkeys(x for x in lines if x.strip() in there and x[:1] not in ("", "#"))
        )
    found = [setting for setting in settings if _has(record.format, text, setting)]
    return tuple(dict.fromkeys(line for setting in found for line in as_lines(setting)))


def as_lines(setting: Setting) -> tuple[str, ...]:
    """Return a setting as the user reads it: its lines, or ``http.proxy = http://127.0.0.1:3128``."""
    match setting.value:
        case tuple() as lines if not setting.path:
            return lines
        case tuple() as items:
            return (f"{setting.name} = {', '.join(items)}",)
        case bool() as flag:
            return (f"{setting.name} = {str(flag).lower()}",)
    return (f"{setting.name} = {setting.value}",)


def has_settings(target: FileTarget, present: bytes | None) -> bool:
    """Return True if a file already has its settings, written by TrayProxy or by the user."""
    if present is None:
        return False
    text = _decoded(present)
    try:
        return set_values(target.format, text, _settings(target, text)) == text
    except UnreadableTextError:
        return False


def edited(target: FileTarget, original: bytes | None) -> bytes:
    """Return the contents of a file with its settings.

    Args:
        target: The file and its settings.
        original: The contents without settings of TrayProxy; None if there is no file.

    Raises:
        LeftAloneError: The contents cannot be changed.
    """
    octets = original or b""
    if octets.startswith(_UTF_16) or b"\0" in octets:
        raise LeftAloneError(target.path, "it is not a text in UTF-8")
    text = _decoded(octets)
    try:
        wanted = set_values(target.format, text, _settings(target, text))
    except UnreadableTextError as error:
        raise LeftAloneError(
            target.path, f"TrayProxy does not understand it: {error.reason}"
        ) from None
    if target.format is Format.WHOLE and text not in ("", wanted):
        raise LeftAloneError(target.path, "another program has written it")
    return wanted.encode("utf-8", "surrogateescape")


def _settings(target: FileTarget, text: str) -> tuple[Setting, ...]:
    """Return the settings to write into a text; raise `UnreadableTextError` if it is invalid."""
    if target.format in LINE_FORMATS:
        return (*target.settings, *target.ca)
    missing = (s for s in target.ca if read_value(target.format, text, s.path) is None)
    return (*target.settings, *missing)


def _earlier(text_format: Format, text: str, settings: Sequence[Setting]) -> tuple[str, ...]:
    """Return the present values of settings in a text, each as text for the user."""
    if text_format in LINE_FORMATS:
        return ()
    lines: list[str] = []
    for setting in settings:
        value = read_value(text_format, text, setting.path)
        if isinstance(value, str | int | tuple):
            lines += as_lines(replace_setting(setting, value=value))
    return tuple(line.encode("utf-8", "backslashreplace").decode() for line in lines)


def _undone(record: FileRecord, version: Version, present: bytes) -> bytes | None:
    original = changed(present, inverse(version.spans))
    if record.original_sha256 is None and original == b"":
        return None
    if digest(original) != record.original_sha256:
        raise LeftAloneError(record.path, "the record of its changes does not fit")
    return original


def _has(format: Format, text: str, setting: Setting) -> bool:
    try:
        return set_values(format, text, (setting,)) == text
    except UnreadableTextError:
        # The setting may be there.
        return True


def _decoded(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
