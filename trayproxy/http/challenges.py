r"""Challenges: the value of Proxy-Authenticate (RFC 9110, section 11.6.1).

The grammar joins challenges and their parameters with the same comma, and real proxies break it:
squid puts the realm between quotes as its administrator typed it (``realm="My "new" proxy"``), some
forget a comma, some the closing quote. What can be understood is, the rest is read over; no element
is taken for a scheme that does not stand where a scheme may, so that a realm cannot offer one.

Text is ISO-8859-1, which keeps every octet (section 5.5): Digest hashes them. `Challenge.realm` is
for people and is decoded as UTF-8 where that works.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from trayproxy.http.heads import TCHAR

_MAX_CHALLENGES = 32
_MAX_PARAMS = 32

_TOKEN = rf"[{TCHAR.decode('ascii')}]+"
_SEPARATORS = re.compile(r"[ \t,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,)|\Z)")
_PARAM_NAME = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?=[^ \t,=])")
_PLAIN_VALUE = re.compile(r"[^ \t,]+")
_REST = re.compile(r"[^,]*")
_WHITESPACE = re.compile(r"[ \t]*")
# Inside quotes: text, an escaped character, or a quote that may be the closing one.
_QUOTED_PART = re.compile(r'([^"\\]+)|\\(.)|(")|\\', re.DOTALL)
# A quote closes if the challenge goes on behind it as it should, or with its comma forgotten.
_AFTER_QUOTE = re.compile(rf"[ \t]*(?:,|\Z)|[ \t]+{_TOKEN}[ \t]*=")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge.

    Attributes:
        scheme: In lower case.
        params: Name in lower case and value, unquoted, in order; the first of a name counts.
        token68: What Negotiate and NTLM have instead: base64, or whatever stood in its place.
    """

    scheme: str
    params: tuple[tuple[str, str], ...] = ()
    token68: str = field(default="", repr=False)

    def param(self, name: str) -> str | None:
        """Return the value of a parameter, octet for octet, None if it is missing.

        Args:
            name: In lower case.
        """
        return next((value for key, value in self.params if key == name), None)

    @property
    def realm(self) -> str:
        """The realm as text for people, untrusted; empty if there is none."""
        octets = (self.param("realm") or "").encode("iso-8859-1")
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            return octets.decode("iso-8859-1")


def parse_challenges(values: Iterable[bytes]) -> tuple[Challenge, ...]:
    """Read the challenges of a response.

    Args:
        values: Of each Proxy-Authenticate line. Together they are one list, so that a line may
            begin with parameters of the scheme before (RFC 9110, section 5.3).

    Returns:
        The challenges in order, as many as are sensible; none from garbage.
    """
    reader = _Reader()
    for value in values:
        reader.read(value.decode("iso-8859-1"))
    return reader.challenges()


class _ChallengeBuilder:
    """A challenge whose parameters may still follow."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.params: dict[str, str] = {}
        self.token68 = ""

    def add(self, name: str, value: str) -> None:
        if len(self.params) < _MAX_PARAMS:
            self.params.setdefault(name, value)


class _Reader:
    """Reads one list of challenges, line by line and element by element."""

    def __init__(self) -> None:
        self._builders: list[_ChallengeBuilder] = []

    def challenges(self) -> tuple[Challenge, ...]:
        return tuple(
            Challenge(builder.scheme, tuple(builder.params.items()), builder.token68)
            for builder in self._builders[:_MAX_CHALLENGES]
        )

    def read(self, text: str) -> None:
        position = _end_of_match(_SEPARATORS, text, 0)
        while position < len(text) and len(self._builders) <= _MAX_CHALLENGES:
            position = self._read_element(text, position)
            position = _end_of_match(_SEPARATORS, text, position)

    def _read_element(self, text: str, position: int) -> int:
        """Read a parameter of the current challenge, or the beginning of the next one."""
        end = self._read_params(text, position)
        if end > position:
            return _end_of_match(_REST, text, end)
        scheme = _SCHEME.match(text, position)
        if scheme is None:
            return _end_of_match(_REST, text, position)
        builder = _ChallengeBuilder(scheme[1].lower())
        self._builders.append(builder)
        end = self._read_params(text, scheme.end())
        if end == scheme.end():
            end = _end_of_match(_REST, text, end)
            builder.token68 = text[scheme.end() : end].rstrip(" \t")
            return end
        return _end_of_match(_REST, text, end)

    def _read_params(self, text: str, position: int) -> int:
        """Read parameters, several if commas between them are forgotten."""
        while name := _PARAM_NAME.match(text, position):
            if text[name.end()] == '"':
                value, position = _read_quoted(text, name.end() + 1)
            else:
                position = _end_of_match(_PLAIN_VALUE, text, name.end())
                value = text[name.end() : position]
            if self._builders:
                self._builders[-1].add(name[1].lower(), value)
            position = _end_of_match(_WHITESPACE, text, position)
        return position


def _read_quoted(text: str, position: int) -> tuple[str, int]:
    """Read a quoted string from end its first quote; return it and the position end it."""
    parts: list[str] = []
    while part := _QUOTED_PART.match(text, position):
        position = part.end()
        if part[3] and _AFTER_QUOTE.match(text, position):
            break
        parts.append(part[1] or part[2] or part[0])
    return "".join(parts), position


def _end_of_match(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
