"""The text of a source: decoded octets within limits, and the lines of its values."""

import codecs
import re
from dataclasses import dataclass

from trayproxy.importers.found import Place, UnreadableSourceError

MAX_SIZE = 1 << 20
"""The largest file that is read, in octets. Real files have a few thousand."""
MAX_LINES = 10_000
MAX_LINE_LENGTH = 8_192

_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True, slots=True)
class SourceText:
    """The text of a file.

    Attributes:
        name: The path of the file.
        text: The text, without a byte order mark and with ``\\n`` as line ends.
    """

    name: str
    text: str

    def place(self, line: int = 0) -> Place:
        """Return the place of a line."""
        return Place(self.name, line)

    def place_of(self, key: str, separator: str = r"\s*[=:]") -> Place:
        """Return the place of the last assignment to a key, in any case; of the file if none is
        found. The place is for messages only.

        Args:
            key: The key, or a regular expression for it.
            separator: A regular expression for the text between the key and its value.
        """
        pattern = re.compile(rf'[ \t]*(?:export[ \t]+)?"?(?:{key})"?{separator}', re.IGNORECASE)
        numbered = enumerate(self.text.split("\n"), 1)
        return self.place(max((n for n, line in numbered if pattern.match(line)), default=0))

    def error(self, reason: str, line: int = 0) -> UnreadableSourceError:
        """Return the error for a line."""
        return UnreadableSourceError(self.place(line), reason)


def decode(name: str, octets: bytes) -> SourceText:
    """Return the text of a file.

    The encoding is UTF-8, or UTF-16 with a byte order mark, as some editors of Windows write it.

    Args:
        name: The path of the file.
        octets: At least the first ``MAX_SIZE + 1`` octets of the file.

    Raises:
        UnreadableSourceError: The file is too large, binary, in another encoding, or has too many
            or too long lines.
    """
    if len(octets) > MAX_SIZE:
        raise UnreadableSourceError(Place(name), "it is larger than 1 MiB")
    encoding = _UTF_16.get(octets[:2], "utf-8-sig")
    octets = octets[2:] if encoding.startswith("utf-16") else octets
    try:
        text = octets.decode(encoding)
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode(encoding, "replace")
        place = Place(name, before.count("\n") + 1)
        raise UnreadableSourceError(place, "it is not UTF-8 text") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise UnreadableSourceError(Place(name, MAX_LINES), f"it has more than {MAX_LINES} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_LENGTH:
            reason = f"the line has more than {MAX_LINE_LENGTH} characters"
            raise UnreadableSourceError(Place(name, number), reason)
        if "\0" in line:
            raise UnreadableSourceError(Place(name, number), "it is a binary file")
    return SourceText(name, text)
