"""YAML 1.2: block mappings, as in ``.condarc`` and ``.yarnrc.yml``.

Texts in other styles are not changed: flow mappings with content, several documents, anchors at the
place of the change.
"""

import json
import re
from dataclasses import dataclass

from trayproxy.recipes.formats.lines import first_line, insert_lines, line_end, splice
from trayproxy.recipes.formats.setting import (
    Editor,
    Setting,
    SettingPath,
    UnreadableTextError,
    unreadable,
)

_KEY = re.compile(
    r"(?!-(?:\s|$))"  # An item of a list.
    r"""(?P<key>"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'|[\w./$~<@+-][^\n:#"']*?)[ ]*:(?=[ \t\r\n]|$)"""
    r"[ \t]*"
)
_INDENT = re.compile(r"[ \t]*")
_PLAIN = re.compile(r"[^\s#](?:[^\n#]|(?<=\S)#)*")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""", re.DOTALL)
_END = re.compile(r"[ \t]*(?:(?<=[ \t])#[^\n]*?)?(?=\r?\n|$)")
_FLOW = re.compile(
    r"""(?:[^\[\]{}"'#]|"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?<=\s)#[^\n]*|(?<!\s)#)*"""
)
_UNQUOTED = re.compile(r"[A-Za-z/][\w./:@-]*[\w/]")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a mapping.

    Attributes:
        key: The key.
        value: The value; None if it is empty, or not written in one line.
        span: The span of the value; empty after the colon if there is none.
        is_scalar: True if the value is a text in one line, or if there is none.
        children: The span of the lines below that are part of the value.
    """

    key: str
    value: object
    span: tuple[int, int]
    is_scalar: bool
    children: tuple[int, int]


def _start(text: str) -> int:
    """Return the offset behind the byte order mark, the directives and the marker ``---``."""
    offset = first_line(text)
    start = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*---[ \t]*(?:#[^\n]*)?(?:\r?\n|$)").match(
        text, offset
    )
    return start.end() if start else offset


def _entries(text: str, start: int, end: int) -> tuple[str, list[_Entry]]:
    """Return the indentation and the entries of the mapping in a span of lines."""
    entries: list[_Entry] = []
    indent: str | None = None
    offset = start
    while offset < end:
        content = _content(text, offset)
        if content is None:
            offset = line_end(text, offset)
            continue
        present = text[offset:content]
        if indent is None:
            indent = present
        key = _KEY.match(text, content)
        if present != indent or "\t" in present or key is None:
            raise unreadable(text, offset, "this is not a line such as “name: value”")
        entry = _entry(text, key, len(indent), end)
        if any(other.key == entry.key for other in entries):
            raise unreadable(text, offset, f"“{entry.key}” is set twice")
        entries.append(entry)
        offset = entry.children[1]
    return indent or "", entries


def _content(text: str, offset: int) -> int | None:
    """Return the offset of the first character behind the indentation of a line.

    Return None for a blank line or a comment.
    """
    match = _INDENT.match(text, offset)
    content = match.end() if match else offset
    return None if text[content : content + 1] in ("", "\r", "\n", "#") else content


def _entry(text: str, key: re.Match[str], indent: int, end: int) -> _Entry:
    start = key.end()
    value, is_scalar, value_end = _value(text, start)
    lines = line_end(text, value_end)
    last = lines
    offset = lines
    while offset < end:
        content = _content(text, offset)
        if content is not None:
            is_item = text.startswith(("- ", "-\n", "-\r\n"), content)
            if content - offset < indent + (0 if is_item else 1):
                break
            if value is not None and _KEY.match(text, content):
                raise unreadable(text, offset, "this is not a line such as “name: value”")
            last = line_end(text, offset)
        offset = line_end(text, offset)
    name = str(_scalar(key["key"]))
    return _Entry(name, value, (start, value_end), is_scalar, (lines, last))


def _value(text: str, start: int) -> tuple[object, bool, int]:
    """Return the value at an offset, True if it is a scalar in one line, and the offset of its end.

    The value is None if there is none, or if it is not such a scalar.
    """
    first = text[start : start + 1]
    if first in ("", "\r", "\n", "#"):
        return None, True, start
    if first in "\"'":
        quoted = _QUOTED.match(text, start)
        if quoted is None:
            raise unreadable(text, start, "a quote is not closed")
        is_scalar = "\n" not in quoted[0]
        value = _scalar(quoted[0]) if is_scalar else None
        return value, is_scalar, _checked_end(text, quoted.end())
    if first in "[{":
        return None, False, _checked_end(text, _flow_end(text, start))
    plain = _PLAIN.match(text, start)
    written = plain[0].rstrip() if plain else ""
    if first in "|>&*!%@`":
        return None, False, start + len(written)
    return _scalar(written), True, start + len(written)


def _checked_end(text: str, end: int) -> int:
    if _END.match(text, end) is None:
        raise unreadable(text, end, "there is something after the value")
    return end


def _flow_end(text: str, start: int) -> int:
    depth = 0
    offset = start
    while offset < len(text):
        match = _FLOW.match(text, offset)
        offset = match.end() if match else offset
        bracket = text[offset : offset + 1]
        if bracket not in ("[", "]", "{", "}"):
            break
        depth += 1 if bracket in "[{" else -1
        offset += 1
        if depth == 0:
            return offset
    raise unreadable(text, start, "a bracket is not closed")


def _scalar(written: str) -> object:
    if written.startswith("'"):
        return written[1:-1].replace("''", "'")
    if written.startswith('"'):
        try:
            return json.loads(written)
        except ValueError:
            return written
    if written.lower() in ("true", "false"):
        return written.lower() == "true"
    if written in ("~", "null"):
        return None
    return int(written) if re.fullmatch(r"-?\d{1,18}", written) else written


def _read(text: str, path: SettingPath) -> object:
    span = (_start(text), len(text))
    value: object = None
    for name in path:
        _, entries = _entries(text, *span)
        entry = next((entry for entry in entries if entry.key == name), None)
        if entry is None:
            return None
        is_nested = entry.value is None and entry.is_scalar
        span = entry.children if is_nested else (0, 0)
        value = entry.value
    return value


def _write(text: str, setting: Setting) -> str:
    start = _start(text)
    span = (start, len(text))
    above = None
    for depth, name in enumerate(setting.path):
        indent, entries = _entries(text, *span)
        if depth and not entries:
            indent = "  " * depth
        entry = next((entry for entry in entries if entry.key == name), None)
        if entry is None:
            lines = _lines(setting.path[depth:], indent, setting.value)
            at = entries[-1].children[1] if entries else len(text) if above is None else above
            return insert_lines(text, at, lines)
        is_leaf = depth == len(setting.path) - 1
        has_children = _content_in(text, *entry.children)
        if is_leaf:
            if has_children or not entry.is_scalar:
                raise unreadable(text, entry.span[0], f"“{name}” has more than one line")
            return _with_value(text, entry, setting.value)
        if entry.value is not None or not entry.is_scalar:
            if text[slice(*entry.span)] not in ("{}", "~", "null") or has_children:
                raise unreadable(text, entry.span[0], f"“{name}” is not a mapping of its own lines")
            colon = len(text[: entry.span[0]].rstrip(" \t"))
            return _write(splice(text, colon, entry.span[1], ""), setting)
        span = entry.children
        above = entry.children[0]
    raise UnreadableTextError("the path is empty")


def _content_in(text: str, start: int, end: int) -> bool:
    offset = start
    while offset < end:
        if _content(text, offset) is not None:
            return True
        offset = line_end(text, offset)
    return False


def _with_value(text: str, entry: _Entry, value: object) -> str:
    start, end = entry.span
    space = "" if text[start - 1] in " \t" else " "
    return splice(text, start, max(start, end), space + _dumped(value))


def _lines(path: SettingPath, indent: str, value: object) -> str:
    lines = [f"{indent}{'  ' * depth}{_dumped(key)}:" for depth, key in enumerate(path)]
    return "\n".join(lines) + f" {_dumped(value)}"


def _dumped(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and _UNQUOTED.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)


YAML = Editor(_read, _write)
