"""Challenges: the value of Proxy-Authenticate (RFC 9110, section 11.6.1).

The grammar separates both challenges and their parameters by commas, and real proxies violate it:
squid quotes the realm exactly as its administrator typed it (``realm="My "new" proxy"``), some
proxies omit a comma, some the closing quote. The parser accepts every recognisable element and
skips the rest. It recognises a scheme only at the positions where a scheme is allowed, so that the
text of a realm cannot offer a scheme.

Text is decoded as ISO-8859-1, which preserves every octet (section 5.5), because Digest hashes the
octets. `Challenge.realm` is for people and is decoded as UTF-8 if possible.
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
# Inside quotes: text, an escaped character, or a quote, which may be the closing quote.
_QUOTED_PART = re.compile(r'([^"\\]+)|\\(.)|(")|\\', re.DOTALL)
# A quote is the closing quote if a comma, the end, or a parameter without its comma follows.
_AFTER_QUOTE = re.compile(rf"[ \t]*(?:,|\Z)|[ \t]+{_TOKEN}[ \t]*=")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge.

    Attributes:
        scheme: The auth-scheme in lower case.
        params: The names in lower case and the unquoted values, in order; of equal names the first
            is kept.
        token68: The token of Negotiate and NTLM instead of parameters: base64, or invalid text.
    """

    scheme: str
    params: tuple[tuple[str, str], ...] = ()
    token68: str = field(default="", repr=False)

    def param(self, name: str) -> str | None:
        """Return the value of a parameter by its name in lower case, its octets unchanged.

        None if the parameter is missing.
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
    """Parse the challenges of a response from the value of each Proxy-Authenticate line.

    The values form a single list: a line may begin with parameters of the previous challenge (RFC
    9110, section 5.3). The number of challenges is limited; unparsable input gives none.
    """
    reader = _Reader()
    for value in values:
        reader.read(value.decode("iso-8859-1"))
    return reader.challenges()


class _ChallengeBuilder:
    """A challenge that may get more parameters."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.params: dict[str, str] = {}
        self.token68 = ""

    def add(self, name: str, value: str) -> None:
        if len(self.params) < _MAX_PARAMS:
            self.params.setdefault(name, value)


class _Reader:
    """A parser for a list of challenges, fed line by line."""

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
        """Read a parameter of the current challenge, or the beginning of the next challenge."""
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
        """Read parameters, even without commas between them."""
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
    """Read a quoted string after its opening quote; return the string and the position after it."""
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
