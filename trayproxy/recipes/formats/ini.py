"""The INI files of Python's configparser, which pip, dnf and WSL read alike."""

import configparser
import re
from dataclasses import dataclass

from trayproxy.recipes.formats.lines import content_end, insert_lines, line_end, splice
from trayproxy.recipes.formats.setting import (
    Editor,
    Setting,
    SettingPath,
    UnreadableTextError,
    unreadable,
)

_HEADER = re.compile(r"[ \t]*\[(.+)\]")
_OPTION = re.compile(r"[ \t]*([^\s=:](?:[^\n=:]*[^\s=:])?)[ \t]*[=:][ \t]*")


@dataclass(frozen=True, slots=True)
class _IniItem:
    """A section header or an option in the text of an INI file.

    Attributes:
        path: The section; for an option, followed by the option's name.
        is_header: True for a section header.
        span: The offsets of the option's value.
        end: The offset after the last line of the header or the option.
    """

    path: SettingPath
    is_header: bool
    span: tuple[int, int]
    end: int


def _parsed(text: str) -> configparser.RawConfigParser:
    # Collecting the errors of a long text takes configparser minutes.
    _items(text)
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        raise UnreadableTextError(f"line {error.lineno}: {_reason(error)}") from None
    except configparser.Error as error:
        raise UnreadableTextError(str(error)) from None
    return parser


def _reason(error: configparser.DuplicateSectionError | configparser.DuplicateOptionError) -> str:
    if isinstance(error, configparser.DuplicateOptionError):
        return f"“{error.option}” is set twice in the section [{error.section}]"
    return f"the section [{error.section}] exists twice"


def _items(text: str) -> list[_IniItem]:
    """Return the section headers and the options of an INI text, in their order."""
    items: list[_IniItem] = []
    section = ""
    indent = 0
    offset = 0
    while offset < len(text):
        end = line_end(text, offset)
        line = text[offset:end]
        content = line.strip()
        present = len(line) - len(line.lstrip())
        if content and content[0] not in "#;":
            if items and not items[-1].is_header and present > indent:
                last = items[-1]
                items[-1] = _IniItem(
                    last.path, False, (last.span[0], content_end(text, offset)), end
                )
            else:
                indent = present
                item = _item(text, offset, end, section)
                section = item.path[0]
                items.append(item)
        offset = end
    return items


def _item(text: str, offset: int, end: int, section: str) -> _IniItem:
    if header := _HEADER.match(text, offset, end):
        return _IniItem((header[1],), True, (end, end), end)
    option = _OPTION.match(text, offset, end)
    if not section:
        raise unreadable(text, offset, "there is no section before it")
    if option is None:
        raise unreadable(text, offset, "this is neither a section nor a setting")
    value_end = option.end() + len(text[option.end() : end].rstrip())
    return _IniItem((section, option[1].lower()), False, (option.end(), value_end), end)


def _read(text: str, path: SettingPath) -> object:
    section, option = path
    return _parsed(text).get(section, option, fallback=None)


def _write(text: str, setting: Setting) -> str:
    _parsed(text)
    section, option = setting.path
    value = str(setting.value).lower() if isinstance(setting.value, bool) else str(setting.value)
    items = _items(text)
    for item in items:
        if not item.is_header and item.path == (section, option.lower()):
            return splice(text, *item.span, value)
    line = f"{option} = {value}"
    belonging = [item for item in items if item.path[0] == section]
    if belonging:
        return insert_lines(text, belonging[-1].end, line)
    return insert_lines(text, len(text), f"[{section}]\n{line}")


INI = Editor(_read, _write)
