"""JSON (RFC 8259), also with comments and trailing commas as in the settings of VS Code."""

import json
import re
from dataclasses import dataclass, field

from trayproxy.recipes.formats.lines import first_line, indent_at, newline_of, splice
from trayproxy.recipes.formats.setting import (
    Editor,
    Setting,
    SettingPath,
    UnreadableTextError,
    unreadable,
)

_TRIVIA = re.compile(r"(?:[ \t\r\n]|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_REST_OF_LINE = re.compile(r"[ \t]*(?://[^\r\n]*|/\*(?:[^*\n]|\*(?!/))*\*/[ \t]*)*(?=\r?\n)")
_SCALAR = re.compile(r'"(?:[^"\\\n]|\\.)*"|[-+.\w]+')
_DEFAULT_UNIT = "  "


@dataclass(slots=True)
class _Node:
    """A value of the text, with its span; an object also has the offsets of its names."""

    start: int
    end: int
    value: object = None
    members: list[tuple[int, str, "_Node"]] | None = None
    items: list["_Node"] = field(default_factory=list)


def _skip(text: str, offset: int) -> int:
    match = _TRIVIA.match(text, offset)
    return match.end() if match else offset


def _parsed(text: str) -> _Node | None:
    """Return the root of a text; None if there are only spaces and comments."""
    start = _skip(text, first_line(text))
    if start == len(text):
        return None
    try:
        root = _node(text, start)
    except RecursionError:
        raise UnreadableTextError("it has too many levels") from None
    end = _skip(text, root.end)
    if end < len(text):
        raise unreadable(text, end, "there is something after the end")
    return root


def _node(text: str, start: int) -> _Node:
    if text.startswith("{", start):
        return _object(text, start)
    if text.startswith("[", start):
        return _array(text, start)
    scalar = _SCALAR.match(text, start)
    if scalar is None:
        raise unreadable(text, start, "this is not JSON")
    return _Node(start, scalar.end(), _decoded(text, scalar))


def _decoded(text: str, scalar: re.Match[str]) -> object:
    try:
        return json.loads(scalar[0])
    except ValueError:
        raise unreadable(text, scalar.start(), "this is not JSON") from None


def _object(text: str, start: int) -> _Node:
    members: list[tuple[int, str, _Node]] = []
    offset = _skip(text, start + 1)
    while not text.startswith("}", offset):
        name = _SCALAR.match(text, offset)
        if name is None or not name[0].startswith('"'):
            raise unreadable(text, offset, "a name in quotes is missing")
        colon = _skip(text, name.end())
        if not text.startswith(":", colon):
            raise unreadable(text, colon, "a colon is missing")
        node = _node(text, _skip(text, colon + 1))
        members.append((name.start(), str(_decoded(text, name)), node))
        offset = _after_comma(text, node.end, "}")
    return _Node(start, offset + 1, members=members)


def _array(text: str, start: int) -> _Node:
    items: list[_Node] = []
    offset = _skip(text, start + 1)
    while not text.startswith("]", offset):
        items.append(_node(text, offset))
        offset = _after_comma(text, items[-1].end, "]")
    values = tuple(item.value for item in items)
    return _Node(start, offset + 1, values, items=items)


def _after_comma(text: str, offset: int, closing: str) -> int:
    offset = _skip(text, offset)
    if text.startswith(",", offset):
        return _skip(text, offset + 1)
    if not text.startswith(closing, offset):
        raise unreadable(text, offset, f"a comma or “{closing}” is missing")
    return offset


def _member(node: _Node, name: str) -> _Node | None:
    """Return the value of a member; of several with the same name, the last counts."""
    found = [value for _, present, value in node.members or () if present == name]
    return found[-1] if found else None


def _read(text: str, path: SettingPath) -> object:
    node = _parsed(text)
    for name in path:
        node = _member(node, name) if node is not None else None
    return node.value if node is not None else None


def _write(text: str, setting: Setting) -> str:
    root = _parsed(text)
    unit = _unit(text, root)
    node = root
    for depth, name in enumerate(setting.path):
        inner: object = setting.value
        for key in reversed(setting.path[depth:]):
            inner = {key: inner}
        if node is None or (node.members is None and node.value is None):
            written = _dumped(inner, unit, text, node)
            if node is not None:
                return splice(text, node.start, node.end, written)
            return f"{text}{written}{newline_of(text)}"
        if node.members is None:
            raise unreadable(text, node.start, "this is not an object in braces")
        child = _member(node, name)
        if child is None:
            assert isinstance(inner, dict)
            return _with_member(text, node, name, inner[name], unit)
        node = child
    assert node is not None
    if node.members is not None:
        raise unreadable(text, node.start, "this is an object in braces, not a value")
    return splice(text, node.start, node.end, json.dumps(setting.value, ensure_ascii=False))


def _unit(text: str, root: _Node | None) -> str | None:
    """Return the indentation of one level; None if the text is written in one line."""
    if root is None or not root.members:
        return _DEFAULT_UNIT
    name = root.members[0][0]
    return indent_at(text, name) or _DEFAULT_UNIT if "\n" in text[root.start : name] else None


def _dumped(value: object, unit: str | None, text: str, node: _Node | None) -> str:
    """Return a value as JSON; its lines get the indentation of the line where a node begins."""
    dumped = json.dumps(value, ensure_ascii=False, indent=unit)
    indent = indent_at(text, node.start) if node is not None else ""
    return dumped.replace("\n", newline_of(text) + indent)


def _with_member(text: str, node: _Node, name: str, value: object, unit: str | None) -> str:
    key = json.dumps(name, ensure_ascii=False)
    if not node.members:
        newline = newline_of(text)
        indent = indent_at(text, node.start)
        if unit is None:
            return splice(text, node.start + 1, node.start + 1, f"{key}: {json.dumps(value)}")
        dumped = json.dumps(value, ensure_ascii=False, indent=unit)
        dumped = dumped.replace("\n", newline + indent + unit)
        rest = text[node.start + 1 : node.end]
        closing = "" if rest.lstrip(" \t").startswith(("\n", "\r\n")) else newline + indent
        inserted = f"{newline}{indent}{unit}{key}: {dumped}{closing}"
        return splice(text, node.start + 1, node.start + 1, inserted)
    first, _, _ = node.members[0]
    _, _, last = node.members[-1]
    if "\n" not in text[node.start : first]:
        dumped = json.dumps(value, ensure_ascii=False)
        return splice(text, last.end, last.end, f", {key}: {dumped}")
    return _with_line(text, first, last, key, value, unit)


def _with_line(
    text: str, first: int, last: _Node, key: str, value: object, unit: str | None
) -> str:
    """Return the text with a member on a new line behind the last member of an object."""
    indent = indent_at(text, first)
    dumped = json.dumps(value, ensure_ascii=False, indent=unit or _DEFAULT_UNIT)
    dumped = dumped.replace("\n", newline_of(text) + indent)
    after = _skip(text, last.end)
    comma = after + 1 if text.startswith(",", after) else None
    rest = _REST_OF_LINE.match(text, comma or last.end)
    at = rest.end() if rest else comma or last.end
    line = f"{newline_of(text)}{indent}{key}: {dumped}{',' if comma else ''}"
    text = splice(text, at, at, line)
    return text if comma else splice(text, last.end, last.end, ",")


JSON = Editor(_read, _write)
