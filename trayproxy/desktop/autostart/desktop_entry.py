"""Reads and edits desktop entries (Desktop Entry Specification 1.5).

Lines that are not edited stay as they are: comments, translations, other groups and unknown keys.
"""

import re
from collections.abc import Sequence

from trayproxy.system_settings.entries import TargetError

GROUP = "[Desktop Entry]"

_BLANKS = " \t\r"
"""The blanks around keys and values; other blanks, such as no-break spaces, belong to values."""
_LINE = re.compile(r"([A-Za-z0-9-]+(?:\[[^\]\n]*\])?)[ \t]*=[ \t]*(.*)")
_RESERVED = frozenset(" \t\n\"'\\><~|&;$*?#()`")
"""The characters that an argument of ``Exec`` only has between quotation marks."""
_ESCAPED_IN_QUOTES = re.compile(r'["`$\\]')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


class DesktopEntry:
    """A desktop entry as lines."""

    def __init__(self, text: str) -> None:
        """Parse the text of a file.

        Raises:
            TargetError: The text is no desktop entry.
        """
        # Not str.splitlines: only line feeds separate lines, not the line separators of Unicode.
        self._lines = text.split("\n")
        self._places: dict[str, int] = {}
        """The line of each key of `GROUP`."""
        self._end = 0
        """The line after the last key of `GROUP`."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise TargetError("it is not UTF-8") from None
        self._parse()

    def _parse(self) -> None:
        group = ""
        for number, raw in enumerate(self._lines):
            line = raw.strip(_BLANKS)
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                if (line == GROUP and self._end) or (not group and line != GROUP):
                    raise TargetError(f"line {number + 1} is not expected there")
                group = line
            elif not (found := _LINE.fullmatch(line)) or not group:
                raise TargetError(f"line {number + 1} cannot be understood")
            elif group == GROUP:
                if found[1] in self._places:
                    raise TargetError(f"line {number + 1} repeats “{found[1]}”")
                self._places[found[1]] = number
            if group == GROUP:
                self._end = number + 1
        if not self._end:
            raise TargetError(f"there is no group {GROUP}")

    @property
    def text(self) -> str:
        """The text of the file."""
        return "\n".join(self._lines).rstrip("\n") + "\n"

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the entry, translations included."""
        return tuple(self._places)

    @property
    def has_more(self) -> bool:
        """True if the file has comments, or further groups than ``Desktop Entry``."""
        return any(line.strip() for line in self._lines[self._end :]) or any(
            line.lstrip().startswith("#") for line in self._lines
        )

    def get(self, key: str) -> str:
        """Return a string value without its escapes; empty if the key is missing."""
        if key not in self._places:
            return ""
        found = _LINE.fullmatch(self._lines[self._places[key]].strip(_BLANKS))
        return unescape(found[2]) if found else ""

    def is_true(self, key: str, default: bool = False) -> bool:
        """Return a boolean value; `default` if the key is missing."""
        return self.get(key) in ("true", "1") if key in self._places else default

    def strings(self, key: str) -> tuple[str, ...]:
        """Return the values of a list that are not empty."""
        return tuple(value for value in self.get(key).split(";") if value)

    def set(self, key: str, value: str) -> None:
        """Set a string value, which gets its escapes."""
        line = f"{key}={escape(value)}"
        if key in self._places:
            self._lines[self._places[key]] = line
            return
        self._lines.insert(self._end, line)
        self._places[key] = self._end
        self._end += 1

    def remove(self, key: str) -> None:
        """Remove a key if it exists."""
        number = self._places.pop(key, None)
        if number is None:
            return
        del self._lines[number]
        self._end -= 1
        self._places = {k: n - (n > number) for k, n in self._places.items()}


def escape(value: str) -> str:
    """Return a value of the type string with its escapes ("Possible value types")."""
    for char in ("\\", "\n", "\t", "\r"):
        name = next(name for name, meant in _ESCAPES.items() if meant == char)
        value = value.replace(char, f"\\{name}")
    return f"\\s{value[1:]}" if value.startswith(" ") else value


def unescape(value: str) -> str:
    """Return a value of the type string without its escapes; unknown escapes stay."""
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), value)


def exec_line(argv: Sequence[str]) -> str:
    """Return a command line as the value of ``Exec``, before `escape` ("The Exec key").

    Raises:
        TargetError: The specification has no way to write the command.
    """
    for word in argv:
        if _CONTROL.search(word):
            raise TargetError("the command has a character that desktop entries cannot contain")
    return " ".join(map(_quote, argv))


def _quote(word: str) -> str:
    # A percent sign starts a field code.
    word = word.replace("%", "%%")
    if word and not _RESERVED & set(word):
        return word
    return '"' + _ESCAPED_IN_QUOTES.sub(r"\\\g<0>", word) + '"'


def parse_exec(line: str) -> tuple[str, ...]:
    """Return the words of a value of ``Exec``, after `unescape`; field codes are left out.

    Raises:
        TargetError: A quotation mark is not closed.
    """
    words: list[str] = []
    for found in re.finditer(r'"((?:[^"\\]|\\.)*)"|[^ \t"]+|"', line):
        if found[0] == '"':
            raise TargetError("“Exec” has a quotation mark that is not closed")
        word = found[0] if found[1] is None else re.sub(r"\\(.)", r"\1", found[1])
        plain = re.sub(r"%(.?)", lambda code: "%" if code[1] == "%" else "", word)
        if plain or word == "":
            words.append(plain)
    return tuple(words)
