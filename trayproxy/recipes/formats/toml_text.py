"""The editor of TOML 1.0 files.

tomlkit is not used, because it writes ``\\n`` into texts with ``\\r\\n``.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from trayproxy.recipes.formats.lines import first_line, insert_lines, line_end, splice
from trayproxy.recipes.formats.setting import (
    BYTE_ORDER_MARK,
    Editor,
    Setting,
    SettingPath,
    UnreadableTextError,
    unreadable,
)

_KEY_PART = r'[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_PART = re.compile(_KEY_PART)
_KEY = re.compile(rf"(?:{_KEY_PART})(?:[ \t]*\.[ \t]*(?:{_KEY_PART}))*")
_SPACE = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_SCALAR = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5}'''
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,\]}#]+(?:[ ][0-9][^\s,\]}#]*)?""",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _TomlItem:
    """A header, a value, or an inline table.

    Attributes:
        path: The whole path of the item; () for the values before the first header.
        table: The path of the header above the item.
        kind: ``header``, ``value``, or ``inline`` for an inline table.
        span: The span of the value; of an inline table, with its braces.
        end: The offset after the last line of the item.
    """

    path: SettingPath
    table: SettingPath
    kind: str
    span: tuple[int, int]
    end: int


_OF_ARRAY = ""
"""The first key in the path of each item of an array of tables; no setting has this key."""


def _parsed(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise UnreadableTextError(str(error) or "it has too many levels") from None


def _skip(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _keys(written: str) -> SettingPath:
    return tuple(
        part if _BARE.fullmatch(part) else next(iter(tomllib.loads(f"{part} = 0")))
        for part in _PART.findall(written)
    )


def _items(text: str) -> Iterator[_TomlItem]:
    """Yield the headers, values and inline tables of a text that tomllib accepts."""
    start = first_line(text)
    yield _TomlItem((), (), "header", (start, start), start)
    table: SettingPath = ()
    arrays: set[SettingPath] = set()
    offset = _skip(text, start)
    while offset < len(text):
        if text.startswith("[", offset):
            is_array = text.startswith("[[", offset)
            key = _match(_KEY, text, _skip(text, offset + 1 + is_array))
            table = _keys(key[0])
            if is_array:
                arrays.add(table)
            if any(table[: len(array)] == array for array in arrays):
                table = (_OF_ARRAY, *table)
            offset = line_end(text, key.end())
            yield _TomlItem(table, table, "header", (offset, offset), offset)
        else:
            found = _assignment(text, offset, table, table)
            yield from found
            offset = found[0].span[1]
        offset = _skip(text, offset)


def _match(pattern: re.Pattern[str], text: str, offset: int) -> re.Match[str]:
    match = pattern.match(text, offset)
    if match is None:
        raise unreadable(text, offset, "this is not TOML")
    return match


def _assignment(text: str, offset: int, table: SettingPath, parent: SettingPath) -> list[_TomlItem]:
    """Return an assignment, followed by those in its inline table."""
    key = _match(_KEY, text, offset)
    path = parent + _keys(key[0])
    start = _match(_EQUALS, text, key.end()).end()
    if not text.startswith("{", start):
        end = _value_end(text, start)
        return [_TomlItem(path, table, "value", (start, end), line_end(text, end))]
    inner: list[_TomlItem] = []
    offset = _skip(text, start + 1)
    while not text.startswith("}", offset):
        found = _assignment(text, offset, (_OF_ARRAY,), path)
        inner += found
        offset = _skip(text, found[0].span[1])
    return [_TomlItem(path, table, "inline", (start, offset + 1), line_end(text, offset)), *inner]


def _value_end(text: str, start: int) -> int:
    if not text.startswith(("[", "{"), start):
        return _match(_SCALAR, text, start).end()
    is_table = text.startswith("{", start)
    offset = _skip(text, start + 1)
    while not text.startswith("}" if is_table else "]", offset):
        if is_table:
            offset = _match(_EQUALS, text, _match(_KEY, text, offset).end()).end()
        offset = _skip(text, _value_end(text, offset))
    return offset + 1


def _read(text: str, path: SettingPath) -> object:
    value: object = _parsed(text)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return tuple(value) if isinstance(value, list) else value


def _write(text: str, setting: Setting) -> str:
    _parsed(text)
    items = list(_items(text))
    path = setting.path
    value = _dumped(setting.value)
    for item in items:
        if item.path == path and item.kind == "value":
            return splice(text, *item.span, value)
    for item in items:
        if item.kind == "inline" and path[: len(item.path)] == item.path:
            return _in_braces(text, item, f"{_dotted(path[len(item.path) :])} = {value}")
    for depth in range(len(path) - 1, -1, -1):
        if line := _line(text, items, path, depth, value):
            return line
    return insert_lines(text, len(text), f"[{_dotted(path[:-1])}]\n{_dotted(path[-1:])} = {value}")


def _line(
    text: str, items: list[_TomlItem], path: SettingPath, depth: int, value: str
) -> str | None:
    """Return the text with a line for a value, added to the table ``path[:depth]``.

    Return None if the value cannot be added there: the text has no such table, or only a header
    below which the value would need a table of its own.
    """
    table = path[:depth]
    header = [item for item in items if item.kind == "header" and item.path == table]
    if header and depth == len(path) - 1:
        own = [item for item in items if item.table == table]
        return insert_lines(text, own[-1].end, f"{_dotted(path[depth:])} = {value}")
    # Dotted keys have defined the table: a header for it would be an error.
    dotted = [
        item
        for item in items
        if item.kind != "header"
        and item.table == table
        and item.path[:-1][: len(path) - 1] == path[:-1]
    ]
    if dotted:
        return insert_lines(text, dotted[-1].end, f"{_dotted(path[depth:])} = {value}")
    return None


def _in_braces(text: str, item: _TomlItem, assignment: str) -> str:
    before = text[item.span[0] + 1 : item.span[1] - 1]
    at = item.span[0] + 1 + len(before.rstrip())
    return splice(text, at, at, f", {assignment}" if before.strip() else f" {assignment} ")


def _dotted(path: SettingPath) -> str:
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key) for key in path)


def _dumped(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_dumped(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


TOML = Editor(_read, _write)
