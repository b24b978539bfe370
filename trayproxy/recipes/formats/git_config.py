"""The config file of git (git-config(1), "Syntax")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trayproxy.recipes.formats.lines import first_line, insert_lines, line_end, splice
from trayproxy.recipes.formats.setting import Editor, Setting, SettingPath, unreadable

_SPACE = re.compile(r"(?:\s|[#;][^\n]*)*")
_HEADER = re.compile(r'\[([A-Za-z0-9.-]+)(?:[ \t]+"((?:[^"\\\n]|\\[^\n])*)")?\]')
_NAME = re.compile(r"([A-Za-z][A-Za-z0-9-]*)[ \t]*(?:(=)[ \t]*|(?=\r?\n|$))")
_VALUE = re.compile(
    r"""
    (?: "(?: [^"\\\n] | \\["\\ntb] | \\\r?\n )*"  # quoted
      | \\["\\ntb]
      | \\\r?\n  # continued on the next line
      | [^"\\\n#;]
    )*
    """,
    re.VERBOSE,
)
_PART = re.compile(r'\\\r?\n|\\(["\\ntb])|(")|([^"\\]+)')
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b"}
_TO_QUOTE = re.compile(r'["\\#;\n\t\b]|^\s|\s$|^$')
_ESCAPED = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\b": "\\b"})


@dataclass(frozen=True, slots=True)
class _GitItem:
    """A section header or a variable in the text of a config file.

    Attributes:
        path: The section; for a variable, followed by the variable's name.
        is_header: True for a section header.
        span: The offsets of the variable's value.
        join: The text to write before a new value at `span`.
        value: The variable's value as git reads it.
        end: The offset after the last line of the header or the variable.
    """

    path: SettingPath
    is_header: bool
    span: tuple[int, int]
    join: str
    value: str
    end: int


def _items(text: str) -> Iterator[_GitItem]:
    offset = first_line(text)
    section: SettingPath = ()
    while (offset := _end_of(_SPACE, text, offset)) < len(text):
        if header := _HEADER.match(text, offset):
            section = _section(header)
            offset = header.end()
            yield _GitItem(section, True, (offset, offset), "", "", line_end(text, offset))
        elif name := _NAME.match(text, offset):
            offset = _end_of(_VALUE, text, name.end()) if name[2] else name.end()
            written = text[name.end() : offset].rstrip()
            span = (name.end(), name.end() + len(written))
            if offset < len(text) and text[offset] not in "\r\n#;":
                raise unreadable(text, offset, "a value has a quote or a backslash too many")
            path = (*section, name[1].lower())
            join, value = ("", _decoded(written)) if name[2] else (" = ", "true")
            yield _GitItem(path, False, span, join, value, line_end(text, offset))
        else:
            raise unreadable(text, offset, "this is neither a section nor a setting")


def _end_of(pattern: re.Pattern[str], text: str, offset: int) -> int:
    match = pattern.match(text, offset)
    return match.end() if match else offset


def _section(header: re.Match[str]) -> SettingPath:
    if header[2] is not None:
        return (header[1].lower(), re.sub(r"\\(.)", r"\1", header[2]))
    # [section.subsection] is the deprecated form, in which the case does not matter.
    return tuple(header[1].lower().split(".", 1))


def _decoded(written: str) -> str:
    value = ""
    kept = 0
    is_quoted = False
    for part in _PART.finditer(written):
        if part[2]:
            is_quoted = not is_quoted
        elif part[1]:
            value += _ESCAPES.get(part[1], part[1])
        else:
            value += part[3] or ""
        if is_quoted or part[1] or part[2]:
            kept = len(value)
    return value[:kept] + value[kept:].rstrip()


def _normal(path: SettingPath) -> SettingPath:
    return (path[0].lower(), *path[1:-1], path[-1].lower())


def _read(text: str, path: SettingPath) -> object:
    wanted = _normal(path)
    values = [item.value for item in _items(text) if not item.is_header and item.path == wanted]
    return values[-1] if values else None


def _write(text: str, setting: Setting) -> str:
    path = _normal(setting.path)
    items = list(_items(text))
    value = _encoded(setting.value)
    found = [item for item in items if not item.is_header and item.path == path]
    if found:
        # The last value counts.
        return splice(text, *found[-1].span, found[-1].join + value)
    line = f"\t{setting.path[-1]} = {value}"
    belonging = [
        item for item in items if (item.path if item.is_header else item.path[:-1]) == path[:-1]
    ]
    if belonging:
        return insert_lines(text, belonging[-1].end, line)
    return insert_lines(text, len(text), f"{_header(setting.path[:-1])}\n{line}")


def _header(section: SettingPath) -> str:
    if len(section) == 1:
        return f"[{section[0]}]"
    name = section[1].replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section[0]} "{name}"]'


def _encoded(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'"{text.translate(_ESCAPED)}"' if _TO_QUOTE.search(text) else text


GIT = Editor(_read, _write)
