"""Changes to lines of a text that keep the line ends of the text."""

from trayproxy.recipes.formats.setting import BYTE_ORDER_MARK


def newline_of(text: str) -> str:
    """Return the line end of the first line, ``\\n`` if there is none."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def line_end(text: str, offset: int) -> int:
    """Return the offset of the first character after the line of `offset`."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1


def content_end(text: str, offset: int) -> int:
    """Return the offset of the line break after the line of `offset`, or the length of the text."""
    end = line_end(text, offset)
    while end > offset and text[end - 1] in "\r\n":
        end -= 1
    return end


def indent_at(text: str, offset: int) -> str:
    """Return the spaces and tabs at the beginning of the line of `offset`."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return line[: len(line) - len(line.lstrip(" \t"))]


def first_line(text: str) -> int:
    """Return the offset of the first line: 1 if the text has a byte order mark, otherwise 0."""
    return len(BYTE_ORDER_MARK) if text.startswith(BYTE_ORDER_MARK) else 0


def insert_lines(text: str, offset: int, lines: str) -> str:
    """Return the text with lines inserted at the beginning of a line, or at its end.

    Args:
        text: The text. If its last line has no line end, it has none afterwards either.
        offset: The offset of a line, or of the end of the text.
        lines: The lines, with ``\\n`` between them and none at the end.
    """
    newline = newline_of(text)
    lines = lines.replace("\n", newline)
    if offset == len(text) > first_line(text) and not text.endswith("\n"):
        return f"{text}{newline}{lines}"
    return f"{text[:offset]}{lines}{newline}{text[offset:]}"


def splice(text: str, start: int, end: int, new: str) -> str:
    """Return the text with the characters from `start` to `end` replaced by a new text."""
    return text[:start] + new + text[end:]
