"""XML 1.0 without a document type, as in Maven's and NuGet's settings.

Offsets are those of octets: expat counts octets.
"""

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from trayproxy.recipes.formats.lines import indent_at, newline_of, splice
from trayproxy.recipes.formats.setting import Editor, Setting, SettingPath, UnreadableTextError

_STEP = re.compile(r"([\w.-]+)(?:\[(@?)([\w.-]+)=(.+)\])?")
_TAG = re.compile(r"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE = re.compile(r"""\s([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_UNIT = "  "


@dataclass(slots=True)
class _Element:
    """An element: its name, its span, and that of its start tag."""

    name: str
    start: int
    start_end: int
    attributes: dict[str, str]
    end_start: int = 0
    text: str = ""
    children: list["_Element"] = field(default_factory=list)

    def end(self, text: str) -> int:
        """Return the offset after the element."""
        return self.end_start if self.is_empty_tag(text) else text.index(">", self.end_start) + 1

    def is_empty_tag(self, text: str) -> bool:
        """Return whether the element is written as ``<name/>``."""
        return text.startswith("/>", self.start_end - 2)


class _ElementReader:
    """Builds the elements of a text, with offsets in characters."""

    def __init__(self, text: str) -> None:
        self.root: _Element | None = None
        self._text = text
        self._open: list[_Element] = []
        self._octets = text.encode("utf-8", "surrogateescape")
        self._done = (0, 0)
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        self._parser.CharacterDataHandler = self._on_text
        self._parser.StartDoctypeDeclHandler = self._on_doctype

    def parse(self) -> _Element:
        try:
            self._parser.Parse(self._octets, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise UnreadableTextError(f"line {error.lineno}: {reason}") from None
        assert self.root is not None
        return self.root

    def _offset(self) -> int:
        octets, characters = self._done
        now = self._parser.CurrentByteIndex
        part = self._octets[octets:now].decode("utf-8", "surrogateescape")
        self._done = (now, characters + len(part))
        return self._done[1]

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        start = self._offset()
        tag = _TAG.match(self._text, start)
        if tag is None:
            raise UnreadableTextError("its encoding is not UTF-8")
        element = _Element(name, start, tag.end(), attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _on_end(self, _name: str) -> None:
        element = self._open.pop()
        is_empty = element.is_empty_tag(self._text)
        element.end_start = element.start_end if is_empty else self._offset()

    def _on_text(self, text: str) -> None:
        self._open[-1].text += text

    def _on_doctype(self, *_declaration: object) -> None:
        raise UnreadableTextError("it has a document type")


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a path: the name of an element, and the child or attribute that identifies it."""

    name: str
    is_attribute: bool
    key: str
    value: str

    def is_at(self, element: _Element) -> bool:
        if element.name != self.name:
            return False
        if not self.key:
            return True
        if self.is_attribute:
            return element.attributes.get(self.key) == self.value
        return any(
            child.name == self.key and child.text.strip() == self.value
            for child in element.children
        )


def _step(written: str) -> _Step:
    match = _STEP.fullmatch(written)
    if match is None:
        raise ValueError(f"not a step of a path: {written}")
    return _Step(match[1], bool(match[2]), match[3] or "", match[4] or "")


def _elements(path: SettingPath) -> tuple[list[_Step], str]:
    """Return a path as steps to an element and the name of an attribute, empty if it has none."""
    attribute = path[-1][1:] if path[-1].startswith("@") else ""
    return [_step(step) for step in (path[:-1] if attribute else path)], attribute


def _root(text: str) -> _Element | None:
    return _ElementReader(text).parse() if text.strip("\ufeff \t\r\n") else None


def _read(text: str, path: SettingPath) -> object:
    steps, attribute = _elements(path)
    element = _root(text)
    if element is None or not steps[0].is_at(element):
        return None
    for step in steps[1:]:
        found = [child for child in element.children if step.is_at(child)]
        if not found:
            return None
        element = found[-1]
    return element.attributes.get(attribute) if attribute else element.text.strip()


def _write(text: str, setting: Setting) -> str:
    steps, attribute = _elements(setting.path)
    value = str(setting.value).lower() if isinstance(setting.value, bool) else str(setting.value)
    element = _root(text)
    if element is None:
        lines = "\n".join(_new(steps, attribute, value))
        declaration = '<?xml version="1.0" encoding="utf-8"?>'
        newline = newline_of(text)
        return text + f"{declaration}\n{lines}\n".replace("\n", newline)
    if not steps[0].is_at(element):
        raise UnreadableTextError(f"its outermost element is not “{steps[0].name}”")
    for depth, step in enumerate(steps[1:], start=1):
        found = [child for child in element.children if step.is_at(child)]
        if not found:
            added = _new(steps[depth:], attribute, value)
            if step.key and not step.is_attribute and element.children:
                # Of several such elements, Maven uses the first.
                return _with_first_child(text, element.children[0], added)
            return _with_child(text, element, added)
        element = found[-1]
    if attribute:
        return _with_attribute(text, element, attribute, value)
    if element.children:
        raise UnreadableTextError(f"“{element.name}” contains other elements")
    if element.is_empty_tag(text):
        tag = text[element.start : element.start_end - 2].rstrip()
        new = f"{tag}>{_escaped(value)}</{element.name}>"
        return splice(text, element.start, element.start_end, new)
    return splice(text, element.start_end, element.end_start, _escaped(value))


def _new(steps: list[_Step], attribute: str, value: str) -> list[str]:
    """Return the lines of a new element with its children, the innermost with the value."""
    step, inner = steps[0], steps[1:]
    attributes = f' {step.key}="{_escaped(step.value)}"' if step.is_attribute else ""
    if not inner and attribute:
        return [f'<{step.name}{attributes} {attribute}="{_escaped(value)}" />']
    if not inner and not step.key:
        return [f"<{step.name}>{_escaped(value)}</{step.name}>"]
    lines = [f"<{step.name}{attributes}>"]
    if step.key and not step.is_attribute:
        lines.append(f"{_UNIT}<{step.key}>{_escaped(step.value)}</{step.key}>")
    if inner:
        lines += [_UNIT + line for line in _new(inner, attribute, value)]
    return [*lines, f"</{step.name}>"]


def _with_child(text: str, parent: _Element, lines: list[str]) -> str:
    newline = newline_of(text)
    outer = indent_at(text, parent.start)
    last = parent.children[-1] if parent.children else None
    indent = indent_at(text, last.start) if last is not None else outer + _UNIT
    inserted = "".join(f"{newline}{indent}{line}" for line in lines)
    if parent.is_empty_tag(text):
        tag = text[parent.start : parent.start_end - 2].rstrip()
        new = f"{tag}>{inserted}{newline}{outer}</{parent.name}>"
        return splice(text, parent.start, parent.start_end, new)
    at = last.end(text) if last is not None else parent.start_end
    closing = "" if "\n" in text[at : parent.end_start] else newline + outer
    return splice(text, at, at, inserted + closing)


def _with_first_child(text: str, first: _Element, lines: list[str]) -> str:
    separator = newline_of(text) + indent_at(text, first.start)
    return splice(text, first.start, first.start, "".join(line + separator for line in lines))


def _with_attribute(text: str, element: _Element, name: str, value: str) -> str:
    for attribute in _ATTRIBUTE.finditer(text, element.start, element.start_end):
        if attribute[1] == name:
            return splice(text, *attribute.span(2), f'"{_escaped(value)}"')
    slash = 2 if element.is_empty_tag(text) else 1
    at = element.start + len(text[element.start : element.start_end - slash].rstrip())
    return splice(text, at, at, f' {name}="{_escaped(value)}"')


def _escaped(value: str) -> str:
    """Return a value as XML, in ASCII: the text may have another encoding than UTF-8."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        value = value.replace(character, entity)
    return value.encode("ascii", "xmlcharrefreplace").decode("ascii")


XML = Editor(_read, _write)
