"""Set values in the text of another program's file, and check the result."""

import re
from collections.abc import Sequence
from dataclasses import replace

from trayproxy.recipes.formats.assignments import CURLRC, DOTENV, NPMRC, PROPERTIES, WGETRC, YARNRC
from trayproxy.recipes.formats.blocks import BLOCK, FIRST_BLOCK, WHOLE
from trayproxy.recipes.formats.git_config import GIT
from trayproxy.recipes.formats.ini import INI
from trayproxy.recipes.formats.json_text import JSON
from trayproxy.recipes.formats.setting import (
    Editor,
    Format,
    Setting,
    SettingPath,
    UnreadableTextError,
    unreadable,
)
from trayproxy.recipes.formats.toml_text import TOML
from trayproxy.recipes.formats.xml_text import XML
from trayproxy.recipes.formats.yaml_text import YAML

_EDITORS = {
    Format.BLOCK: BLOCK,
    Format.CURLRC: CURLRC,
    Format.DOTENV: DOTENV,
    Format.FIRST_BLOCK: FIRST_BLOCK,
    Format.GIT: GIT,
    Format.INI: INI,
    Format.JSON: JSON,
    Format.NPMRC: NPMRC,
    Format.PROPERTIES: PROPERTIES,
    Format.TOML: TOML,
    Format.WGETRC: WGETRC,
    Format.WHOLE: WHOLE,
    Format.XML: XML,
    Format.YAML: YAML,
    Format.YARNRC: YARNRC,
}
_OF_LINES = {Format.BLOCK, Format.FIRST_BLOCK, Format.WHOLE}
_UNUSUAL = re.compile(r"\0|\r(?!\n)")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=")


def read_value(text_format: Format, text: str, path: SettingPath) -> object:
    """Return the value of a setting as the program reads it; None if it is not set.

    Args:
        text_format: The format of the text.
        text: The text, decoded as UTF-8 with the error handler ``surrogateescape``; line ends and
            the byte order mark are part of it.
        path: The keys that lead to the setting; see `Format`.

    Raises:
        UnreadableTextError: The text is not of this format.
    """
    return _editor(text_format, text).read(text, path)


def set_values(text_format: Format, text: str, settings: Sequence[Setting]) -> str:
    """Return a text with settings set, and everything else as it was.

    The entries of a list are added to the present entries, also if the list is one text. An entry
    ``NAME=value`` replaces that of the same name. The lines of several settings of a block are one
    block.

    Args:
        text_format: The format of the text.
        text: The text, as for `read_value`; empty for a file that does not exist.
        settings: The settings.

    Raises:
        UnreadableTextError: The text is not of this format, or a setting cannot be changed without
            touching the rest.
    """
    editor = _editor(text_format, text)
    if text_format in _OF_LINES:
        lines = [line for setting in settings for line in _lines(setting)]
        settings = [Setting((), tuple(lines))]
        if _is_within(lines, editor.read(text, ())):
            return text
    new = text
    for setting in settings:
        present = editor.read(new, setting.path)
        wanted = setting if text_format in _OF_LINES else _merged(setting, present)
        if not _is_equal(present, wanted.value):
            new = editor.write(new, wanted)
    for setting in settings:
        present = editor.read(new, setting.path)
        if not _is_equal(present, _merged(setting, present).value):
            raise UnreadableTextError(f"“{setting.name}” cannot have this value there")
    return new


def _lines(setting: Setting) -> tuple[str, ...]:
    return setting.value if isinstance(setting.value, tuple) else (str(setting.value),)


def _is_within(lines: list[str], present: object) -> bool:
    """Return True if the present lines contain these lines, one directly after the other."""
    if not isinstance(present, tuple):
        return False
    count = len(lines)
    return any(lines == list(present[at : at + count]) for at in range(len(present)))


def _editor(text_format: Format, text: str) -> Editor:
    if unusual := _UNUSUAL.search(text):
        raise unreadable(text, unusual.start(), "it has characters that are not text in UTF-8")
    return _EDITORS[text_format]


def _merged(setting: Setting, present: object) -> Setting:
    """Return the setting; if its value is a list, with the list's present entries added."""
    if setting.separator and isinstance(present, str):
        return replace(setting, value=_joined(present, str(setting.value), setting.separator))
    if not isinstance(setting.value, tuple) or not isinstance(present, tuple):
        return setting
    added = list(dict.fromkeys(setting.value))
    merged: list[str] = []
    for entry in present:
        name = _VARIABLE.match(str(entry))
        same = [new for new in added if new == entry or (name and new.startswith(name[0]))]
        merged += [new for new in same if new not in merged] if same else [entry]
        added = [new for new in added if new not in same]
    return Setting(setting.path, (*merged, *added))


def _joined(present: str, added: str, separator: str) -> str:
    """Return a list of hosts in one text, with the added entries behind the present entries.

    The entry ``*`` is removed: with it, the program would reach no host through a proxy.
    """
    entries = [entry.strip() for entry in present.split(separator)]
    missing = [entry for entry in added.split(separator) if entry not in entries]
    if "*" in entries or not any(entries):
        return separator.join((*(entry for entry in entries if entry not in ("", "*")), *missing))
    return separator.join((present, *missing))


def _is_equal(present: object, wanted: object) -> bool:
    """Return True if a value read from a file equals the wanted value.

    In a format without numbers and booleans, a text equals the number that it shows.
    """
    if isinstance(present, str) and not isinstance(wanted, str | tuple):
        return present.lower() == str(wanted).lower()
    return type(present) is type(wanted) and present == wanted
