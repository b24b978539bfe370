"""Files with one assignment per line: Java properties, dotenv, npmrc, wgetrc, curlrc, yarnrc."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trayproxy.recipes.formats.lines import first_line, insert_lines, line_end, splice
from trayproxy.recipes.formats.setting import Editor, Setting, SettingPath, unreadable


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The syntax of a program's file.

    Attributes:
        line: Matches an assignment, with the groups ``key`` and ``value``.
        ignored: Matches a line that is to be skipped, such as a comment.
        key: Returns a key as the program compares it.
        decode: Returns the value for its text in the file.
        encode: Returns the text for a value.
        join: The text between a key and its value.
        section: Matches a line after which assignments do not belong to the whole file.
    """

    line: re.Pattern[str]
    ignored: re.Pattern[str]
    key: Callable[[str], str]
    decode: Callable[[str], str]
    encode: Callable[[str], str]
    join: str = "="
    section: re.Pattern[str] | None = None


def _assignments(dialect: _Dialect, text: str) -> Iterator[tuple[str, re.Match[str]]]:
    offset = first_line(text)
    end = _end_of_file(dialect, text)
    while offset < end:
        ignored = dialect.ignored.match(text, offset)
        match = None if ignored else dialect.line.match(text, offset)
        if match:
            yield dialect.key(match["key"]), match
        elif not ignored:
            raise unreadable(text, offset, "this is not a setting")
        offset = line_end(text, match.end() if match else offset)


def _end_of_file(dialect: _Dialect, text: str) -> int:
    section = dialect.section.search(text) if dialect.section else None
    return section.start() if section else len(text)


def _editor(dialect: _Dialect) -> Editor:
    def last(text: str, path: SettingPath) -> re.Match[str] | None:
        """Return the last assignment of a key, which overrides the others."""
        wanted = dialect.key(path[0])
        found = [match for key, match in _assignments(dialect, text) if key == wanted]
        return found[-1] if found else None

    def read(text: str, path: SettingPath) -> object:
        match = last(text, path)
        return dialect.decode(match["value"] or "") if match else None

    def write(text: str, setting: Setting) -> str:
        value = str(setting.value)
        value = value.lower() if isinstance(setting.value, bool) else value
        match = last(text, setting.path)
        if match is None:
            line = f"{setting.path[0]}{dialect.join}{dialect.encode(value)}"
            return insert_lines(text, _end_of_file(dialect, text), line)
        start, end = match.span("value" if match["value"] is not None else "key")
        join = "" if start > match.end("key") else dialect.join
        return splice(text, max(start, match.end("key")), end, join + dialect.encode(value))

    return Editor(read, write)


def _unescaped_property(written: str) -> str:
    """Return the value of a Java property without its escapes (java.util.Properties.load)."""
    joined = re.sub(r"\\\r?\n[ \t\f]*", "", written)
    escapes = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}

    def plain(escape: re.Match[str]) -> str:
        if escape[1]:
            return chr(int(escape[1], 16))
        return escapes.get(escape[2], escape[2])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", plain, joined)


def _escaped_property(value: str) -> str:
    escaped = re.sub(r"^ |\\", r"\\\g<0>", value)
    return "".join(
        character if " " <= character <= "~" else _utf16_escape(character) for character in escaped
    )


def _utf16_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


PROPERTIES = _editor(
    _Dialect(
        line=re.compile(
            r"[ \t\f]*(?P<key>(?:\\\r?\n|\\[^\n]|[^ \t\f:=\\\r\n])+)"
            r"(?:[ \t\f]*[:=][ \t\f]*|[ \t\f]+|(?=\r?\n|\Z))"
            r"(?P<value>(?:\\\r?\n|\\[^\n]|[^\\\r\n])*)"
        ),
        ignored=re.compile(r"[ \t\f]*(?:[#!][^\n]*)?\r?(?:\n|\Z)"),
        key=_unescaped_property,
        decode=_unescaped_property,
        encode=_escaped_property,
    )
)


def _npm_value(written: str) -> str:
    """Return the value that npm's ``ini`` package reads from a text (``unsafe`` in ``ini.js``)."""
    if written.startswith('"'):
        try:
            return str(json.loads(written))
        except ValueError:
            return written
    if written.startswith("'") and written.endswith("'"):
        return written[1:-1]
    plain = re.match(r"(?:\\.|[^;#])*", written)
    return re.sub(r"\\([\\;#])", r"\1", plain[0].strip() if plain else "")


def _npm_encoded(value: str) -> str:
    if re.search(r"""^[\["'\s]|\s$|=""", value):
        return json.dumps(value)
    return re.sub(r"[\\;#]", r"\\\g<0>", value)


NPMRC = _editor(
    _Dialect(
        line=re.compile(
            r"[ \t]*(?P<key>[^=\n]*?[^=\s])[ \t]*(?:=[ \t]*(?P<value>[^\n]*?))?\s*?(?=\r?\n|\Z)"
        ),
        ignored=re.compile(r"[ \t]*(?:[;#][^\n]*)?\r?(?:\n|\Z)"),
        key=str,
        decode=_npm_value,
        encode=_npm_encoded,
        section=re.compile(r"^[ \t]*\[[^\]\n]*\]\s*?$", re.MULTILINE),
    )
)

WGETRC = _editor(
    _Dialect(
        line=re.compile(r"[ \t]*(?P<key>[\w-]+)[ \t]*=[ \t]*(?P<value>[^\n]*?)\s*?(?=\r?\n|\Z)"),
        ignored=re.compile(r"[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)"),
        # wget ignores case, hyphens and underscores (src/init.c, `parse_line`).
        key=lambda key: re.sub("[-_]", "", key.lower()),
        decode=str,
        encode=str,
        join=" = ",
    )
)


def _curl_option(key: str) -> str:
    return {"-x": "proxy", "-E": "cert"}.get(key, key.removeprefix("--"))


def _curl_value(written: str) -> str:
    """Return the value that curl reads from a text in its config file (curl(1), ``--config``)."""
    escapes = {"t": "\t", "n": "\n", "r": "\r", "v": "\v"}
    if not written.startswith('"'):
        return written.split()[0] if written.strip() else ""
    return re.sub(
        r"\\(.)", lambda escape: escapes.get(escape[1], escape[1]), written[1:].removesuffix('"')
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


CURLRC = _editor(
    _Dialect(
        # Between an option with hyphens and its value there are only spaces.
        line=re.compile(
            r"[ \t]*(?P<key>-[^\s]+|[^\s:=]+)(?:(?:(?<=-)|[ \t])?[ \t]*[:=]?[ \t]*)"
            r'(?P<value>"(?:[^"\\\n]|\\[^\n])*"|[^\s"]\S*)?[^\n]*?(?=\r?\n|\Z)'
        ),
        ignored=re.compile(r"[ \t]*(?:[#/*][^\n]*)?\r?(?:\n|\Z)"),
        key=_curl_option,
        decode=_curl_value,
        encode=_quoted,
        join=" = ",
    )
)

YARNRC = _editor(
    _Dialect(
        line=re.compile(
            r'(?P<key>"(?:[^"\\\n]|\\[^\n])*"|[^\s":]+)[ ]+'
            r'(?P<value>"(?:[^"\\\n]|\\[^\n])*"|[^\n]*?)[ \t]*(?=\r?\n|\Z)'
        ),
        # Indented lines belong to the line above.
        ignored=re.compile(r"(?:[ \t]+[^\n]*|#[^\n]*|[^\n]*:)?\r?(?:\n|\Z)"),
        key=lambda key: str(json.loads(key)) if key.startswith('"') else key,
        decode=lambda value: str(json.loads(value)) if value.startswith('"') else value,
        encode=json.dumps,
        join=" ",
    )
)


def _dotenv_value(written: str) -> str:
    return written[1:-1] if written[:1] in ("'", '"', "`") else written


def _dotenv_encoded(value: str) -> str:
    if re.search(r"[\s#'\"`$\\]", value) is None:
        return value
    # Between apostrophes, nothing is replaced.
    return f'"{value}"' if "'" in value else f"'{value}'"


DOTENV = _editor(
    _Dialect(
        line=re.compile(
            r"[ \t]*(?:export[ \t]+)?(?P<key>[\w.-]+)[ \t]*=[ \t]*"
            r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`|[^\s'"`#][^\r\n#]*?|)"""
            r"[ \t]*(?:#[^\n]*)?(?=\r?\n|\Z)",
            re.DOTALL,
        ),
        ignored=re.compile(r"[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)"),
        key=str,
        decode=_dotenv_value,
        encode=_dotenv_encoded,
    )
)
