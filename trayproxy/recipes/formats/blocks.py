"""The editor of TrayProxy's lines between two marks in a file of the user, and of whole files."""

import re
from collections.abc import Callable

from trayproxy.recipes.formats.lines import first_line, insert_lines, newline_of, splice
from trayproxy.recipes.formats.setting import Editor, Setting, SettingPath, UnreadableTextError

BEGIN = "# >>> trayproxy >>>"
"""The mark that TrayProxy writes in front of its lines."""

END = "# <<< trayproxy <<<"
"""The mark that TrayProxy writes behind its lines."""

_BLOCK = re.compile(
    rf"(?:^|(?<=\ufeff)){re.escape(BEGIN)}\r?\n(.*?\n)??{re.escape(END)}(?=\r?$)",
    re.DOTALL | re.MULTILINE,
)


def _block(text: str) -> re.Match[str] | None:
    marks = text.count(BEGIN), text.count(END)
    if max(marks) > 1:
        raise UnreadableTextError("it has more than one block of TrayProxy")
    block = _BLOCK.search(text, first_line(text))
    if marks != ((1, 1) if block else (0, 0)):
        raise UnreadableTextError("the first or the last line of TrayProxy's block is missing")
    return block


def _read_block(text: str, _path: SettingPath) -> object:
    block = _block(text)
    return tuple((block[1] or "").splitlines()) if block else None


def _write_block(offset: Callable[[str], int]) -> Callable[[str, Setting], str]:
    def write(text: str, setting: Setting) -> str:
        lines = "\n".join((BEGIN, *_lines(setting), END))
        block = _block(text)
        if block is None:
            return insert_lines(text, offset(text), lines)
        return splice(text, *block.span(), lines.replace("\n", newline_of(text)))

    return write


def _read_whole(text: str, _path: SettingPath) -> object:
    return tuple(text.splitlines()) if text else None


def _write_whole(_text: str, setting: Setting) -> str:
    return "".join(f"{line}\n" for line in _lines(setting))


def _lines(setting: Setting) -> tuple[str, ...]:
    assert isinstance(setting.value, tuple)
    return setting.value


BLOCK = Editor(_read_block, _write_block(len))
FIRST_BLOCK = Editor(_read_block, _write_block(first_line))
WHOLE = Editor(_read_whole, _write_whole)
